"""Forms of Q and DQ nodes and of QOperator nodes, one at a time, against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx import helper

import npusim
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.common.quantized_types import keep_output_codes, quantize_inputs
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, Float
from npusim.passes.pipeline import lower
from tests.importers.layerwise import assert_close_layers, compare_layers, ort_values
from tests.onnx_models import onnx_model

node = helper.make_node
MS = "com.microsoft"


def model_of(nodes, inputs, outputs, constants, *, opset=13):
    """Return a model; inputs and outputs map names to (shape, numpy type)."""
    shapes = [{name: shape for name, (shape, _) in group.items()} for group in (inputs, outputs)]
    types = {name: kind for name, (_, kind) in (inputs | outputs).items()}
    return onnx_model(nodes, *shapes, constants, types=types, opset=opset, domains={MS: 1})


def checked(model, tmp_path, *, steps=None, seed=0):
    """Import a model and compare every layer with ONNX Runtime; return the graph before passes."""
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    graph = load_onnx(path)
    random = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        info = np.iinfo(dtype) if dtype.kind in "iu" else None
        feeds[value.name] = (
            random.integers(info.min, info.max + 1, shape).astype(dtype)
            if info
            else random.uniform(-2, 2, shape).astype(dtype)
        )
    lowered = lower(npusim.float16(graph))
    values = ort_values(model, feeds)
    results = compare_layers(lowered, values)
    assert_close_layers(results, steps=steps, share=0.2)
    assert len(results) == len(lowered.nodes)
    return graph


X = ((1, 4, 6, 6), np.uint8)
SCALES = {"xs": np.float32(0.03), "xz": np.uint8(120), "ys": np.float32(0.05), "yz": np.uint8(131)}
RANDOM = np.random.default_rng(5)
W = RANDOM.integers(-128, 128, (8, 4, 3, 3)).astype(np.int8)
B = RANDOM.integers(-3000, 3000, 8).astype(np.int32)
SPREAD = np.linspace(0.002, 0.02, 8).astype(np.float32)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"w": W, "ws": np.float32(0.01), "wz": np.int8(0)}, id="i8"),
        pytest.param({"w": W, "ws": SPREAD, "wz": np.zeros(8, np.int8)}, id="i8-channel"),
        pytest.param({"w": (W.astype(np.int16) + 128).astype(np.uint8), "ws": np.float32(0.01),
                      "wz": np.uint8(117)}, id="u8"),
        pytest.param({"w": (W.astype(np.int16) + 128).astype(np.uint8), "ws": SPREAD,
                      "wz": np.full(8, 128, np.uint8)}, id="u8-channel"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bias", [True, False])
def test_conv(tmp_path, weights, bias):
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", *(["b"] if bias else [])]
    nodes = [node("QLinearConv", names, ["y"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2])]
    constants = SCALES | weights | ({"b": B} if bias else {})
    model = model_of(nodes, {"x": X}, {"y": ((1, 8, 3, 3), np.uint8)}, constants)
    graph = checked(model, tmp_path)
    (layer,) = graph.nodes
    assert (layer.name, layer.op, layer.origin) == ("QLinearConv_conv", "conv2d", ("conv",))
    np.testing.assert_array_equal(graph.constants[layer.inputs[1]], weights["w"])
    np.testing.assert_array_equal(graph.constants[layer.inputs[2]], B if bias else B * 0)
    assert graph.spec("x").quant == Affine(scale=0.03, zero_point=120)
    assert graph.spec("y").quant == Affine(scale=0.05, zero_point=131)


def test_a_large_bias_is_not_rounded_through_float(tmp_path):
    bias = np.array([2**30 + 1, -(2**29) - 3, 2**24 + 1, 7, 0, 1, 2, 3], np.int32)
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    constants = SCALES | {"w": W, "ws": np.float32(1e-6), "wz": np.int8(0), "b": bias}
    nodes = [node("QLinearConv", names, ["y"])]
    model = model_of(nodes, {"x": X}, {"y": ((1, 8, 4, 4), np.uint8)}, constants)
    graph = checked(model, tmp_path)
    np.testing.assert_array_equal(graph.constants[graph.nodes[0].inputs[2]], bias)


A2 = {"as": np.float32(0.02), "az": np.uint8(100), "bs": np.float32(0.04), "bz": np.uint8(140)}
CASES = {
    "QLinearAdd": (["a", "as", "az", "b", "bs", "bz", "ys", "yz"], {}, "add"),
    "QLinearMul": (["a", "as", "az", "b", "bs", "bz", "ys", "yz"], {}, "mul"),
    "QLinearSigmoid": (["a", "as", "az", "ps", "pz"], {}, "sigmoid"),
    "QLinearLeakyRelu": (["a", "as", "az", "ys", "yz"], {"alpha": 0.2}, "leaky_relu"),
    "QLinearAveragePool": (["a", "as", "az", "ys", "yz"],
                           {"kernel_shape": [2, 2], "strides": [2, 2]}, "pool2d"),
    "QLinearGlobalAveragePool": (["a", "as", "az", "ys", "yz"], {}, "global_pool"),
    "QLinearSoftmax": (["a", "as", "az", "ps", "pz"], {"axis": -1, "opset": 13}, "softmax"),
    "QLinearConcat": (["ys", "yz", "a", "as", "az", "b", "bs", "bz"], {"axis": 1}, "concat"),
}  # fmt: skip
SHAPES = {"QLinearAveragePool": (1, 4, 3, 3), "QLinearGlobalAveragePool": (1, 4, 1, 1),
          "QLinearConcat": (1, 8, 6, 6)}  # fmt: skip


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("signed", [False, True])
def test_operators_of_onnx_runtime(tmp_path, op, signed):
    names, attributes, kind = CASES[op]
    constants = SCALES | A2 | {"ps": np.float32(1 / 256), "pz": np.uint8(0)}
    dtype = np.uint8
    if signed:
        dtype = np.int8
        constants = {
            k: v if v.dtype == np.float32 else (v.astype(np.int16) - 128).astype(np.int8)
            for k, v in constants.items()
        }
    constants = {k: v for k, v in constants.items() if k in names}
    inputs = {n: ((1, 4, 6, 6), dtype) for n in ("a", "b") if n in names}
    nodes = [node(op, names, ["y"], name="it", domain=MS, **attributes)]
    model = model_of(nodes, inputs, {"y": (SHAPES.get(op, (1, 4, 6, 6)), dtype)}, constants)
    graph = checked(model, tmp_path)
    main = [n for n in graph.nodes if n.op != "convert"]
    assert [(n.op, n.origin) for n in main] == [(kind, ("it",))]
    assert len(graph.nodes) == 1 + signed * (len(inputs) + 1)  # int8 comes and goes by the shader
    assert graph.spec("a").dtype is (DType.I8 if signed else DType.U8)


@pytest.mark.parametrize("opset", [13, 18])
def test_mean_that_onnx_runtime_only_knows_by_name(tmp_path, opset):
    names = ["x", "xs", "xz", "ys", "yz"]
    nodes = [node("QLinearReduceMean", names, ["y"], domain=MS, axes=[1], keepdims=1)]
    end = {"y": ((1, 1, 6, 6), np.uint8)}
    path = tmp_path / "tiny.onnx"
    onnx.save(model_of(nodes, {"x": X}, end, SCALES, opset=opset), path)
    graph = load_onnx(path)
    assert [n.op for n in graph.nodes] == ["reduce_mean"]
    codes = RANDOM.integers(0, 256, X[0]).astype(np.uint8)
    real = (codes.astype(np.float32) - 120) * np.float32(0.03)
    got = npusim.compile(npusim.float16(graph)).run_stored({"x": codes})["y"]
    want = np.rint(real.mean(1, keepdims=True) / 0.05) + 131
    assert np.abs(got.astype(int) - np.clip(want, 0, 255)).max() <= 1


@pytest.mark.parametrize("channels", [False, True])
def test_matrix_products(tmp_path, channels):
    b = RANDOM.integers(-128, 128, (12, 8)).astype(np.int8)
    constants = SCALES | {
        "b": b,
        "bs": SPREAD if channels else np.float32(0.01),
        "bz": np.zeros(8, np.int8) if channels else np.int8(0),
    }
    nodes = [node("QLinearMatMul", ["x", "xs", "xz", "b", "bs", "bz", "ys", "yz"], ["y"])]
    model = model_of(nodes, {"x": ((3, 12), np.uint8)}, {"y": ((3, 8), np.uint8)}, constants)
    graph = checked(model, tmp_path)
    assert [n.op for n in graph.nodes] == ["fc"]
    np.testing.assert_array_equal(graph.constants[graph.nodes[0].inputs[1]], b.T)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("stored", [True, False])
def test_gemm(tmp_path, transposed, stored):
    b = RANDOM.integers(-128, 128, (8, 12) if transposed else (12, 8)).astype(np.int8)
    constants = SCALES | {"b": b, "bs": SPREAD, "bz": np.zeros(8, np.int8), "c": B}
    names = ["x", "xs", "xz", "b", "bs", "bz", "c", *(["ys", "yz"] if stored else [])]
    if not stored:
        constants = {k: v for k, v in constants.items() if k not in ("ys", "yz")}
    nodes = [node("QGemm", names, ["y"], domain=MS, transB=transposed)]
    end = ((3, 8), np.uint8 if stored else np.float32)
    model = model_of(nodes, {"x": ((3, 12), np.uint8)}, {"y": end}, constants)
    if stored:
        graph = checked(model, tmp_path)
        assert [n.op for n in graph.nodes] == ["fc"]
        return
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    graph = load_onnx(path)  # a float result has no parameters: the layer is float16
    assert [n.op for n in graph.nodes] == ["convert", "fc"]
    x = RANDOM.integers(0, 256, (3, 12)).astype(np.uint8)
    want = ort_values(model, {"x": x})["y"]
    real = (x.astype(np.float32) - 120) * np.float32(0.03)
    got = npusim.compile(npusim.float16(graph)).run({"x": real}, preprocessed=True)["y"]
    np.testing.assert_allclose(got, want, rtol=4e-3, atol=2e-2)


def q(name, to, scale="xs", zero="xz"):
    return node("QuantizeLinear", [name, scale, zero], [to], name=f"q_{to}")


def dq(name, to, scale="xs", zero="xz"):
    return node("DequantizeLinear", [name, scale, zero], [to], name=f"dq_{to}")


F = ((1, 4, 6, 6), np.float32)


def test_movement_keeps_codes_without_parameters_of_its_own(tmp_path):
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("Transpose", ["xr"], ["t"], perm=[0, 2, 3, 1]),
        node("Relu", ["t"], ["r"]),
        q("r", "rq", "ys", "yz"), dq("rq", "y", "ys", "yz"),
    ]  # fmt: skip
    graph = checked(model_of(nodes, {"x": F}, {"y": ((1, 6, 6, 4), np.float32)}, SCALES), tmp_path)
    assert [n.op for n in graph.nodes] == ["convert", "transpose", "relu", "convert"]
    assert graph.spec("t").quant == graph.spec("xq").quant
    assert graph.spec("rq").quant == Affine(scale=0.05, zero_point=131)


@pytest.mark.parametrize(
    ("op", "settings", "stored"),
    [
        ("Resize", {"mode": "nearest", "nearest_mode": "floor"}, True),
        ("Resize", {"mode": "linear"}, False),
    ],
)
def test_a_layer_stores_for_what_only_selects_behind_it(tmp_path, op, settings, stored):
    """What takes elements as they are commutes with storing; interpolation does not."""
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("Sigmoid", ["xr"], ["s"]),
        node(op, ["s", "", "factors"], ["r"], coordinate_transformation_mode="asymmetric",
             **settings),
        q("r", "rq", "ps", "pz"), dq("rq", "y", "ps", "pz"),
    ]  # fmt: skip
    constants = SCALES | {"ps": np.float32(1 / 256), "pz": np.uint8(0),
                          "factors": np.array([1, 1, 2, 2], np.float32)}  # fmt: skip
    model = model_of(nodes, {"x": F}, {"y": ((1, 4, 12, 12), np.float32)}, constants)
    graph = checked(model, tmp_path)
    sigmoid = next(n for n in graph.nodes if n.op == "sigmoid")
    want = Affine(scale=1 / 256) if stored else Float()
    assert graph.spec(sigmoid.outputs[0]).quant == want


def test_an_operator_without_parameters_stays_real_and_alone(tmp_path):
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("Sigmoid", ["xr"], ["s"]),
        node("Mul", ["s", "half"], ["h"]),  # a constant without parameters
        q("h", "hq", "ys", "yz"), dq("hq", "hr", "ys", "yz"),
        node("Relu", ["hr"], ["r"]),
        q("r", "rq", "ys", "yz"), dq("rq", "y", "ys", "yz"),
    ]  # fmt: skip
    constants = SCALES | {"half": np.float32(0.5)}
    graph = checked(model_of(nodes, {"x": F}, {"y": F}, constants), tmp_path)
    # sigmoid reads codes and gives a real number, as the chip can
    assert [n.op for n in graph.nodes] == ["convert", "sigmoid", "mul", "convert", "relu",
                                           "convert"]  # fmt: skip
    types = [graph.spec(n.outputs[0]).dtype for n in graph.nodes]
    assert types == [DType.U8, DType.F32, DType.F32, DType.U8, DType.U8, DType.F32]


def test_a_real_reader_gets_what_was_stored(tmp_path):
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("Sigmoid", ["xr"], ["s"]),
        q("s", "sq", "ps", "pz"), dq("sq", "sr", "ps", "pz"),
        node("Floor", ["s"], ["f"]),
    ]  # fmt: skip
    constants = SCALES | {"ps": np.float32(1 / 256), "pz": np.uint8(0)}
    path = tmp_path / "tiny.onnx"
    onnx.save(model_of(nodes, {"x": F}, {"sr": F, "f": F}, constants), path)
    graph = load_onnx(path)
    floor = next(n for n in graph.nodes if n.op == "floor")
    before = next(n for n in graph.nodes if n.outputs == floor.inputs)
    assert (before.op, before.inputs) == ("convert", ("sq",))


def test_float_weights_behind_q_and_dq(tmp_path):
    """PyTorch exports float weights with both nodes behind them, and a float bias."""
    real = RANDOM.uniform(-1, 1, (8, 4, 3, 3)).astype(np.float32)
    constants = SCALES | {"w": real, "b": RANDOM.uniform(-1, 1, 8).astype(np.float32),
                          "ws": SPREAD, "wz": np.zeros(8, np.int8)}  # fmt: skip
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["wr"], axis=0),
        node("Conv", ["xr", "wr", "b"], ["c"], name="conv"),
        q("c", "cq", "ys", "yz"), dq("cq", "y", "ys", "yz"),
    ]  # fmt: skip
    model = model_of(nodes, {"x": F}, {"y": ((1, 8, 4, 4), np.float32)}, constants)
    graph = checked(model, tmp_path)
    conv = next(n for n in graph.nodes if n.op == "conv2d")
    want = np.clip(np.rint(real / SPREAD[:, None, None, None]), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(graph.constants[conv.inputs[1]], want)
    steps = np.float32(0.03) * SPREAD
    np.testing.assert_array_equal(
        graph.constants[conv.inputs[2]], np.rint(constants["b"].astype(np.float64) / steps)
    )


def test_transposed_convolution_with_groups_and_scales_per_channel(tmp_path):
    w = RANDOM.integers(-128, 128, (4, 3, 2, 2)).astype(np.int8)
    scales = np.array([0.01, 0.02, 0.004], np.float32)
    constants = SCALES | {"w": w, "ws": scales, "wz": np.zeros(3, np.int8)}
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wr"], axis=1),
        node("ConvTranspose", ["xr", "wr"], ["c"], strides=[2, 2], group=2),
        q("c", "cq", "ys", "yz"), dq("cq", "y", "ys", "yz"),
    ]  # fmt: skip
    model = model_of(nodes, {"x": F}, {"y": ((1, 6, 12, 12), np.float32)}, constants)
    graph = checked(model, tmp_path)
    layer = next(n for n in graph.nodes if n.op == "deconv2d")
    assert graph.spec(layer.inputs[1]).quant.scales == tuple(map(float, (*scales, *scales)))


def test_scales_on_another_axis_of_the_weights_stay_real(tmp_path):
    constants = SCALES | {"w": W, "ws": SPREAD[:4], "wz": np.zeros(4, np.int8)}
    nodes = [
        q("x", "xq"), dq("xq", "xr"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wr"], axis=1),
        node("Conv", ["xr", "wr"], ["c"]),
        q("c", "cq", "ys", "yz"), dq("cq", "y", "ys", "yz"),
    ]  # fmt: skip
    path = tmp_path / "tiny.onnx"
    onnx.save(model_of(nodes, {"x": F}, {"y": ((1, 8, 4, 4), np.float32)}, constants), path)
    graph = load_onnx(path)
    assert graph.spec(next(n for n in graph.nodes if n.op == "conv2d").outputs[0]).dtype is (
        DType.F32
    )


def test_max_pool_on_codes_finds_the_parameters_of_an_integer_input(tmp_path):
    names = ["p", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    constants = SCALES | {"w": W, "ws": np.float32(0.01), "wz": np.int8(0)}
    nodes = [node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2]),
             node("QLinearConv", names, ["y"])]  # fmt: skip
    graph = checked(model_of(nodes, {"x": X}, {"y": ((1, 8, 3, 3), np.uint8)}, constants), tmp_path)
    assert graph.spec("x").quant == graph.spec("p").quant == Affine(scale=0.03, zero_point=120)


def test_quantized_input_and_output_nodes(tmp_path):
    nodes = [q("x", "xq"), dq("xq", "xr"), node("Sigmoid", ["xr"], ["s"]),
             q("s", "sq", "ys", "yz"), dq("sq", "y", "ys", "yz")]  # fmt: skip
    path = tmp_path / "tiny.onnx"
    onnx.save(model_of(nodes, {"x": F}, {"y": F}, SCALES), path)
    graph = load_onnx(path)
    graph, names = quantize_inputs(graph)
    assert names == ("x",)
    assert graph.spec("x").quant == Affine(scale=0.03, zero_point=120)
    graph, names = keep_output_codes(graph)
    assert names == ("y",)
    assert graph.spec("y").quant == Affine(scale=0.05, zero_point=131)
    assert [(n.op, n.inputs, n.outputs) for n in graph.nodes] == [("sigmoid", ("x",), ("y",))]
    x = RANDOM.uniform(-2, 2, F[0]).astype(np.float32)
    want = ort_values(onnx.load(path), {"x": x})["y"]
    got = npusim.compile(npusim.float16(graph)).run({"x": x}, preprocessed=True)["y"]
    assert np.abs(got - want).max() <= 0.0501


# ---- refused
def refused(model, tmp_path, kind=UnsupportedOpError):
    path = tmp_path / "bad.onnx"
    onnx.save(model, path)
    with pytest.raises(kind) as error:
        load_onnx(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_dynamic_quantization_is_answered_at_once(tmp_path):
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "s", "z"], name="dyn"),
        node("ConvInteger", ["xq", "w", "z"], ["ci"], name="ci"),
        node("Cast", ["ci"], ["cf"], to=1),
        node("Mul", ["cf", "s"], ["c"]),
        node("DynamicQuantizeLinear", ["c"], ["cq", "s2", "z2"], name="dyn2"),
        node("MatMulInteger", ["cq", "m", "z2"], ["mi"], name="mm"),
        node("Cast", ["mi"], ["y"], to=1),
        node("Sin", ["x"], ["y2"], name="other"),
    ]
    constants = {"w": W, "m": RANDOM.integers(-9, 9, (4, 5)).astype(np.int8)}
    ends = {"y": ((1, 8, 4, 5), np.float32), "y2": F}
    text = refused(model_of(nodes, {"x": F}, ends, constants), tmp_path)
    assert "quantized dynamically; 4 nodes" in text
    for name in ("'dyn'", "'ci'", "'dyn2'", "'mm'"):
        assert name in text
    assert "also unsupported" in text
    assert "'other': Sin" in text
    assert "quantize_static" in text
    assert "npusim.quantize(graph, dataset)" in text


def test_sixteen_bits_and_blocks_are_named(tmp_path):
    nodes = [
        q("x", "xq", "xs", "z16"), dq("xq", "y", "xs", "z16"),
        node("QuantizeLinear", ["x", "many", "zs"], ["v"], name="per", axis=1),
        node("DequantizeLinear", ["v", "many", "zs"], ["y2"], axis=1),
    ]  # fmt: skip
    constants = {"xs": np.float32(0.1), "z16": np.int16(0), "many": SPREAD[:4],
                 "zs": np.zeros(4, np.uint8)}  # fmt: skip
    text = refused(model_of(nodes, {"x": F}, {"y": F, "y2": F}, constants, opset=21), tmp_path)
    assert "2 unsupported nodes" in text
    assert "activations of type i16" in text
    assert "one scale per channel" in text


def test_the_same_codes_with_two_meanings(tmp_path):
    nodes = [q("x", "xq"), dq("xq", "y", "ys", "yz")]
    text = refused(model_of(nodes, {"x": F}, {"y": F}, SCALES), tmp_path)
    assert "was written with" in text


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_none(tmp_path, scale):
    constants = {"xs": np.float32(scale), "xz": np.uint8(0)}
    nodes = [q("x", "xq"), dq("xq", "y")]
    text = refused(model_of(nodes, {"x": F}, {"y": F}, constants), tmp_path, ModelImportError)
    assert "are no parameters" in text
    assert "q_xq" in text
