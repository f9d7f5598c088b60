"""Waiting for another thread without falling asleep and without the interpreter lock."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from npusim.kernels._jit import kernel, target_has


@intrinsic
def look(typing_context, board, place):
    """Return ``board[place]`` as it is in memory now, after a short pause of the core."""

    def generate(context, builder, signature, arguments):
        if target_has(("sse2",)):
            nothing = ir.FunctionType(ir.VoidType(), [])
            pause = cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause")
            builder.call(pause, [])
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = cgutils.gep_inbounds(builder, array.data, arguments[1])
        return builder.load_atomic(address, "acquire", 8)

    return types.int64(board, place), generate


@kernel("void(int64[::1], int64, int64, int64, int64)")
def until_changed(board, place, seen, looks, more):
    """Return when ``board[place]`` is no longer ``seen``, or after so many looks at it.

    Parameters
    ----------
    board : int64 (n,)
        Memory that another thread writes.
    place, seen : int
        What to look at.
    looks : int
        How many times at most; on x86 one takes about 20 ns.
    more : int
        Looks after the change, to give the other thread time.
    """
    for _ in range(looks):
        if look(board, place) != seen:
            for _ in range(more):
                look(board, place)
            return
