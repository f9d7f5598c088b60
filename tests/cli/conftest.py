"""Running the command line in an empty folder."""

import sys

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from npusim.cli import main
from tests.rknn.conftest import conv_weights, write_onnx


@pytest.fixture(autouse=True)
def width(monkeypatch):
    """Take the width that a file gets: test runners set one for their workers."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function: arguments -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["npusim", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def small(tmp_path):
    """Write conv, relu6, conv, relu, global pool, flatten and four images with their list."""
    weights = conv_weights(8, 3, seed=1) | {k + "2": v for k, v in conv_weights(4, 8).items()}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], name="c1", pads=[1] * 4),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="c2"),
        helper.make_node("Relu", ["c2"], ["r2"], name="r2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flat"),
    ]
    weights |= {"low": np.float32(0), "high": np.float32(6)}
    path = write_onnx(tmp_path / "net.onnx", nodes, {"x": (1, 3, 9, 8)}, {"y": (1, 4)}, weights)
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(4)))
    (tmp_path / "other.txt").write_text("3.png\n")
    return (path, "--dataset", "list.txt", "--mean", "127.5", "--std", "127.5", "--quantize", "u8")
