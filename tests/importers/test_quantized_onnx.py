"""Models that ONNX Runtime quantized: parameters are kept, every layer agrees with it."""

import numpy as np
import onnx
import onnx.version_converter
import pytest

import npusim
from npusim import assets
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.attrs import Activation
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, AffinePerChannel, Float
from npusim.passes.pipeline import lower
from tests.importers.layerwise import assert_close_layers, compare_layers, ort_values
from tests.importers.quantized_nets import SHAPE, convnet, quantized_by_ort, samples

KINDS = [
    pytest.param(form, activations, weights, per_channel, id=f"{form}-{activations}-{weights}-"
                 f"{'channel' if per_channel else 'tensor'}")
    for form in ("QDQ", "QOperator")
    for activations, weights, per_channel in [
        ("QUInt8", "QUInt8", False), ("QUInt8", "QInt8", False), ("QUInt8", "QInt8", True),
        ("QInt8", "QInt8", False), ("QInt8", "QInt8", True),
    ]
]  # fmt: skip
# the table of hard_sigmoid and relu6 cuts the corner at a kink (docs/arithmetic/tp.md rule 3.11)
KINKS = {"hard_sigmoid": 2.0, "relu6": 2.0, "clip": 2.0}


@pytest.fixture
def quantized(tmp_path):
    def make(form, activations="QUInt8", weights="QInt8", per_channel=False):
        return quantized_by_ort(
            convnet(), tmp_path, form=form, activations=activations, weights=weights,
            per_channel=per_channel,
        )  # fmt: skip

    return make


@pytest.mark.parametrize(("form", "activations", "weights", "per_channel"), KINDS)
def test_every_layer_agrees_with_onnx_runtime(quantized, form, activations, weights, per_channel):
    path = quantized(form, activations, weights, per_channel)
    graph = lower(npusim.float16(load_onnx(path)))
    (feeds,) = samples("x", SHAPE, 1)
    results = compare_layers(graph, ort_values(onnx.load(path), feeds))
    assert_close_layers(results, steps=KINKS)
    assert len(results) == len(graph.nodes)
    kinds = {graph.spec(n.inputs[1]).quant.__class__ for n in graph.nodes if n.op == "conv2d"}
    assert kinds == {AffinePerChannel if per_channel else Affine}
    engines = {n.engine for n in graph.nodes if n.op == "conv2d"}
    assert engines == {Engine.SHADER if per_channel else Engine.NN}


@pytest.mark.parametrize(("form", "activations", "weights", "per_channel"), KINDS)
def test_parameters_are_kept(quantized, form, activations, weights, per_channel):
    path = quantized(form, activations, weights, per_channel)
    graph = load_onnx(path)
    model = onnx.load(path)
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    codes = values["w1_quantized"]
    node = next(n for n in graph.nodes if "first" in n.name)
    kept = graph.constants[node.inputs[1]]
    np.testing.assert_array_equal(kept, codes)
    assert kept.dtype == codes.dtype
    quant = graph.spec(node.inputs[1]).quant
    scales = values["w1_scale"].reshape(-1)
    np.testing.assert_array_equal(np.float32(getattr(quant, "scales", None) or quant.scale), scales)
    bias = values.get("b1_quantized")
    np.testing.assert_array_equal(graph.constants[node.inputs[2]], bias.reshape(-1))
    # no float tensor is left between the quantization of the input and the end
    real = [n.name for n in graph.nodes if graph.spec(n.outputs[0]).dtype is DType.F32]
    assert len(real) <= 1
    assert {s.dtype for s in graph.tensors.values() if isinstance(s.quant, Affine)} <= {
        DType.U8, DType.I8, DType.I32,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_whole_network_is_close(quantized, form):
    path = quantized(form)
    program = npusim.compile(npusim.float16(load_onnx(path)))
    for feeds in samples("x", SHAPE, 3):
        wanted = ort_values(onnx.load(path), feeds)["y"]
        got = program.run(feeds, preprocessed=True)["y"]
        np.testing.assert_allclose(got, wanted, atol=8 / 256)


def test_relu_and_clip_in_front_of_q_fuse_into_the_layer(quantized):
    graph = lower(npusim.float16(load_onnx(quantized("QDQ"))))
    ops = [n.op for n in graph.nodes]
    assert "relu" not in ops
    first = next(n for n in graph.nodes if "first" in n.origin)
    zero_point = graph.spec(first.outputs[0]).quant.zero_point
    assert zero_point == 0 or first.attrs.activation is Activation.RELU


def test_int8_goes_through_uint8(quantized):
    signed = load_onnx(quantized("QDQ", "QInt8", "QInt8"))
    for name, spec in signed.tensors.items():
        if spec.dtype is DType.I8:
            assert signed.is_constant(name)  # weights stay int8
    maps = [s for n, s in signed.tensors.items() if s.dtype is DType.U8]
    assert maps
    assert all(0 <= s.quant.zero_point <= 255 for s in maps)


def test_quantizing_twice_is_refused(quantized):
    graph = load_onnx(quantized("QOperator"))
    with pytest.raises(npusim_error("QuantizationError"), match="already quantized"):
        npusim.quantize(graph, list(enumerate(samples("x", SHAPE, 1))))


def npusim_error(name):
    from npusim import errors

    return getattr(errors, name)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_the_bundled_classifier(tmp_path, form):
    with assets.model_path().open("rb") as file:
        model = onnx.version_converter.convert_version(onnx.load(file), 13)
    path = quantized_by_ort(
        model, tmp_path, form=form, name=assets.INPUT_NAME, shape=assets.INPUT_SHAPE
    )
    graph = load_onnx(path, input_shapes={assets.INPUT_NAME: assets.INPUT_SHAPE})
    graph = lower(npusim.float16(graph))
    (feeds,) = samples(assets.INPUT_NAME, assets.INPUT_SHAPE, 1)
    results = compare_layers(graph, ort_values(onnx.load(path), feeds))
    # a constant sum joins the convolution before it: one rounding, where the model has two
    joined = [r for r in results if r.node.op == "conv2d" and "Add" in r.node.name]
    assert_close_layers([r for r in results if r not in joined], steps=KINKS)
    assert 0 < len(joined) < 40
    assert max(r.steps for r in joined) <= 4
    assert len(results) > 150
    assert not any(isinstance(graph.spec(n.outputs[0]).quant, Float)
                   for n in graph.nodes if n.op == "conv2d")  # fmt: skip
