"""The cache of compiled kernels: never stale, never in the way; importing compiles nothing."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import npusim.kernels
from npusim.kernels import _jit

CALLEE = """
from npusim.kernels._jit import primitive

@primitive
def step(value):
    return value + 1
"""
CALLER = """
from npusim.kernels._jit import kernel
from npusim.kernels.callee import step

@kernel("int64(int64)")
def call(value):
    return step(value)
"""
RUN = """
from npusim.kernels.caller import call
result = call(10)
print(result, sum(call.compile().stats.cache_hits.values()))
"""


def import_every_kernel() -> None:
    for module in walk_packages(npusim.kernels.__path__, "npusim.kernels."):
        import_module(module.name)


@pytest.fixture
def package(tmp_path):
    """A copy of the decorators beside two small kernels in two files."""
    folder = tmp_path / "package" / "npusim" / "kernels"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    shutil.copy(_jit.__file__, folder / "_jit.py")
    (folder / "callee.py").write_text(CALLEE)
    (folder / "caller.py").write_text(CALLER)
    return folder


def run(package: Path, code: str = RUN, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NUMBA_CACHE_DIR")}
    env |= {"PYTHONPATH": str(package.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=package,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )


def test_edited_callee_recompiles_its_cached_caller(package, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(package, **cache).stdout.split() == ["11", "0"]
    assert run(package, **cache).stdout.split() == ["11", "1"]  # the cache works at all
    (package / "callee.py").write_text(CALLEE.replace("+ 1", "+ 2"))
    assert run(package, **cache).stdout.split() == ["12", "0"]
    assert run(package, **cache).stdout.split() == ["12", "1"]


def test_without_any_place_for_a_cache_kernels_still_run(package, tmp_path):
    no_folder = tmp_path / "file"
    no_folder.write_text("a file where a cache folder would be made")
    (package / "__pycache__").write_text("likewise")
    done = run(
        package, NUMBA_CACHE_DIR=str(no_folder), XDG_CACHE_HOME=str(no_folder), HOME=str(no_folder)
    )
    assert done.stdout.split() == ["11", "0"]
    assert done.stderr.count("set NUMBA_CACHE_DIR to a writable folder") == 1


def test_damaged_cache_file_is_no_obstacle(package, tmp_path):
    cache = tmp_path / "cache"
    run(package, NUMBA_CACHE_DIR=str(cache))
    damaged = [*cache.rglob("*.nbi"), *cache.rglob("*.nbc")]
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[:20])
    done = run(package, NUMBA_CACHE_DIR=str(cache))
    assert done.stdout.split() == ["11", "0"]
    assert "RuntimeWarning" in done.stderr


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
    modules, compiled = run(root / "npusim" / "kernels", code, PYTHONPATH=str(root)).stdout.split()
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
