"""Kept code of kernels: never stale, never damaged, never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from npusim.kernels import _cache, _interrupts, _jit

CALLEE = """
from npusim.kernels._jit import primitive

@primitive
def step(value):
    return value + 1
"""
CALLER = """
from npusim.kernels._jit import kernel
from npusim.kernels.callee import step

@kernel("int64(int64)", "float64(float64)")
def call(value):
    return step(value)

@kernel("int64(int64)")
def twice(value):
    return 2 * value
"""
RUN = """
from npusim.kernels.caller import call, twice
results = call(10), call(0.5), twice(4)
print(*results, sum(call.compile().stats.cache_hits.values()))
"""
COMPILED, LOADED = ["11", "1.5", "8", "0"], ["11", "1.5", "8", "2"]
REAL = """
import numpy as np
from npusim.kernels.windows.pool import sum_pixels
codes = np.random.default_rng(0).integers(0, 256, (2, 3, 5), np.uint8)
sums = np.zeros((2, 5), np.int64)
sum_pixels(codes, sums)
assert (sums == codes.sum(axis=1)).all()
print("right", sum(sum_pixels.compile().stats.cache_hits.values()))
"""
READ_ONLY = """
import os
from pathlib import Path
from npusim.kernels import _cache
def refused(path, *rest, **options):
    raise PermissionError(13, "Permission denied", str(path))
_cache._replace = Path.unlink = refused
os.access = lambda path, mode: False
"""


def small_package(folder: Path) -> Path:
    """Return a copy of the decorators beside small kernels in two files."""
    package = folder / "npusim" / "kernels"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    for module in (_jit, _cache, _interrupts):
        shutil.copy(module.__file__, package)
    (package / "callee.py").write_text(CALLEE)
    (package / "caller.py").write_text(CALLER)
    return package


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A package and its filled cache."""
    folder = tmp_path_factory.mktemp("compiled")
    package = small_package(folder)
    assert run(package, folder / "cache") == (COMPILED, "")
    return package, folder / "cache"


@pytest.fixture
def package(compiled):
    return compiled[0]


@pytest.fixture
def cache(compiled, tmp_path):
    """A copy of the filled cache."""
    return Path(shutil.copytree(compiled[1], tmp_path / "cache"))


def run(package: Path, cache: Path, code: str = RUN, **environment: str) -> tuple[list[str], str]:
    """Return the words that code prints in a new process, and its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parents[1],
        env=environment_of(package, cache) | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split(), done.stderr


def environment_of(package: Path, cache: Path) -> dict[str, str]:
    own = {"PYTHONPATH": str(package.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **own, "NUMBA_CACHE_DIR": str(cache)}


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_edited_callee_recompiles_its_cached_caller(tmp_path):
    package, cache = small_package(tmp_path), tmp_path / "cache"
    assert run(package, cache) == (COMPILED, "")
    (package / "callee.py").write_text(CALLEE.replace("+ 1", "+ 2"))
    assert run(package, cache)[0] == ["12", "2.5", "8", "0"]
    assert run(package, cache)[0] == ["12", "2.5", "8", "2"]
    assert [path.name.partition("-")[0] for path in kept(cache)] == ["caller.call", "caller.twice"]


def test_without_any_place_for_a_cache_kernels_still_run(tmp_path):
    package = small_package(tmp_path)
    no_folder = tmp_path / "file"
    no_folder.write_text("a file where a cache folder would be made")
    (package / "__pycache__").write_text("likewise")
    nowhere = {"XDG_CACHE_HOME": str(no_folder), "HOME": str(no_folder)}
    words, said = run(package, no_folder, **nowhere)
    assert words == COMPILED
    assert said.count("set NUMBA_CACHE_DIR to a writable folder") == 1
    assert len(said.splitlines()) == 1


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def nothing(content: bytes) -> bytes:
    return b""


def flipped_in_code(content: bytes) -> bytes:
    at = content.index(b".text") + 500
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


@pytest.mark.parametrize("damages", [(cut, flipped_in_code), (None, nothing)])
def test_damaged_files_are_replaced_and_said_once(package, cache, damages):
    whole = {path: path.read_bytes() for path in kept(cache)}
    for damage, (path, content) in zip(damages, whole.items(), strict=True):
        if damage:
            path.write_bytes(damage(content))
    words, said = run(package, cache)
    assert words == (COMPILED if damages[0] else LOADED)
    line = said.splitlines()[0]
    assert said.splitlines() == [line]
    assert "compiled anew and kept again" in line
    assert "NUMBA_CACHE_DIR" not in line  # that would change nothing
    assert run(package, cache) == (LOADED, "")
    assert kept(cache) == sorted(whole)


def test_every_flipped_byte_and_every_length_is_noticed(cache):
    content = kept(cache)[0].read_bytes()
    stamp = content[len(_cache.MAGIC) + 32 :][:32]
    assert set(_cache._records(content, stamp)) == {"int64(int64)", "float64(float64)"}
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(_cache.Damaged):
            _cache._records(bytes(damaged), stamp)
    for length in range(0, len(content), 97):
        with pytest.raises(_cache.Damaged):
            _cache._records(content[:length], stamp)
    assert _cache._records(content, b"?" * 32) == {}


def test_damaged_code_of_a_real_kernel(tmp_path):
    root, cache = Path(__file__).parents[2], tmp_path / "cache"
    place = root / "kernels" / "any"  # run() starts two folders above it
    assert run(place, cache, REAL) == (["right", "0"], "")
    (path,) = kept(cache)
    path.write_bytes(flipped_in_code(path.read_bytes()))
    words, said = run(place, cache, REAL)
    assert words == ["right", "0"]
    assert "kernel pool.sum_pixels is damaged (wrong checksum)" in said
    assert run(place, cache, REAL) == (["right", "3"], "")


def test_two_processes_fill_one_cold_cache(package, tmp_path):
    cache = tmp_path / "cache"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RUN],
            cwd=package.parents[1],
            env=environment_of(package, cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for child in children:
        out, err = child.communicate(timeout=120)
        assert (out.split()[:3], err) == (COMPILED[:3], "")
    assert run(package, cache) == (LOADED, "")
    assert {path.suffix for path in kept(cache)} == {".kernel"}  # nothing unfinished is left


def test_a_read_only_cache_is_read(package, cache):
    assert run(package, cache, READ_ONLY + RUN) == (LOADED, "")
    for path in kept(cache):
        path.write_bytes(cut(path.read_bytes()))
    words, said = run(package, cache, READ_ONLY + RUN)
    assert words == COMPILED
    damaged, not_kept = said.splitlines()
    assert "not used; delete it, or set NUMBA_CACHE_DIR" in damaged
    assert "Permission denied" in not_kept


def test_kept_code_cannot_be_compiled_into_other_code(package, cache):
    code = (
        RUN
        + """
import numba
inner = call.compile()
@numba.njit
def outer(value):
    return inner(value)
try:
    outer(3)
except RuntimeError as error:
    print("refused" if "unfit for linking" in str(error) else error)
"""
    )
    assert run(package, cache, code)[0] == [*LOADED, "refused"]
