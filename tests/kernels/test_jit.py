"""Kernels: importing compiles nothing; names and types are what they were declared as."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import npusim.kernels
from npusim.kernels import _jit


def import_every_kernel() -> None:
    for module in walk_packages(npusim.kernels.__path__, "npusim.kernels."):
        import_module(module.name)


def test_importing_every_kernel_and_binding_compiles_nothing():
    code = """
from importlib import import_module
from pkgutil import walk_packages
from numba.core import event
with event.install_recorder("numba:compile") as recorded:
    import npusim.kernels
    names = [m.name for m in walk_packages(npusim.kernels.__path__, "npusim.kernels.")]
    for name in names:
        import_module(name)
    from npusim.runtime.bindings import load_bindings
    load_bindings()
print(len(names), len(recorded.buffer))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules, compiled = done.stdout.split()
    assert int(modules) > 10
    assert compiled == "0"


def test_names_are_unique():
    def twice(value):
        return value

    _jit.kernel("int64(int64)")(twice)
    try:
        with pytest.raises(ValueError, match="defined twice"):
            _jit.kernel("int64(int64)")(twice)
    finally:
        _jit._KERNELS.pop("test_jit.twice")


def test_kernels_refuse_types_they_have_no_signature_for():
    from npusim.kernels.elementwise.lut import map_codes

    with pytest.raises(TypeError):
        map_codes(1.5, 2, 3, 4, 5)
    assert map_codes.is_compiled
