"""Parameters are checked against their type at import, by the same rules in every importer."""

import numpy as np
import onnx
import pytest
from onnx import helper

import npusim
from npusim.errors import ModelImportError, NpusimError
from tests.importers import caffe_build, mxnet_build, test_darknet, test_keras, test_vendor_damage
from tests.importers.tensorflow_build import Net
from tests.importers.test_vendor_files import convolved
from tests.importers.tflite_build import Model, one_op
from tests.onnx_models import onnx_model

SHAPE = (1, 2, 4, 4)
ONES = np.ones((2, 2, 1, 1), np.float32)
STORED = (0.02, 0)


def onnx_file(folder, value, op="Conv", bias=2):
    constants = {"w": ONES * np.float32(value), "b": np.zeros(bias, np.float32)}
    node = helper.make_node(op, ["x", "w", "b"], ["y"], name="l")
    onnx.save(onnx_model([node], {"x": SHAPE}, ["y"], constants), folder / "net.onnx")
    return npusim.load_model(folder / "net.onnx")


def tflite_file(folder, value):
    constants = [np.full((2, 1, 1, 2), value, np.float32), np.zeros(2, np.float32)]
    model = one_op("CONV_2D", (1, 4, 4, 2), (1, 4, 4, 2), constants=constants,
                   options="Conv2DOptions", strideH=1, strideW=1)  # fmt: skip
    return npusim.load_model(model.save(folder / "net.tflite"))


def caffe_file(folder, value, bias=2, kind="Convolution"):
    more = "convolution_param { num_output: 2 kernel_size: 1 }"
    text = caffe_build.input_layer("x", SHAPE) + caffe_build.layer(kind, more=more)
    blobs = [ONES * np.float32(value), np.zeros(bias, np.float32)]
    return caffe_build.load(folder, text, caffe_build.weights({"l": blobs}))


def darknet_file(folder, value):
    layer = test_darknet.section("convolutional", filters=2, size=1, activation="linear")
    text = test_darknet.net(layer, channels=2, height=4, width=4)
    return test_darknet.load(folder, text, test_darknet.weights([0, 0, value, 1, 1, 1]))


def mxnet_file(folder, value, bias=2, kind="Convolution"):
    net = mxnet_build.Net()
    parts = (net.var("data"), net.var("w"), net.var("b"))
    net.op(kind, "l", *parts, kernel=(1, 1), num_filter=2, no_bias=False)
    (folder / "net-symbol.json").write_text(net.text())
    arrays = {"arg:w": ONES * np.float32(value), "arg:b": np.zeros(bias, np.float32)}
    (folder / "net-0000.params").write_bytes(mxnet_build.params(arrays))
    return npusim.load_model(folder / "net-symbol.json", input_shapes={"data": SHAPE})


def tensorflow_file(folder, value):
    net = Net()
    weights = net.const("w", np.full((1, 1, 2, 2), value, np.float32))
    options = {"strides": [1, 1, 1, 1], "padding": "SAME", "data_format": "NHWC"}
    net.op("l", "Conv2D", net.input("x", (1, 4, 4, 2)), weights, **options)
    return net.load(folder)


def keras_file(folder, value):
    layer = test_keras.layer("Dense", "l", "x", units=2, activation="linear", use_bias=False)
    record = test_keras.model(test_keras.start((3,)), layer)
    path = test_keras.archive(folder, record, {"dense": [np.full((3, 2), value, np.float32)]})
    return npusim.load_model(path)


FRAMEWORKS = [onnx_file, tflite_file, caffe_file, darknet_file, mxnet_file, tensorflow_file,
              keras_file]  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weights_are_finite_numbers(tmp_path, framework):
    framework(tmp_path, 0.5)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ModelImportError, match=r"of layer .* holds NaN or infinity") as caught:
            framework(tmp_path, value)
        assert "net" in caught.value.where


def onnx_normalised(folder, variance, epsilon=1e-5, scale=1.0):
    values = {"s": scale, "b": 0.5, "m": 0.25, "v": variance}
    constants = {name: np.array([1, value], np.float32) for name, value in values.items()}
    inputs = ["x", *constants]
    node = helper.make_node("BatchNormalization", inputs, ["y"], name="l", epsilon=epsilon)
    onnx.save(onnx_model([node], {"x": SHAPE}, ["y"], constants), folder / "net.onnx")
    return npusim.load_model(folder / "net.onnx")


def caffe_normalised(folder, variance):
    text = caffe_build.input_layer("x", SHAPE) + caffe_build.layer("BatchNorm")
    blobs = [np.zeros(2, np.float32), np.array([1, variance], np.float32), np.ones(1, np.float32)]
    return caffe_build.load(folder, text, caffe_build.weights({"l": blobs}))


def mxnet_normalised(folder, variance):
    net = mxnet_build.Net()
    names = ("gamma", "beta", "moving_mean", "moving_var")
    net.op("BatchNorm", "l", net.var("data"), *(net.var(name) for name in names), fix_gamma=False)
    (folder / "net-symbol.json").write_text(net.text())
    ones = dict.fromkeys(("arg:gamma", "arg:beta", "aux:moving_mean"), np.ones(2, np.float32))
    arrays = {**ones, "aux:moving_var": np.array([1, variance], np.float32)}
    (folder / "net-0000.params").write_bytes(mxnet_build.params(arrays))
    return npusim.load_model(folder / "net-symbol.json", input_shapes={"data": SHAPE})


@pytest.mark.parametrize("framework", [onnx_normalised, caffe_normalised, mxnet_normalised])
def test_statistics_are_finite_and_variances_have_a_root(tmp_path, framework):
    for value in (0.5, 0.0, -1e-9, 1e30):
        framework(tmp_path, value)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ModelImportError, match=r"of layer .* holds NaN or infinity"):
            framework(tmp_path, value)
    with pytest.raises(ModelImportError, match=r"variance .* has the value -1, and epsilon") as e:
        framework(tmp_path, -1.0)
    assert "net" in e.value.where


def test_other_parameters_of_normalisations_are_finite(tmp_path):
    with pytest.raises(ModelImportError, match=r"variance .* has the value 0, and epsilon is 0"):
        onnx_normalised(tmp_path, 0.0, epsilon=0.0)
    with pytest.raises(ModelImportError, match="holds NaN or infinity"):
        onnx_normalised(tmp_path, 1.0, scale=np.nan)
    for op in ("InstanceNormalization", "LayerNormalization"):
        size = 2 if op == "InstanceNormalization" else 4
        constants = {"s": np.full(size, np.inf, np.float32), "b": np.zeros(size, np.float32)}
        node = helper.make_node(op, ["x", "s", "b"], ["y"], name="l")
        model = onnx_model([node], {"x": SHAPE}, ["y"], constants, opset=17)
        onnx.save(model, tmp_path / "net.onnx")
        with pytest.raises(ModelImportError, match="holds NaN or infinity"):
            npusim.load_model(tmp_path / "net.onnx")


@pytest.mark.parametrize("value", [65520.0, 1e6, -3e38, np.inf, -np.inf])
def test_a_fill_value_fits_float16(tmp_path, value):
    constants = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "c": np.float32(value)}
    pad = helper.make_node("Pad", ["x", "p", "c"], ["a"], name="l")
    for more, refused in (("Relu", True), ("MaxPool", value > 0)):
        how = {"kernel_shape": [3, 3]} if more == "MaxPool" else {}
        nodes = [pad, helper.make_node(more, ["a"], ["y"], **how)]
        onnx.save(onnx_model(nodes, {"x": SHAPE}, ["y"], constants), tmp_path / "net.onnx")
        graph = npusim.load_model(tmp_path / "net.onnx")
        if not refused:  # nothing but a maximum reads it
            npusim.float16(graph)
            continue
        with pytest.raises(NpusimError, match=r"'fill value' of layer 'Pad_l' \(pad\)"):
            npusim.float16(graph)


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize(
    "broken",
    [
        lambda folder, count: onnx_file(folder, 1, "Conv", count),
        lambda folder, count: onnx_file(folder, 1, "ConvTranspose", count),
        lambda folder, count: caffe_file(folder, 1, count),
        lambda folder, count: caffe_file(folder, 1, count, "Deconvolution"),
        lambda folder, count: mxnet_file(folder, 1, count),
        lambda folder, count: mxnet_file(folder, 1, count, "Deconvolution"),
        lambda folder, count: tflite_transposed(folder, np.zeros(count, np.float32)),
    ],
    ids=["onnx", "onnx-deconv", "caffe", "caffe-deconv", "mxnet", "mxnet-deconv", "tflite-deconv"],
)
def test_a_bias_has_one_value_per_output(tmp_path, broken, count):
    broken(tmp_path, 2)
    with pytest.raises(NpusimError, match=r"bias|shape|values|sizes"):
        broken(tmp_path, count)


def tflite_transposed(folder, bias):
    before = [np.array([1, 4, 4, 2], np.int32), np.ones((2, 1, 1, 2), np.float32)]
    model = Model()
    main = model.function()
    names = [main.constant(f"c{i}", value) for i, value in enumerate(before)]
    data, named = main.tensor("x", (1, 4, 4, 2)), main.constant("b", bias)
    made = main.tensor("y", (1, 4, 4, 2))
    main.op("TRANSPOSE_CONV", [*names, data, named], [made], "TransposeConvOptions",
            strideH=1, strideW=1)  # fmt: skip
    main.proto.inputs, main.proto.outputs = [data], [made]
    return npusim.load_model(model.save(folder / "net.tflite"))


def test_a_bias_of_a_real_convolution_is_real(tmp_path):
    with pytest.raises(NpusimError, match="its bias is int32"):
        tflite_transposed(tmp_path, np.zeros(2, np.int32))


def quantized_tflite(folder, *, data=STORED, weights=STORED, out=STORED):
    codes = (np.ones((2, 1, 1, 2), np.int8), weights)
    bias = (np.zeros(2, np.int32), (0.0004, 0))
    model = one_op("CONV_2D", (1, 4, 4, 2), (1, 4, 4, 2), constants=[codes, bias],
                   quant=(data, out), options="Conv2DOptions", strideH=1, strideW=1)  # fmt: skip
    return npusim.load_model(model.save(folder / "net.tflite"))


@pytest.mark.parametrize("place", ["data", "weights", "out"])
@pytest.mark.parametrize("zero", [2 * 10**9, 128, -129])
def test_zero_points_of_tflite_are_of_their_type(tmp_path, place, zero):
    quantized_tflite(tmp_path)
    with pytest.raises(NpusimError, match=r"zero points(.|\n)*INT8"):
        quantized_tflite(tmp_path, **{place: (0.02, zero)})


def test_a_zero_point_of_several_is_found(tmp_path):
    quantized_tflite(tmp_path, weights=((0.02, 0.02), (0, 0)))
    with pytest.raises(NpusimError, match="zero points"):
        quantized_tflite(tmp_path, weights=((0.02, 0.02), (0, 300)))


@pytest.mark.parametrize("known", [True, False])
def test_a_zero_point_of_onnx_has_the_type_of_its_codes(tmp_path, known):
    constants = {"s": np.float32(0.1), "z": np.uint8(3)}
    if known:
        constants["x"] = np.ones(SHAPE, np.int8)
    inputs = {"a": SHAPE} if known else {"x": SHAPE, "a": SHAPE}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["r"]),
        helper.make_node("Add", ["a", "r"], ["y"]),
    ]
    model = onnx_model(nodes, inputs, ["y"], constants, types={"x": np.int8})
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ModelImportError, match="codes are int8, their zero point is uint8"):
        npusim.load_model(tmp_path / "net.onnx")


def test_attributes_are_numbers(tmp_path):
    for alpha in (float("nan"), float("inf")):
        node = helper.make_node("LeakyRelu", ["x"], ["y"], name="l", alpha=alpha)
        onnx.save(onnx_model([node], {"x": SHAPE}, ["y"]), tmp_path / "net.onnx")
        with pytest.raises(ModelImportError, match=f"alpha is {alpha}"):
            npusim.load_model(tmp_path / "net.onnx")


@pytest.mark.parametrize("zero", [256, -1, 2 * 10**9])
def test_zero_points_of_vendor_files_are_of_their_type(tmp_path, zero):
    path = convolved(tmp_path / "net.rknn")
    head, description = test_vendor_damage.parts(path)
    description["virtual_tensor"][0]["dtype"]["zero_point"] = zero
    test_vendor_damage.write(path, head, description)
    with pytest.raises(NpusimError, match=f"zero point {zero}"):
        npusim.load_model(path)
