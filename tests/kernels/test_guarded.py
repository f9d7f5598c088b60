"""Kernels stay inside their arrays, constants and scratch included; see ``guarded``."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from npusim.kernels import _jit
from tests.kernels import emulated_avx512, emulated_tiles
from tests.kernels.guarded_cases import CASES
from tests.kernels.test_jit import import_every_kernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
ROOT = Path(__file__).parents[2]


@cache
def report(module: str) -> dict[str, dict[str, str]]:
    """What went wrong, by kernel and case. The process of its own may die, the tests do not."""
    one = {"NPUSIM_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.guarded", module],
        cwd=ROOT,
        env=os.environ | one,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def test_every_kernel_has_a_case():
    import_every_kernel()
    assert sorted(CASES) == sorted(_jit._KERNELS)


@pytest.mark.parametrize("kernel", CASES)
def test_no_access_outside(kernel):
    wanted = _jit._KERNELS[kernel]
    emulated = kernel in emulated_tiles.NAMES and emulated_tiles.NEEDED
    if not (wanted.is_available or emulated or emulated_avx512.is_emulated(wanted)):
        pytest.skip("this processor cannot run it")
    found = report("tests.kernels.guarded_cases")[kernel]
    assert found == dict.fromkeys(found, "")


@pytest.mark.parametrize(
    ("kernel", "at_the_end", "at_the_start"),
    [
        ("writes_behind_its_array", "SIGSEGV", "other results"),
        ("reads_before_its_array", "", "SIGSEGV"),
        ("reads_beyond_its_constants", "SIGSEGV", ""),
        ("writes_behind_its_range", "other results", "other results"),
    ],
)
def test_mistakes_are_found(kernel, at_the_end, at_the_start):
    found = report("tests.kernels.guarded_mutants")[f"guarded_mutants.{kernel}"]
    for place, wanted in (("end", at_the_end), ("start", at_the_start)):
        text = found[f"on_bytes at the {place}"]
        assert wanted in text if wanted else not text
