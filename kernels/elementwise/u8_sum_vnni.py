"""u8 sums of the NN engine with AVX512-VNNI: the contract of ``u8_binary.weighted_sum``.

Codes of both operands side by side, ``a b a b``, are the four bytes of a lane; each weight is a sum
of two signed bytes. Unpacking and packing leave the codes in order.
"""

import numpy as np

from npusim.kernels._jit import kernel
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.tiles.fours_avx512 import BLOCK, unpack
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, vector_code
from npusim.kernels.tiles.store_avx512 import LANES, V64I8, Store, dot

LOWEST, HIGHEST = -256, 254  # weights that two signed bytes can add up to


def packed_weights(a_weight: int, b_weight: int) -> int:
    """Return the four signed bytes of a lane as one int32."""
    firsts = [min(max(weight, -128), 127) for weight in (a_weight, b_weight)]
    rests = [weight - part for weight, part in zip((a_weight, b_weight), firsts, strict=True)]
    return int(np.array([*firsts, *rests], np.int8).view(np.int32)[0])


@vector_code
def _sum_row(v, a, a_at, b, b_at, ofm, ofm_at, count, weights, bias, scale, zero_out, low):
    builder = v.builder
    a, b, ofm = v.at(a.data, a_at), v.at(b.data, b_at), v.at(ofm.data, ofm_at)
    factors = builder.bitcast(v.splat(builder.trunc(weights, I32), LANES), V64I8)
    start = v.splat(builder.trunc(bias, I32), LANES)
    store = Store(v, zero_out, low, v.number(0), in_order=False)
    scales = [v.splat(builder.fptrunc(scale, F32), LANES)] * 4

    def codes(left, right):
        pairs = unpack(v, left, right, 1)
        fours = [builder.bitcast(four, V64I8) for two in pairs for four in unpack(v, two, two, 2)]
        return store.codes([dot(v, start, four, factors) for four in fours], scales)

    v.map_blocks(codes, (a, b), ofm, count, I8, BLOCK)


_READ = "Array(u1, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True)"


@kernel(f"void({_READ}, {_READ}, u1[::1], i8, i8, i8, f8, i8, i8, i8, i8)", features=AVX512_VNNI)
def weighted_sum(
    a, a_rows, b, b_rows, ofm, row_length, weights, bias, scale, zero_out, low, first, last
):
    """Set ofm to ``clip(rne((a * a_weight + b * b_weight + bias) * scale) + zero_out, low, 255)``.

    weights as ``packed_weights`` makes them; sum and scale must fit, see ``store_avx512.fits``.
    """
    for row in range(first, last):
        _sum_row(
            a, a_rows[row], b, b_rows[row], ofm, row * row_length, row_length, weights, bias,
            scale, zero_out, low,
        )  # fmt: skip
