"""Graphs written as ONNX mean the same in ONNX Runtime and when read again."""

import numpy as np
import onnx
import pytest

import npusim
from npusim.errors import UnsupportedOpError
from npusim.exporters.onnx import save_onnx, to_onnx
from npusim.exporters.onnx_ops import OPS
from npusim.exporters.onnx_writer import OPSET
from npusim.ir.attrs import (
    Activation,
    AxisAttrs,
    BlockAttrs,
    Conv2dAttrs,
    Coordinates,
    FcAttrs,
    GroupAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def, op_names
from npusim.passes.pipeline import optimize
from npusim.quantization.float16 import to_float16
from npusim.reference.evaluate import evaluate
from npusim.reference.float_engine import OnnxRuntimeEngine, float_engine
from npusim.testing import GraphBuilder
from tests.reference.cases import CASES, draw

pytest.importorskip("onnxruntime")


def built(case):
    b = GraphBuilder()
    names = []
    for i, value in enumerate(case.inputs):
        names.append(b.input(f"x{i}", *value.shape))
        b.graph.tensors[names[-1]] = TensorSpec(
            name=names[-1], shape=value.shape, dtype=DType.of(value.dtype)
        )
    names += [b.constant(f"c{i}", value) for i, value in enumerate(case.constants)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    b.node(case.op, names, outputs[0], case.attrs, others=outputs[1:])
    like = case.inputs[-1 if op_def(case.op).joins else 0]
    result = DType.I64 if case.op.startswith("arg") else DType.of(like.dtype)
    if op_def(case.op).truth:
        result = DType.BOOL
    for name in outputs:
        b.graph.tensors[name] = TensorSpec(
            name=name, shape=b.graph.tensors[name].shape, dtype=result
        )
    return b.done(*outputs), {f"x{i}": value for i, value in enumerate(case.inputs)}


def same(graph, feeds):
    expected = evaluate(graph, feeds)
    onnx.checker.check_model(to_onnx(graph), full_check=True)
    actual = OnnxRuntimeEngine(graph).run(feeds)
    assert list(actual) == list(expected)
    for name, wanted in expected.items():
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-30)
        assert actual[name].dtype == wanted.dtype
        np.testing.assert_allclose(actual[name], wanted, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id or case.op)
def test_every_operator_means_the_same(case):
    same(*built(case))


def test_every_operator_has_an_onnx_form():
    assert set(OPS) == set(op_names())


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("swish", None),
        ("square", None),
        ("rsqrt", None),
        ("relu1", None),
        ("l2norm", AxisAttrs(axis=1)),
        ("channel_shuffle", GroupAttrs(group=4)),
        ("space2depth", BlockAttrs(block=2)),
        ("softmax", AxisAttrs(axis=1)),
        ("slice", SliceAttrs(begin=(0, 7, 0, 3), end=(2, -1, 4, 0), step=(1, -1, 2, -2))),
    ],
)
def test_forms_that_opset_12_lacks(op, attrs):
    b = GraphBuilder()
    b.input("x", 2, 8, 4, 6)
    graph = b.done(b.node(op, ["x"], "y", attrs))
    value = draw(2, 8, 4, 6)
    same(graph, {"x": np.abs(value) + 0.1 if op == "rsqrt" else value})


@pytest.mark.parametrize("activation", list(Activation))
def test_fused_activations(activation):
    b = GraphBuilder()
    b.input("x", 1, 3, 5, 5)
    b.constant("w", draw(4, 3, 3, 3) * 4)
    b.constant("b", draw(4))
    b.node("conv2d", ["x", "w", "b"], "c", Conv2dAttrs(activation=activation))
    b.constant("w2", draw(6, 3))
    b.constant("b2", draw(6))
    b.node("fc", ["c", "w2", "b2"], "f", FcAttrs(activation=activation))
    graph = b.done("f")
    same(graph, {"x": draw(1, 3, 5, 5)})


def test_constant_and_input_as_output():
    b = GraphBuilder()
    b.input("x", 1, 3)
    b.constant("k", draw(2, 2))
    b.node("relu", ["x"], "y")
    same(b.done("y", "k", "x"), {"x": draw(1, 3)})


def test_written_file_reads_back_with_its_names(tmp_path):
    from npusim import assets

    source = npusim.load_model(
        assets.model_path(), input_shapes={assets.INPUT_NAME: assets.INPUT_SHAPE}
    )
    graph = optimize(source)
    save_onnx(graph, tmp_path / "again.onnx")
    model = onnx.load(tmp_path / "again.onnx")
    assert model.opset_import[0].version == OPSET
    again = npusim.load_model(tmp_path / "again.onnx")
    assert again.inputs == graph.inputs
    assert again.outputs == graph.outputs
    feeds = {assets.INPUT_NAME: draw(*assets.INPUT_SHAPE)}
    (a,), (b,) = evaluate(graph, feeds).values(), evaluate(again, feeds).values()
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not list(tmp_path.glob(".*"))


def test_engines_agree_on_every_tensor_of_the_bundled_model():
    from npusim import assets

    graph = optimize(
        npusim.load_model(assets.model_path(), input_shapes={assets.INPUT_NAME: assets.INPUT_SHAPE})
    )
    feeds = {assets.INPUT_NAME: draw(*assets.INPUT_SHAPE)}
    seen = {}
    for name in ("onnxruntime", "npusim"):
        seen[name] = {}
        float_engine(graph, name).run(feeds, observe=seen[name].__setitem__)
    assert list(seen["npusim"]) == list(seen["onnxruntime"])
    for name, wanted in seen["npusim"].items():
        scale = np.abs(wanted).max(initial=1e-30)
        np.testing.assert_allclose(
            seen["onnxruntime"][name], wanted, rtol=1e-4, atol=1e-5 * scale, err_msg=name
        )


def test_quantized_graphs_are_refused():
    b = GraphBuilder()
    b.input("x", 1, 3)
    graph = to_float16(b.done(b.node("relu", ["x"], "y")))
    with pytest.raises(UnsupportedOpError, match="float32"):
        to_onnx(graph)


@pytest.mark.parametrize("coordinates", list(Coordinates))
def test_a_resize_picks_the_same_pixels(tmp_path, coordinates):
    """Also where ONNX's own formula rounds to another pixel: 2 -> 82, 20 -> 24."""
    ort = pytest.importorskip("onnxruntime")
    for size, out in ((2, 82), (20, 24), (5, 41), (7, 64), (6, 12)):
        b = GraphBuilder()
        attrs = ResizeAttrs(size=(out, 4), mode=ResizeMode.NEAREST, coordinates=coordinates)
        b.node("resize", [b.input("x", 1, 2, size, 3)], "y", attrs)
        graph = b.done()
        save_onnx(graph, tmp_path / "m.onnx")
        x = np.random.default_rng(0).standard_normal((1, 2, size, 3)).astype(np.float32)
        (want,) = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
        np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], want)


@pytest.mark.parametrize("observed", [True, False])
def test_a_graph_without_a_layer_gives_its_constants(observed):
    b = GraphBuilder()
    b.input("x", 1, 4)
    graph = b.done(b.constant("boxes", np.arange(4, dtype=np.float32)))
    feeds = {"x": np.zeros((1, 4), np.float32)}
    seen = []
    found = OnnxRuntimeEngine(graph, observed=observed).run(
        feeds, observe=lambda name, value: seen.append(name)
    )
    assert (list(found), seen) == (["boxes"], ["x"])
    quantized = npusim.quantize(graph, [("zeros", feeds)])
    result = npusim.compile(quantized).run(feeds)["boxes"]
    np.testing.assert_allclose(result, found["boxes"], atol=3 / 255)
