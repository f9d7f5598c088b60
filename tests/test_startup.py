"""Running a stored model imports what running takes, nothing of what makes, prices or shows one."""

import subprocess
import sys

import pytest

import npusim
from npusim import assets

TYPED = """
program = npusim.compile(npusim.load_model(sys.argv[1]))
program.run({name: np.zeros(program.graph.spec(name).shape) for name in program.graph.inputs})
"""
TOOLKIT = """
from npusim.rknn import RKNN
rknn = RKNN()
assert rknn.load_rknn(sys.argv[1]) == 0
assert rknn.init_runtime() == 0
rknn.inference(inputs=[np.zeros((48, 192, 3), np.uint8)])
"""
BEFORE = """
import sys
import numpy as np
import npusim
from npusim.kernels import _jit
_jit.ON_COMPILED.append(lambda *told: print("compiled"))
"""
AFTER = """
print(*sys.modules)
"""
UNNEEDED = (
    "numba.np.linalg",  # Numba's library of functions: kept kernels are loaded without it
    "scipy.linalg",
    "scipy.special",
    "onnx",
    "onnxruntime",
    "rich",
    "typer",
    "npusim.api.quantizing",
    "npusim.evaluation",
    "npusim.exporters",
    "npusim.perfmodel",
    "npusim.reference",
    "npusim.report",
    "npusim.tuning",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "model.rknn"
    graph = npusim.load_model(
        assets.model_path(), input_shapes={"x": (1, 3, 48, 192)}, mean=127.5, std=127.5
    )
    npusim.save(npusim.quantize(graph, assets.calibration_list(), scheme="u8"), path)
    return path


def modules_after(code, path):
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + code + AFTER, path],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("code", [TYPED, TOOLKIT], ids=["typed", "toolkit"])
def test_running_imports_little(stored, code):
    found = modules_after(code, stored)
    if "compiled" in found:
        found = modules_after(code, stored)
    assert "compiled" not in found
    assert "npusim.runtime.program" in found
    assert [name for name in UNNEEDED if name in found] == []
