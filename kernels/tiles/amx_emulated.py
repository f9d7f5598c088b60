"""The tile instructions in plain code: what ``tiles.amx`` is where a test asks for it.

The state is 64 bytes of configuration, then the registers row after row, as the processor keeps
them: rows and bytes a row are those of the configuration, what lies beyond reads as zero, and
without a configuration there are no rows.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.tiles.llvm_vectors import I8, I16, I32, I64, Vectors

_REGISTERS = 64  # where they begin
_COUNT, _ROWS, _ROW_BYTES = 8, 16, 64
_WIDTHS_AT, _HEIGHTS_AT = 16, 48  # in the configuration
_BYTES = I8.as_pointer()


class EmulatedTiles:
    """Tiles in memory; see ``tiles.amx.RegisterTiles`` for the methods."""

    def __init__(self, v, state):
        self._v = v
        self._memory = v.builder.bitcast(state.data, _BYTES)

    def configure(self, configuration):
        """See ``RegisterTiles``."""
        self._v.store(configuration, self._memory)
        registers = self._v.at(self._memory, self._v.number(_REGISTERS))
        size = self._v.number(_COUNT * _ROWS * _ROW_BYTES)
        cgutils.memset(self._v.builder, registers, size, 0)

    def release(self):
        """See ``RegisterTiles``."""
        cgutils.memset(self._v.builder, self._memory, self._v.number(_REGISTERS), 0)

    def zero(self, tile):
        """See ``RegisterTiles``."""
        self._call(_zero, "zero", self._v.number(tile))

    def load(self, tile, address, stride):
        """See ``RegisterTiles``."""
        self._call(_load, "load", self._v.number(tile), address, stride)

    def store(self, tile, address, stride):
        """See ``RegisterTiles``."""
        self._call(_store, "store", self._v.number(tile), address, stride)

    def add_products(self, sums, left, right, *, left_signed, right_signed=True):
        """See ``RegisterTiles``."""
        numbers = (self._v.number(tile) for tile in (sums, left, right))
        name = f"products.{left_signed:d}{right_signed:d}"
        self._call(_adding(left_signed, right_signed), name, *numbers)

    def _call(self, write, name, *arguments):
        """Call a function of the module, which ``write`` writes when it is called first."""
        module, name = self._v.builder.module, f"npusim.emulated.tile.{name}"
        function = module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [_BYTES, *(a.type for a in arguments)])
            function = ir.Function(module, kind, name)
            function.linkage = "internal"
            function.attributes.add("noinline")
            builder = ir.IRBuilder(function.append_basic_block())
            write(_Memory(Vectors(self._v.context, builder), function.args[0]), *function.args[1:])
            builder.ret_void()
        self._v.builder.call(function, [self._memory, *arguments])


class _Memory:
    """Where tiles and their sizes lie; numbers of tiles are LLVM values."""

    def __init__(self, v, memory):
        self.v, self._memory = v, memory

    def _at(self, base, number, size):
        offset = self.v.builder.mul(number, self.v.number(size))
        return self.v.at(self._memory, self.v.builder.add(offset, self.v.number(base)))

    def rows(self, tile):
        """How many rows a tile has."""
        return self.v.builder.zext(self.v.builder.load(self._at(_HEIGHTS_AT, tile, 1)), I64)

    def row_bytes(self, tile):
        """How many bytes each row has."""
        place = self.v.builder.bitcast(self._at(_WIDTHS_AT, tile, 2), I16.as_pointer())
        return self.v.builder.zext(self.v.builder.load(place), I64)

    def row(self, tile, number):
        """Where a row begins."""
        first = self._at(_REGISTERS, tile, _ROWS * _ROW_BYTES)
        return self.v.at(first, self.v.builder.mul(number, self.v.number(_ROW_BYTES)))


def _zero(memory, tile):
    v = memory.v
    cgutils.memset(v.builder, memory.row(tile, v.number(0)), v.number(_ROWS * _ROW_BYTES), 0)


def _load(memory, tile, address, stride):
    v = memory.v
    _zero(memory, tile)
    with cgutils.for_range(v.builder, memory.rows(tile)) as loop:
        outside = v.at(address, v.builder.mul(loop.index, stride))
        cgutils.raw_memcpy(
            v.builder, memory.row(tile, loop.index), outside, memory.row_bytes(tile), 1
        )


def _store(memory, tile, address, stride):
    v = memory.v
    with cgutils.for_range(v.builder, memory.rows(tile)) as loop:
        outside = v.at(address, v.builder.mul(loop.index, stride))
        cgutils.raw_memcpy(
            v.builder, outside, memory.row(tile, loop.index), memory.row_bytes(tile), 1
        )


def _adding(left_signed, right_signed):
    def write(memory, sums, left, right):
        v, builder = memory.v, memory.v.builder
        four = v.number(4)
        columns, depth = (builder.udiv(memory.row_bytes(tile), four) for tile in (sums, left))

        def number(tile, row, group, i, signed):
            byte = builder.add(builder.mul(group, four), v.number(i))
            code = builder.load(v.at(memory.row(tile, row), byte))
            return (builder.sext if signed else builder.zext)(code, I32)

        with (
            cgutils.for_range(builder, memory.rows(sums)) as m,
            cgutils.for_range(builder, depth) as k,
            cgutils.for_range(builder, columns) as n,
        ):
            place = v.at(memory.row(sums, m.index), builder.mul(n.index, four))
            place = builder.bitcast(place, I32.as_pointer())
            total = builder.load(place)
            for i in range(4):
                x = number(left, m.index, k.index, i, left_signed)
                w = number(right, k.index, n.index, i, right_signed)
                total = builder.add(total, builder.mul(x, w))
            builder.store(total, place)

    return write
