"""The table of file formats: every row is sound, content beats the suffix, errors name both."""

import os
import pickle
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import npusim
from npusim.errors import ContainerError, ModelImportError
from npusim.importers import formats
from npusim.importers.formats import FORMATS, NO_MODELS, importable, is_stored, load_as
from npusim.ir import archive
from npusim.rknn import RKNN

ROOT = Path(__file__).resolve().parents[2]
BEGINS = {
    (form.name, magic): bytes(magic.offset) + magic.begin + bytes(8)
    for form in FORMATS
    for magic in form.magic
}


def test_every_row_is_sound() -> None:
    suffixes = [suffix for form in FORMATS for suffix in form.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in suffixes)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for form in FORMATS:
        assert form.loader or form.advice, f"{form.name} is refused without advice"
        assert not form.extra or form.extra in extras["optional-dependencies"]
        assert callable(getattr(RKNN, form.call))
        if form.loader:
            module, _, function = form.loader.partition(":")
            assert callable(getattr(import_module(module), function))
            folder = ROOT / "npusim" / "importers"
            assert Path(import_module(module).__file__).is_relative_to(folder)
    assert importable() == (
        "ONNX",
        "TensorFlow Lite",
        "PyTorch",
        "Caffe",
        "Darknet",
        "Keras",
        "MXNet",
        "TensorFlow",
    )


@pytest.mark.parametrize("wanted", [form.name for form in FORMATS if form.loader])
@pytest.mark.parametrize(("name", "magic"), BEGINS, ids=lambda v: getattr(v, "what", v))
def test_a_begin_of_another_format_is_named(tmp_path, wanted, name, magic) -> None:
    form = formats.format_named(wanted)
    shared = {m.begin for m in form.magic}
    path = tmp_path / f"net{form.suffixes[0]}"
    path.write_bytes(BEGINS[name, magic])
    with pytest.raises((ModelImportError, ContainerError)) as error:
        npusim.load_model(path, input_shapes=None)
    assert str(path) in str(error.value)
    said = f"this is {magic.what}, not {form.noun}"
    assert (said in str(error.value)) == (magic.begin not in shared)


@pytest.mark.parametrize("form", NO_MODELS, ids=lambda form: form.noun)
def test_what_is_no_model_is_named_under_every_suffix(tmp_path, form) -> None:
    for suffix in (".onnx", ".tflite", ".rknn", ".pt", ".bin", ""):
        path = tmp_path / f"net{suffix}"
        path.write_bytes(form.magic[0].begin + b" and so on")
        with pytest.raises((ModelImportError, ContainerError)) as error:
            npusim.load_model(path)
        assert f"this is {form.noun}" in str(error.value)
        assert form.remedy() in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04rest", "zip archive"),
        (pickle.dumps({"weights": 1}), "pickle"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"hello, world", "no model file"),
    ],
)
def test_foreign_files_in_place_of_a_stored_model(tmp_path, content, says) -> None:
    path = tmp_path / "foreign.rknn"
    path.write_bytes(content)
    with pytest.raises(ContainerError, match=says) as caught:
        npusim.load_model(path)
    assert str(path) in str(caught.value)
    rknn = RKNN()
    assert rknn.load_rknn(str(path)) == -1


def test_the_content_decides_where_the_suffix_says_nothing(tmp_path, save) -> None:
    from onnx import helper

    source = save([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 2)}, ["y"])
    path = tmp_path / "net.bin"
    path.write_bytes(source.read_bytes())
    graph = npusim.load_model(path)
    assert [node.op for node in graph.nodes] == ["relu"]
    npusim.save(npusim.float16(graph), tmp_path / "stored")
    again = npusim.load_model(tmp_path / "stored")
    assert again.nodes == npusim.float16(graph).nodes
    path.write_bytes(b"nothing that is known")
    with pytest.raises(ModelImportError, match=r"files ending in \.bin(.|\n)*\.onnx"):
        npusim.load_model(path)
    with pytest.raises(ModelImportError, match="neither a zip archive nor an HDF5 file"):
        load_as("Keras", path)
    with pytest.raises(ModelImportError, match="protocol-buffer text"):
        load_as("Caffe", path)


def test_a_stored_model_cannot_be_cut_and_save_refuses_other_suffixes(tmp_path, save) -> None:
    from onnx import helper

    graph = npusim.load_model(save([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 2)}, ["y"]))
    path = npusim.save(graph, tmp_path / "m.npusim")
    with pytest.raises(ContainerError, match="input_shapes cannot be changed"):
        npusim.load_model(path, input_shapes=[(1, 4)])
    for suffix in (".onnx", ".tflite", ".pt"):
        with pytest.raises(npusim.errors.ConfigError, match="would be taken for"):
            npusim.save(graph, tmp_path / f"m{suffix}")
    assert sorted(p.name for p in tmp_path.glob("m.*")) == ["m.npusim"]


def test_stored_models_are_told_by_content_and_suffix(tmp_path) -> None:
    other = tmp_path / "model.bin"
    other.write_bytes(archive.MAGIC + bytes(100))
    assert is_stored(other)
    other.write_bytes(b"CYPTRKNN")
    assert is_stored(other)
    other.write_bytes(b"\x08\x07")
    assert not is_stored(other)
    assert not is_stored(tmp_path)
    assert is_stored("missing.RKNN")


@pytest.mark.parametrize("suffix", ["", ".bin", *(s for form in FORMATS for s in form.suffixes)])
def test_a_missing_file_is_said_before_its_suffix(tmp_path, suffix) -> None:
    (tmp_path / "classifier").write_bytes(b"")
    with pytest.raises(ModelImportError, match=r"does not exist[\s\S]*'classifier'"):
        npusim.load_model(tmp_path / f"clasifier{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(ModelImportError, match="this is a folder"):
        npusim.load_model(tmp_path / f"folder{suffix}")


# ---- which file is which
@pytest.mark.parametrize("network", ["net.prototxt", "net.cfg"])
def test_files_in_each_others_place_are_named(tmp_path, network):
    weights_suffix = {".prototxt": ".caffemodel", ".cfg": ".weights"}[Path(network).suffix]
    held = str(Path(network).with_suffix(weights_suffix))
    for name in (network, held, f"w2{weights_suffix}", f"other{Path(network).suffix}"):
        (tmp_path / name).write_bytes(b"")
    other = f"other{Path(network).suffix}"
    for model, given, said in (
        (held, f"w2{weights_suffix}", rf"{held} holds weights, and w2{weights_suffix} is given"),
        (
            held,
            network,
            rf"{held} holds weights, and {network}.*is a network[\s\S]*{network} as th",
        ),
        (network, other, rf"{network} is a network, and {other}, given as weights, is a network"),
    ):
        with pytest.raises(ModelImportError, match=said) as error:
            npusim.load_model(tmp_path / model, weights=tmp_path / given)
        assert f"its weights are a {weights_suffix} file" in str(error.value)
    for wrong in ([held, held], True, 3):
        with pytest.raises(ModelImportError, match=r"weights of .*[\s\S]*one path, or False"):
            npusim.load_model(tmp_path / network, weights=wrong)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["net.onnx", "net.rknn", "net.pb", "net.caffemodel"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelImportError, match="a pipe or a device"):
        npusim.load_model(tmp_path / name)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_what_cannot_be_looked_at_is_not_called_missing(tmp_path):
    for suffix in ("onnx", "pb", "prototxt", "cfg", "json", "params"):
        with pytest.raises(ModelImportError, match="cannot be read: File name too long"):
            npusim.load_model(tmp_path / f"{'x' * 300}.{suffix}")
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    with pytest.raises(ModelImportError, match="cannot be read: Too many levels"):
        npusim.load_model(tmp_path / "loop.onnx")
