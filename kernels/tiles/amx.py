"""Products of whole tiles: Intel AMX, or the same instructions in plain code.

A processor with AMX has eight tile registers of 16 rows x 64 bytes. One instruction multiplies a
tile of 16 pixels x 64 inputs by one of 64 inputs x 16 channels, bytes by bytes, and adds the
products to a tile of 16 pixels x 16 channels of int32, modulo 2**32. Tiles are loaded from and
stored to rows at any distance; they must be configured in the thread that uses them.

Who writes code with tiles gets them from ``tiles_of``: the element type of the array ``tiles``
that the kernel was compiled for says which. int32 means the registers, and the array holds their
configuration; int64 means emulated registers inside of the array. So the code around the tiles is
the same in both and can be tested on any processor.
"""

from llvmlite import ir

from npusim.kernels.tiles.amx_emulated import EmulatedTiles
from npusim.kernels.tiles.llvm_vectors import I8, I32, I64, vector_code

ROWS = 16
ROW_BYTES = 64  # also the inputs of a step: what one tile multiplication adds up per output
LANES = ROW_BYTES // 4  # channels of a tile of sums
TILE_BYTES = ROWS * ROW_BYTES
COUNT = 8
PAIR = 2  # tiles of channels whose weights lie step by step side by side
# Palette 1, then bytes a row (16 bits each) and rows (8 bits each) of every register.
CONFIGURATION = bytes([1, *[0] * 15, *[ROW_BYTES, 0] * COUNT, *[0] * 16, *[ROWS] * COUNT, *[0] * 8])
STATE_SIZE = len(CONFIGURATION) // 4  # elements of ``tiles`` for the registers
EMULATED_SIZE = (len(CONFIGURATION) + COUNT * TILE_BYTES) // 8  # and for the emulated ones
_VOID, _BYTES = ir.VoidType(), I8.as_pointer()


class RegisterTiles:
    """The tile registers of the processor; numbers of tiles are Python integers.

    LLVM's plain intrinsics name the registers themselves, so nothing is allocated or spilled.
    """

    def __init__(self, v, state):
        self._v, self._state = v, state

    def _call(self, name, kinds, *values):
        self._v.builder.call(self._v.function(f"llvm.x86.{name}", _VOID, kinds), values)

    def _tiles(self, *numbers):
        return [self._v.number(number, I8) for number in numbers]

    def configure(self, configuration):
        """Set all tiles up and to zero."""
        memory = self._v.builder.bitcast(self._state.data, _BYTES)
        self._v.store(configuration, memory)
        self._call("ldtilecfg", [_BYTES], memory)

    def release(self):
        """Give the tiles back."""
        self._call("tilerelease", [])

    def zero(self, tile):
        """Set a tile to zero."""
        self._call("tilezero", [I8], *self._tiles(tile))

    def load(self, tile, address, stride):
        """Load rows that are ``stride`` bytes apart."""
        self._call("tileloadd64", [I8, _BYTES, I64], *self._tiles(tile), address, stride)

    def store(self, tile, address, stride):
        """Store rows ``stride`` bytes apart."""
        self._call("tilestored64", [I8, _BYTES, I64], *self._tiles(tile), address, stride)

    def add_products(self, sums, left, right, *, left_signed, right_signed=True):
        """Add to tile ``sums`` the products of rows of ``left`` and columns of ``right``."""
        name = "tdpb" + "us"[left_signed] + "us"[right_signed] + "d"
        self._call(name, [I8] * 3, *self._tiles(sums, left, right))


def tiles_of(v, state):
    """Return the tiles that a kernel was compiled for."""
    return RegisterTiles(v, state) if state.kind == I32 else EmulatedTiles(v, state)


@vector_code
def configure(v, tiles):
    """Set all tiles up, before the first use of them in a kernel."""
    kind = ir.VectorType(I8, len(CONFIGURATION))
    tiles_of(v, tiles).configure(ir.Constant(kind, list(CONFIGURATION)))


@vector_code
def release(v, tiles):
    """Give the tiles back, at the end of a kernel."""
    tiles_of(v, tiles).release()
