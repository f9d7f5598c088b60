"""AMX kernels on tiles in memory: the same code around them, on a processor without such tiles."""

from typing import Any

import numpy as np

from npusim.kernels import _jit
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.tiles import amx as tiles
from npusim.kernels.windows import i16_conv_amx, int8_conv_amx
from npusim.runtime import isa, kernel_table
from npusim.runtime.convolution import amx
from npusim.runtime.tape.play import Player

POSSIBLE = _jit.target_has(AVX512_VNNI)  # the stores are AVX512 in any case
NEEDED = isa.AMX not in isa.available() and POSSIBLE
NAMES = {
    kernel.name: (kernel, signature)
    for kernel, signature in (
        (int8_conv_amx.conv2d_8bit, int8_conv_amx.SIGNATURE),
        (i16_conv_amx.conv2d_i16, i16_conv_amx.SIGNATURE),
    )
}
_TILES = "tiles"


class _Emulated:
    """A stand-in for the machine code of a kernel: the same function compiled for int64 tiles."""

    def __init__(self, kernel: _jit.Kernel, signature: str) -> None:
        code = kernel.py_func.__code__
        self._place = code.co_varnames.index(_TILES)
        self._kernel = _jit.Kernel(
            kernel.py_func, (signature.format(tiles="i8"),), features=AVX512_VNNI
        )
        self._kernel.name = f"{kernel.name}.emulated"  # the compiled code is kept by this name

    def __call__(self, *args: Any) -> None:
        values = list(args)
        assert values[self._place].size >= tiles.STATE_SIZE
        values[self._place] = np.full(tiles.EMULATED_SIZE, -1, np.int64)
        (self._kernel._dispatcher or self._kernel.compile())(*values)
        assert not values[self._place][:8].any(), "the tiles were not given back"


_STAND_INS = {name: _Emulated(*found) for name, found in NAMES.items()}


def emulate(monkeypatch) -> None:
    """Offer the path of tiles, with emulated ones."""
    for name, (kernel, _) in NAMES.items():
        monkeypatch.setattr(kernel, "features", AVX512_VNNI)
        monkeypatch.setattr(kernel, "_dispatcher", _STAND_INS[name])
    monkeypatch.setattr(isa, "amx_refusal", lambda: "")
    monkeypatch.setattr(Player, "run", lambda *_: None)  # a stand-in has no address: step by step
    forget_choices()


def take_all(monkeypatch) -> None:
    """Let tiles compute convolutions of any size."""
    monkeypatch.setattr(amx, "GAIN", 0)


def forget_choices() -> None:
    """Let the next convolution choose its kernel anew."""
    isa.selected.cache_clear()
    kernel_table._candidates.cache_clear()
