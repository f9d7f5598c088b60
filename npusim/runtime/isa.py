"""Which machine code the 8-bit convolutions use: same bits, other speed."""

import os
from functools import cache

from npusim.errors import ConfigError
from npusim.kernels._jit import target_has
from npusim.kernels.x86_vnni import FEATURES

PORTABLE = "portable"
AVX512_VNNI = "avx512vnni"
_NEEDS = {PORTABLE: (), AVX512_VNNI: FEATURES}


def available() -> tuple[str, ...]:
    """Return the paths this processor can run, the fastest last."""
    return tuple(name for name, features in _NEEDS.items() if target_has(features))


@cache
def selected() -> str:
    """Return the path in use: ``NPUSIM_ISA``, or the fastest available.

    Raises
    ------
    ConfigError
        When ``NPUSIM_ISA`` names an unknown path or one this processor cannot run.
    """
    wanted = os.environ.get("NPUSIM_ISA", "")
    if not wanted:
        return available()[-1]
    if wanted not in available():
        known = "not available on this processor" if wanted in _NEEDS else "unknown"
        raise ConfigError(
            f"NPUSIM_ISA is {wanted!r}: {known}",
            rule=f"available here: {', '.join(available())}",
            remedy="unset it to use the fastest",
        )
    return wanted


def may_use(features: tuple[str, ...]) -> bool:
    """Tell whether the path in use goes with optional kernels that need these LLVM features."""
    return selected() == AVX512_VNNI and target_has(features)
