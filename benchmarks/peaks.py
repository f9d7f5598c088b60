"""What this machine can do at most: measured in the same run as what is compared with it."""

import time
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types  # noqa: TID251 (loops that are not npusim kernels)
from numba.core import cgutils
from numba.extending import intrinsic

from npusim.kernels._jit import target_has
from npusim.kernels.features import AVX2, AVX512_VNNI
from npusim.kernels.tiles.fma import LANES_F32
from npusim.kernels.tiles.llvm_vectors import F32, I16, I32, Vectors
from npusim.kernels.tiles.pairs import add_pairs
from npusim.kernels.tiles.store_avx512 import V64I8, dot

CHAINS = 12  # independent sums: enough to hide the latency of an instruction


def seconds(call: Callable[[], object], repetitions: int = 15) -> float:
    """Return the shortest time of a call."""
    call()
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def _chains(element: ir.Type, lanes: int, step: Callable[..., ir.Value]) -> Callable[..., object]:
    def loop(typing_context, seed, count):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            v = Vectors(context, builder)
            start = v.splat(arguments[0], lanes)
            cells = [cgutils.alloca_once_value(builder, start) for _ in range(CHAINS)]
            with cgutils.for_range(builder, arguments[1]):
                for cell in cells:
                    builder.store(step(v, builder.load(cell), start), cell)
            total = builder.load(cells[0])
            for cell in cells[1:]:
                add = builder.fadd if element == F32 else builder.add
                total = add(total, builder.load(cell))
            return builder.extract_element(total, v.number(0))

        number = types.float32 if element == F32 else types.int32
        return number(seed, count), generate

    return intrinsic(loop)


def _dot_bytes(v, acc, other):  # type: ignore[no-untyped-def]
    other = v.builder.bitcast(other, V64I8)
    return dot(v, acc, other, other)


def _multiply_add(v, acc, other):  # type: ignore[no-untyped-def]
    kind, name = acc.type, f"llvm.fma.v{LANES_F32}f32"
    return v.builder.call(v.function(name, kind, [kind] * 3), [acc, other, other])


def _dot_pairs(v, acc, other):  # type: ignore[no-untyped-def]
    pairs = ir.VectorType(I16, 16)
    return add_pairs(v, 8, acc, v.builder.bitcast(acc, pairs), v.builder.bitcast(other, pairs))


_vnni_loop = _chains(I32, 16, _dot_bytes)
_pairs_loop = _chains(I32, 8, _dot_pairs)
_fma_loop = _chains(F32, LANES_F32, _multiply_add)


def vnni_peak() -> float:
    """Return 8-bit multiply-adds per second of a loop of vpdpbusd; 0 where it does not exist."""
    if not target_has(AVX512_VNNI):
        return 0.0
    count = 200_000
    run = njit("i4(i4, i8)")(lambda seed, n: _vnni_loop(seed, n))
    return 64 * CHAINS * count / seconds(lambda: run(3, count))


def pairs_peak() -> float:
    """Return multiply-adds per second of a loop of vpmaddwd and vpaddd; 0 where it does not exist.

    What 8-bit convolutions of the path avx2 are made of.
    """
    if not target_has(AVX2):
        return 0.0
    count = 200_000
    run = njit("i4(i4, i8)")(lambda seed, n: _pairs_loop(seed, n))
    return 16 * CHAINS * count / seconds(lambda: run(3, count))


def fma_peak() -> float:
    """Return float32 multiply-adds per second of a loop of fused multiply-adds."""
    count = 200_000
    run = njit("f4(f4, i8)")(lambda seed, n: _fma_loop(seed, n))
    return LANES_F32 * CHAINS * count / seconds(lambda: run(np.float32(0.5), count))


def copy_rate(size: int) -> float:
    """Return bytes per second, read and written, of a copy of so many bytes."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return 2 * size / seconds(lambda: np.copyto(target, source), 50)
