"""Convolutions bound to the AMX kernels: what is packed, which ones fit, and which ones gain."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.dtypes import DType
from npusim.ir.quant import zero_point_of
from npusim.kernels.pack import geometry
from npusim.kernels.pack.fours import Groups, aligned
from npusim.kernels.pack.steps import Planes, Sums, pack_steps, planes_of, steps_of, sums_of
from npusim.kernels.tiles import amx as tiles
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.windows import int8_conv_amx
from npusim.runtime.calls import Calls, Scratch
from npusim.runtime.convolution.layout import (
    SIGN_BIT,
    Layout,
    Run,
    centred_weights,
    channel_scales,
    channel_zero_points,
    flip_of,
    lay_out,
    reads_inside,
    store_fits,
    store_options,
    wrapped,
    zero_in,
)
from npusim.runtime.convolution.phases import Convolution, Phase
from npusim.runtime.convolution.x86 import PLANES

Array = NDArray[Any]
# Of the products that tiles compute, the share that must be wanted, of 8 and of 16 bits. Source:
# measured, the fastest of 0.05 .. 0.8 for four networks; see docs/simulator-speed.md.
GAIN = 0.6
_SLACK = 4 * PANEL  # bytes that whole vectors write behind a window
_RATE = 24  # of tiles: a unit of work is about what moving a byte takes


def bind_dense(conv: Convolution, phase: Phase, *, gain: float | None = None) -> Run | None:
    """Return the run of a phase with 8 bits in and out, or None when it does not fit or gain.

    ``gain`` replaces ``GAIN``.
    """
    if not (phase.places and store_fits(conv)):
        return None
    centred = centred_weights(conv)
    factor = _factor(conv, centred)
    if factor is None:
        return None
    layout = lay_out(conv, phase, np.uint8, centred + factor)
    planes = planes_of(phase.places, layout.plan)
    if factor and not sums_of(planes, layout.plan):
        return None
    if not gains(layout, planes, gain):
        return None
    signed = conv.ifm.dtype is DType.I8 and not factor
    lies_ready = conv.stride == (1, 1) and reads_inside(conv, phase)
    if lies_ready and (signed or not flip_of(conv.ifm.dtype)):
        whole_lines = layout.plan._replace(window_w=conv.ifm.shape[3])
        layout = replace(layout, plan=whole_lines)
        pixels = _reading(conv, phase, layout, int8_conv_amx.IN_PLACE, factor)
    else:
        pixels = _reading(conv, phase, layout, int8_conv_amx.WINDOW, factor)
    if conv.ifm.shape[1] != PLANES or conv.groups > 1:
        return pixels
    picture = _reading(conv, phase, layout, int8_conv_amx.PICTURE, factor)

    def run(calls: Calls, ifm: Array, ofm: Array) -> None:
        chosen = picture if ifm.flags.c_contiguous else pixels
        chosen(calls, ifm, ofm)

    return run


def _reading(conv: Convolution, phase: Phase, layout: Layout, reading: int, factor: int) -> Run:
    plan = layout.plan
    planes = planes_of(phase.places, plan)
    steps = steps_of(planes, plan)
    signed = conv.ifm.dtype is DType.I8 and not factor
    zero, flip = zero_in(conv), flip_of(conv.ifm.dtype)
    if signed:
        zero, flip = zero_point_of(conv.ifm.quant), 0
    of_weights = (layout.weights - factor).sum(axis=2).reshape(-1)  # less their zero points
    starts = wrapped(conv.bias.astype(np.int64) - zero * of_weights)
    reach = reach_of(steps, plan)
    sums = sums_of(planes, plan) or Sums(*(np.zeros(0, np.int64),) * 2)  # or not asked for
    constants = (
        layout.geometry,
        np.array(
            [
                *(reading, signed, flip, zero & 0xFF, *store_options(conv)),
                *(factor, planes.columns, planes.lines, planes.down, reach),
            ]
        ),
        places_of(planes, plan),
        geometry.block_places(plan)[1],
        sums.rows,
        sums.runs.reshape(-1),
        steps.offsets,
        pack_steps(layout.weights, steps),
        aligned(geometry.pack_columns(starts, groups=layout.groups)),
        geometry.pack_columns(channel_scales(conv).astype(np.float32), groups=layout.groups),
    )
    count = place_count(planes, plan)
    sums_size = int8_conv_amx.SUMS_SIZE + plan.groups * count
    sums_size += count + int(sums.rows.max(initial=0))
    scratches = (
        Scratch("window", window_bytes(planes, plan, reach, int8_conv_amx.BLOCK), np.uint8),
        Scratch("sums", sums_size, np.int32),
        Scratch("tiles", tiles.STATE_SIZE, np.int32),
    )
    as_is = reading == int8_conv_amx.PICTURE
    return layout.run(int8_conv_amx.conv2d_8bit, constants, *scratches, rate=_RATE, as_is=as_is)


def _factor(conv: Convolution, centred: NDArray[np.int64]) -> int | None:
    """Return what must be added to the weights less zero points to make signed bytes of them.

    0 if they are; else the zero point less the middle of the codes; None if channels differ in it.
    """
    limits = np.iinfo(np.int8)
    if centred.min() >= limits.min and centred.max() <= limits.max:
        return 0
    zeros = np.unique(channel_zero_points(conv))
    middle = 0 if conv.weights.dtype == np.int8 else SIGN_BIT
    return int(zeros[0]) - middle if zeros.size == 1 else None


def gains(layout: Layout, planes: Planes, gain: float | None) -> bool:
    """Tell whether outputs want enough of what tiles compute for a unit: ``gain``, or ``GAIN``."""
    plan = layout.plan
    _, per_group, taps = layout.weights.shape
    steps = len(steps_of(planes, plan).offsets) * tiles.ROW_BYTES
    pixels = -(-place_count(planes, plan) // tiles.ROWS) * tiles.ROWS
    channels = -(-per_group // tiles.LANES) * tiles.LANES
    share = plan.block_h * plan.out_w * per_group * taps / (pixels * channels * steps)
    return bool(share >= (GAIN if gain is None else gain))


def place_count(planes: Planes, plan: geometry.Geometry) -> int:
    """Return the places of a unit, from its first output pixel to its last."""
    return (plan.block_h - 1) * planes.columns + plan.out_w


def places_of(planes: Planes, plan: geometry.Geometry) -> NDArray[np.int64]:
    """Return the place of every output pixel of a unit."""
    y, x = np.divmod(np.arange(plan.block_h * plan.out_w), plan.out_w)
    return y * planes.columns + x


def reach_of(steps: Groups, plan: geometry.Geometry) -> int:
    """Return the inputs from a place on that its steps read, fills and all groups included."""
    return int(steps.offsets.max()) + tiles.ROW_BYTES + plan.in_c - plan.in_c // plan.groups


def window_bytes(planes: Planes, plan: geometry.Geometry, reach: int, block: int) -> int:
    """Return the bytes of a unit's window with all that whole tiles of ``block`` places read."""
    last = max(place_count(planes, plan), block) - 1
    return max(planes.size(plan) + _SLACK, last * plan.stride_w * plan.in_c + reach)


BINDS = {int8_conv_amx.conv2d_8bit: bind_dense}
