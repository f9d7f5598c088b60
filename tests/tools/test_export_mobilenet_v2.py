"""The MobileNetV2 exporter, on random weights."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "export_mobilenet_v2.py"


@pytest.mark.slow
def test_export_equals_the_network(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    runtime = pytest.importorskip("onnxruntime")
    spec = importlib.util.spec_from_file_location("export_mobilenet_v2", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    torch.manual_seed(1)
    network = tool.MobileNetV2().eval()
    weights, out = tmp_path / "random.pth", tmp_path / "mobilenet_v2.onnx"
    torch.save(network.state_dict(), weights)
    tool.export(weights, out)

    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, weights.name]
    kinds = [node.op_type for node in onnx.load(out).graph.node]
    assert kinds.count("BatchNormalization") == kinds.count("Conv") == tool.BATCHNORM_NODES
    ifm = np.random.default_rng(1).standard_normal(tool.INPUT_SHAPE).astype(np.float32)
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {"input": ifm})
    with torch.no_grad():
        expected = network(torch.from_numpy(ifm)).numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())
