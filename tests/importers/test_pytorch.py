"""TorchScript files (case 1.17), and files with weights only (case B26)."""

import sys

import numpy as np
import pytest

import npusim
from npusim.errors import MissingExtraError, ModelImportError, UnsupportedOpError
from npusim.importers import load
from npusim.importers.pytorch.importer import load_pytorch
from npusim.reference.evaluate import evaluate

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

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
