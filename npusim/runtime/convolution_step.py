"""Convolutions ready to run: packed once for the chosen machine code, then called with maps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.quant import AffinePerChannel, Quant, Rounding, zero_point_of
from npusim.kernels import conv as portable
from npusim.kernels import pack, x86_depthwise, x86_vnni
from npusim.kernels.fma_tile import PANEL
from npusim.kernels.pack_depthwise import (
    BLOCK,
    LARGEST_PERIOD,
    grid_of,
    in_lanes,
    pack_depthwise,
    period_of,
)
from npusim.kernels.x86_store import LARGEST_SCALE
from npusim.runtime import isa
from npusim.runtime.convolution import Convolution, Phase
from npusim.runtime.layout import channels_last, from_channels_last
from npusim.runtime.threads import run_rows, scratch, thread_count

Array = NDArray[Any]
Run = Callable[[Array, Array], None]  # codes (N, H, W, C) -> codes (N, OH, OW, O)
Part = Callable[[Array, Array, int, int], None]  # the same for a range of units
EIGHT_BIT = (DType.U8, DType.I8)
SIGN_BIT = 128
CODES = {DType.U8: np.uint8, DType.I8: np.uint8, DType.I16: np.int16, DType.F16: np.uint16}


class ConvolutionStep:
    """A convolution bound to its kernel.

    Raises
    ------
    GraphError
        When no kernel stores this pair of element types.
    """

    def __init__(self, conv: Convolution) -> None:
        self._repeats = conv.weights.shape[0] // conv.groups if conv.own_channels else 1
        self._runs = [_bind_phase(conv, phase) for phase in conv.phases]
        self._in_codes = CODES[conv.ifm.dtype]
        self._out_codes = CODES[conv.ofm.dtype]
        self._out_dtype = conv.ofm.dtype.numpy
        out_n, out_c, out_h, out_w = conv.ofm.shape
        self._out_shape = (out_n, out_h, out_w, out_c)

    def __call__(self, ifm: Array) -> tuple[Array, ...]:
        """Run on (N, C, H, W) and return (N, O, OH, OW), stored with channels innermost."""
        memory = channels_last(ifm)
        if self._repeats > 1:
            memory = np.repeat(memory, self._repeats, axis=3)
        ofm = self._new_ofm()
        for run in self._runs:
            run(memory.view(self._in_codes), ofm.view(self._out_codes))
        return (from_channels_last(ofm),)

    def _new_ofm(self) -> Array:
        return np.empty(self._out_shape, self._out_dtype)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a phase is cut into units, and its weights (groups, O/group, k) in order of addition."""

    plan: pack.Geometry
    offsets: NDArray[np.int64]
    weights: Array
    groups: int
    images: int

    @property
    def geometry(self) -> NDArray[np.int64]:
        return np.array(self.plan, np.int64)

    def run(self, part: Part) -> Run:
        """Return the run of all units, shared between threads."""
        units = self.images * self.plan.blocks * self.plan.shares
        work = self.images * self.plan.out_h * self.plan.out_w * self.weights.size

        def run(ifm: Array, ofm: Array) -> None:
            run_rows(lambda start, stop: part(ifm, ofm, start, stop), units, work)

        return run


def _bind_phase(conv: Convolution, phase: Phase) -> Run:
    pair = (conv.ifm.dtype, conv.ofm.dtype)
    if pair[0] in EIGHT_BIT and pair[1] in EIGHT_BIT:
        if isa.selected() == isa.AVX512_VNNI and _scales(conv).max() < LARGEST_SCALE:
            if conv.own_channels and _fits_depthwise(conv, phase):
                return _vnni_depthwise(conv, phase)
            if not conv.own_channels and len(set(_zero_points(conv).tolist())) == 1:
                return _vnni(conv, phase)
        return _eight_bit(conv, phase)
    if pair[0] in EIGHT_BIT and pair[1] is DType.F16:
        return _eight_bit_to_half(conv, phase)
    if pair == (DType.F16, DType.F16):
        return _f16(conv, phase)
    if pair == (DType.I16, DType.I16):
        return _i16(conv, phase)
    raise GraphError(
        f"{pair[0].value} in and {pair[1].value} out",
        where=conv.where,
        rule="8 bit to 8 bit, i8 to f16, i16 to i16 or f16 to f16",
    )


def _layout(conv: Convolution, phase: Phase, real: DTypeLike) -> _Layout:
    out_c, images = conv.weights.shape[0], conv.ifm.shape[0]
    groups = 1 if conv.own_channels else conv.groups
    outermost = conv.ifm.dtype is DType.F16
    shape = pack.ConvShape(
        in_c=out_c if conv.own_channels else conv.ifm.shape[1],
        out_c=out_c,
        out_size=phase.out_size,
        ofm_size=(conv.ofm.shape[2], conv.ofm.shape[3]),
        reach=(_reach(phase, 0), _reach(phase, 1)),
        stride=conv.stride,
        pad_before=phase.pad_before,
        groups=groups,
        own_channels=conv.own_channels,
        out_step=phase.out_step,
        out_start=phase.out_start,
    )
    real_bytes = np.dtype(real).itemsize
    plan = pack.plan(shape, real_bytes=real_bytes, images=images, workers=thread_count())
    offsets = pack.tap_offsets(phase.places, plan, channels_outermost=outermost)
    weights = pack.flat_weights(
        conv.weights, phase.taps, groups=groups, channels_outermost=outermost
    )
    return _Layout(plan, offsets, weights, groups, images)


def _portable_scratch(plan: pack.Geometry, real: DTypeLike, acc: DTypeLike) -> tuple[Array, ...]:
    """Return this thread's window, chunk of weights and accumulators."""
    return (
        scratch("window", pack.window_size(plan), real),
        scratch("chunk", pack.CHUNK * PANEL, real),
        scratch("acc", pack.sums_size(plan), acc),
    )


def _eight_bit(conv: Convolution, phase: Phase) -> Run:
    layout = _layout(conv, phase, np.float32)
    constants = _eight_bit_constants(conv, layout)
    zero_out = float(conv.requant.zero_point)
    low, high = (float(limit) for limit in _limits(conv))

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        numbers = _portable_scratch(layout.plan, np.float32, np.int32)
        portable.conv2d_8bit(ifm, *constants, zero_out, low, high, *numbers, ofm, start, stop)

    return layout.run(part)


def _eight_bit_to_half(conv: Convolution, phase: Phase) -> Run:
    layout = _layout(conv, phase, np.float32)
    constants = _eight_bit_constants(conv, layout)

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        numbers = _portable_scratch(layout.plan, np.float32, np.int32)
        portable.conv2d_8bit_to_half(ifm, *constants, *numbers, ofm, start, stop)

    return layout.run(part)


def _eight_bit_constants(conv: Convolution, layout: _Layout) -> tuple[Any, ...]:
    """Return geometry .. scale of ``conv.conv2d_8bit``."""
    flip_in, flip_weights = _flip(conv.ifm.dtype), _flip(DType.of(conv.weights.dtype))
    zeros = (_zero_points(conv) + flip_weights).astype(np.float32)
    return (
        layout.geometry,
        flip_in,
        float(zero_point_of(conv.ifm.quant) + flip_in),
        layout.offsets,
        pack.pack_weights(layout.weights).view(np.uint8),
        flip_weights,
        pack.pack_columns(zeros, groups=layout.groups, fill=flip_weights),
        pack.pack_columns(_wrapped(conv.bias.astype(np.int64)), groups=layout.groups),
        pack.pack_columns(_scales(conv), groups=layout.groups),
    )


def _vnni(conv: Convolution, phase: Phase) -> Run:
    layout = _layout(conv, phase, np.uint8)
    plan, offsets = layout.plan, layout.offsets
    flip_in, flip_out = _flip(conv.ifm.dtype), _flip(conv.ofm.dtype)
    runs = pack.byte_runs(offsets)
    direct = False
    if flip_in == 0 and _reads_inside(conv, phase):  # no window: read the input where it lies
        wide = plan._replace(window_w=conv.ifm.shape[3])
        wide_offsets = pack.tap_offsets(phase.places, wide, channels_outermost=False)
        wide_runs = pack.byte_runs(wide_offsets)
        if not (wide_runs.lengths % 4).any():
            direct, plan, runs = True, wide, wide_runs
    # weights as signed bytes: i8 as they are, u8 less 128
    unsigned = conv.weights.dtype == np.uint8
    signed = (layout.weights.view(np.uint8) ^ (SIGN_BIT if unsigned else 0)).view(np.int8)
    zero_weights = int(_zero_points(conv)[0]) - (SIGN_BIT if unsigned else 0)
    zero_in = zero_point_of(conv.ifm.quant) + flip_in
    sums = signed.sum(axis=2, dtype=np.int64).reshape(-1)
    count = signed.shape[2]
    starts = conv.bias.astype(np.int64) + count * zero_in * zero_weights - zero_in * sums
    constants = (
        np.array(plan, np.int64),
        flip_in,
        zero_in,
        direct,
        runs.fours,
        pack.pack_fours(signed, runs.taps).reshape(-1),
        zero_weights,
        runs.starts,
        runs.lengths,
        pack.pack_columns(_wrapped(starts), groups=layout.groups),
        pack.pack_columns(_scales(conv), groups=layout.groups),
        conv.requant.zero_point + flip_out,
        _limits(conv)[0] + flip_out,
        flip_out,
    )

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        window = scratch("window", 0 if direct else pack.window_size(plan), np.uint8)
        terms = scratch("terms", pack.block_pixels(plan), np.int32)
        x86_vnni.conv2d_8bit(ifm, *constants, window, terms, ofm, start, stop)

    return layout.run(part)


def _fits_depthwise(conv: Convolution, phase: Phase) -> bool:
    """Tell whether ``x86_depthwise`` can do it: whole rows, some taps, weights that stay small."""
    small = period_of(conv.weights.shape[0]) <= LARGEST_PERIOD
    return phase.out_step == (1, 1) and bool(phase.places) and small


def _vnni_depthwise(conv: Convolution, phase: Phase) -> Run:
    layout = _layout(conv, phase, np.uint32)
    plan = layout.plan._replace(shares=1)
    layout = replace(layout, plan=plan)
    grid = grid_of(phase.places)
    flip_in, flip_out = _flip(conv.ifm.dtype), _flip(conv.ofm.dtype)
    weights = layout.weights[0].astype(np.int64) - _zero_points(conv)[:, None]
    packed, fours = pack_depthwise(weights, grid)
    groups = -(-grid.columns // 4)
    line_bytes = 4 * -(-plan.out_w * plan.in_c // BLOCK) * BLOCK
    row_offsets = (fours[:, 0] * grid.row_step * groups + fours[:, 1]) * line_bytes
    zero_in = zero_point_of(conv.ifm.quant) + flip_in
    starts = _wrapped(conv.bias.astype(np.int64) - zero_in * weights.sum(axis=1))
    stride = conv.stride[1]
    # a row, the columns that its last group of four reaches beyond it, and two blocks
    line_size = (plan.window_w + 4 * groups * grid.column_step) * plan.in_c + 2 * BLOCK
    columns = np.arange(4 * groups) * grid.column_step
    phases = columns % stride + 1 if stride > 1 else columns * 0
    columns = phases * line_size + columns // stride * plan.in_c
    constants = (
        np.array(plan, np.int64),
        flip_in,
        zero_in,
        columns.reshape(groups, 4),
        line_size,
        line_bytes,
        row_offsets,
        packed.reshape(-1),
        in_lanes(starts),
        in_lanes(_scales(conv)),
        conv.requant.zero_point + flip_out,
        _limits(conv)[0] + flip_out,
        flip_out,
    )
    fours_size = plan.window_h * groups * line_bytes

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        line = scratch("line", (stride + 1) * line_size, np.uint8)
        window = scratch("window", fours_size, np.uint8)
        x86_depthwise.depthwise_8bit(ifm, *constants, line, window, ofm, start, stop)

    return layout.run(part)


def _f16(conv: Convolution, phase: Phase) -> Run:
    layout = _layout(conv, phase, np.float32)
    constants = (
        layout.geometry,
        layout.offsets,
        pack.pack_weights(layout.weights).view(np.uint16),
        pack.pack_columns(conv.bias.astype(np.float32), groups=layout.groups),
        conv.requant.rounding is Rounding.NEAREST_F16,
        conv.relu,
    )

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        numbers = _portable_scratch(layout.plan, np.float32, np.float32)
        portable.conv2d_f16(ifm, *constants, *numbers, ofm, start, stop)

    return layout.run(part)


def _i16(conv: Convolution, phase: Phase) -> Run:
    layout = _layout(conv, phase, np.float64)
    bias = (conv.bias.astype(np.int64) << 16) >> 16  # the engine keeps 48 bits
    constants = (
        layout.geometry,
        layout.offsets,
        pack.pack_weights(layout.weights),
        pack.pack_columns(bias.astype(np.float64), groups=layout.groups),
        pack.pack_columns(_scales(conv), groups=layout.groups),
        *(float(limit) for limit in _limits(conv)),
    )

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        numbers = _portable_scratch(layout.plan, np.float64, np.float64)
        portable.conv2d_i16(ifm, *constants, *numbers, ofm, start, stop)

    return layout.run(part)


def _reach(phase: Phase, axis: int) -> int:
    return max((place[axis] for place in phase.places), default=0) + 1


def _reads_inside(conv: Convolution, phase: Phase) -> bool:
    """Tell whether no window of the phase touches padding, and the first begins at 0."""
    return phase.pad_before == (0, 0) and all(
        (phase.out_size[axis] - 1) * conv.stride[axis] + _reach(phase, axis)
        <= conv.ifm.shape[2 + axis]
        for axis in range(2)
    )


def _wrapped(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return integers modulo 2**32 as int32."""
    return values.astype(np.int32)


def _flip(dtype: DType) -> int:
    """Return what turns the bit pattern of a code into code - smallest code."""
    return SIGN_BIT if dtype is DType.I8 else 0


def _zero_points(conv: Convolution) -> NDArray[np.int64]:
    quant: Quant = conv.weights_quant
    if isinstance(quant, AffinePerChannel):
        return np.array(quant.zero_points, np.int64)
    return np.full(conv.bias.size, zero_point_of(quant), np.int64)


def _scales(conv: Convolution) -> NDArray[np.float64]:
    if conv.scales is not None:
        return conv.scales
    return np.full(conv.bias.size, conv.requant.multiplier * 2.0**-conv.requant.shift)


def _limits(conv: Convolution) -> tuple[int, int]:
    """Return the clamp of stored codes; a fused relu raises the lower end to the zero point."""
    low, high = conv.ofm.dtype.min, conv.ofm.dtype.max
    return max(low, conv.requant.zero_point) if conv.relu else low, high
