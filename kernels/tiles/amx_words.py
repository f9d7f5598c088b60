"""Blocks of tiles for products of 16-bit numbers, and their store; see ``windows.i16_conv_amx``."""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.rounding import ROUND_F64
from npusim.kernels.tiles.amx import LANES, ROW_BYTES, ROWS, TILE_BYTES, tiles_of
from npusim.kernels.tiles.llvm_vectors import F64, I8, I16, I32, I64, vector_code

PARTS = 4  # sums of products: upper x upper, upper x lower, lower x upper, lower x lower
_PART = ROWS * LANES  # numbers


@vector_code
def multiply_words(
    v, tiles, source, lower, distance, offsets, weights, weights_at, low_starts, high_starts, lane,
    sums, at,
):  # fmt: skip
    """Set the parts (PARTS, ROWS, LANES) of ``sums`` at ``at`` for a tile of pixels and channels.

    Step s takes 64 upper bytes at ``source + offsets[s]`` and multiples of ``distance`` behind it,
    and lower ones ``lower`` bytes behind those.
    """
    builder, registers = v.builder, tiles_of(v, tiles)
    as_bytes = I8.as_pointer()
    source = builder.inttoptr(source, as_bytes)
    weights = v.at(weights.data, weights_at)
    sums = builder.bitcast(v.at(sums.data, at), as_bytes)
    row = v.number(4 * LANES)
    for part, starts in ((0, high_starts), (PARTS - 1, low_starts)):  # the same for every pixel
        first = builder.bitcast(v.at(starts.data, lane), as_bytes)
        registers.load(part, first, v.number(0))
    registers.zero(1)
    registers.zero(2)
    x_upper, x_lower, w_upper, w_lower = range(PARTS, PARTS + 4)
    with cgutils.for_range(builder, offsets.size) as loop:
        place = v.at(source, builder.load(v.at(offsets.data, loop.index)))
        line = v.at(weights, builder.mul(loop.index, v.number(2 * TILE_BYTES)))
        registers.load(x_upper, place, distance)
        registers.load(w_upper, line, v.number(ROW_BYTES))
        registers.load(x_lower, v.at(place, lower), distance)
        registers.load(w_lower, v.at(line, v.number(TILE_BYTES)), v.number(ROW_BYTES))
        for part, (x, w) in enumerate(
            ((x_upper, w_upper), (x_upper, w_lower), (x_lower, w_upper), (x_lower, w_lower))
        ):
            registers.add_products(part, x, w, left_signed=x == x_upper, right_signed=w == w_upper)
    for part in range(PARTS):
        registers.store(part, v.at(sums, v.number(4 * part * _PART)), row)


@vector_code
def store_words(v, sums, at, scale, lane, low, high, codes, codes_at, count):
    """Store the first ``count`` of LANES codes ``clip(rne(total * scale), low, high)``.

    ``total`` is made of a pixel's parts, the first one at ``at``. One fused multiply-add rounds
    the exact product to the last bit of ``ROUND_F64``.
    """
    builder = v.builder
    integers, reals = ir.VectorType(I32, LANES), ir.VectorType(F64, LANES)
    fma = v.function(f"llvm.fma.v{LANES}f64", reals, [reals] * 3)
    low, high = (builder.fadd(limit, ir.Constant(F64, ROUND_F64)) for limit in (low, high))
    low, high = v.splat(low, LANES), v.splat(high, LANES)
    first = v.at(sums.data, at)
    parts = [v.load(v.at(first, v.number(part * _PART)), I32, LANES) for part in range(PARTS)]
    upper, mixed, lower = (
        builder.sitofp(part, reals)
        for part in (parts[0], builder.add(parts[1], parts[2]), parts[3])
    )
    total = builder.call(fma, [mixed, v.constant(256.0, F64, LANES), lower])
    total = builder.call(fma, [upper, v.constant(65536.0, F64, LANES), total])
    factor = v.load(v.at(scale.data, lane), F64, LANES)
    steps = builder.call(fma, [total, factor, v.constant(ROUND_F64, F64, LANES)])
    bits = builder.bitcast(v.clamp(steps, low, high), ir.VectorType(I64, LANES))
    words = builder.trunc(builder.trunc(bits, integers), ir.VectorType(I16, LANES))
    v.store_up_to(words, v.at(codes.data, codes_at), count)
