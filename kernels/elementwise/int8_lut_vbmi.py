"""Tables of 256 bytes in registers (AVX512-VBMI): the contract of ``lut.map_codes`` for 8 bits.

The table lies in four registers; ``vpermi2b`` looks up 64 codes in two of them at once, and the
highest bit of a code chooses between the two halves.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from npusim.kernels._jit import kernel
from npusim.kernels.tiles.llvm_vectors import I8, Vectors

FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512vbmi")
_BYTES = 64
_VECTOR = ir.VectorType(I8, _BYTES)


@intrinsic
def look_up(typing_context, ifm, table, ofm, first, last):
    """Set ``ofm[i] = table[ifm[i]]`` for first <= i < last."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder, signature, arguments)
        _, _, _, first, last = arguments
        source, target = v.at(v.data(0), first), v.at(v.data(2), first)
        count = builder.sub(last, first)
        parts = [v.load(v.at(v.data(1), v.number(_BYTES * i)), I8, _BYTES) for i in range(4)]
        two = v.function("llvm.x86.avx512.vpermi2var.qi.512", _VECTOR, [_VECTOR] * 3)
        zeros = ir.Constant(_VECTOR, [0] * _BYTES)

        def found(codes):
            low = builder.call(two, [parts[0], codes, parts[1]])
            high = builder.call(two, [parts[2], codes, parts[3]])
            return builder.select(builder.icmp_signed("<", codes, zeros), high, low)

        blocks = builder.sdiv(count, v.number(_BYTES))
        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, v.number(_BYTES))
            v.store(found(v.load(v.at(source, at), I8, _BYTES)), v.at(target, at))
        done = builder.mul(blocks, v.number(_BYTES))
        with builder.if_then(builder.icmp_signed("<", done, count)):
            left = builder.sub(count, done)
            v.store_first(found(v.load_first(v.at(source, done), I8, _BYTES, left)),
                          v.at(target, done), left)  # fmt: skip
        return context.get_dummy_value()

    return types.void(ifm, table, ofm, first, last), generate


@kernel(
    "void(Array(u1, 1, 'C', readonly=True), Array(u1, 1, 'C', readonly=True), u1[::1], i8, i8)",
    features=FEATURES,
)
def map_bytes(ifm, table, ofm, first, last):
    """Set ``ofm[i] = table[ifm[i]]`` for first <= i < last. All arrays are flat."""
    if last > first:
        look_up(ifm, table, ofm, first, last)
