"""One register tile of a float32 product, written in LLVM so that its order is fixed.

A compiler's own vectorisation of a matrix product is either slow (no reassociation allowed) or free
to change the order of the sums. Here each of ROWS x LANES sums is one chain of fused
multiply-adds over k, ascending, whatever the machine's vector length: LLVM splits the vectors to
what the machine has, and a machine without fused multiply-add computes the same bits, slowly.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

ROWS = 8
LANES = 16

_INT = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_FMA = f"llvm.fma.v{LANES}f32"


def _splat(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, lanes)


@intrinsic
def multiply_add_tile(typing_context, ifm, starts, offset, weights, weights_start, length, sums):
    """Add ``sum_k ifm[starts[i] + offset + k] * weights[weights_start + LANES * k + j]``.

    ``sums`` is float32 [ROWS * LANES], entry i * LANES + j; ``ifm`` and ``weights`` are flat
    float32, ``starts`` is int64 [ROWS]. The sums of one call continue those of the call before.
    """

    def generate(context, builder, signature, arguments):
        def pointer(position):
            array_type = signature.args[position]
            return context.make_array(array_type)(context, builder, arguments[position]).data

        def constant(number):
            return ir.Constant(_INT, number)

        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), _FMA
        )
        flat, starts_data = pointer(0), pointer(1)
        panel = builder.gep(pointer(3), [arguments[4]])
        sums_data = pointer(6)
        rows, places, chains = [], [], []
        for row in range(ROWS):
            start = builder.load(builder.gep(starts_data, [constant(row)]))
            rows.append(builder.gep(flat, [builder.add(start, arguments[2])]))
            place = builder.gep(sums_data, [constant(row * LANES)])
            places.append(builder.bitcast(place, _VECTOR.as_pointer()))
            chains.append(cgutils.alloca_once(builder, _VECTOR))
            builder.store(builder.load(places[row], align=4), chains[row])
        with cgutils.for_range(builder, arguments[5]) as loop:
            line = builder.gep(panel, [builder.mul(loop.index, constant(LANES))])
            column = builder.load(builder.bitcast(line, _VECTOR.as_pointer()), align=4)
            for row in range(ROWS):
                factor = _splat(builder, builder.load(builder.gep(rows[row], [loop.index])))
                total = builder.call(fma, [factor, column, builder.load(chains[row])])
                builder.store(total, chains[row])
        for row in range(ROWS):
            builder.store(builder.load(chains[row]), places[row], align=4)
        return context.get_dummy_value()

    arguments = (ifm, starts, offset, weights, weights_start, length, sums)
    return types.void(*arguments), generate
