"""The AVX512-VNNI path on a processor without it: its kernels with emulated instructions."""

from npusim.kernels import _jit, features
from npusim.runtime import isa
from tests.kernels import emulated_tiles
from tests.kernels.test_jit import import_every_kernel

NEEDED = not _jit.target_has(features.AVX512_VNNI)
_EMULATED = {*features.AVX512_VNNI, *features.AVX512_VBMI}


def emulate(monkeypatch) -> None:
    """Offer the path; the kernels are compiled from the same text, and so are the tapes."""
    import_every_kernel()
    for kernel in _jit._KERNELS.values():
        if kernel.features and _EMULATED.issuperset(kernel.features):
            monkeypatch.setattr(kernel, "features", ())
    monkeypatch.setitem(isa._NEEDS, isa.AVX512_VNNI, ())
    emulated_tiles.forget_choices()
