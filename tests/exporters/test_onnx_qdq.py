"""Quantized graphs written as ONNX: the same codes, and the same numbers within a step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import UnsupportedOpError
from npusim.ir.dtypes import DType
from npusim.ir.quant import AffinePerChannel, scale_of
from npusim.runtime.program import preprocess
from npusim.testing import GraphBuilder
from tests.importers.test_vendor_files import FILES, convolved, real
from tests.importers.vendor_build import File, fmt

ort = pytest.importorskip("onnxruntime")


def session(path):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def both(graph, path, seed=0, pictures=None):
    """Return (npusim's, ONNX Runtime's) real outputs for random bytes or given pictures."""
    npusim.export_onnx(graph, path)
    onnx.checker.check_model(str(path), full_check=True)
    rng = np.random.default_rng(seed)
    raw = {n: rng.integers(0, 256, graph.spec(n).shape).astype(np.float32) for n in graph.inputs}
    feeds = {
        n: preprocess(value, graph.preprocess.get(n)) for n, value in (pictures or raw).items()
    }
    ours = npusim.compile(graph).run(feeds, preprocessed=True)
    return ours, dict(zip(graph.outputs, session(path).run(None, feeds), strict=True))


def steps_apart(graph, ours, theirs):
    """Return the largest difference in steps of each output's own format."""
    return {
        name: float(np.abs(ours[name] - theirs[name]).max() / scale_of(graph.spec(name).quant))
        for name in graph.outputs
    }


def deconvolved(kind, **forms):
    """A transposed convolution, a sum with a constant and a softmax in float16."""
    rng, file = np.random.default_rng(3), File()
    x = file.input((1, 2, 3, 4), forms["x"])
    dtype = {"u1": np.uint8, "i1": np.int8, "i2": np.int16, "f2": np.float16}[kind]
    low, high = (0, 256) if kind == "u1" else (-128, 128)
    draw = lambda *shape: rng.integers(low, high, shape).astype(dtype)  # noqa: E731
    weights = file.constant(draw(3, 2, 2, 2), forms["w"])
    nn = {"deconvolution": {"ksize": [2, 2], "stride": [2, 2], "pad": [0, 0, 0, 0]}}
    (d,) = file.layer("DECONVOLUTION", "d", 5, (x, weights), forms["y"], nn=nn)
    offset = file.constant(draw(1, 3, 1, 1), forms["y"])
    (v,) = file.layer("VARIABLE", "v", 4, (offset,), forms["y"])
    (a,) = file.layer("ADD", "a", 3, (d, v), forms["y"])
    (s,) = file.layer("SOFTMAX", "s", 2, (a,), fmt("f2"))
    file.output(s, (1, 3, 6, 8), fmt("f2"))
    return file


FORMS = {
    "u1": {"x": fmt("u1", 0.02, 128), "w": fmt("u1", 0.01, 120), "y": fmt("u1", 0.05, 110)},
    "i1": {"x": fmt("i1", fl=5), "w": fmt("i1", fl=7), "y": fmt("i1", fl=4)},
    "i2": {"x": fmt("i2", fl=5), "w": fmt("i2", fl=7), "y": fmt("i2", fl=9)},
    "f2": {"x": fmt("f2"), "w": fmt("f2"), "y": fmt("f2")},
}


@pytest.mark.parametrize("kind", FORMS)
def test_formats_mean_the_same(tmp_path, kind):
    path = deconvolved(kind, **FORMS[kind]).save(tmp_path / "net.rknn")
    graph = npusim.load_model(path)
    if kind == "f2":
        graph = graph.copy(preprocess={"input_0": npusim.Preprocess(std=(255.0,))})
    ours, theirs = both(graph, tmp_path / "net.onnx")
    (name,) = graph.outputs
    assert np.ptp(ours[name]) > 0.5
    # a code of the sum may lie one step off, which softmax makes a factor of exp(step)
    step = scale_of(graph.spec("a_3").quant) if kind != "f2" else 0.0
    np.testing.assert_allclose(ours[name], theirs[name], atol=3e-2 if kind == "f2" else step)


def test_codes_and_parameters_are_the_graphs_own(tmp_path):
    graph = npusim.load_model(convolved(tmp_path / "net.rknn"))
    ours, theirs = both(graph, tmp_path / "net.onnx")
    assert steps_apart(graph, ours, theirs)["Relu_r/out0_0"] <= 1.001
    model = onnx.load(tmp_path / "net.onnx")
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name in ("const_0", "const_1"):
        np.testing.assert_array_equal(stored[f"{name}.codes"], graph.constants[name])
        assert stored[f"{name}.codes"].dtype == graph.constants[name].dtype
    again = npusim.load_model(tmp_path / "net.onnx")
    (conv,) = [node for node in again.nodes if node.op == "conv2d"]
    formats = [again.spec(name).quant for name in (*conv.inputs, *conv.outputs)]
    own = graph.nodes[0]
    assert formats == [graph.spec(name).quant for name in (*own.inputs, *own.outputs)]


def test_preparation_is_in_the_metadata(tmp_path):
    graph = npusim.load_model(
        convolved(
            tmp_path / "n.rknn", mean_value=[1, 2, 3], std_value=[4.0, 5, 6], reorder=[2, 1, 0]
        )
    )
    npusim.export_onnx(graph, tmp_path / "n.onnx")
    found = {p.key: p.value for p in onnx.load(tmp_path / "n.onnx").metadata_props}
    assert found["npusim.mean.input_9"] == "1 2 3"
    assert found["npusim.std.input_9"] == "4 5 6"
    assert found["npusim.reorder.input_9"] == "2 1 0"


def test_activations_per_channel_are_refused(tmp_path):
    b = GraphBuilder()
    b.node("relu", [b.input("x", 1, 2, 3, 3)], "y")
    graph = b.done("y")
    many = AffinePerChannel(scales=(0.1, 0.2), zero_points=(0, 0), axis=1)
    graph.tensors["y"] = replace(graph.spec("y"), dtype=DType.U8, quant=many)
    with pytest.raises(UnsupportedOpError, match="per channel: y"):
        npusim.export_onnx(graph, tmp_path / "n.onnx")


def test_the_command_writes_float_and_quantized_models(tmp_path):
    run = CliRunner(env={"COLUMNS": "200"})
    net = convolved(tmp_path / "net.rknn", mean_value=[1, 2, 3], std_value=[4.0, 5, 6])
    done = run.invoke(app, ["export", str(net), "-o", str(tmp_path / "net.onnx")])
    assert done.exit_code == 0, done.output
    assert "takes values after mean 1 2 3, std 4 5 6" in done.output
    done = run.invoke(app, ["export", "demo", "-o", str(tmp_path / "demo.onnx"), "--json"])
    assert done.exit_code == 0, done.output
    assert '"pairs": false' in done.output
    assert session(tmp_path / "demo.onnx").get_inputs()
    wrong = run.invoke(app, ["export", str(net), "-o", str(tmp_path / "net.rknn")])
    assert wrong.exit_code != 0
    assert net.read_bytes()[:4] == b"RKNN"


@real
def test_a_real_file_is_within_a_step_of_its_export(tmp_path):
    graph = npusim.load_model(FILES / "mnist.rknn")
    digit = np.zeros((1, 1, 28, 28), np.float32)
    digit[..., 4:24, 12:16] = digit[..., 4:8, 8:16] = 1
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(0, 0.2, digit.shape)
        picture = np.clip(digit + noise, 0, 1).astype(np.float32)
        ours, theirs = both(graph, tmp_path / "net.onnx", pictures={"input_11": picture})
        assert max(steps_apart(graph, ours, theirs).values()) <= 1.001


@real
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("PNet_18_14", 1.001),
        ("resize_area", 0.0625),  # float16: half a step of 128 to 256
        *(
            pytest.param(name, steps, marks=pytest.mark.slow)
            for name, steps in (("lstm14", 5), ("static_det", 64), ("yolov5lite", 16))
        ),
    ],
)
def test_real_files_are_exported(tmp_path, name, steps):
    graph = npusim.load_model(Path(FILES) / f"{name}.rknn")
    shape = graph.spec(graph.inputs[0]).shape
    rows, columns = np.indices(shape[-2:])
    waves = np.sin(rows / 9) * np.cos(columns / 7) * 100 + 128  # a picture, not noise
    picture = np.broadcast_to(waves, shape).astype(np.float32)
    ours, theirs = both(graph, tmp_path / "net.onnx", pictures={graph.inputs[0]: picture})
    assert max(steps_apart(graph, ours, theirs).values()) <= steps  # deep ones carry steps on
    for output in graph.outputs:
        step = scale_of(graph.spec(output).quant)
        assert np.abs(ours[output] - theirs[output]).mean() < step
