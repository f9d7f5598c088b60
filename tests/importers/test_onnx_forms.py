"""Every form of an operator's inputs and attributes means what ONNX Runtime computes (case B24)."""

import numpy as np
import pytest
from onnx import helper

node = helper.make_node


def ints(*values):
    return np.array(values, np.int64)


def reals(*values):
    return np.array(values, np.float32)


def ops(graph):
    return [n.op for n in graph.nodes]


RANDOM = np.random.default_rng(3)
W2 = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
W1 = RANDOM.standard_normal((4, 3, 3)).astype(np.float32)
WT = RANDOM.standard_normal((3, 4, 3, 3)).astype(np.float32)
DW = RANDOM.standard_normal((6, 1, 3, 3)).astype(np.float32)
B4 = RANDOM.standard_normal(4).astype(np.float32)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 2, 0, 1]},
        {"strides": [2, 1], "pads": [1, 1, 1, 1]},
        {"dilations": [2, 2], "kernel_shape": [3, 3]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "VALID"},
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv(agrees, attributes, bias) -> None:
    names = ["x", "w", "b"] if bias else ["x", "w"]
    agrees([node("Conv", names, ["y"], **attributes)], {"x": (2, 3, 8, 9)}, ["y"],
           {"w": W2, "b": B4} if bias else {"w": W2})  # fmt: skip


def test_conv_grouped_and_one_dimensional(agrees) -> None:
    agrees([node("Conv", ["x", "w"], ["y"], group=6)], {"x": (1, 6, 5, 5)}, ["y"], {"w": DW})
    graph = agrees(
        [node("Conv", ["x", "w", "b"], ["y"], pads=[1, 2], strides=[2])],
        {"x": (2, 3, 9)}, ["y"], {"w": W1, "b": B4},
    )  # fmt: skip
    assert ops(graph) == ["reshape", "conv2d", "reshape"]
    assert [n.name for n in graph.nodes] == ["Conv_y/to_2d", "Conv_y/in_2d", "Conv_y"]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"strides": [2, 3], "output_padding": [1, 2], "pads": [0, 1, 1, 0]},
        {"dilations": [2, 1]},
        {"strides": [2, 2], "output_shape": [9, 10]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
    ],
)
def test_conv_transpose(agrees, attributes) -> None:
    agrees([node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)],
           {"x": (1, 3, 5, 4)}, ["y"], {"w": WT, "b": B4})  # fmt: skip


def test_conv_transpose_grouped_and_one_dimensional(agrees) -> None:
    w = RANDOM.standard_normal((6, 2, 3, 2)).astype(np.float32)
    agrees([node("ConvTranspose", ["x", "w"], ["y"], group=2, strides=[2, 1])],
           {"x": (1, 6, 4, 5)}, ["y"], {"w": w})  # fmt: skip
    agrees([node("ConvTranspose", ["x", "w"], ["y"], strides=[2])],
           {"x": (1, 6, 4)}, ["y"], {"w": w[:, :, :, 0]})  # fmt: skip


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2]},
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_pool(agrees, op_type, attributes) -> None:
    for size in ((6, 7), (8, 8)):
        agrees([node(op_type, ["x"], ["y"], **attributes)], {"x": (1, 2, *size)}, ["y"])


def test_pool_more(agrees) -> None:
    include = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    agrees([node("AveragePool", ["x"], ["y"], count_include_pad=1, **include)],
           {"x": (1, 2, 7, 6)}, ["y"])  # fmt: skip
    agrees([node("MaxPool", ["x"], ["y"], kernel_shape=[3], strides=[2])], {"x": (1, 2, 9)}, ["y"])
    for op_type in ("GlobalAveragePool", "GlobalMaxPool"):
        for shape in ((2, 3, 4, 5), (2, 3, 7)):
            agrees([node(op_type, ["x"], ["y"])], {"x": shape}, ["y"])


A, B, C = (RANDOM.standard_normal(s).astype(np.float32) for s in ((3, 5), (5, 4), (3, 4)))


@pytest.mark.parametrize("transposed_b", [0, 1])
@pytest.mark.parametrize("c", [None, (4,), (1, 4), (1,), (), (3, 1), (3, 4)])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0)])
def test_gemm(agrees, transposed_b, c, alpha, beta) -> None:
    constants = {"b": B.T.copy() if transposed_b else B}
    if c is not None:
        constants["c"] = RANDOM.standard_normal(c).astype(np.float32)
    names = ["a", "b"] + (["c"] if c is not None else [])
    graph = agrees([node("Gemm", names, ["y"], transB=transposed_b, alpha=alpha, beta=beta)],
                   {"a": (3, 5)}, ["y"], constants)  # fmt: skip
    assert graph.nodes[0].op == "fc"


def test_gemm_of_activations(agrees) -> None:
    agrees([node("Gemm", ["a", "b", "c"], ["y"], transA=1, alpha=0.5, beta=3.0)],
           {"a": (5, 3), "b": (5, 4), "c": (3, 4)}, ["y"])  # fmt: skip
    agrees([node("Gemm", ["a", "b"], ["y"], transA=1, transB=1)],
           {"a": (5, 3), "b": (4, 5)}, ["y"])  # fmt: skip
    agrees([node("Gemm", ["a", "b", "c"], ["y"])], {"b": (5, 4), "c": (4,)}, ["y"], {"a": A})
    agrees([node("Gemm", ["a", "b", "c"], ["y"], beta=0.5)], {"a": (3, 5), "c": (4,)}, ["y"],
           {"b": B})  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "op"),
    [
        ((3, 5), (5, 4), "fc"),
        ((2, 3, 5), (5, 4), "fc"),
        ((2, 2, 3, 5), (1, 5, 4), "fc"),
        ((3, 5), (1, 1, 5, 4), "fc"),
        ((5,), (5, 4), "reshape"),
        ((3, 5), (5,), "fc"),
        ((5,), (5,), "reshape"),
        ((2, 3, 5), (2, 5, 4), "matmul"),
        ((3, 5), (2, 5, 4), "matmul"),
    ],
)
def test_matmul(agrees, a, b, op) -> None:
    weights = RANDOM.standard_normal(b).astype(np.float32)
    graph = agrees([node("MatMul", ["a", "b"], ["y"])], {"a": a}, ["y"], {"b": weights})
    assert graph.nodes[0].op == op
    agrees([node("MatMul", ["a", "b"], ["y"])], {"a": a, "b": b}, ["y"])


def test_matmul_of_constant_and_activation(agrees) -> None:
    agrees([node("MatMul", ["a", "b"], ["y"])], {"b": (2, 5, 4)}, ["y"], {"a": A})


@pytest.mark.parametrize(
    ("low", "high", "op"),
    [
        (0.0, 6.0, "relu6"),
        (0.0, None, "relu"),
        (0.0, 3.4028234663852886e38, "relu"),
        (-1.0, 1.0, "clip"),
        (None, 0.5, "clip"),
        (None, None, None),
    ],
)
def test_clip_of_both_eras(agrees, low, high, op) -> None:
    attributes = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
    old = agrees([node("Clip", ["x"], ["c"], **attributes), node("Abs", ["c"], ["y"])],
                 {"x": (2, 9)}, ["y"], opset=10)  # fmt: skip
    names = ["x", "" if low is None else "lo", "" if high is None else "hi"]
    constants = {k: np.float32(v) for k, v in (("lo", low), ("hi", high)) if v is not None}
    new = agrees([node("Clip", names, ["c"]), node("Abs", ["c"], ["y"])],
                 {"x": (2, 9)}, ["y"], constants)  # fmt: skip
    wanted = [op, "abs"] if op else ["abs"]
    assert ops(old) == ops(new) == wanted


def test_clip_with_crossed_limits_is_the_upper_one(agrees) -> None:
    agrees([node("Clip", ["x", "lo", "hi"], ["y"])], {"x": (9,)}, ["y"],
           {"lo": np.float32(2), "hi": np.float32(1)})  # fmt: skip


@pytest.mark.parametrize(
    ("op_type", "attributes", "opset"),
    [
        ("Relu", {}, 7), ("Sigmoid", {}, 7), ("Tanh", {}, 7), ("Softplus", {}, 7), ("Erf", {}, 9),
        ("Abs", {}, 7), ("Neg", {}, 7), ("Exp", {}, 7), ("Floor", {}, 7), ("Reciprocal", {}, 7),
        ("LeakyRelu", {"alpha": 0.2}, 7), ("LeakyRelu", {}, 7), ("Elu", {"alpha": 0.5}, 7),
        ("HardSigmoid", {}, 7), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, 7),
        ("HardSwish", {}, 14), ("Mish", {}, 18), ("Gelu", {}, 20),
        ("Gelu", {"approximate": "tanh"}, 20),
    ],
)  # fmt: skip
def test_functions_of_one_tensor(agrees, op_type, attributes, opset) -> None:
    agrees([node(op_type, ["x"], ["y"], **attributes)], {"x": (2, 3, 5)}, ["y"], opset=opset)


def test_functions_of_positive_numbers(agrees) -> None:
    feeds = {"x": RANDOM.random((2, 5), np.float32) + 0.1}
    for op_type in ("Log", "Sqrt"):
        agrees([node(op_type, ["x"], ["y"])], {"x": (2, 5)}, ["y"], feeds=feeds)
    for exponent in (reals(2.0), reals(0.5), ints(3), np.array(2, np.int32)):
        agrees([node("Pow", ["x", "e"], ["y"])], {"x": (2, 5)}, ["y"], {"e": exponent},
               feeds=feeds)  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 1, 1), (1,), (3, 4, 5)])
def test_prelu(agrees, shape) -> None:
    slope = RANDOM.random(shape, np.float32)
    agrees([node("PRelu", ["x", "s"], ["y"])], {"x": (2, 3, 4, 5)}, ["y"], {"s": slope})


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
def test_elementwise_keeps_constants_as_operands(agrees, op_type) -> None:
    constant = RANDOM.random((3, 1, 1), np.float32) + 0.5
    for names in (["x", "c"], ["c", "x"]):
        graph = agrees([node(op_type, names, ["y"])], {"x": (1, 3, 2, 2)}, ["y"], {"c": constant},
                       rtol=1e-4)  # fmt: skip
        assert graph.nodes[0].inputs == tuple(names)
        assert graph.is_constant("c")
    agrees([node(op_type, ["a", "b"], ["y"])], {"a": (2, 1, 4), "b": (3, 1)}, ["y"], rtol=1e-3)


@pytest.mark.parametrize("op_type", ["Sum", "Max", "Min", "Mean"])
def test_any_number_of_operands(agrees, op_type) -> None:
    for count in (1, 2, 4):
        names = [f"x{i}" for i in range(count)]
        graph = agrees(
            [node(op_type, names, ["s"], name="many"), node("Abs", ["s"], ["y"])],
            dict.fromkeys(names, (2, 3)), ["y"],
        )  # fmt: skip
        assert all(n.origin == ("many",) for n in graph.nodes[:-1])
        if count > 1:
            assert graph.nodes[-2].name == f"{op_type}_many"


@pytest.mark.parametrize(
    "op_type",
    ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
     "ReduceSumSquare"],
)  # fmt: skip
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions_of_both_eras(agrees, op_type, keep) -> None:
    for axes in ([2], [-1, 1], None):
        attributes = {"keepdims": keep} | ({"axes": axes} if axes else {})
        agrees([node(op_type, ["x"], ["y"], **attributes)], {"x": (2, 3, 4)}, ["y"], opset=11)
        names, constants = (["x", "a"], {"a": ints(*axes)}) if axes else (["x"], {})
        agrees([node(op_type, names, ["y"], keepdims=keep)], {"x": (2, 3, 4)}, ["y"], constants,
               opset=18)  # fmt: skip


def test_reduction_without_axes_that_does_nothing(agrees) -> None:
    graph = agrees(
        [node("ReduceSum", ["x"], ["r"], noop_with_empty_axes=1), node("Abs", ["r"], ["y"])],
        {"x": (2, 3)}, ["y"],
    )  # fmt: skip
    assert ops(graph) == ["abs"]


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_index_of_the_extreme(agrees, op_type) -> None:
    for axis, keep in ((1, 1), (-1, 0)):
        agrees([node(op_type, ["x"], ["y"], axis=axis, keepdims=keep)], {"x": (2, 5, 3)}, ["y"],
               types={"y": "int64"})  # fmt: skip


def test_casts_of_indices(agrees) -> None:
    for target in (1, 6):
        agrees([node("ArgMax", ["x"], ["i"]), node("Cast", ["i"], ["y"], to=target)],
               {"x": (4, 3)}, ["y"], types={"y": "int32"} if target == 6 else None)  # fmt: skip


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 5), None), ((1, 7, 1, 1), None), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), 0),
     ((2, 3, 4), -1), ((3, 1, 1), 1)],
)  # fmt: skip
def test_softmax_flattens_before_opset_13(agrees, op_type, shape, axis) -> None:
    attributes = {} if axis is None else {"axis": axis}
    for opset in (7, 11, 13):
        graph = agrees([node(op_type, ["x"], ["y"], **attributes)], {"x": shape}, ["y"],
                       opset=opset)  # fmt: skip
        flattened = opset < 13 and shape == (2, 3, 4) and axis in (0, 1)
        assert ("reshape" in ops(graph)) == flattened


def test_normalisations(agrees) -> None:
    five = {k: RANDOM.random(3, np.float32) + 0.5 for k in "sbmv"}
    agrees([node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3)],
           {"x": (2, 3, 4, 4)}, ["y"], five, opset=9)  # fmt: skip
    agrees([node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])],
           {"x": (2, 3)}, ["y"], five, opset=15)  # fmt: skip
    agrees([node("InstanceNormalization", ["x", "s", "b"], ["y"])],
           {"x": (2, 3, 4, 4)}, ["y"], {k: five[k] for k in "sb"})  # fmt: skip
    agrees([node("LRN", ["x"], ["y"], size=3, alpha=0.1, beta=0.5, bias=2.0)],
           {"x": (1, 5, 3, 3)}, ["y"])  # fmt: skip
    agrees([node("LpNormalization", ["x"], ["y"], axis=1)], {"x": (2, 3, 4)}, ["y"])
    agrees([node("LayerNormalization", ["x", "s"], ["y"], axis=-2)], {"x": (2, 3, 4)}, ["y"],
           {"s": RANDOM.random((3, 4), np.float32)}, opset=17)  # fmt: skip
    agrees([node("LayerNormalization", ["x", "s", "b"], ["y"])], {"x": (2, 4, 3)}, ["y"],
           {k: five[k] for k in "sb"}, opset=17)  # fmt: skip


def test_group_normalisation(agrees) -> None:
    six = {k: RANDOM.random(6, np.float32) for k in "sb"}
    agrees([node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=3)],
           {"x": (2, 6, 4, 5)}, ["y"], six, opset=21)  # fmt: skip


def test_squares_of_cells(agrees) -> None:
    for mode in ("DCR", "CRD"):
        agrees([node("DepthToSpace", ["x"], ["y"], blocksize=2, mode=mode)],
               {"x": (1, 8, 2, 3)}, ["y"])  # fmt: skip
    agrees([node("SpaceToDepth", ["x"], ["y"], blocksize=2)], {"x": (1, 2, 4, 6)}, ["y"])
