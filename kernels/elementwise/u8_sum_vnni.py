"""u8 sums of the NN engine with AVX512-VNNI: the contract of ``eltwise_u8.weighted_sum``.

Codes of both operands side by side, ``a b a b``, are the four bytes of a lane; each weight is a sum
of two signed bytes. Unpacking and packing leave the codes in order.
"""

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from npusim.kernels._jit import kernel
from npusim.kernels.tiles.fours_avx512 import BLOCK, unpack
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, Vectors
from npusim.kernels.tiles.store_avx512 import LANES, V64I8, Store, dot
from npusim.kernels.windows.int8_conv_vnni import FEATURES

LOWEST, HIGHEST = -256, 254  # weights that two signed bytes can add up to


def packed_weights(a_weight: int, b_weight: int) -> int:
    """Return the four signed bytes of a lane as one int32."""
    firsts = [min(max(weight, -128), 127) for weight in (a_weight, b_weight)]
    rests = [weight - part for weight, part in zip((a_weight, b_weight), firsts, strict=True)]
    return int(np.array([*firsts, *rests], np.int8).view(np.int32)[0])


@intrinsic
def _sum_row(
    typing_context, a, a_at, b, b_at, ofm, ofm_at, count, weights, bias, scale, zero_out, low
):
    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder, signature, arguments)
        _, a_at, _, b_at, _, ofm_at, count, weights, bias, scale, zero_out, low = arguments
        a, b, ofm = v.at(v.data(0), a_at), v.at(v.data(2), b_at), v.at(v.data(4), ofm_at)
        factors = builder.bitcast(v.splat(builder.trunc(weights, I32), LANES), V64I8)
        start = v.splat(builder.trunc(bias, I32), LANES)
        store = Store(v, zero_out, low, v.number(0), in_order=False)
        scales = [v.splat(builder.fptrunc(scale, F32), LANES)] * 4

        def codes(left, right):
            pairs = unpack(v, left, right, 1)
            fours = [
                builder.bitcast(four, V64I8) for two in pairs for four in unpack(v, two, two, 2)
            ]
            return store.codes([dot(v, start, four, factors) for four in fours], scales)

        blocks = builder.sdiv(count, v.number(BLOCK))
        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, v.number(BLOCK))
            pair = [v.load(v.at(place, at), I8, BLOCK) for place in (a, b)]
            v.store(codes(*pair), v.at(ofm, at))
        done = builder.mul(blocks, v.number(BLOCK))
        with builder.if_then(builder.icmp_signed("<", done, count)):
            left = builder.sub(count, done)
            pair = [v.load_first(v.at(place, done), I8, BLOCK, left) for place in (a, b)]
            v.store_first(codes(*pair), v.at(ofm, done), left)
        return context.get_dummy_value()

    arguments = (a, a_at, b, b_at, ofm, ofm_at, count, weights, bias, scale, zero_out, low)
    return types.void(*arguments), generate


_READ = "Array(u1, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True)"


@kernel(f"void({_READ}, {_READ}, u1[::1], i8, i8, i8, f8, i8, i8, i8, i8)", features=FEATURES)
def weighted_sum(
    a, a_rows, b, b_rows, ofm, row_length, weights, bias, scale, zero_out, low, first, last
):
    """Set ofm to ``clip(rne((a * a_weight + b * b_weight + bias) * scale) + zero_out, low, 255)``.

    weights as ``packed_weights`` makes them; sum and scale must fit, see ``x86_store.fits``.
    """
    for row in range(first, last):
        _sum_row(
            a, a_rows[row], b, b_rows[row], ofm, row * row_length, row_length, weights, bias,
            scale, zero_out, low,
        )  # fmt: skip
