"""TensorFlow graphs: recorded outputs of the real program, and slow definitions of its rules."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import npusim
from npusim.conformance.importer_cases import read_cases
from npusim.conformance.importers import replay_case
from npusim.importers.common.ordered_conv import nearest, positions
from npusim.importers.tensorflow.fold import is_foldable
from npusim.importers.tensorflow.importer import load_tensorflow
from npusim.importers.tensorflow.ops_quantized import faked, nudged
from npusim.ir.attrs import Coordinates
from tests.importers.tensorflow_build import BOOL, FLOAT, INT32, Function, Net, run

RECORDS = list(read_cases(Path(__file__).with_name("tensorflow_recorded.jsonl")))
FAST = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RNG = np.random.default_rng(5)


def numbers(*shape):
    return (RNG.integers(-64, 65, shape) / 32).astype(np.float32)


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.label)
def test_recorded_graphs(case):
    assert replay_case(case) == ("", "")


def test_records_hold_what_the_tool_writes():
    labels = [case.label for case in RECORDS]
    assert len(set(labels)) == len(labels) > 50
    text = Path(__file__).with_name("tensorflow_recorded.jsonl").read_text()
    assert all(json.loads(line)["program"].startswith("TensorFlow") for line in text.splitlines())


# ---- rules against slow definitions
def slow_convolution(x, w, stride, dilation, rule):
    """Pad as documented for SAME, then take every window."""
    pads = []
    for n, k, s, d in zip(x.shape[1:3], w.shape[:2], stride, dilation, strict=True):
        reach = (k - 1) * d + 1
        total = max((-(-n // s) - 1) * s + reach - n, 0) if rule == "SAME" else 0
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    steps = [
        range(0, n - (k - 1) * d, s)
        for n, k, s, d in zip(x.shape[1:3], w.shape[:2], stride, dilation, strict=True)
    ]
    y = np.zeros((len(x), len(steps[0]), len(steps[1]), w.shape[3]))
    depth, each = w.shape[2], w.shape[3] // (x.shape[3] // w.shape[2])
    for out in range(w.shape[3]):
        first = out // each * depth
        for i, top in enumerate(steps[0]):
            for j, left in enumerate(steps[1]):
                part = x[
                    :,
                    top : top + (w.shape[0] - 1) * dilation[0] + 1 : dilation[0],
                    left : left + (w.shape[1] - 1) * dilation[1] + 1 : dilation[1],
                    first : first + depth,
                ]
                y[:, i, j, out] = (part * w[..., out]).sum((1, 2, 3))
    return y


@FAST
@given(data=st.data())
def test_convolution(tmp_path, data):
    draw = data.draw
    group, depth = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 2))
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    rule = draw(st.sampled_from(["SAME", "VALID"]))
    size = [draw(st.integers((k - 1) * d + 1, 7)) for k, d in zip(kernel, dilation, strict=True)]
    x = numbers(1, *size, group * depth)
    w = numbers(*kernel, depth, group * draw(st.integers(1, 2)))
    net = Net()
    net.input("x", x.shape)
    net.op(
        "y", "Conv2D", "x", w, padding=rule, strides=[1, *stride, 1], dilations=[1, *dilation, 1]
    )
    (y,) = run(net.load(tmp_path), x)
    np.testing.assert_allclose(y, slow_convolution(x, w, stride, dilation, rule), 1e-5, 1e-5)


@FAST
@given(
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 4),
    kind=st.sampled_from(["MaxPool", "AvgPool"]),
)
def test_padding_of_pools_does_not_count(tmp_path, size, kernel, stride, kind):
    x = numbers(1, *size, 2)
    net = Net()
    net.input("x", x.shape)
    net.op("y", kind, "x", ksize=[1, *kernel, 1], strides=[1, stride, stride, 1], padding="SAME")
    (y,) = run(net.load(tmp_path), x)
    before = [
        max((-(-n // stride) - 1) * stride + k - n, 0) // 2
        for n, k in zip(size, kernel, strict=True)
    ]
    wanted = np.zeros((1, -(-size[0] // stride), -(-size[1] // stride), 2))
    for i in range(wanted.shape[1]):
        for j in range(wanted.shape[2]):
            top, left = i * stride - before[0], j * stride - before[1]
            part = x[:, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]]
            wanted[:, i, j] = part.max((1, 2)) if kind == "MaxPool" else part.mean((1, 2))
    np.testing.assert_allclose(y, wanted, 1e-5, 1e-6)


@FAST
@given(data=st.data())
def test_a_dilated_convolution_in_batches_is_one_layer(tmp_path, data):
    draw = data.draw
    block, size = draw(st.integers(2, 3)), (draw(st.integers(4, 8)), draw(st.integers(4, 8)))
    pads = [[block, block + -n % block] for n in size]
    crops = [[0, -n % block] for n in size]
    x, w = numbers(1, *size, 2), numbers(3, 3, 2, 3)
    net = Net()
    net.input("x", x.shape)
    net.op("s", "SpaceToBatchND", "x", [block] * 2, pads)
    net.op("c", "Conv2D", "s", w, padding="VALID", strides=[1, 1, 1, 1])
    net.op("y", "BatchToSpaceND", "c", [block] * 2, crops)
    graph = net.load(tmp_path)
    assert [node.op for node in graph.nodes if node.op != "transpose"] == ["conv2d"]
    padded = np.pad(x, [(0, 0), *pads, (0, 0)])
    wanted = slow_convolution(padded, w, (1, 1), (block, block), "VALID")
    wanted = wanted[:, : wanted.shape[1] - crops[0][1], : wanted.shape[2] - crops[1][1]]
    np.testing.assert_allclose(run(graph, x)[0], wanted, 1e-5, 1e-5)


CHAIN = ("Reshape", "Transpose", "StridedSlice", "ConcatV2", "Mean", "Pad", "Tile", "ExpandDims",
         "Squeeze", "Pack", "Mul", "GatherV2", "ReverseV2", "Max", "Unpack")  # fmt: skip


@settings(parent=FAST, max_examples=120)
@given(data=st.data())
def test_moves_give_what_they_give_on_known_values(tmp_path, data):
    """One graph twice: of an input, through the graph's tensors, and of a constant, by numpy."""
    draw = data.draw
    x = numbers(*draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    nets = []
    for known in (False, True):
        net = Net()
        if known:
            net.const("x", x)
            net.input("z", (1,))
        else:
            net.input("x", x.shape)
        nets.append(net)
    last, shape = "x", x.shape
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(CHAIN))
        made = drawn_step(draw, kind, shape)
        if made is None:
            continue
        operands, attrs, shape = made
        for net in nets:
            inputs = [last if value is SELF else value for value in operands]
            net.op(f"n{index}", kind, *inputs, **attrs)
        last = f"n{index}"
    for net in nets:
        net.op("y", "AddV2", last, np.zeros(1, np.float32) if net is nets[0] else "z")
    (moved,) = run(nets[0].load(tmp_path), x)
    (folded,) = run(nets[1].load(tmp_path), np.zeros(1, np.float32))
    assert moved.shape == folded.shape
    np.testing.assert_allclose(moved, folded, 1e-5, 1e-5)
    assert all(map(is_foldable, CHAIN))


SELF = object()


def drawn_step(draw, kind, shape):
    """Return operands, attributes and the result's shape of a random step, if there is one."""
    rank = len(shape)
    axis = draw(st.integers(0, rank - 1)) if rank else 0
    if kind in ("ExpandDims", "Pack"):
        if rank > 4:
            return None
        place = draw(st.integers(0, rank))
        wide = (*shape[:place], 1 if kind == "ExpandDims" else 2, *shape[place:])
        if kind == "ExpandDims":
            return (SELF, np.int32(place)), {}, wide
        return (SELF, SELF), {"axis": place}, wide
    if not rank or np.prod(shape) > 400:
        return None
    if kind == "Reshape":
        parts = [
            n for n in shape for n in ([n] if n != 4 else draw(st.sampled_from([[4], [2, 2]])))
        ]
        if len(parts) > 1 and draw(st.booleans()):
            at = draw(st.integers(0, len(parts) - 2))
            parts[at : at + 2] = [parts[at] * parts[at + 1]]
        return ((SELF, np.array(parts)), {}, tuple(parts)) if len(parts) < 7 else None
    if kind == "Transpose":
        perm = draw(st.permutations(range(rank)))
        return (SELF, np.array(perm)), {}, tuple(shape[i] for i in perm)
    if kind == "StridedSlice":
        begin = draw(st.integers(0, shape[axis] - 1))
        ends = [[0] * rank, [0] * rank, [1] * rank]
        ends[0][axis] = begin
        shrink = draw(st.booleans())
        left = [n for i, n in enumerate(shape) if not (shrink and i == axis)]
        if not shrink:
            left[axis] -= begin
        attrs = {"begin_mask": 0, "end_mask": 2**rank - 1, "shrink_axis_mask": shrink << axis}
        return (SELF, *map(np.array, ends)), attrs, tuple(left)
    if kind == "ConcatV2":
        other = numbers(*shape)
        grown = tuple(n * 2 if i == axis else n for i, n in enumerate(shape))
        return (SELF, other, np.int32(axis - rank)), {}, grown
    if kind in ("Mean", "Max"):
        keep = draw(st.booleans())
        left = tuple(1 if i == axis else n for i, n in enumerate(shape) if keep or i != axis)
        return (SELF, np.array([axis])), {"keep_dims": keep}, left
    if kind == "Pad":
        pairs = [[0, 0] for _ in shape]
        pairs[axis] = [1, 2]
        return (
            (SELF, np.array(pairs)),
            {},
            tuple(n + sum(p) for n, p in zip(shape, pairs, strict=True)),
        )
    if kind == "Tile":
        repeats = [2 if i == axis else 1 for i in range(rank)]
        return (
            (SELF, np.array(repeats)),
            {},
            tuple(n * r for n, r in zip(shape, repeats, strict=True)),
        )
    if kind == "Squeeze":
        left = tuple(n for n in shape if n != 1)
        return ((SELF,), {}, left) if left != shape else None
    if kind == "Mul":
        other = numbers(*(1 if draw(st.booleans()) else n for n in shape))
        return (SELF, other), {}, shape
    if kind == "GatherV2":
        taken = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=3))
        grown = tuple(len(taken) if i == axis else n for i, n in enumerate(shape))
        return (SELF, np.array(taken), np.int32(axis)), {}, grown
    if kind == "ReverseV2":
        return (SELF, np.array([axis])), {}, shape
    left = (*shape[:axis], *shape[axis + 1 :])
    return (SELF,), {"axis": axis, "num": shape[axis]}, left


@FAST
@given(rule=st.sampled_from(list(Coordinates)), size=st.integers(1, 40), out=st.integers(1, 90))
def test_resize_positions_are_float32(rule, size, out):
    place = positions(size, out, rule)
    assert place.dtype == np.float32
    found = nearest(size, out, rule)
    assert found.min() >= 0
    assert found.max() < size
    exact = {
        Coordinates.ASYMMETRIC: np.arange(out) * size / out,
        Coordinates.HALF_PIXEL: (np.arange(out) + 0.5) * size / out - 0.5,
        Coordinates.ALIGN_CORNERS: np.arange(out) * (size - 1) / max(out - 1, 1),
    }[rule]
    np.testing.assert_allclose(place, exact, 1e-5, 1e-5)


def test_the_measured_resizes(tmp_path):
    assert nearest(2, 82, Coordinates.ASYMMETRIC)[41] == 0  # exact: 1
    for attrs, wanted in (
        ({}, [0, 5 / 3, 10 / 3]),
        ({"half_pixel_centers": True}, [1 / 3, 2, 11 / 3]),
        ({"align_corners": True}, [0, 2, 4]),
    ):
        net = Net()
        net.input("x", (1, 5, 1, 1))
        net.op("y", "ResizeBilinear", "x", np.array([3, 1]), **attrs)
        (y,) = run(net.load(tmp_path), np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1))
        np.testing.assert_allclose(y.reshape(-1), wanted, 1e-6)


# ---- FakeQuant
def test_ranges_move_until_zero_is_a_code():
    assert [float(v) for v in nudged(np.float32(2), np.float32(6), 8, False)[:2]] == [0, 4]
    low, high, scale, zero = nudged(np.float32(-0.5), np.float32(254.5), 8, False)
    assert (low, high, scale, zero) == (-1, 254, 1, 1)
    x = np.array([-3, 0.4, 0.5, 1.5, 300], np.float32)
    assert faked(x, low, high, scale).tolist() == [-1, 0, 1, 2, 254]


def quantized_net():
    net = Net()
    net.input("x", (1, 6, 6, 3))
    net.op("xq", "FakeQuantWithMinMaxVars", "x", np.float32(-1), np.float32(1))
    w = numbers(3, 3, 3, 4) / 4
    net.op("wq", "FakeQuantWithMinMaxVars", w, np.float32(-0.5), np.float32(0.5), narrow_range=True)
    net.op("c", "Conv2D", "xq", "wq", padding="SAME", strides=[1, 1, 1, 1])
    net.op("b", "BiasAdd", "c", numbers(4))
    net.op("r", "Relu6", "b")
    net.op("y", "FakeQuantWithMinMaxVars", "r", np.float32(0), np.float32(6))
    return net


def test_1_9_parameters_of_quantization_aware_training_are_kept(tmp_path):
    path = quantized_net().save(tmp_path)
    graph = load_tensorflow(path)
    assert graph.is_quantized
    (conv,) = [node for node in graph.nodes if node.op == "conv2d"]
    weights = graph.spec(conv.inputs[1])
    assert weights.dtype.value == "u8"
    assert weights.quant.scale == pytest.approx(1 / 254)
    assert graph.spec(conv.outputs[0]).quant.scale == pytest.approx(6 / 255)
    program = npusim.compile(npusim.float16(graph))
    x = numbers(1, 6, 6, 3) / 2
    feeds = {graph.inputs[0]: np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    (ours,) = program.run(feeds, preprocessed=True).values()
    (real,) = run(load_tensorflow(path, codes=False), x)
    steps = np.rint(np.abs(ours - real) / (6 / 255))
    assert steps.max() <= 1
    assert (steps > 0).mean() < 0.05  # halves of input and store fall either way
    with pytest.raises(npusim.errors.NpusimError):
        npusim.quantize(graph, None)


# ---- conditionals and functions
def switched(predicate, tmp_path, **options):
    net = Net()
    net.input("x", (1, 4))
    if predicate is None:
        net.input("is_training", (), BOOL)
    else:
        net.const("is_training", np.bool_(predicate))
    net.op("s", "Switch", "x", "is_training")
    net.op("pivot", "Identity", "s:1")
    net.op("noise", "RandomUniform", np.array([1, 4]), "^pivot")
    net.op("train", "Mul", "s:1", "noise")
    net.op("test", "Mul", "s", np.float32(3))
    net.op("y", "Merge", "test", "train")
    return net.load(tmp_path, **options)


@pytest.mark.parametrize("predicate", [False, None])
def test_a_branch_that_is_off_may_hold_anything(tmp_path, predicate):
    graph = switched(predicate, tmp_path)
    assert run(graph, [[1, 2, 3, 4]])[0].tolist() == [[3, 6, 9, 12]]
    assert graph.inputs == ("x:0",)
    assert any("'is_training' is False" in note for note in graph.notes) == (predicate is None)


def test_a_branch_that_is_on_may_not(tmp_path):
    with pytest.raises(npusim.errors.UnsupportedOpError, match=r"'noise': RandomUniform.*training"):
        switched(True, tmp_path)


def test_constants_in_branches_follow_what_they_wait_for(tmp_path):
    net = Net()
    net.input("x", (2,))
    net.const("p", np.bool_(True))
    net.op("s", "Switch", "p", "p")
    net.op("on", "Identity", "s:1")
    net.op("off", "Identity", "s")
    net.op("a", "Const", "^on", dtype=FLOAT, value=np.float32([1, 2]))
    net.op("b", "Const", "^off", dtype=FLOAT, value=np.float32([3, 4]))
    net.op("m", "Merge", "b", "a")
    net.op("y", "AddV2", "x", "m")
    assert run(net.load(tmp_path), [0, 0])[0].tolist() == [1, 2]


@pytest.mark.parametrize(("value", "wanted"), [(True, 2), (False, 5)])
def test_conditionals_of_functions_take_one_branch(tmp_path, value, wanted):
    net = Net()
    net.input("x", (3,))
    for name, factor in (("then", 2.0), ("else", 5.0)):
        inner = Net()
        inner.op("by", "Const", dtype=FLOAT, value=np.float32(factor))
        inner.op("m", "Mul", "a", "by:output:0")
        net.function(name, ["a"], {"r": "m:z:0"}, inner)
    net.op(
        "y", "StatelessIf", np.bool_(value), "x", then_branch=Function("then"),
        else_branch=Function("else"), Tout=[FLOAT],
    )  # fmt: skip
    assert run(net.load(tmp_path), [1, 1, 1])[0].tolist() == [wanted] * 3


def test_calls_have_several_results_and_functions_that_call_themselves_are_refused(tmp_path):
    real = FLOAT
    net = Net()
    net.input("x", (4,))
    inner = Net()
    inner.op("axis", "Const", dtype=INT32, value=np.int32(0))
    inner.op("s", "Split", "axis:output:0", "a", num_split=2)
    net.function("halves", ["a"], {"low": "s:output:0", "high": "s:output:1"}, inner)
    net.op("c", "PartitionedCall", "x", f=Function("halves"), Tout=[real, real])
    net.op("y", "Sub", "c:1", "c")
    assert run(net.load(tmp_path), [1, 2, 30, 40])[0].tolist() == [29, 38]
    loop = Net()
    loop.op("again", "PartitionedCall", "a", f=Function("loop"), Tout=[real])
    net.function("loop", ["a"], {"r": "again:output:0"}, loop)
    net.op("z", "PartitionedCall", "x", f=Function("loop"), Tout=[real])
    with pytest.raises(npusim.errors.UnsupportedOpError, match="too deep"):
        net.load(tmp_path, outputs=["z"])


# ---- a tensor's name stands for one value
@pytest.mark.parametrize("word", ["BiasAdd", "Add"])
@pytest.mark.parametrize("ends", [["b"], ["r"]])
def test_a_layer_that_takes_the_bias_gives_the_sum_under_its_name(tmp_path, word, ends):
    """A layer's tensor without its bias is gone: compare would pair it with another value."""
    net = Net()
    net.input("x", (1, 6, 6, 3))
    net.op("c", "Conv2D", "x", numbers(3, 3, 3, 4), padding="SAME", strides=[1, 1, 1, 1])
    net.op("same", "Identity", "c")
    net.op("b", word, "same", numbers(4))
    net.op("r", "Relu", "b")
    graph = load_tensorflow(net.save(tmp_path), outputs=ends)
    layer = graph.nodes[0]
    assert layer.op == "conv2d"
    assert layer.origin == ("c", "b")
    assert layer.outputs == (("b:0/nchw",) if ends == ["b"] else ("b:0",))
    assert "c:0" not in graph.tensors


def test_a_layer_whose_sum_without_bias_is_read_too_keeps_it(tmp_path):
    net = Net()
    net.input("x", (2, 6))
    net.op("m", "MatMul", "x", numbers(6, 4))
    net.op("b", "BiasAdd", "m", numbers(4))
    net.op("y", "Add", "m", "b")
    graph = load_tensorflow(net.save(tmp_path))
    assert [node.outputs for node in graph.nodes] == [("m:0",), ("b:0",), ("y:0",)]
