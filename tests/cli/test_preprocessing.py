"""What goes into a network is said by every command, shown of stored models, and not ignored."""

import json

import numpy as np
import pytest
from PIL import Image

import npusim
from npusim.ir.attrs import FcAttrs
from npusim.testing import GraphBuilder


@pytest.fixture
def wide(run, small, tmp_path):
    """Return the small model's options with pictures three times as wide as high."""
    for i in range(4):
        pixels = np.full((10, 30, 3), 200, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return small


@pytest.mark.parametrize(
    "command",
    [
        ("run",),
        ("dump", "-o", "dumps"),
        ("compare",),
        ("analyze",),
        ("quantize", "-o", "m.npusim"),
        ("equalize", "-o", "m.onnx"),
        ("tune", "--most", "1"),
        ("evaluate",),
    ],
)
def test_every_command_that_reads_pictures_says_what_goes_in(run, wide, tmp_path, command):
    path, *options = wide
    name, *more = command
    if name == "evaluate":
        (tmp_path / "set.txt").write_text("0.png 0\n1.png 1\n")
        more = ["--calibration", "list.txt", "--dataset", "set.txt"]
        at = options.index("--dataset")
        options = options[:at] + options[at + 2 :]
    if name == "equalize":
        options = options[:-2]  # it makes a float model
    code, out, err = run(name, path, *options, *more, "--fit", "letterbox")
    assert code in (0, 1), err
    said = " ".join((out + err).split())
    assert "images as pixels 0..255, RGB, shrunk or enlarged to lie within grey borders" in said
    assert "minus mean 127.5, divided by std 127.5" in said


def test_a_stored_model_shows_and_keeps_its_preprocessing(run, wide):
    path, *options = wide
    assert run("quantize", path, *options, "--fit", "crop", "-o", "m.npusim")[0] == 0
    code, out, _ = run("info", "m.npusim")
    assert code == 0
    assert "cut and scaled to" in " ".join(out.split())
    said = json.loads(run("info", "m.npusim", "--json")[1])["preprocessing"]
    assert len(said) == 1
    assert said[0].endswith("minus mean 127.5, divided by std 127.5")
    assert "cut and scaled to" in " ".join(run("run", "m.npusim", "--input", "0.png")[2].split())


@pytest.mark.parametrize(
    "option",
    [("--fit", "letterbox"), ("--mean", "3"), ("--algorithm", "mmse")],
)
def test_options_that_a_stored_model_makes_ineffective_are_refused(run, wide, option):
    path, *options = wide
    assert run("quantize", path, *options, "-o", "m.npusim")[0] == 0
    code, _, err = run("run", "m.npusim", "--input", "0.png", *option)
    assert code == 2
    assert option[0] in err


def test_preprocessing_of_a_model_without_pictures_is_refused(run, tmp_path):
    b = GraphBuilder()
    source = b.input("x", 1, 4)
    inputs = [source, b.constant("w", np.eye(4)), b.constant("b", np.zeros(4))]
    graph = b.done(b.node("fc", inputs, "y", FcAttrs()))
    samples = [("s", {"x": np.ones((1, 4), np.float32)})]
    npusim.save(npusim.quantize(graph, samples), tmp_path / "m.npusim")
    np.save(tmp_path / "a.npy", np.ones((1, 4), np.float32))
    assert run("run", "m.npusim", "--input", "a.npy")[0] == 0
    code, _, err = run("run", "m.npusim", "--input", "a.npy", "--mean", "127.5")
    assert code == 2
    assert "--mean would have no effect" in err


def test_a_stored_partner_does_not_take_the_first_run_s_choices(run, wide):
    path, *options = wide
    assert run("quantize", path, *options, "-o", "m.npusim")[0] == 0
    more = ("--algorithm", "mmse", "--optimization-level", "2", "--other-model", "m.npusim")
    code, _, err = run("compare", path, *options, *more)
    assert code in (0, 1), err
