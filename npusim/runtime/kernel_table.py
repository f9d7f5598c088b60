"""Which compiled kernel does which work on which types, by path of machine code.

The runtime chooses from this table and ``npusim info --kernels`` prints it. Kernels of a faster
path do the same as the portable one, bit for bit; where a path has none, the portable one runs.
A binding may still pass over a candidate whose conditions do not hold (``store_avx512.fits``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.kernels._jit import Kernel
from npusim.kernels.elementwise import (
    copy_runs,
    f16_binary,
    i16_binary,
    int8_lut_vbmi,
    lut,
    real_codes,
    store_sums,
    u8_binary,
    u8_sum_vnni,
)
from npusim.kernels.windows import (
    conv,
    fc,
    i16_conv_amx,
    i16_conv_pairs,
    i16_depthwise_vnni,
    int8_conv_amx,
    int8_conv_avx2,
    int8_conv_vnni,
    int8_depthwise_vnni,
    pool,
)
from npusim.runtime import isa


class Work(Enum):
    """What kernels do, in the words of the operators they serve."""

    CONVOLUTION = "convolution"
    DEPTHWISE = "depthwise convolution"
    FULLY_CONNECTED = "fully connected on TP"
    MAX_POOL = "max pool"
    PIXEL_SUM = "sum of pixels"
    MAP_AVERAGE = "average of whole maps"
    STORE_SUMS = "store of sums on TP"
    FUNCTION = "function of a code"
    CLIP = "clip and power of two"
    FUNCTION_OF_TWO = "function of two codes"
    NN_SUM = "sum on NN"
    SHADER_BINARY = "sum and product on the shader"
    COPY = "join and pad"
    GATHER = "nearest resize"
    REORDER = "change of memory order"
    QUANTIZE = "real numbers to codes"
    DEQUANTIZE = "codes to real numbers"


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel and what it is for.

    Attributes
    ----------
    work : Work
    ifm, ofm : tuple of DType
        Element types that it reads and stores, in any combination.
    path : str
        The path of ``npusim.runtime.isa`` that it belongs to.
    kernel : Kernel
    """

    work: Work
    ifm: tuple[DType, ...]
    ofm: tuple[DType, ...]
    path: str
    kernel: Kernel

    @property
    def types(self) -> str:
        """The element types as text, for example ``u8/i8 -> f16``."""
        sides = ("/".join(dtype.value for dtype in side) for side in (self.ifm, self.ofm))
        return " -> ".join(dict.fromkeys(sides))


_U8, _I8, _I16, _F16, _F32 = ((t,) for t in (DType.U8, DType.I8, DType.I16, DType.F16, DType.F32))
_BYTES, _WORDS = _U8 + _I8, _I16 + _F16
_CODES = _BYTES + _WORDS
_ANY, _AVX2, _VNNI, _AMX = isa.PORTABLE, isa.AVX2, isa.AVX512_VNNI, isa.AMX

TABLE = (
    Entry(Work.CONVOLUTION, _BYTES, _BYTES, _AMX, int8_conv_amx.conv2d_8bit),
    Entry(Work.CONVOLUTION, _BYTES, _BYTES, _VNNI, int8_conv_vnni.conv2d_8bit),
    Entry(Work.CONVOLUTION, _BYTES, _BYTES, _AVX2, int8_conv_avx2.conv2d_8bit),
    Entry(Work.CONVOLUTION, _BYTES, _BYTES, _ANY, conv.conv2d_8bit),
    Entry(Work.CONVOLUTION, _BYTES, _F16, _ANY, conv.conv2d_8bit_to_half),
    Entry(Work.CONVOLUTION, _I16, _I16, _AMX, i16_conv_amx.conv2d_i16),
    Entry(Work.CONVOLUTION, _I16, _I16, _VNNI, i16_conv_pairs.conv2d_i16_avx512),
    Entry(Work.CONVOLUTION, _I16, _I16, _ANY, conv.conv2d_i16),
    Entry(Work.CONVOLUTION, _F16, _F16, _ANY, conv.conv2d_f16),
    Entry(Work.DEPTHWISE, _BYTES, _BYTES, _VNNI, int8_depthwise_vnni.depthwise_8bit),
    Entry(Work.DEPTHWISE, _BYTES, _BYTES, _ANY, conv.conv2d_8bit),
    Entry(Work.DEPTHWISE, _BYTES, _F16, _ANY, conv.conv2d_8bit_to_half),
    Entry(Work.DEPTHWISE, _I16, _I16, _VNNI, i16_depthwise_vnni.depthwise_i16),
    Entry(Work.DEPTHWISE, _I16, _I16, _ANY, conv.conv2d_i16),
    Entry(Work.DEPTHWISE, _F16, _F16, _ANY, conv.conv2d_f16),
    Entry(Work.FULLY_CONNECTED, _BYTES, _BYTES, _ANY, fc.fc_tp_8bit),
    Entry(Work.FULLY_CONNECTED, _I16, _I16, _ANY, fc.fc_tp_integer),
    Entry(Work.FULLY_CONNECTED, _F16, _F16, _ANY, fc.fc_tp_f16),
    Entry(Work.MAX_POOL, _BYTES, _BYTES, _ANY, pool.max_pool_8bit),
    Entry(Work.MAX_POOL, _WORDS, _WORDS, _ANY, pool.max_pool_16bit),
    Entry(Work.PIXEL_SUM, _BYTES + _I16, (DType.I64,), _ANY, pool.sum_pixels),
    Entry(Work.MAP_AVERAGE, _U8, _U8, _ANY, pool.average_maps),
    Entry(Work.STORE_SUMS, _F32, _BYTES + _I16, _ANY, store_sums.store_sums),
    Entry(Work.FUNCTION, _BYTES, _BYTES, _VNNI, int8_lut_vbmi.map_bytes),
    Entry(Work.FUNCTION, _BYTES, _BYTES, _ANY, lut.map_codes),
    Entry(Work.FUNCTION, _BYTES, _WORDS, _ANY, lut.map_codes),
    Entry(Work.FUNCTION, _WORDS, _CODES, _ANY, lut.map_codes),
    Entry(Work.CLIP, _I16, _I16, _ANY, lut.clip_words),
    Entry(Work.FUNCTION_OF_TWO, _BYTES, _CODES, _ANY, lut.map_pairs),
    Entry(Work.NN_SUM, _U8, _U8, _VNNI, u8_sum_vnni.weighted_sum),
    Entry(Work.NN_SUM, _U8, _U8, _ANY, u8_binary.weighted_sum),
    Entry(Work.NN_SUM, _I16, _I16, _ANY, i16_binary.weighted_sum),
    Entry(Work.NN_SUM, _F16, _F16, _ANY, f16_binary.binary),
    Entry(Work.SHADER_BINARY, _U8, _U8, _ANY, u8_binary.shader),
    Entry(Work.SHADER_BINARY, _I16, _I16, _ANY, i16_binary.shader),
    Entry(Work.SHADER_BINARY, _F16, _F16, _ANY, f16_binary.binary),
    Entry(Work.COPY, _CODES, _CODES, _ANY, copy_runs.copy_runs),
    Entry(Work.GATHER, _CODES, _CODES, _ANY, copy_runs.gather_pixels),
    Entry(Work.REORDER, _CODES, _CODES, _ANY, copy_runs.copy_elements),
    Entry(Work.QUANTIZE, _F32, _BYTES + _I16, _ANY, real_codes.quantize_f32),
    Entry(Work.DEQUANTIZE, _BYTES, _F32, _ANY, real_codes.dequantize_8bit),
)


def candidates(work: Work, ifm: DType, ofm: DType) -> tuple[Kernel, ...]:
    """Return the kernels that may do the work on the path in use, the fastest first."""
    return _candidates(work, ifm, ofm, isa.selected())


@cache
def _candidates(work: Work, ifm: DType, ofm: DType, path: str) -> tuple[Kernel, ...]:
    return tuple(
        entry.kernel
        for entry in TABLE
        if entry.work is work
        and ifm in entry.ifm
        and ofm in entry.ofm
        and entry.path in isa.chain(path)
        and entry.kernel.is_available
    )


def choose(
    work: Work, ifm: DType, ofm: DType, *, fits: Callable[[Kernel], bool] | None = None
) -> Kernel:
    """Return the fastest kernel for the work, of those that ``fits`` accepts.

    Raises
    ------
    GraphError
        When there is none.
    """
    for kernel in candidates(work, ifm, ofm):
        if fits is None or fits(kernel):
            return kernel
    types = sorted(entry.types for entry in TABLE if entry.work is work)
    raise GraphError(
        f"no kernel for {work.value} of {ifm.value} -> {ofm.value}",
        rule=f"element types {', '.join(dict.fromkeys(types))}",
    )


def listing() -> list[dict[str, Any]]:
    """Return a row for each work and pair of types: its kernel by path, None where it has none.

    ``in_use``: the path of the kernel that runs on this processor as it is set up, where it fits.
    """
    rows: dict[tuple[Work, str], dict[str, Any]] = {}
    for entry in TABLE:
        if (key := (entry.work, entry.types)) not in rows:
            rows[key] = {
                "work": entry.work.value,
                "types": entry.types,
                "kernels": dict.fromkeys((_ANY, _AVX2, _VNNI, _AMX)),
                "in_use": None,
            }
        rows[key]["kernels"][entry.path] = entry.kernel.name
        if entry.kernel is choose(entry.work, entry.ifm[0], entry.ofm[0]):
            rows[key]["in_use"] = entry.path
    return list(rows.values())
