"""Convolutions bound to the AVX512-VNNI kernels: what is packed, and which ones fit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.pack import depthwise, geometry
from npusim.kernels.pack.fours import pack_panels
from npusim.kernels.windows import int8_conv_vnni, int8_depthwise_vnni
from npusim.runtime.calls import Calls, Scratch
from npusim.runtime.convolution.layout import (
    Layout,
    Run,
    centred_weights,
    channel_scales,
    direct_layout,
    fits_bands,
    flip_of,
    groups_in,
    lay_out,
    lay_out_bands,
    reach,
    rows_in_bands,
    store_fits,
    store_options,
    wrapped,
    zero_in,
)
from npusim.runtime.convolution.phases import Convolution, Phase

Array = NDArray[Any]
PLANES = 3  # pictures come as so many planes; they are joined while the window is copied
_RATE = 8  # of dense kernels: a unit of work is about what moving a byte takes


def _starts(conv: Convolution, layout: Layout) -> NDArray[np.int32]:
    """Return bias and zero-point constant of every output channel."""
    sums = layout.weights.sum(axis=2).reshape(-1)
    return wrapped(conv.bias.astype(np.int64) - zero_in(conv) * sums)


def bind_dense(conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of a phase with 8 bits in and out, or None when the store does not fit."""
    if not store_fits(conv):
        return None
    layout = lay_out(conv, phase, np.uint8, centred_weights(conv))
    wide = None if flip_of(conv.ifm.dtype) else direct_layout(conv, phase, layout, 4)
    if wide:
        pixels = _reading(conv, phase, wide, int8_conv_vnni.DIRECT)
    else:
        pixels = _reading(conv, phase, layout, int8_conv_vnni.WINDOW)
    if conv.ifm.shape[1] != PLANES or conv.groups > 1:
        return pixels
    planes = _reading(conv, phase, layout, int8_conv_vnni.PLANES)

    def run(calls: Calls, ifm: Array, ofm: Array) -> None:
        reading = planes if ifm.flags.c_contiguous else pixels
        reading(calls, ifm, ofm)

    return run


def _reading(conv: Convolution, phase: Phase, layout: Layout, reading: int) -> Run:
    plan = layout.plan
    panels = pack_panels(layout.weights, groups_in(phase, layout, 4))
    groups = layout.groups
    constants = (
        layout.geometry,
        np.array([reading, flip_of(conv.ifm.dtype), zero_in(conv), *store_options(conv)]),
        *geometry.block_places(plan),
        panels.offsets,
        panels.ends,
        panels.weights,
        geometry.pack_columns(_starts(conv, layout), groups=groups),
        geometry.pack_columns(channel_scales(conv).astype(np.float32), groups=groups),
    )
    window_size = 0 if reading == int8_conv_vnni.DIRECT else geometry.window_size(plan)
    return layout.run(
        int8_conv_vnni.conv2d_8bit,
        constants,
        Scratch("window", window_size, np.uint8),
        rate=_RATE,
        as_is=reading == int8_conv_vnni.PLANES,
    )


def bind_depthwise(conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of a depthwise phase with 8 bits in and out, or None when it does not fit."""
    weights = centred_weights(conv)
    if not (store_fits(conv) and fits_bands(phase, len(weights))):
        return None
    stride_h = conv.stride[0]
    band = depthwise.band_rows(reach(phase, 0), stride_h, phase.out_size[0])
    layout = rows_in_bands(lay_out(conv, phase, np.uint32, weights), band)
    plan = layout.plan
    passes = depthwise.pack_depthwise(layout.weights[0], phase.places, stride_h, band)
    bands = lay_out_bands(conv, phase, plan, passes, band=band, rows=4)
    flip_in, zero = flip_of(conv.ifm.dtype), zero_in(conv)
    constants = (
        layout.geometry,
        np.array([flip_in, zero, *store_options(conv), band, bands.groups, bands.line_size]),
        4 * bands.offsets,
        passes.weights,
        depthwise.in_lanes(_starts(conv, layout)),
        depthwise.in_lanes(channel_scales(conv).astype(np.float32)),
        np.full(conv.ifm.shape[3] * plan.in_c, zero ^ flip_in, np.uint8),
    )
    return layout.run(
        int8_depthwise_vnni.depthwise_8bit, constants, Scratch("fours", bands.size, np.uint32)
    )


BINDS = {
    int8_conv_vnni.conv2d_8bit: bind_dense,
    int8_depthwise_vnni.depthwise_8bit: bind_depthwise,
}
