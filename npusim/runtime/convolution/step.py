"""Convolutions ready to run: packed once for the chosen machine code, then called with maps."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.quant import Rounding, zero_point_of
from npusim.kernels._jit import Kernel
from npusim.kernels.pack import geometry
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.windows import conv as portable
from npusim.runtime.calls import Calls, KernelStep, Scratch
from npusim.runtime.convolution import amx, amx_words, pairs, x86
from npusim.runtime.convolution.layout import (
    Layout,
    Run,
    bias_of_48_bits,
    channel_scales,
    channel_zero_points,
    flip_of,
    lay_out,
    limits,
    wrapped,
)
from npusim.runtime.convolution.phases import Convolution, Phase
from npusim.runtime.kernel_table import Work, candidates

Array = NDArray[Any]
CODES = {DType.U8: np.uint8, DType.I8: np.uint8, DType.I16: np.int16, DType.F16: np.uint16}


class ConvolutionStep(KernelStep):
    """A convolution bound to its kernel.

    Raises
    ------
    GraphError
        When no kernel stores this pair of element types.
    """

    def __init__(self, conv: Convolution) -> None:
        self._runs = [_bind_phase(conv, phase) for phase in conv.phases]
        self._in_codes = CODES[conv.ifm.dtype]
        self._out_codes = CODES[conv.ofm.dtype]
        pairs = ((self._in_codes, conv.ifm), (self._out_codes, conv.ofm))
        self._views = any(np.dtype(codes) != spec.dtype.numpy for codes, spec in pairs)
        self._out_dtype = conv.ofm.dtype.numpy
        out_n, out_c, out_h, out_w = conv.ofm.shape
        self._out_shape = (out_n, out_h, out_w, out_c)

        super().__init__(self._lay)

    def _lay(self, calls: Calls, ifm: Array) -> tuple[Array, ...]:
        """Lay out (N, C, H, W) -> (N, O, OH, OW), stored with channels innermost."""
        ofm = target = calls.empty(self._out_shape, self._out_dtype)
        if self._views:  # the kernels know bit patterns
            ifm, target = ifm.view(self._in_codes), ofm.view(self._out_codes)
        for run in self._runs:
            run(calls, ifm, target)
        return (ofm.transpose(0, 3, 1, 2),)


def _bind_phase(conv: Convolution, phase: Phase) -> Run:
    """Return the run of the fastest kernel that fits."""
    work = Work.DEPTHWISE if conv.own_channels else Work.CONVOLUTION
    for kernel in candidates(work, conv.ifm.dtype, conv.ofm.dtype):
        if run := bind_to(kernel, conv, phase):
            return run
    raise GraphError(
        f"{conv.ifm.dtype.value} in and {conv.ofm.dtype.value} out",
        where=conv.where,
        rule="8 bit to 8 bit, i8 to f16, i16 to i16 or f16 to f16",
    )


def bind_to(kernel: Kernel, conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of a kernel, or None when it does not fit."""
    return _BINDS[kernel](conv, phase)


def _portable_scratch(
    plan: geometry.Geometry, real: DTypeLike, acc: DTypeLike
) -> tuple[Scratch, ...]:
    """Return the window, the chunk of weights and the accumulators."""
    return (
        Scratch("window", geometry.window_size(plan), real),
        Scratch("chunk", geometry.CHUNK * PANEL, real),
        Scratch("acc", geometry.sums_size(plan), acc),
    )


def _eight_bit(conv: Convolution, phase: Phase) -> Run:
    layout = lay_out(conv, phase, np.float32)
    constants = _eight_bit_constants(conv, layout)
    zero_out = float(conv.requant.zero_point)
    zeros = (
        (zero_out, 0.0) if conv.scales is not None else (0.0, zero_out)
    )  # before, after rounding
    low, high = (float(limit) for limit in limits(conv))
    scratches = _portable_scratch(layout.plan, np.float32, np.int32)
    return layout.run(portable.conv2d_8bit, (*constants, *zeros, low, high), *scratches)


def _eight_bit_to_half(conv: Convolution, phase: Phase) -> Run:
    layout = lay_out(conv, phase, np.float32)
    constants = _eight_bit_constants(conv, layout)
    scratches = _portable_scratch(layout.plan, np.float32, np.int32)
    return layout.run(portable.conv2d_8bit_to_half, constants, *scratches)


def _eight_bit_constants(conv: Convolution, layout: Layout) -> tuple[Any, ...]:
    """Return geometry .. scale of ``conv.conv2d_8bit``."""
    flip_in, flip_weights = flip_of(conv.ifm.dtype), flip_of(DType.of(conv.weights.dtype))
    zeros = (channel_zero_points(conv) + flip_weights).astype(np.float32)
    return (
        layout.geometry,
        flip_in,
        float(zero_point_of(conv.ifm.quant) + flip_in),
        layout.offsets,
        geometry.pack_weights(layout.weights).view(np.uint8),
        flip_weights,
        geometry.pack_columns(zeros, groups=layout.groups, fill=flip_weights),
        geometry.pack_columns(wrapped(conv.bias.astype(np.int64)), groups=layout.groups),
        geometry.pack_columns(channel_scales(conv), groups=layout.groups),
    )


def _f16(conv: Convolution, phase: Phase) -> Run:
    layout = lay_out(conv, phase, np.float32)
    constants = (
        layout.geometry,
        layout.offsets,
        geometry.pack_weights(layout.weights).view(np.uint16),
        geometry.pack_columns(conv.bias.astype(np.float32), groups=layout.groups),
        conv.requant.rounding is Rounding.NEAREST_F16,
        conv.relu,
    )
    scratches = _portable_scratch(layout.plan, np.float32, np.float32)
    return layout.run(portable.conv2d_f16, constants, *scratches)


def _i16(conv: Convolution, phase: Phase) -> Run:
    layout = lay_out(conv, phase, np.float64)
    constants = (
        layout.geometry,
        layout.offsets,
        geometry.pack_weights(layout.weights),
        geometry.pack_columns(bias_of_48_bits(conv).astype(np.float64), groups=layout.groups),
        geometry.pack_columns(channel_scales(conv), groups=layout.groups),
        *(float(limit) for limit in limits(conv)),
    )
    scratches = _portable_scratch(layout.plan, np.float64, np.float64)
    return layout.run(portable.conv2d_i16, constants, *scratches)


_BINDS: dict[Kernel, Callable[[Convolution, Phase], Run | None]] = {
    portable.conv2d_8bit: _eight_bit,
    portable.conv2d_8bit_to_half: _eight_bit_to_half,
    portable.conv2d_f16: _f16,
    portable.conv2d_i16: _i16,
    **amx.BINDS,
    **amx_words.BINDS,
    **pairs.BINDS,
    **x86.BINDS,
}
