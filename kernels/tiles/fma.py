"""Register tiles of multiply-adds, written as LLVM vectors so that speed and order are fixed.

A compiler may not reorder floating-point sums, and does not find register tiles by itself. Here
each of ROWS x columns sums is one chain over k, ascending; LLVM splits the vectors as the machine
needs. ``llvm.fmuladd`` may or may not fuse: every product that npusim forms with it is exact, so
the bits are the same.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import target_features
from npusim.kernels.tiles.llvm_vectors import F64, vector_code

PANEL = 64  # columns of a packed panel of weights
ROWS = 6

_FEATURES = target_features()
VECTOR_BYTES = 64 if "avx512f" in _FEATURES else 32 if "avx" in _FEATURES else 16
LANES_F32 = VECTOR_BYTES // 4
LANES_F64 = VECTOR_BYTES // 8
# ROWS x VECTORS sums, one row of weights and a factor fit 32 registers, or 16 when VECTORS is 2
VECTORS = 4 if VECTOR_BYTES == 64 or "neon" in _FEATURES else 2


def _make_tile(vectors, own_channels):
    """Return an intrinsic for tiles of ROWS x ``vectors`` vectors.

    ``own_channels``: every column reads its own input channel (depthwise); else all columns share
    one.
    """

    @vector_code
    def tile(
        v, ifm, starts, pixel, shift, offsets, first, last, weights, column, sums, sums_at
    ):  # fmt: skip
        builder, scalar = v.builder, ifm.kind
        lanes = LANES_F64 if scalar == F64 else LANES_F32
        vector = ir.VectorType(scalar, lanes)
        name = f"llvm.fmuladd.v{lanes}{'f64' if scalar == F64 else 'f32'}"
        multiply_add = v.function(name, vector, [vector] * 3)
        starts = v.at(starts.data, pixel)
        offsets = v.at(offsets.data, first)
        panel = v.at(weights.data, column)
        sums = v.at(sums.data, builder.add(sums_at, column))
        base = v.at(ifm.data, builder.add(shift, column) if own_channels else shift)
        rows, chains = [], []
        for row in range(ROWS):
            rows.append(v.at(base, builder.load(v.at(starts, v.number(row)))))
            chains.append([cgutils.alloca_once(builder, vector) for _ in range(vectors)])
            for j, chain in enumerate(chains[row]):
                begin = v.at(sums, v.number(row * PANEL + j * lanes))
                builder.store(v.load(begin, scalar, lanes), chain)
        with cgutils.for_range(builder, builder.sub(last, first)) as loop:
            line = v.at(panel, builder.mul(loop.index, v.number(PANEL)))
            columns = [
                v.load(v.at(line, v.number(j * lanes)), scalar, lanes) for j in range(vectors)
            ]
            offset = builder.load(v.at(offsets, loop.index))
            for row in range(ROWS):
                place = v.at(rows[row], offset)
                shared = None if own_channels else v.splat(builder.load(place), lanes)
                for j, chain in enumerate(chains[row]):
                    factor = shared or v.load(v.at(place, v.number(j * lanes)), scalar, lanes)
                    total = builder.call(multiply_add, [factor, columns[j], builder.load(chain)])
                    builder.store(total, chain)
        for row in range(ROWS):
            for j, chain in enumerate(chains[row]):
                place = v.at(sums, v.number(row * PANEL + j * lanes))
                v.store(builder.load(chain), place)

    return tile


# for r in ROWS rows and the tile's columns j from ``column`` on:
#   sums[sums_at + r * PANEL + j] += sum over first <= k < last of
#       ifm[starts[pixel + r] + shift + offsets[k]] * weights[(k - first) * PANEL + j]
# and for depthwise tiles ifm[.. + j]. All arrays are flat; starts and offsets are int64.
wide_tile = _make_tile(VECTORS, own_channels=False)
narrow_tile = _make_tile(1, own_channels=False)
wide_tile_depthwise = _make_tile(VECTORS, own_channels=True)
narrow_tile_depthwise = _make_tile(1, own_channels=True)
