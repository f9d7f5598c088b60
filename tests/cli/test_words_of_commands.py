"""What commands say besides results: defaults, inputs, examples, each sentence once."""

import logging
import re
from importlib import import_module

import numpy as np
import pytest
import typer
from onnx import helper, save
from PIL import Image

import npusim
from npusim.cli import common
from npusim.cli.app import COMMANDS, EXAMPLES
from npusim.cli.log import library_messages
from tests.onnx_models import onnx_model


@pytest.fixture
def net(tmp_path):
    """A small network, its picture and its list."""
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="r")]
    save(onnx_model(nodes, {"x": (1, 3, 4, 6)}, {"y": (1, 3, 4, 6)}), str(tmp_path / "net.onnx"))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png\n")
    (tmp_path / "labelled.txt").write_text("a.png 3\n")
    (tmp_path / "same_score.py").write_text("def score(outputs, label):\n    return 1.0\n")
    return "net.onnx"


FED = "input 'x': images as pixels 0..255, RGB, stretched to 6x4 (width x height); "
MEAN = ("--task", "custom:same_score:score")
CALIBRATED = ("--dataset", "list.txt", "--quantize", "u8")


@pytest.mark.parametrize(
    "command",
    [
        ("run", *CALIBRATED),
        ("run", "--input", "a.png"),
        ("dump", *CALIBRATED, "-o", "out"),
        ("compare", "--input", "a.png"),
        ("analyze", *CALIBRATED),
        ("quantize", "--dataset", "list.txt", "-o", "net.npusim"),
        (
            "evaluate",
            *MEAN,
            "--dataset",
            "labelled.txt",
            "--calibration",
            "list.txt",
            "--jobs",
            "1",
        ),
        ("tune", "--dataset", "list.txt", "-o", "tuned", "--samples", "1"),
    ],
    ids=lambda command: f"{command[0]}-{len(command)}",
)
def test_every_command_that_reads_samples_says_what_goes_in_once(run, net, command):
    name, *rest = command
    code, _, err = run(name, net, *rest, "--mean", "127.5", "--std", "128")
    assert code == 0, err
    assert err.count(f"{FED}minus mean 127.5, divided by std 128\n") == 1
    assert err.count("input 'x'") == 1


@pytest.mark.parametrize("name", ["run", "dump", "compare"])
def test_the_format_is_said_when_it_is_not_chosen(run, net, name):
    more = ("-o", "out") if name == "dump" else ()
    assert "float16, since no --quantize is given" in run(name, net, "--input", "a.png", *more)[2]
    err = run(name, net, "--input", "a.png", "--quantize", "f16", *more)[2]
    assert "since no --quantize" not in err


def test_run_writes_outputs_and_takes_an_algorithm(run, net, tmp_path):
    code, _, err = run("run", net, *CALIBRATED, "--algorithm", "mmse", "-o", "found")
    assert code == 0, err
    assert np.load(tmp_path / "found" / "output_0.npy").shape == (1, 3, 4, 6)
    assert run("run", net, *CALIBRATED, "--algorithm", "msee")[0] == 2
    code, _, err = run("run", net, "--input", "a.png", "--algorithm", "mmse")
    assert code == 0
    assert err.count("--algorithm given, but nothing is calibrated") == 1
    npusim.save(npusim.float16(npusim.load_model(net)), "net.npusim")
    code, _, err = run("run", "net.npusim", "--input", "a.png", "--algorithm", "mmse")
    assert code == 2
    assert "--algorithm mmse would have no effect" in err


def test_a_message_of_the_library_is_printed_once_and_warnings_are_called_so(capsys):
    log = logging.getLogger("npusim")
    before = log.level, list(log.handlers)
    with library_messages():
        for _ in range(3):
            log.warning("the %s", "first")
            log.info("a second")
    assert capsys.readouterr().err == "warning: the first\na second\n"
    assert (log.level, list(log.handlers)) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_fits_its_options(name, run):
    _, command, *arguments = EXAMPLES[name].split()
    assert command == name
    application = typer.Typer()
    application.command()(import_module(f"npusim.cli.{name}").command)
    known = {opt for param in typer.main.get_command(application).params for opt in param.opts}
    assert {word for word in arguments if word.startswith("-")} <= known
    shown = re.sub(r"\s+", " ", run(name, "--help")[1])
    assert f"Example: {EXAMPLES[name]}" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("runn", "demo"), "'run'"),
        (("run", "demo", "--quantise", "u8"), "--quantize"),
        (("run", "dmeo"), "did you mean 'demo'"),
        (("perf", "demo-layer"), "did you mean 'demo-layers'"),
        (("explain", "lrn-zero"), "did you mean lrn-zeros"),
        (("quantize", "demo", "-o", "a.npusim", "--algorithm", "mmsee"), "mmse"),
    ],
)
def test_what_is_mistyped_gets_a_suggestion(run, arguments, said):
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err


def test_a_command_s_own_option_is_named(run, net, tmp_path):
    err = run("evaluate", net, *MEAN, "--dataset", "labelled.txt")[2]
    assert "--calibration" in err
    assert "--dataset:" not in err
    assert common.BUNDLED == "demo"


def test_single_layers_get_a_format_of_their_own(run, net):
    code, out, err = run(
        "quantize", net, "--dataset", "list.txt", "-o", "a.npusim", "--layer", "r=i16"
    )
    assert code == 2
    assert "no layer is called 'r'" in err
    layer = "Relu_r=i16"
    code, out, err = run(
        "quantize", net, "--dataset", "list.txt", "-o", "a.npusim", "--layer", layer
    )
    assert code == 0, err
    assert "1 layers of their own" in out
    for wrong in ("Relu_r", "=i16", "Relu_r="):
        code, _, err = run(
            "quantize", net, "--dataset", "list.txt", "-o", "a.npusim", "--layer", wrong
        )
        assert code == 2
        assert "NAME=FORMAT" in err
    code, _, err = run("quantize", "a.npusim", "-o", "b.npusim", "--layer", layer)
    assert code == 2
    assert "already quantized" in err
