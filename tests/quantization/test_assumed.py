"""A network with assumed ranges has the layers, types and engines of a calibrated one."""

import numpy as np
import pytest
from onnx import helper, save

import npusim
from npusim import assets
from npusim.ir.dtypes import DType
from npusim.passes.pipeline import lower, optimize
from npusim.quantization.assumed import assume_quantized
from npusim.quantization.schemes import Scheme
from tests.onnx_models import onnx_model


def described(graph):
    return [(n.name, n.op, n.engine, [graph.spec(o).dtype for o in n.outputs]) for n in graph.nodes]


@pytest.mark.parametrize("scheme", [Scheme.U8, Scheme.I8, Scheme.F16])
def test_bundled_classifier(scheme):
    graph = npusim.load_model(
        assets.model_path(), input_shapes={assets.INPUT_NAME: assets.INPUT_SHAPE}
    )
    assumed = lower(assume_quantized(optimize(graph), scheme))
    if scheme is Scheme.F16:
        real = npusim.float16(graph)
    else:
        rng = np.random.default_rng(0)
        feeds = {"x": rng.uniform(-1, 1, assets.INPUT_SHAPE).astype(np.float32)}
        real = npusim.quantize(graph, [("noise", feeds)], scheme=scheme)
    assert described(assumed) == described(lower(real))
    for name, value in real.constants.items():
        if value.dtype == scheme.dtype.numpy and value.ndim == 4:
            assert np.array_equal(assumed.constants[name], value), name


def residual(path, clip):
    """Two convolutions with relu6 (or relu), summed, relu."""
    rng = np.random.default_rng(1)
    weights = {f"w{i}": rng.standard_normal((8, 8, 3, 3)).astype(np.float32) for i in (1, 2)}
    weights |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    act = ("Clip", ["zero", "six"]) if clip else ("Relu", [])
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="c1", pads=[1] * 4),
        helper.make_node(act[0], ["c1", *act[1]], ["a1"], name="a1"),
        helper.make_node("Conv", ["a1", "w2"], ["c2"], name="c2", pads=[1] * 4),
        helper.make_node("Add", ["a1", "c2"], ["s"], name="s"),
        helper.make_node("Relu", ["s"], ["y"], name="r"),
    ]
    shape = (1, 8, 12, 12)
    model = onnx_model(nodes, {"x": shape}, {"y": shape}, weights, name="residual")
    save(model, str(path))
    return npusim.load_model(path)


@pytest.mark.parametrize("clip", [False, True])
def test_rectifiers_vanish_in_u8_as_they_do_in_a_calibrated_model(tmp_path, clip):
    graph = optimize(residual(tmp_path / "r.onnx", clip))
    nodes = lower(assume_quantized(graph, Scheme.U8)).nodes
    assert [node.op for node in nodes] == ["conv2d", "conv2d", "add"]
    half = lower(assume_quantized(graph, Scheme.F16)).nodes
    assert ("relu6" in [node.op for node in half]) == clip


def test_every_type_is_the_schemes(tmp_path):
    graph = optimize(residual(tmp_path / "r.onnx", False))
    for scheme, dtype in ((Scheme.I16, DType.I16), (Scheme.F16, DType.F16)):
        found = assume_quantized(graph, scheme)
        assert {found.spec(o).dtype for n in found.nodes for o in n.outputs} == {dtype}
