"""Convolutions bound to the AMX kernels: what is packed, which ones fit, and which ones gain."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.dtypes import DType
from npusim.ir.quant import zero_point_of
from npusim.kernels.pack import geometry
from npusim.kernels.pack.fours import aligned
from npusim.kernels.pack.steps import Planes, pack_steps, planes_of, steps_of
from npusim.kernels.tiles import amx as tiles
from npusim.kernels.windows import int8_conv_amx
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
from npusim.runtime.threads import scratch

Array = NDArray[Any]
# Of the products that tiles compute, the share that must be wanted. Source: measured, tiles reach
# about four times the products per second of AVX512-VNNI when all are.
GAIN = 0.3
_RATE = 24  # of tiles: a unit of work is about what moving a byte takes


def bind_dense(conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of a phase with 8 bits in and out, or None when it does not fit or gain."""
    if not (phase.places and store_fits(conv)):
        return None
    centred = centred_weights(conv)
    factor = _factor(conv, centred)
    if factor is None:
        return None
    signed = conv.ifm.dtype is DType.I8 and not factor
    flip = 0 if signed else flip_of(conv.ifm.dtype)
    in_place = not flip and conv.stride == (1, 1) and reads_inside(conv, phase)
    layout = lay_out(conv, phase, np.uint8, centred + factor)
    if in_place:
        layout = replace(layout, plan=layout.plan._replace(window_w=conv.ifm.shape[3]))
    plan = layout.plan
    planes = planes_of(phase.places, plan)
    steps = steps_of(planes, plan)
    if _wanted_share(layout, planes, len(steps.offsets)) < GAIN:
        return None
    zero = zero_point_of(conv.ifm.quant) if signed else zero_in(conv)
    sums = (layout.weights - factor).sum(axis=2).reshape(-1)  # of the weights less zero points
    reach = int(steps.offsets.max()) + tiles.ROW_BYTES + plan.in_c - plan.in_c // plan.groups
    y, x = np.divmod(np.arange(plan.block_h * plan.out_w), plan.out_w)
    pixels = (plan.block_h - 1) * planes.columns + plan.out_w
    constants = (
        layout.geometry,
        np.array(
            [
                *(in_place, signed, flip, zero & 0xFF, *store_options(conv), factor),
                *(planes.columns, planes.lines, planes.down, planes.across, reach),
            ]
        ),
        y * planes.columns + x,
        geometry.block_places(plan)[1],
        planes.taps,
        steps.offsets,
        pack_steps(layout.weights, steps),
        aligned(
            geometry.pack_columns(
                wrapped(conv.bias.astype(np.int64) - zero * sums), groups=layout.groups
            )
        ),
        geometry.pack_columns(channel_scales(conv).astype(np.float32), groups=layout.groups),
    )
    read = max(planes.pixels, max(pixels, int8_conv_amx.BLOCK) - 1) * plan.in_c + reach
    sums_size = int8_conv_amx.SUMS_SIZE
    if factor:
        sums_size += plan.groups * pixels + pixels + int(planes.taps.max())

    def part(ifm: Array, ofm: Array, start: int, stop: int) -> None:
        window = scratch("window", read, np.uint8)
        sums = scratch("sums", sums_size, np.int32)
        state = scratch("tiles", tiles.STATE_SIZE, np.int32)
        int8_conv_amx.conv2d_8bit(ifm, *constants, window, sums, state, ofm, start, stop)

    return layout.run(part, rate=_RATE)


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


def _wanted_share(layout: Layout, planes: Planes, steps: int) -> float:
    """Return the share of the products computed for a whole unit that an output has."""
    plan = layout.plan
    _, per_group, taps = layout.weights.shape
    wanted = plan.block_h * plan.out_w * per_group * taps
    pixels = (plan.block_h - 1) * planes.columns + plan.out_w
    computed = -(-pixels // tiles.ROWS) * tiles.ROWS * -(-per_group // tiles.LANES) * tiles.LANES
    return float(wanted / (computed * steps * tiles.ROW_BYTES))


BINDS = {int8_conv_amx.conv2d_8bit: bind_dense}
