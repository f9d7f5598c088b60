"""Operators of TensorFlow Lite that need more than a name: sparse weights, folding, choices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npusim
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.tflite.importer import load_tflite
from npusim.reference.evaluate import evaluate

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
from ai_edge_litert import schema_py_generated as schema

from tests.importers.tflite_build import Model, one_op
from tests.importers.tflite_run import check, litert

R = np.random.default_rng(7)
DENSE, CSR = 0, 1


def real(*shape):
    return R.uniform(-1, 1, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int32)


# ---- sparse weights
def sparse_parts(value, blocks, order, formats):
    """Return (values, levels) of a dense array: its tree, levels outermost first.

    ``blocks`` are (axis, size); a level is (format, size or (segments, indices)).
    """
    rank = value.ndim
    sizes = list(value.shape) + [size for _, size in blocks]
    for axis, size in blocks:
        sizes[axis] //= size
    index = np.indices(sizes).reshape(len(sizes), -1)
    place = [index[axis] for axis in range(rank)]
    for number, (axis, size) in enumerate(blocks):
        place[axis] = place[axis] * size + index[rank + number]
    tree = value[tuple(place)].reshape(sizes).transpose(order)
    rows, levels = [tree], []
    for level, kind in enumerate(formats):
        if kind == DENSE:
            levels.append((DENSE, tree.shape[level]))
            rows = [part for row in rows for part in row]
            continue
        segments, indices, deeper = [0], [], []
        for row in rows:
            kept = [i for i, part in enumerate(row) if np.any(part)]
            indices += kept
            deeper += [row[i] for i in kept]
            segments.append(len(indices))
        levels.append((CSR, (segments, indices)))
        rows = deeper
    return np.array(rows, value.dtype).reshape(-1), levels


def sparsity(blocks, order, levels):
    proto = schema.SparsityParametersT()
    proto.traversalOrder, proto.blockMap = list(order), [axis for axis, _ in blocks]
    proto.dimMetadata = []
    for kind, content in levels:
        level = schema.DimensionMetadataT()
        level.format = kind
        if kind == DENSE:
            level.denseSize = content
        else:
            for word, values in zip(("Segments", "Indices"), content, strict=True):
                vector = schema.Uint16VectorT() if word == "Segments" else schema.Uint8VectorT()
                vector.values = np.array(values, np.uint16 if word == "Segments" else np.uint8)
                setattr(level, f"array{word}", vector)
                number = schema.SparseIndexVector
                kinds = number.Uint16Vector if word == "Segments" else number.Uint8Vector
                setattr(level, f"array{word}Type", kinds)
        proto.dimMetadata.append(level)
    return proto


def with_sparse_weights(value, blocks, order, formats):
    """Return x -> DENSIFY -> fully connected or convolution."""
    model = Model()
    main = model.function()
    outputs, depth = value.shape[0], value.shape[-1]
    x = main.tensor("x", (2, depth) if value.ndim == 2 else (1, 5, 6, depth))
    values, levels = sparse_parts(value, blocks, order, formats)
    stored = main.constant("sparse", values)
    main.proto.tensors[stored].shape = list(value.shape)
    main.proto.tensors[stored].sparsity = sparsity(blocks, order, levels)
    whole = main.tensor("whole", value.shape)
    bias = main.constant("bias", real(outputs))
    y = main.tensor("y", (1,))
    main.op("DENSIFY", [stored], [whole])
    if value.ndim == 2:
        main.op("FULLY_CONNECTED", [x, whole, bias], [y], "FullyConnectedOptions")
    else:
        main.op("CONV_2D", [x, whole, bias], [y], "Conv2DOptions", strideH=1, strideW=1)
    main.proto.inputs, main.proto.outputs = [x], [y]
    return model


def thinned(*shape, blocks=()):
    """Return weights of which most (blocks of) elements are 0."""
    coarse = list(shape)
    for axis, size in blocks:
        coarse[axis] //= size
    mask = R.random(coarse) < 0.4
    for axis, size in blocks:
        mask = mask.repeat(size, axis)
    return real(*shape) * mask


SPARSE = {
    "rows": (thinned(6, 8), [], (0, 1), (DENSE, CSR)),
    "columns": (thinned(6, 8), [], (1, 0), (DENSE, CSR)),
    "blocks": (thinned(8, 16, blocks=[(0, 4), (1, 4)]), [(0, 4), (1, 4)], (0, 1, 2, 3),
               (DENSE, CSR, DENSE, DENSE)),
    "row-blocks": (thinned(6, 16, blocks=[(1, 4)]), [(1, 4)], (0, 1, 2), (DENSE, CSR, DENSE)),
    "convolution": (thinned(5, 1, 1, 8), [], (0, 1, 2, 3), (DENSE, DENSE, DENSE, CSR)),
    "convolution-blocks": (thinned(8, 1, 1, 8, blocks=[(3, 4)]), [(3, 4)], (0, 1, 2, 3, 4),
                           (DENSE, DENSE, DENSE, CSR, DENSE)),
    "nothing": (np.zeros((4, 8), np.float32), [], (0, 1), (DENSE, CSR)),
}  # fmt: skip


@pytest.mark.parametrize("case", SPARSE)
def test_sparse_weights(case):
    assert check(with_sparse_weights(*SPARSE[case])) == "ok"


def test_sparse_weights_that_do_not_fit(tmp_path):
    def message(change):
        model = with_sparse_weights(*SPARSE["rows"])
        proto = next(t for t in model.proto.subgraphs[0].tensors if t.sparsity).sparsity
        change(proto)
        with pytest.raises(ModelImportError) as error:
            load_tflite(model.save(tmp_path / "bad.tflite"))
        assert "tensor 'sparse'" in str(error.value)
        return str(error.value)

    def indices(proto, value):
        proto.dimMetadata[1].arrayIndices.values = np.full_like(
            proto.dimMetadata[1].arrayIndices.values, value
        )

    assert "sparse levels [0, 0] of 2 axes" in message(
        lambda p: setattr(p, "traversalOrder", [0, 0])
    )
    assert "sparse values for" in message(lambda p: indices(p, 8))
    assert "segments of" in message(lambda p: setattr(p.dimMetadata[0], "denseSize", 5))
    assert "a level of 1000000000 positions" in message(
        lambda p: setattr(p.dimMetadata[0], "denseSize", 10**9)
    )


def test_sparse_weights_are_no_larger_than_what_they_are_made_of(tmp_path):
    model = with_sparse_weights(*SPARSE["rows"])
    proto = next(t for t in model.proto.subgraphs[0].tensors if t.sparsity)
    proto.shape = [1 << 14, 1 << 12]
    with pytest.raises(ModelImportError, match="would have 67108864 elements"):
        load_tflite(model.save(tmp_path / "bad.tflite"))


def test_an_offset_with_an_ellipsis_is_refused(tmp_path):
    for masks in ({"ellipsisMask": 1, "newAxisMask": 2}, {"newAxisMask": 1}, {"ellipsisMask": 1}):
        model = one_op(
            "STRIDED_SLICE", (2, 3), (2, 3, 1), constants=[ints(0, 0), ints(9, 1), ints(1, 1)],
            options="StridedSliceOptions", offset=True, **masks,
        )  # fmt: skip
        with pytest.raises(UnsupportedOpError, match="an ellipsis with an offset"):
            load_tflite(model.save(tmp_path / "net.tflite"))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_sparse_tree_is_read(data):
    from npusim.importers.tflite.sparse import dense

    rank = data.draw(st.integers(1, 4))
    blocks = [(a, data.draw(st.integers(1, 3))) for a in range(rank) if data.draw(st.booleans())]
    shape = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    for axis, size in blocks:
        shape[axis] *= size
    levels_in = rank + len(blocks)
    order = data.draw(st.permutations(range(levels_in)))
    kinds = st.sampled_from((DENSE, CSR))
    formats = [DENSE if level >= rank else data.draw(kinds) for level in order]
    value = np.asarray(thinned(*shape))
    values, levels = sparse_parts(value, blocks, order, formats)
    model = Model()
    main = model.function()
    stored = main.constant("s", values if values.size else np.zeros(0, np.float32))
    main.proto.tensors[stored].sparsity = sparsity(blocks, order, levels)
    import tflite

    content = tflite.Model.GetRootAs(model.bytes(), 0)
    proto = content.Subgraphs(0).Tensors(0).Sparsity()
    np.testing.assert_array_equal(dense(values, tuple(shape), proto), value)


# ---- what is known
def known_chain():
    """Return x + a constant that goes through integers, comparisons, ranges and a choice."""
    model = Model()
    main = model.function()
    x = main.tensor("x", (1, 3, 4, 2))
    shape, limit, size = (main.tensor(n, s, "int32") for n, s in
                          (("shape", (4,)), ("limit", ()), ("size", ())))  # fmt: skip
    main.op("SHAPE", [x], [shape], "ShapeOptions", outType=2)
    index = main.constant("two", ints(2)[0])
    main.op("GATHER", [shape, index], [limit], "GatherOptions")
    three = main.constant("three", ints(3)[0])
    main.op("MUL", [limit, three], [size], "MulOptions")
    half = main.tensor("half", (), "int32")
    main.op("DIV", [size, main.constant("minus", ints(-5)[0])], [half], "DivOptions")
    down = main.tensor("down", (4,), "int32")
    zero, minus = main.constant("zero", ints(0)[0]), main.constant("step", ints(-1)[0])
    main.op("RANGE", [main.constant("begin", ints(4)[0]), zero, minus], [down], "RangeOptions")
    big = main.tensor("big", (4,), "bool")
    main.op("GREATER", [down, main.constant("edge", ints(2)[0])], [big])
    column = main.tensor("column", (4, 1), "bool")
    main.op("RESHAPE", [big, main.constant("to", ints(4, 1))], [column])
    filled = main.tensor("filled", (4, 2))
    main.op("FILL", [main.constant("dims", ints(4, 2)), main.constant("v", np.float32(1.5))],
            [filled], "FillOptions")  # fmt: skip
    chosen = main.tensor("chosen", (4, 2))
    main.op("SELECT_V2", [column, filled, main.constant("table", real(4, 2))], [chosen])
    real_half = main.tensor("real_half", ())
    main.op("CAST", [half], [real_half], "CastOptions", inDataType=2, outDataType=0)
    scaled, y = main.tensor("scaled", (4, 2)), main.tensor("y", (1, 3, 4, 2))
    main.op("MUL", [chosen, real_half], [scaled], "MulOptions")
    main.op("ADD", [x, scaled], [y], "AddOptions")
    main.proto.inputs, main.proto.outputs = [x], [y]
    return model


def test_constants_are_folded_whoever_made_them(tmp_path):
    assert check(known_chain()) == "ok"
    graph = load_tflite(known_chain().save(tmp_path / "net.tflite"))
    assert [node.op for node in graph.nodes] == ["add", "transpose"]


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2)])
@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_known_condition_chooses(shape, known):
    """Data on both sides, or a constant on one: also an infinite one stays what it is."""
    model = Model()
    main = model.function()
    condition = main.constant("c", R.random(shape[-1:] if known else shape) < 0.5)
    xs = [main.tensor("x0", shape), main.tensor("x1", shape)]
    y = main.tensor("y", shape)
    if known:
        xs[known - 1] = main.constant("k", np.full(shape, -np.inf, np.float32))
    main.op("SELECT_V2", [condition, *xs], [y])
    main.proto.inputs = [x for i, x in enumerate(xs) if not known or i != known - 1]
    main.proto.outputs = [y]
    assert check(model) == "ok"


@pytest.mark.parametrize("kind", ["NOT_EQUAL", "LOGICAL_AND", "SELECT_V2", "SIN", "COS"])
def test_what_depends_on_the_data_is_refused_with_a_line(tmp_path, kind):
    model = Model()
    main = model.function()
    x, y = main.tensor("x", (4,), "bool"), main.tensor("y", (4,), "bool")
    main.op(kind, [x] * (3 if kind == "SELECT_V2" else 1), [y])
    main.proto.inputs, main.proto.outputs = [x], [y]
    with pytest.raises(UnsupportedOpError, match=rf"{kind} version 1, .*depends on the input data"):
        load_tflite(model.save(tmp_path / "net.tflite"))


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_gather_in_batches(batch, axis):
    if batch > axis:
        pytest.skip("batch_dims is at most the axis")
    shape = (2, 3, 4, 5)
    indices = R.integers(0, shape[axis], (*shape[:batch], 2, 3)).astype(np.int32)
    model = one_op("GATHER", shape, (1,), constants=[indices], options="GatherOptions", axis=axis,
                   batchDims=batch)  # fmt: skip
    assert check(model) == "ok"


@pytest.mark.parametrize("places", [(), (3,), (2, 3), (1, 2, 2, 2)])
@pytest.mark.parametrize("known", [False, True])
def test_embedding(tmp_path, places, known):
    """A table read at computed indices, of any number of axes."""
    table = real(7, 2, 3, 2)[:, 0, 0] if len(places) == 4 else real(7, 2)
    values = R.integers(0, 7, places).astype(np.int32)
    model = Model()
    main = model.function()
    ids = main.constant("ids", values) if known else main.tensor("ids", places, "int32")
    x, found, y = main.tensor("x", (1,)), main.tensor("f", (1,)), main.tensor("y", (1,))
    main.op("GATHER", [main.constant("table", table), ids], [found], "GatherOptions")
    main.op("ADD", [found, x], [y], "AddOptions")
    main.proto.inputs, main.proto.outputs = [x] if known else [ids, x], [y]
    one = np.ones(1, np.float32)
    (want,) = litert(model.bytes(), [one] if known else [values, one])
    graph = load_tflite(model.save(tmp_path / "net.tflite"))
    turned = values.transpose(0, 3, 1, 2) if values.ndim == 4 else values
    got = evaluate(graph, {"x": one} if known else {"ids": turned.copy(), "x": one})
    assert got["y"].shape == want.shape
    np.testing.assert_array_equal(got["y"], want)


@pytest.mark.parametrize(("same", "size"), [(True, (8, 12)), (False, (9, 13))])
def test_mediapipes_transposed_convolution(tmp_path, same, size):
    """A custom operator, equal to TRANSPOSE_CONV of the same weights and bias."""
    shape, weights, bias = (1, 4, 6, 5), real(3, 3, 3, 5), real(3)
    out = (1, *size, 3)
    plain = one_op("TRANSPOSE_CONV", shape, out, before=[ints(*out), weights], constants=[bias],
                   options="TransposeConvOptions", padding=0 if same else 1, strideH=2,
                   strideW=2)  # fmt: skip
    model = one_op("CUSTOM", shape, out, constants=[weights, bias])
    model.proto.operatorCodes[0].customCode = b"Convolution2DTransposeBias"
    (op,) = model.proto.subgraphs[0].operators
    op.customOptions = np.array([1 if same else 2, 2, 2], np.int32).view(np.uint8)
    x = real(*shape)
    (want,) = litert(plain.bytes(), [x])
    graph = load_tflite(model.save(tmp_path / "net.tflite"))
    got = evaluate(graph, {"x": x.transpose(0, 3, 1, 2).copy()})["y"]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    op.customOptions = op.customOptions[:8]
    with pytest.raises(ModelImportError, match="8 bytes of options"):
        load_tflite(model.save(tmp_path / "net.tflite"))


# ---- activations and batches
@pytest.mark.parametrize("kind", ["CONV_2D", "ADD", "AVERAGE_POOL_2D"])
def test_a_fused_tanh_is_computed(tmp_path, kind):
    """LiteRT's processor kernels leave it out: what they give, through tanh."""
    shape = (1, 4, 4, 2)
    pool = {"filterHeight": 2, "filterWidth": 2, "strideH": 1, "strideW": 1}
    options, constants, more = {
        "CONV_2D": ("Conv2DOptions", [real(2, 1, 1, 2), real(2)], {"strideH": 1, "strideW": 1}),
        "ADD": ("AddOptions", [real(2)], {}),
        "AVERAGE_POOL_2D": ("Pool2DOptions", [], pool),
    }[kind]
    model = one_op(kind, shape, shape, constants=constants, options=options,
                   fusedActivationFunction=4, **more)  # fmt: skip
    x = real(*shape)
    (want,) = litert(model.bytes(), [x])
    graph = load_tflite(model.save(tmp_path / "net.tflite"))
    (note,) = graph.notes
    assert "fused tanh" in note
    got = evaluate(graph, {"x": x.transpose(0, 3, 1, 2).copy()})["y"]
    np.testing.assert_allclose(got, np.tanh(want), rtol=1e-5, atol=1e-6)


def test_an_open_batch_is_one_and_said(tmp_path):
    model = Model()
    main = model.function()
    x = main.tensor("x", (1, 4, 4, 3), signature=(-1, 4, 4, 3))
    y = main.tensor("y", (1, 4, 4, 3), signature=(-1, 4, 4, 3))
    main.op("ABS", [x], [y])
    main.proto.inputs, main.proto.outputs = [x], [y]
    path = model.save(tmp_path / "net.tflite")
    graph = load_tflite(path)
    assert graph.spec("x").shape == (1, 3, 4, 4)
    assert graph.notes == ("input 'x': the open batch (-1, 4, 4, 3) is taken as 1",)
    assert load_tflite(path, input_shapes=[(2, 4, 4, 3)]).notes == ()


@pytest.mark.parametrize("rank", [3, 4])
def test_an_output_that_is_an_input_or_a_constant(tmp_path, rank):
    shape = (1, 2, 3, 4)[4 - rank :]
    model = Model()
    main = model.function()
    x, y = main.tensor("x", shape), main.tensor("y", shape)
    known = main.constant("known", real(*shape))
    main.op("ABS", [x], [y])
    main.proto.inputs, main.proto.outputs = [x], [y, x, known]
    graph = npusim.optimize(load_tflite(model.save(tmp_path / "net.tflite")))
    value = real(*shape)
    turned = value.transpose(0, 3, 1, 2).copy() if rank == 4 else value
    found = list(evaluate(graph, {"x": turned}).values())
    for got, want in zip(found, litert(model.bytes(), [value]), strict=True):
        np.testing.assert_array_equal(got, want)


# ---- settings that contradict each other
@pytest.mark.parametrize(
    ("offset", "bounds"),
    [
        (False, ((-1, -2, 1), (2, 2, 3))),
        (False, ((1, 1, 0), (2, 2, 4))),
        (True, ((-1, -2, 1), (1, 1, 3))),
        (True, ((0, 1, 0), (1, 2, 4))),
    ],
)
def test_masks_of_a_strided_slice_are_litert_s_or_refused(offset, bounds):
    found = []
    for masks in range(64):
        begin, end, removed = masks & 3, masks >> 2 & 3, masks >> 4
        model = Model()
        main = model.function()
        x, y = main.tensor("x", (2, 3, 4)), main.tensor("y", (1,))
        places = [main.constant(n, ints(*v)) for n, v in zip("be", bounds, strict=True)]
        places.append(main.constant("s", ints(1, 1, 1)))
        fields = {"beginMask": begin, "endMask": end, "shrinkAxisMask": removed, "offset": offset}
        main.op("STRIDED_SLICE", [x, *places], [y], "StridedSliceOptions", **fields)
        main.proto.inputs, main.proto.outputs = [x], [y]
        found.append(check(model).partition(":")[0])
    assert set(found) <= {"ok", "refused", "litert"}, found
    assert found.count("ok") >= (1 if offset else 8)


def test_what_a_file_leaves_out_or_contradicts_is_refused(tmp_path):
    def refused(model, words):
        with pytest.raises(ModelImportError, match=words):
            load_tflite(model.save(tmp_path / "net.tflite"))

    refused(one_op("SOFTMAX", (2, 3), (2, 3)), "no option Beta")
    sizes = [(ints(1, 1), None), (np.array(0, np.float32), None)]
    refused(one_op("SPLIT_V", (2, 4), (1, 4), constants=sizes, outputs=2), "is of type float32")
    model = one_op("RESHAPE", (2, 3), (3, 2), constants=[(ints(3, 2), None)])
    (main,) = model.proto.subgraphs
    main.tensors[main.outputs[0]].type = schema.TensorType.FLOAT16
    refused(model, "its result is float16")
    places = [(ints(*v), None) for v in ((1, 0), (2, 3), (1, 1))]
    masks = {"beginMask": 0, "endMask": 0, "offset": True}
    kind, options = "STRIDED_SLICE", "StridedSliceOptions"
    model = one_op(kind, (2, 3), (1, 3), constants=places, options=options, **masks)
    refused(model, "2 elements from 1 on")
