"""The AVX512-VNNI path on a processor without it: its kernels with emulated instructions."""

from collections.abc import Iterator

import pytest

from npusim.kernels import _jit, features
from npusim.runtime import isa
from tests.kernels import emulated_tiles
from tests.kernels.test_jit import import_every_kernel

_EMULATED = {*features.AVX512_VNNI, *features.AVX512_VBMI}
NEEDED = not _jit.target_has(tuple(_EMULATED))


def is_emulated(kernel: _jit.Kernel) -> bool:
    """Tell whether a kernel is offered by ``emulate``."""
    return NEEDED and bool(kernel.features) and _EMULATED.issuperset(kernel.features)


def emulate(monkeypatch) -> None:
    """Offer the path; the kernels are compiled from the same text, and so are the tapes."""
    import_every_kernel()
    for kernel in _jit._KERNELS.values():
        if is_emulated(kernel):
            monkeypatch.setattr(kernel, "features", ())
    monkeypatch.setattr(isa, "_NEEDS", {**isa._NEEDS, isa.AVX512_VNNI: ()})
    emulated_tiles.forget_choices()


@pytest.fixture(autouse=True, scope="module")
def on_any_processor() -> Iterator[None]:
    """Let the tests of a module that imports this call AVX512 kernels."""
    with pytest.MonkeyPatch.context() as patch:
        emulate(patch)
        yield
    emulated_tiles.forget_choices()
