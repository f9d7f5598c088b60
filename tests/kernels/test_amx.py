"""Tile instructions: the emulated ones against numpy, the real ones in the machine code."""

import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from llvmlite import binding, ir

from npusim.kernels import _jit
from npusim.kernels.features import AMX_INT8
from npusim.kernels.tiles import amx
from npusim.kernels.tiles.llvm_vectors import I8, vector_code
from tests.kernels import emulated_tiles

SIGNS = [(False, False), (False, True), (True, False), (True, True)]


def product_code(left_signed, right_signed):
    @vector_code
    def code(v, tiles, sums, left, right, left_stride, out_stride):
        registers = amx.tiles_of(v, tiles)
        memory = [v.builder.bitcast(a.data, I8.as_pointer()) for a in (sums, left, right)]
        registers.load(2, memory[0], out_stride)
        registers.load(7, memory[1], left_stride)
        registers.load(4, memory[2], v.number(amx.ROW_BYTES))
        registers.add_products(2, 7, 4, left_signed=left_signed, right_signed=right_signed)
        registers.store(2, memory[0], out_stride)

    return code


def configured(configuration):
    @vector_code
    def code(v, tiles):
        kind = ir.VectorType(I8, len(configuration))
        amx.tiles_of(v, tiles).configure(ir.Constant(kind, list(configuration)))

    return code


def drawn(rng):
    """Return sums with gaps behind rows, a left tile of overlapping rows, a right one."""
    sums = rng.integers(-(2**31), 2**31, (16, 20)).astype(np.int32)
    left = rng.integers(0, 256, 15 * 24 + 64).astype(np.uint8)
    right = rng.integers(0, 256, (16, 16, 4)).astype(np.uint8)
    return sums, left, right


def wanted(sums, left, right, left_signed, right_signed):
    rows = np.stack([left[24 * row : 24 * row + 64] for row in range(16)])
    x = rows.view(np.int8 if left_signed else np.uint8).reshape(16, 16, 4).astype(np.int64)
    w = right.view(np.int8 if right_signed else np.uint8).astype(np.int64)
    expected = sums.copy()
    expected[:, :16] = (sums[:, :16] + np.einsum("mki,kni->mn", x, w)).astype(np.int32)
    return expected


@pytest.mark.parametrize(("left_signed", "right_signed"), SIGNS)
def test_emulated_tiles_multiply_and_wrap(left_signed, right_signed):
    code = product_code(left_signed, right_signed)

    @_jit.primitive
    def run(tiles, sums, left, right):
        amx.configure(tiles)
        code(tiles, sums, left, right, 24, 80)
        amx.release(tiles)

    sums, left, right = drawn(np.random.default_rng(0))
    expected = wanted(sums, left, right, left_signed, right_signed)
    tiles = np.full(amx.EMULATED_SIZE, -1, np.int64)
    run(tiles, sums, left, right)
    np.testing.assert_array_equal(sums, expected)
    assert not tiles[:8].any()


def test_emulated_tiles_have_the_size_of_their_configuration():
    """Three rows of 24 bytes of sums, 8 bytes of inputs; without a configuration nothing."""
    code = product_code(False, True)
    few = bytearray(amx.CONFIGURATION)
    few[48 + 2], few[16 + 4] = 3, 24
    few[48 + 7], few[16 + 14] = 3, 8
    small = configured(few)

    @_jit.primitive
    def run(tiles, sums, left, right):
        small(tiles)
        code(tiles, sums, left, right, 24, 80)

    @_jit.primitive
    def run_released(tiles, sums, left, right):
        amx.configure(tiles)
        amx.release(tiles)
        code(tiles, sums, left, right, 24, 80)

    sums, left, right = drawn(np.random.default_rng(1))
    expected = sums.copy()
    x = np.stack([left[24 * row : 24 * row + 8] for row in range(3)]).reshape(3, 2, 4)
    w = right[:2, :6].view(np.int8)
    products = np.einsum("mki,kni->mn", x.astype(np.int64), w.astype(np.int64))
    expected[:3, :6] = (sums[:3, :6] + products).astype(np.int32)
    tiles = np.zeros(amx.EMULATED_SIZE, np.int64)
    run(tiles, sums, left, right)
    np.testing.assert_array_equal(sums, expected)
    run_released(tiles, sums, left, right)
    np.testing.assert_array_equal(sums, expected)


def test_configuration_is_what_the_processor_expects():
    """Palette 1, start row 0, eight tiles of 16 rows x 64 bytes, everything else 0."""
    configuration = np.frombuffer(amx.CONFIGURATION, np.uint8)
    assert configuration.size == 64
    assert configuration[:2].tolist() == [1, 0]
    assert configuration[16:32].view(np.uint16).tolist() == [64] * 8
    assert configuration[48:56].tolist() == [16] * 8
    assert not np.delete(configuration, [0, *range(16, 32), *range(48, 56)]).any()


MACHINE_CODE = """
import sys
from numba import njit
from npusim.kernels import _jit
from tests.kernels.emulated_tiles import NAMES
kernel, _ = NAMES[sys.argv[1]]
dispatcher = njit(list(kernel.signatures), **_jit._OPTIONS)(kernel.py_func)
(text,) = dispatcher.inspect_asm().values()
print(text)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", emulated_tiles.NAMES)
@pytest.mark.skipif(not emulated_tiles.POSSIBLE, reason="x86 with AVX512 only")
def test_machine_code_has_the_tile_instructions_and_no_others(name):
    host = binding.get_host_cpu_features()
    for feature in AMX_INT8:
        host[feature] = True
    target = {"NUMBA_CPU_NAME": "sapphirerapids", "NUMBA_CPU_FEATURES": host.flatten()}
    done = subprocess.run(
        [sys.executable, "-c", MACHINE_CODE, name],
        env=os.environ | target,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^\t([a-z0-9]+)\t?(.*)$", done.stdout, re.MULTILINE)
    count = Counter(instruction for instruction, _ in lines)
    assert count["ldtilecfg"] == 1
    assert count["tilerelease"] >= 1
    assert count["tilestored"]
    assert count["tdpbusd"]
    assert count["tdpbssd"]
    words = name.startswith("i16")
    assert bool(count["tdpbuud"]) == bool(count["tdpbsud"]) == words
    known = {"tileloadd", "tilestored", "tdpbusd", "tdpbssd", "tdpbuud", "tdpbsud", "tilezero"}
    assert {name for name, operands in lines if "%tmm" in operands} <= known
    on_tiles = [name for name, _ in lines if name in {*known, "ldtilecfg", "tilerelease"}]
    assert on_tiles[0] == "ldtilecfg"
    assert not [name for name in count if name.startswith(("fld", "fst", "emms"))]  # no x87
