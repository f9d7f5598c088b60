"""TorchScript files (case 1.17), and files with weights only (case B26)."""

import sys
import zipfile
from typing import Dict  # noqa: UP035

import numpy as np
import pytest
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import MissingExtraError, ModelImportError, UnsupportedOpError
from npusim.importers import load
from npusim.importers.pytorch.importer import load_pytorch
from npusim.reference.evaluate import evaluate

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

# torch announces the end of TorchScript; files of it are what users have
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*torch.jit:{kind}")
    for kind in ("DeprecationWarning", "FutureWarning")
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.features(x)
        return self.head(x.view(x.size(0), -1))


class Odd(nn.Module):
    def forward(self, x):
        return torch.sin(x) + torch.cos(x)


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Net().eval()


@pytest.mark.parametrize("how", ["trace", "script"])
def test_torchscript(tmp_path, net, how):
    path = tmp_path / "net.pt"
    made = (
        torch.jit.trace(net, torch.zeros(1, 3, 16, 16))
        if how == "trace"
        else (torch.jit.script(net))
    )
    made.save(str(path))
    graph = npusim.load_model(path, input_shapes=[(1, 3, 16, 16)])
    assert graph.source.framework == "pytorch"
    assert graph.source.path == str(path)
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    (got,) = evaluate(graph, {graph.inputs[0]: x}).values()
    want = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_case_b26_weights_only(tmp_path, net):
    for name, what in (("weights.pth", net.state_dict()), ("module.pth", net)):
        torch.save(what, tmp_path / name)
        with pytest.raises(ModelImportError, match="weights only") as error:
            load(tmp_path / name, input_shapes=[(1, 3, 16, 16)])
        assert "torch.jit.trace" in str(error.value)
        assert name in str(error.value)
    (tmp_path / "old.pth").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelImportError, match="pickle with weights"):
        load(tmp_path / "old.pth", input_shapes=[(1, 3, 16, 16)])
    (tmp_path / "text.pt").write_bytes(b"hello")
    with pytest.raises(ModelImportError, match="no PyTorch file"):
        load(tmp_path / "text.pt", input_shapes=[(1, 3, 16, 16)])


def test_errors_name_the_file_and_the_remedy(tmp_path, net, monkeypatch):
    path = tmp_path / "net.pt"
    torch.jit.script(net).save(str(path))
    with pytest.raises(ModelImportError, match="input_shapes"):
        load(path)
    with pytest.raises(ModelImportError, match=r"net.pt: torch cannot export it"):
        load_pytorch(path, input_shapes=[(1, 4, 16, 16)])
    torch.jit.trace(Odd(), torch.zeros(1, 4)).save(str(path))
    with pytest.raises(UnsupportedOpError, match=r"net\.pt") as error:
        load_pytorch(path, input_shapes=[(1, 4)])
    assert "Sin" in str(error.value)
    assert "Cos" in str(error.value)
    assert "npusim-torch-" not in str(error.value)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"npusim\[torch\]"):
        load_pytorch(path, input_shapes=[(1, 4)])


class ListNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.conv(x)
        return y.sum(1), [y.relu(), y * 2]


class DictNet(ListNet):
    def forward(self, x) -> Dict[str, Tensor]:  # noqa: UP006 - torch.jit reads it
        y = self.conv(x)
        return {"boxes": y.relu(), "scores": y.sum(1)}


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value.numpy()]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in flat(item)]


@pytest.mark.parametrize("kind", [ListNet, DictNet])
@pytest.mark.parametrize("how", ["trace", "script"])
def test_results_in_lists_and_dictionaries(tmp_path, caplog, kind, how):
    net = kind().eval()
    x = torch.randn(1, 3, 8, 8)
    made = torch.jit.script(net) if how == "script" else torch.jit.trace(net, x, strict=False)
    made.save(str(tmp_path / "net.pt"))
    graph = npusim.load_model(tmp_path / "net.pt", input_shapes=[x.shape])
    found = evaluate(graph, {graph.inputs[0]: x.numpy()})
    with torch.no_grad():
        wanted = flat(net(x))
    if kind is DictNet:
        assert graph.outputs == ("boxes", "scores")
    assert len(wanted) == len(graph.outputs)
    for name, want in zip(graph.outputs, wanted, strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)
    assert "runs the code in it" in caplog.text


@pytest.mark.slow
def test_an_exported_program(tmp_path, net):
    pytest.importorskip("onnxscript")
    x = torch.randn(1, 3, 16, 16)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "net.pt2")
    graph = npusim.load_model(tmp_path / "net.pt2")
    (got,) = evaluate(graph, {graph.inputs[0]: x.numpy()}).values()
    np.testing.assert_allclose(got, net(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert graph.source.framework == "pytorch"
    size = {2: torch.export.Dim("h", min=4)}
    program = torch.export.export(nn.Conv2d(3, 4, 3).eval(), (x,), dynamic_shapes=(size,))
    torch.export.save(program, tmp_path / "open.pt")
    with pytest.raises(ModelImportError, match="dynamic input sizes"):
        npusim.load_model(tmp_path / "open.pt")
    graph = npusim.load_model(tmp_path / "open.pt", input_shapes=[(1, 3, 9, 16)])
    assert graph.spec(graph.inputs[0]).shape == (1, 3, 9, 16)


def test_an_exported_program_needs_its_exporter(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "n.pt2", "w") as archive:
        archive.writestr("n/archive_format", "pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript[\s\S]*npusim\[torch\]"):
        npusim.load_model(tmp_path / "n.pt2")


def test_a_file_of_another_user_has_to_be_trusted(tmp_path, net, monkeypatch):
    path = tmp_path / "net.pt"
    torch.jit.trace(net, torch.zeros(1, 3, 16, 16)).save(str(path))
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    shapes = [(1, 3, 16, 16)]

    def never(*args, **kwargs):
        raise AssertionError("the code in the file was run")

    with monkeypatch.context() as patch:
        patch.setattr(torch.jit, "load", never)
        with pytest.raises(ModelImportError, match=r"another user(.|\n)*give trust=True"):
            npusim.load_model(path, input_shapes=shapes)
    assert npusim.load_model(path, input_shapes=shapes, trust=True).nodes
    monkeypatch.setenv("NPUSIM_TRUST", "1")
    assert npusim.load_model(path, input_shapes=shapes).nodes


def test_the_command_line_trusts_on_request(tmp_path, net, monkeypatch):
    path = tmp_path / "net.pt"
    torch.jit.trace(net, torch.zeros(1, 3, 16, 16)).save(str(path))
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    monkeypatch.setattr("npusim.reading.trust._trusted", False)
    words = ["info", str(path), "--shape", "x=1,3,16,16"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code != 0
    assert CliRunner().invoke(app, [*words, "--trust"]).exit_code == 0
