"""Which machine code the convolutions and tables use: same bits, other speed.

    portable     LLVM vectors of the width that the processor has
    neon         the portable kernels, which are NEON code on AArch64; not tested on such a machine
    avx2         8-bit convolutions by pairs of 16-bit products; everything else is portable
    avx512vnni   8-bit and i16 convolutions with AVX512-VNNI, byte tables in registers (with VBMI)

``portable`` and ``avx2`` limit the kernels that are chosen, not the instructions that LLVM compiles
the chosen ones to.
"""

from functools import cache

from npusim import environment
from npusim.errors import ConfigError
from npusim.kernels import features
from npusim.kernels._jit import target_has

PORTABLE = "portable"
NEON = "neon"
AVX2 = "avx2"
AVX512_VNNI = "avx512vnni"
_NEEDS = {
    PORTABLE: (),
    NEON: ("neon",),
    AVX2: features.AVX2,
    AVX512_VNNI: features.AVX512_VNNI,
}


def available() -> tuple[str, ...]:
    """Return the paths this processor can run, the fastest last."""
    return tuple(name for name, needs in _NEEDS.items() if target_has(needs))


@cache
def selected() -> str:
    """Return the path in use: ``NPUSIM_ISA``, or the fastest available.

    Raises
    ------
    ConfigError
        When ``NPUSIM_ISA`` names an unknown path or one this processor cannot run.
    """
    wanted = environment.ISA.read()
    if not wanted:
        return available()[-1]
    if wanted not in available():
        known = "not available on this processor" if wanted in _NEEDS else "unknown"
        raise ConfigError(
            f"{environment.ISA.name} is {wanted!r}: {known}",
            rule=f"available here: {', '.join(available())}",
            remedy="unset it to use the fastest",
        )
    return wanted
