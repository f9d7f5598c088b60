"""Operators that the chip does not have and that others of its express, against ONNX Runtime."""

from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.onnx.importer import load_onnx
from npusim.reference.evaluate import evaluate
from tests.importers.conftest import agree
from tests.onnx_models import onnx_model

node = helper.make_node


def reals(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


EQUATIONS = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhid,bhjd->bhij", [(1, 2, 3, 4), (1, 2, 5, 4)]),
    ("ij->ji", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ii->i", [(4, 4)]),
    ("bcii->bc", [(1, 2, 3, 3)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(4,), (4,)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (1, 5, 4, 2)]),
    ("bchw,oc->bohw", [(1, 3, 4, 5), (2, 3)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ab,cd->abcd", [(2, 3), (3, 4)]),
    ("abc,cd->bad", [(2, 3, 4), (4, 5)]),
    ("nkctv,kvw->nctw", [(1, 2, 3, 4, 5), (2, 5, 5)]),
    ("a b , b c -> a c", [(2, 3), (3, 4)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
@pytest.mark.parametrize("known", [False, True])
def test_einsum(agrees, equation, shapes, known) -> None:
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    constants = {}
    if known and len(shapes) > 1:
        last = f"x{len(shapes) - 1}"
        constants[last] = reals(*inputs.pop(last))
    names = [f"x{i}" for i in range(len(shapes))]
    agrees([node("Einsum", names, ["y"], equation=equation)], inputs, ["y"], constants)


@pytest.mark.parametrize(("equation", "shape"), [("ij,jk->ik", (3, 4)), ("ij->ik", (3, 4)),
                                                 ("ijk->i", (3, 4))])  # fmt: skip
def test_an_equation_that_does_not_fit_names_the_node(save, equation, shape) -> None:
    path = save([node("Einsum", ["x"], ["y"], equation=equation, name="e")], {"x": shape}, ["y"])
    with pytest.raises(ModelImportError, match=r"'e' \(Einsum\)"):
        load_onnx(path)


X = {"x": (2, 3, 8)}
FORMS = [  # opset, operator, inputs, attributes, constants
    (13, "Celu", X, {"alpha": 0.7}, {}),
    (13, "Selu", X, {}, {}),
    (13, "ThresholdedRelu", X, {"alpha": 0.4}, {}),
    (13, "Shrink", X, {"lambd": 0.5, "bias": 0.1}, {}),
    (13, "MeanVarianceNormalization", {"x": (2, 3, 4, 4)}, {}, {}),
    (13, "ReduceLogSumExp", X, {"axes": [1], "keepdims": 0}, {}),
    (18, "ReduceLogSumExp", X, {}, {"axes": ints(-1)}),
    (14, "CumSum", X, {}, {"axis": np.array(1)}),
    (14, "CumSum", X, {"exclusive": 1, "reverse": 1}, {"axis": np.array(-1)}),
    (14, "Trilu", X, {}, {"k": np.array(1)}),
    (14, "Trilu", X, {"upper": 0}, {}),
    (13, "Mod", {"x": (2, 3), "z": (2, 3)}, {"fmod": 1}, {}),
    (13, "Ceil", X, {}, {}),
    (13, "Round", X, {}, {}),
    (13, "Sign", X, {}, {}),
    (18, "LpPool", {"x": (1, 2, 5, 6)}, {"kernel_shape": [2, 3], "pads": [1, 0, 0, 1]}, {}),
    (18, "LpPool", {"x": (1, 2, 6)}, {"kernel_shape": [2], "p": 1}, {}),
    (11, "GlobalLpPool", {"x": (1, 2, 5, 6)}, {}, {}),
    (20, "Gelu", X, {}, {}),
    (20, "Gelu", X, {"approximate": "tanh"}, {}),
    (18, "Mish", X, {}, {}),
    (14, "HardSwish", X, {}, {}),
    (24, "Swish", X, {"alpha": 1.3}, {}),
    (21, "GroupNormalization", {"x": (1, 6, 4, 4)}, {"num_groups": 2},
     {"s": reals(6), "b": reals(6, seed=1)}),
    (17, "LayerNormalization", X, {"axis": 1}, {"s": reals(3, 8)}),
    (23, "RMSNormalization", X, {}, {"s": reals(8)}),
    (23, "RMSNormalization", X, {"axis": 1}, {"s": reals(3, 8)}),
    (18, "CenterCropPad", {"x": (5, 6, 3)}, {}, {"n": ints(4, 8, 3)}),
    (20, "AffineGrid", {"x": (1, 2, 3)}, {}, {"n": ints(1, 1, 4, 5)}),
    (20, "AffineGrid", {"x": (1, 3, 4)}, {"align_corners": 1}, {"n": ints(1, 1, 3, 4, 2)}),
    (13, "Clip", {"x": (2, 3), "low": (), "high": ()}, {}, {}),
    (13, "PRelu", {"x": (2, 3), "slope": (3,)}, {}, {}),
    (19, "Pad", {"x": (1, 2, 3, 4)}, {"mode": "wrap"}, {"n": ints(0, 0, 1, 2, 0, 0, 2, 1)}),
    (13, "MaxPool", {"x": (1, 2, 7, 8)},
     {"kernel_shape": [2, 3], "dilations": [2, 2], "strides": [1, 2]}, {}),
    (13, "MaxPool", {"x": (1, 2, 9)}, {"kernel_shape": [3], "dilations": [2]}, {}),
    (13, "MaxPool", {"x": (1, 2, 5, 6, 7)}, {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2]}, {}),
    (13, "AveragePool", {"x": (1, 2, 5, 6, 7)},
     {"kernel_shape": [3, 2, 2], "pads": [1, 0, 1, 1, 1, 0]}, {}),
    (13, "AveragePool", {"x": (1, 1, 8, 4, 4)},
     {"kernel_shape": [5, 1, 1], "pads": [2, 0, 0, 2, 0, 0], "count_include_pad": 1}, {}),
    (13, "Conv", {"x": (1, 2, 5, 6, 7)}, {"strides": [2, 1, 1], "pads": [1, 1, 0, 1, 0, 1]},
     {"w": reals(4, 2, 3, 3, 2), "b": reals(4)}),
    (13, "Conv", {"x": (1, 4, 6, 5, 5)}, {"group": 2, "dilations": [2, 1, 1]},
     {"w": reals(6, 2, 2, 2, 2)}),
    (18, "Col2Im", {"x": (1, 8, 9)}, {}, {"image": ints(4, 4), "block": ints(2, 2)}),
    (18, "Col2Im", {"x": (1, 12, 9)}, {"strides": [2, 1], "pads": [0, 1, 1, 0]},
     {"image": ints(5, 4), "block": ints(2, 3)}),
    (13, "GatherND", {"x": (3, 4, 5)}, {}, {"i": ints([2], [0], [1])}),
    (13, "GatherND", {"x": (3, 4, 5)}, {}, {"i": ints([[2, 1]], [[0, 3]])}),
    (13, "GatherND", {"x": (2, 4, 5)}, {"batch_dims": 1}, {"i": ints([1], [3])}),
    (13, "GatherElements", {"x": (3, 4)}, {"axis": 1}, {"i": ints([1, 0], [3, 2], [0, 0])}),
    (13, "ScatterND", {"x": (4, 5), "u": (2, 5)}, {}, {"i": ints([1], [3])}),
    (13, "ScatterND", {"x": (4, 5), "u": (3,)}, {}, {"i": ints([1, 2], [3, 0], [0, 4])}),
    (13, "ScatterElements", {"x": (3, 4), "u": (1, 4)}, {}, {"i": ints([0, 1, 2, 0])}),
]  # fmt: skip


def needs_opset(opset):
    """Skip a test whose opset the installed onnx does not know: the oldest allowed knows 22."""
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"the installed onnx knows no opset {opset}")


@pytest.mark.parametrize(
    ("opset", "op", "inputs", "attributes", "constants"),
    FORMS,
    ids=[f"{form[1]}-{i}" for i, form in enumerate(FORMS)],
)
def test_what_others_express(agrees, opset, op, inputs, attributes, constants) -> None:
    needs_opset(opset)
    names = [*inputs, *constants]
    if op.startswith("Scatter"):
        names = ["x", "i", "u"]
    agrees([node(op, names, ["y"], **attributes)], inputs, ["y"], constants, opset=opset,
           rtol=1e-4)  # fmt: skip


HEADS = {"q": (1, 2, 4, 8), "k": (1, 2, 6, 8), "v": (1, 2, 6, 8)}
SQUARE = dict.fromkeys("qkv", (1, 2, 4, 8))


@pytest.mark.parametrize(
    ("inputs", "attributes", "constants"),
    [
        (HEADS, {}, {}),
        (SQUARE, {"is_causal": 1}, {}),
        (dict.fromkeys("qkv", (1, 4, 16)), {"q_num_heads": 2, "kv_num_heads": 2}, {}),
        ({"q": (1, 4, 8, 8), "k": (1, 2, 6, 8), "v": (1, 2, 6, 8)}, {"scale": 0.3}, {}),
        ({**HEADS, "mask": (4, 6)}, {}, {}),
        (SQUARE, {}, {"mask": np.tril(np.ones((4, 4), bool))}),
    ],
)
@pytest.mark.parametrize("opset", [23, 24])
def test_attention(save, inputs, attributes, constants, opset) -> None:
    needs_opset(opset)
    model = onnx_model([node("Attention", [*inputs, *constants], ["y"], **attributes)], inputs,
                       ["y"], constants, opset=opset)  # fmt: skip
    model.ir_version = 10
    graph = agree(save(model), rtol=1e-4, atol=1e-5)
    assert {"matmul", "softmax"} <= {n.op for n in graph.nodes}


def test_the_cache_of_an_attention(save) -> None:
    needs_opset(23)
    past = dict.fromkeys(("pk", "pv"), (1, 2, 3, 8))
    made = node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])
    model = onnx_model([made], {**HEADS, **past}, ["y", "nk", "nv"], opset=23)
    model.ir_version = 10
    agree(save(model), rtol=1e-4, atol=1e-5)


def test_truth_values(agrees) -> None:
    nodes = [
        node("Greater", ["x", "zero"], ["a"]),
        node("LessOrEqual", ["x", "z"], ["b"]),
        node("And", ["a", "b"], ["c"]),
        node("Xor", ["a", "b"], ["d"]),
        node("Not", ["d"], ["e"]),
        node("Or", ["c", "e"], ["f"]),
        node("Where", ["f", "x", "z"], ["g"]),
        node("Cast", ["d"], ["h"], to=TensorProto.FLOAT),
        node("Equal", ["x", "x"], ["i"]),
        node("Cast", ["i"], ["j"], to=TensorProto.INT64),
        node("ReduceMax", ["j"], ["k"], axes=[1]),
        node("Cast", ["k"], ["l"], to=TensorProto.FLOAT),
        node("Cast", ["z"], ["m"], to=TensorProto.BOOL),
        node("Where", ["m", "zero", "x"], ["n"]),
    ]
    agrees(nodes, {"x": (2, 3, 4), "z": (3, 1)}, ["g", "h", "l", "n", "f"],
           {"zero": np.float32(0)}, types={"f": np.bool_})  # fmt: skip


def test_where_of_a_known_condition(agrees) -> None:
    mask = np.tril(np.ones((4, 4), bool))
    for fill, op in ((-np.inf, "add"), (np.finfo(np.float32).min, "add"), (0.5, "select")):
        graph = agrees([node("Where", ["m", "x", "f"], ["w"]), node("Softmax", ["w"], ["y"])],
                       {"x": (1, 4, 4)}, ["y"], {"m": mask, "f": np.float32(fill)})  # fmt: skip
        assert graph.nodes[0].op == op
    for condition in (True, False):
        graph = agrees([node("Where", ["m", "x", "z"], ["y"])], {"x": (1, 3), "z": (2, 3)}, ["y"],
                       {"m": np.full((2, 1), condition)})  # fmt: skip
        assert not any(n.op == "select" for n in graph.nodes)
    with pytest.raises(UnsupportedOpError, match="is i64"):
        raise_of_integers(agrees)


def raise_of_integers(agrees) -> None:
    nodes = [node("ArgMax", ["x"], ["i"]), node("Greater", ["x", "zero"], ["c"]),
             node("Where", ["c", "i", "i"], ["y"])]  # fmt: skip
    agrees(nodes, {"x": (1, 3)}, ["y"], {"zero": np.float32(0)}, types={"y": np.int64})


def test_softplus_as_torch_writes_it(agrees) -> None:
    nodes = [
        node("Mul", ["x", "beta"], ["a"]),
        node("Softplus", ["a"], ["b"]),
        node("Div", ["b", "beta"], ["c"]),
        node("Greater", ["a", "limit"], ["d"]),
        node("Where", ["d", "x", "c"], ["y"]),
    ]
    agrees(nodes, {"x": (2, 8)}, ["y"], {"beta": np.float32(2), "limit": np.float32(1)})


def test_parts_without_elements(agrees) -> None:
    nodes = [
        node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        node("Slice", ["x", "two", "two"], ["c"]),
        node("Concat", ["b", "a"], ["d"], axis=1),
        node("Concat", ["c", "d"], ["y"], axis=0),
    ]
    graph = agrees(nodes, {"x": (2, 4)}, ["y"], {"sizes": ints(4, 0), "two": ints(2)})
    assert not any(n.op in ("split", "concat") for n in graph.nodes)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_known_gather_and_scatter(tmp_path_factory, data) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    depth = data.draw(st.integers(1, len(shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    gathers = data.draw(st.booleans())
    lead = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    if gathers:
        places = rng.integers(0, shape[:depth], (*lead, depth))
        inputs, names = {"x": shape}, ["x", "i"]
    else:
        rows = prod(shape[:depth])
        count = data.draw(st.integers(1, rows))
        flat = rng.permutation(rows)[:count]  # a place written twice has no defined value
        places = np.stack(np.unravel_index(flat, shape[:depth]), axis=-1)
        inputs = {"x": shape, "u": (count, *shape[depth:])}
        names = ["x", "i", "u"]
    model = onnx_model(
        [node("GatherND" if gathers else "ScatterND", names, ["y"]), node("Abs", ["y"], ["z"])],
        inputs, ["z"], {"i": places.astype(np.int64)},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("known") / "m.onnx"
    path.write_bytes(model.SerializeToString())
    agree(path)


def test_a_channel_swap_of_torch_is_one_choice_of_channels(agrees) -> None:
    swap = {"perm": [1, 0, 2, 3]}
    nodes = [node("Transpose", ["x"], ["t"], **swap), node("GatherND", ["t", "i"], ["g"]),
             node("Transpose", ["g"], ["y"], **swap)]  # fmt: skip
    graph = agrees(nodes, {"x": (1, 3, 8, 9)}, ["y"], {"i": ints([2], [1], [0])})
    x = reals(1, 3, 8, 9)
    np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], x[:, ::-1])
