"""Tables of 256 bytes in registers (AVX512-VBMI): the contract of ``lut.map_codes`` for 8 bits.

The table lies in four registers; ``vpermi2b`` looks up 64 codes in two of them at once, and the
highest bit of a code chooses between the two halves.
"""

from llvmlite import ir

from npusim.kernels._jit import kernel, target_has
from npusim.kernels.features import AVX512_VBMI
from npusim.kernels.tiles.avx512_emulated import choose_bytes
from npusim.kernels.tiles.llvm_vectors import I8, vector_code

_BYTES = 64
_VECTOR = ir.VectorType(I8, _BYTES)


def _choose(v, first, places, second):
    """Return the bytes at places of 128 in two vectors."""
    if not target_has(AVX512_VBMI):
        return choose_bytes(v, first, places, second)
    two = v.function("llvm.x86.avx512.vpermi2var.qi.512", _VECTOR, [_VECTOR] * 3)
    return v.builder.call(two, [first, places, second])


@vector_code
def look_up(v, ifm, table, ofm, first, last):
    """Set ``ofm[i] = table[ifm[i]]`` for first <= i < last."""
    builder = v.builder
    source, target = v.at(ifm.data, first), v.at(ofm.data, first)
    count = builder.sub(last, first)
    parts = [v.load(v.at(table.data, v.number(_BYTES * i)), I8, _BYTES) for i in range(4)]
    zeros = ir.Constant(_VECTOR, [0] * _BYTES)

    def found(codes):
        low, high = (_choose(v, parts[i], codes, parts[i + 1]) for i in (0, 2))
        return builder.select(builder.icmp_signed("<", codes, zeros), high, low)

    v.map_blocks(found, (source,), target, count, I8, _BYTES)


@kernel(
    "void(Array(u1, 1, 'C', readonly=True), Array(u1, 1, 'C', readonly=True), u1[::1], i8, i8)",
    features=AVX512_VBMI,
)
def map_bytes(ifm, table, ofm, first, last):
    """Set ``ofm[i] = table[ifm[i]]`` for first <= i < last. All arrays are flat."""
    if last > first:
        look_up(ifm, table, ofm, first, last)
