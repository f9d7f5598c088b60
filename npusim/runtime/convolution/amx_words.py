"""i16 convolutions bound to the AMX kernel, which adds up products of bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.pack import geometry
from npusim.kernels.pack.fours import aligned
from npusim.kernels.pack.steps import pack_words, planes_of, steps_of
from npusim.kernels.tiles import amx as tiles
from npusim.kernels.windows import i16_conv_amx
from npusim.runtime.calls import Scratch
from npusim.runtime.convolution.amx import gains, places_of, reach_of, window_bytes
from npusim.runtime.convolution.layout import Run, channel_scales, lay_out, limits
from npusim.runtime.convolution.pairs import fitting_words
from npusim.runtime.convolution.phases import Convolution, Phase

Array = NDArray[Any]
_RATE = 6  # of tiles: a unit of work is about what moving a byte takes


def bind_i16(conv: Convolution, phase: Phase, *, gain: float | None = None) -> Run | None:
    """Return the run of an i16 phase, or None when it does not fit or gain.

    ``gain`` replaces ``amx.GAIN``.
    """
    words = fitting_words(conv)
    if words is None or not phase.places:
        return None
    weights, bias = words
    layout = lay_out(conv, phase, np.int16, weights)
    plan, groups = layout.plan, layout.groups
    planes = planes_of(phase.places, plan)
    if layout.weights.shape[2] > i16_conv_amx.LARGEST_DEPTH:
        return None
    if not gains(layout, planes, gain):
        return None
    steps = steps_of(planes, plan)
    half = window_bytes(planes, plan, reach_of(steps, plan), tiles.ROWS)
    constants = (
        layout.geometry,
        np.array([planes.columns, planes.lines, planes.down]),
        places_of(planes, plan),
        geometry.block_places(plan)[1],
        steps.offsets,
        pack_words(layout.weights, steps),
        aligned(geometry.pack_columns((bias & 0xFFFF).astype(np.int32), groups=groups)),
        aligned(geometry.pack_columns((bias >> 16).astype(np.int32), groups=groups)),
        geometry.pack_columns(channel_scales(conv), groups=groups),
        *(float(limit) for limit in limits(conv)),
    )
    scratches = (
        Scratch("window", 2 * half, np.uint8),
        Scratch("sums", i16_conv_amx.SUMS_SIZE, np.int32),
        Scratch("tiles", tiles.STATE_SIZE, np.int32),
    )
    return layout.run(i16_conv_amx.conv2d_i16, constants, *scratches, rate=_RATE)


BINDS = {i16_conv_amx.conv2d_i16: bind_i16}
