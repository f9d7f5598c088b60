"""Register tiles of float32 convolutions, written in LLVM so that their order is fixed.

A compiler's own vectorisation of a matrix product is either slow (no reassociation allowed) or free
to change the order of the sums. Here every output is one chain over k, ascending, whatever the
machine's vector length: LLVM splits the vectors to what the machine has, and a machine without
fused multiply-add computes the same bits, slowly.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import target_has
from npusim.kernels.tiles.llvm_vectors import F32, vector_code

LANES = 16
ROWS = 8 if target_has(("avx512f",)) else 6  # as many sums as fit into the registers
PIXELS = 4  # of a depthwise tile
_VECTOR = ir.VectorType(F32, LANES)


@vector_code
def product_tile(
    v,
    ifm,
    starts,
    first,
    runs,
    run_length,
    weights,
    weights_start,
    bias,
    bias_start,
    low,
    high,
    ofm,
    at,
    step,
):
    """Set ``ofm[at + step * i + j]`` for ROWS rows i and LANES columns j to clamped sums.

    Each is ``bias[bias_start + j]`` and then, k ascending, fused multiply-adds of
    ``ifm[starts[first + i] + k]`` and ``weights[weights_start + LANES * n + j]``: k runs over
    ``run_length`` elements from each of ``runs`` on, n counts them. NaN passes the clamp. Arrays
    are flat float32, ``starts`` and ``runs`` int64.
    """
    builder = v.builder
    fma = v.function(f"llvm.fma.v{LANES}f32", _VECTOR, [_VECTOR] * 3)
    rows, chains = [], []
    begin = v.load(v.at(bias.data, bias_start), F32, LANES)
    for row in range(ROWS):
        start = builder.load(v.at(starts.data, builder.add(first, v.number(row))))
        rows.append(v.at(ifm.data, start))
        chains.append(cgutils.alloca_once(builder, _VECTOR))
        builder.store(begin, chains[row])
    panel = v.at(weights.data, weights_start)
    run_size = builder.mul(run_length, v.number(LANES))
    with cgutils.for_range(builder, runs.size) as outer:
        run = builder.load(v.at(runs.data, outer.index))
        lines = v.at(panel, builder.mul(outer.index, run_size))
        values = [v.at(row, run) for row in rows]
        with cgutils.for_range(builder, run_length) as loop:
            line = v.at(lines, builder.mul(loop.index, v.number(LANES)))
            column = v.load(line, F32, LANES)
            for value, chain in zip(values, chains, strict=True):
                factor = v.splat(builder.load(v.at(value, loop.index)), LANES)
                builder.store(builder.call(fma, [factor, column, builder.load(chain)]), chain)
    for row, chain in enumerate(chains):
        place = builder.add(at, builder.mul(step, v.number(row)))
        _store_clamped(v, builder.load(chain), low, high, v.at(ofm.data, place))


def _depthwise_tile(pixels):
    """Return the tile of so many pixels and LANES channels."""

    @vector_code
    def tile(v, ifm, starts, first, taps, channel, weights, bias, low, high, ofm, at):
        """Set ``ofm[at + channels * i + j]`` to clamped sums of rounded products, tap by tap.

        ``weights`` is (taps, channels); the LANES channels from ``channel`` on are computed.
        """
        builder = v.builder
        channels = bias.size
        begin = v.load(v.at(bias.data, channel), F32, LANES)
        sources, sums = [], []
        for pixel in range(pixels):
            start = builder.load(v.at(starts.data, builder.add(first, v.number(pixel))))
            sources.append(v.at(ifm.data, builder.add(start, channel)))
            sums.append(cgutils.alloca_once(builder, _VECTOR))
            builder.store(begin, sums[pixel])
        lines = v.at(weights.data, channel)
        with cgutils.for_range(builder, taps.size) as loop:
            tap = builder.load(v.at(taps.data, loop.index))
            line = v.at(lines, builder.mul(loop.index, channels))
            factors = v.load(line, F32, LANES)
            for source, total in zip(sources, sums, strict=True):
                product = builder.fmul(v.load(v.at(source, tap), F32, LANES), factors)
                builder.store(builder.fadd(builder.load(total), product), total)
        for pixel, total in enumerate(sums):
            place = builder.add(builder.add(at, channel), builder.mul(channels, v.number(pixel)))
            _store_clamped(v, builder.load(total), low, high, v.at(ofm.data, place))

    return tile


depthwise_pixels, depthwise_pixel = _depthwise_tile(PIXELS), _depthwise_tile(1)


def _store_clamped(v, value, low, high, place):
    """Store a vector limited to [low, high]; NaN stays."""
    builder = v.builder
    low, high = v.splat(low, LANES), v.splat(high, LANES)
    value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
    value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
    v.store(value, place)
