"""Which machine code the convolutions and tables use: same bits, other speed.

    portable     LLVM vectors of the width that the processor has
    neon         the portable kernels, which are NEON code on AArch64; not tested on such a machine
    avx2         8-bit convolutions by pairs of 16-bit products; everything else is portable
    avx512vnni   8-bit and i16 convolutions with AVX512-VNNI, byte tables in registers (with VBMI)
    amx          convolutions that gain by it with Intel AMX tiles, all else as avx512vnni

``portable`` and ``avx2`` limit the kernels that are chosen, not the instructions that LLVM compiles
the chosen ones to.
"""

from functools import cache

from npusim import environment
from npusim.errors import ConfigError
from npusim.kernels import features
from npusim.kernels._jit import target_has
from npusim.runtime import tile_permission

PORTABLE = "portable"
NEON = "neon"
AVX2 = "avx2"
AVX512_VNNI = "avx512vnni"
AMX = "amx"
_NEEDS = {
    PORTABLE: (),
    NEON: ("neon",),
    AVX2: features.AVX2,
    AVX512_VNNI: features.AVX512_VNNI,
}


def available() -> tuple[str, ...]:
    """Return the paths this process can run, the fastest last."""
    return _by_features() + (() if amx_refusal() else (AMX,))


def _by_features() -> tuple[str, ...]:
    return tuple(name for name, needs in _NEEDS.items() if target_has(needs))


@cache
def amx_refusal() -> str:
    """Return why the path of tiles is not offered in this process; nothing if it is.

    The tile registers are asked for, and small convolutions must equal the portable kernel's.
    """
    if reason := tile_permission.refusal():
        return reason
    from npusim.runtime.convolution import amx_check  # here: its kernels are chosen by this module

    return amx_check.fault()


def chain(path: str) -> tuple[str, ...]:
    """Return the paths whose kernels may run on a path, the fastest first."""
    faster = (AMX, AVX512_VNNI) if path == AMX else (path,)
    return (*faster, PORTABLE)


@cache
def selected() -> str:
    """Return the path in use: ``NPUSIM_ISA``, or the fastest.

    Raises
    ------
    ConfigError
        When ``NPUSIM_ISA`` names an unknown path or one this process cannot run.
    """
    wanted = environment.ISA.read()
    if not wanted:
        return available()[-1]
    if wanted == AMX and (reason := amx_refusal()):
        raise _unusable(wanted, f"not offered: {reason}", _by_features())
    if wanted != AMX and wanted not in _by_features():
        known = "not available on this processor" if wanted in _NEEDS else "unknown"
        raise _unusable(wanted, known, available())
    return wanted


def _unusable(wanted: str, reason: str, offered: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"{environment.ISA.name} is {wanted!r}: {reason}",
        rule=f"available here: {', '.join(offered)}",
        remedy="unset it to use the fastest",
    )
