"""Typed functions write over nothing that they read."""

import shutil
from dataclasses import replace

import pytest

import npusim
import npusim.errors
from npusim import assets
from npusim.errors import ConfigError


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """The bundled classifier from a file of its own, in a folder with a list and a page."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(assets.model_path(), "net.onnx")
    for name in ("list.txt", "a.cfg", "classes.txt"):
        (tmp_path / name).write_text(f"this is {name}")
    return npusim.load_model("net.onnx", input_shapes={"x": (1, 3, 48, 192)})


CALLS = {
    "save": lambda g: npusim.save(from_file(g, "a.cfg"), "a.cfg"),
    "export": lambda g: npusim.export_onnx(g, "net.onnx"),
    "write_cfg": lambda g: npusim.quantize(g, "list.txt", write_cfg="list.txt"),
    "cfg": lambda g: npusim.quantize(g, cfg="a.cfg", write_cfg="a.cfg"),
    "state": lambda g: npusim.tune(g, "list.txt", evaluate="a.cfg", state="a.cfg"),
    "page": lambda g: npusim.report(g, "list.txt", output="net.onnx"),
    "sample": lambda g: npusim.report(g, files=["a.cfg", "list.txt"], output="list.txt"),
    "two outputs": lambda g: npusim.report(g, output="new", node_data="./new"),
    "second network": lambda g: npusim.report(g, vs=from_file(g, "a.cfg"), output="a.cfg"),
    "networks": lambda g: npusim.evaluate({"float": g}, "list.txt", state="net.onnx"),
    "labels": lambda g: npusim.evaluate(
        {"float": g}, "list.txt", labels="classes.txt", state="classes.txt"
    ),
}


def from_file(graph, path):
    return graph.copy(source=replace(graph.source, path=path))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_file_with_two_uses_is_refused(call, graph, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"of npusim\.\w+: .* is (the source of \w+|also|\w+ of)"):
        call(graph)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_name_that_is_too_long_is_told_by_what_writes(graph):
    with pytest.raises(npusim.errors.NpusimError, match="File name too long"):
        npusim.save(graph, "x" * 300 + ".npusim")


def test_what_is_no_path_names_no_file(graph, tmp_path):
    """A class or a number format that is called like a file is not that file."""
    (tmp_path / "u8").write_text("")
    assert npusim.save(graph, "other.npusim").exists()
    npusim.report(graph, scheme="u8", labels=["u8", "net.onnx"], output="u8")
    assert (tmp_path / "u8").read_text().startswith("<!")
