"""Shapes, offsets and packed weights of convolutions. Numpy only; done once, at load time.

A kernel works on *units*: a unit is one image, a block of output rows and a share of the panels.
For each unit the padded input window is copied once into a scratch buffer of real numbers
(rows, window_w, in_c); the value that output pixel (y, x) multiplies with weight k then lies at
``(y * stride_h * window_w + x * stride_w) * in_c + offsets[k]``. No im2col is made.

Packed weights are (panels, k, PANEL): PANEL output channels side by side for each k, zero codes in
the columns beyond the last channel. Panels of one group follow each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.fma_tile import PANEL, ROWS

CHUNK = 256  # taps between flushes: 256 * 255 * 255 < 2**24, exact in float32
_WINDOW_BYTES = 1 << 19  # of scratch that a unit's input window may take (half of a usual L2)
_BLOCK_PIXELS = 384


class Geometry(NamedTuple):
    """What a convolution kernel needs to know, all plain integers.

    ``out_*_step`` and ``out_*_start`` place the ``out_h x out_w`` outputs in an ofm of
    ``ofm_h x ofm_w`` (one phase of a transposed convolution); ``own_channels`` is 1 for depthwise.
    """

    in_c: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    window_h: int
    window_w: int
    out_h: int
    out_w: int
    out_c: int
    out_h_step: int
    out_w_step: int
    out_h_start: int
    out_w_start: int
    ofm_h: int
    ofm_w: int
    groups: int
    own_channels: int
    block_h: int
    blocks: int
    shares: int


class ConvShape(NamedTuple):
    """A convolution as its user sees it. Pairs are (height, width).

    ``reach`` is the extent of the kernel window in input pixels; negative ``pad_before`` crops.
    """

    in_c: int
    out_c: int
    out_size: tuple[int, int]
    ofm_size: tuple[int, int]
    reach: tuple[int, int]
    stride: tuple[int, int]
    pad_before: tuple[int, int]
    groups: int
    own_channels: bool
    out_step: tuple[int, int] = (1, 1)
    out_start: tuple[int, int] = (0, 0)


def plan(shape: ConvShape, *, real_bytes: int, images: int, workers: int) -> Geometry:
    """Cut a convolution into units.

    Parameters
    ----------
    shape : ConvShape
    real_bytes : int
        Bytes of one number of the scratch window.
    images : int
        Batch size.
    workers : int
        Threads that units should occupy.
    """
    out_h, out_w = shape.out_size
    reach_h, reach_w = shape.reach
    window_w = (out_w - 1) * shape.stride[1] + reach_w
    row_bytes = window_w * shape.in_c * real_bytes
    by_memory = (_WINDOW_BYTES // max(row_bytes, 1) - reach_h) // shape.stride[0] + 1
    block_h = max(
        1, min(by_memory, -(-_BLOCK_PIXELS // out_w), -(-out_h // max(1, workers // images)))
    )
    blocks = -(-out_h // block_h)
    panels = panel_count(shape)
    shares = min(panels, max(1, workers // (blocks * images)))
    return Geometry(
        in_c=shape.in_c,
        stride_h=shape.stride[0],
        stride_w=shape.stride[1],
        pad_top=shape.pad_before[0],
        pad_left=shape.pad_before[1],
        window_h=(block_h - 1) * shape.stride[0] + reach_h,
        window_w=window_w,
        out_h=out_h,
        out_w=out_w,
        out_c=shape.out_c,
        out_h_step=shape.out_step[0],
        out_w_step=shape.out_step[1],
        out_h_start=shape.out_start[0],
        out_w_start=shape.out_start[1],
        ofm_h=shape.ofm_size[0],
        ofm_w=shape.ofm_size[1],
        groups=shape.groups,
        own_channels=int(shape.own_channels),
        block_h=block_h,
        blocks=blocks,
        shares=shares,
    )


def panel_count(shape: ConvShape) -> int:
    """Return the number of panels of all groups."""
    return shape.groups * -(-(shape.out_c // shape.groups) // PANEL)


def window_size(geometry: Geometry) -> int:
    """Return the numbers in a unit's window, with the slack that whole vectors may read."""
    return geometry.window_h * geometry.window_w * geometry.in_c + PANEL


def sums_size(geometry: Geometry) -> int:
    """Return the numbers in a unit's block of accumulators."""
    return (geometry.block_h * geometry.out_w + ROWS) * PANEL


def tap_offsets(
    places: Sequence[tuple[int, int]],
    geometry: Geometry,
    *,
    channels_outermost: bool,
) -> NDArray[np.int64]:
    """Return where each weight's input lies, relative to its output pixel's first input.

    Parameters
    ----------
    places : sequence of (row, column)
        Input pixel of each tap from the window's start, in the order of addition.
    geometry : Geometry
    channels_outermost : bool
        Order of k: (channel, tap), as float16 sums need, or (tap, channel).
    """
    pixels = np.array([y * geometry.window_w + x for y, x in places], np.int64)
    starts = pixels * geometry.in_c
    if geometry.own_channels:
        return starts
    channels = np.arange(geometry.in_c // geometry.groups, dtype=np.int64)
    if channels_outermost:
        return (channels[:, None] + starts[None, :]).reshape(-1)
    return (starts[:, None] + channels[None, :]).reshape(-1)


def accumulation_order(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the kernel positions in the NN engine's order: stride phase by stride phase.

    Source: ARITHMETIC_NN 1.3, measured (equal strides; unequal ones are not known).
    """
    taps = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    if max(stride) == 1:
        return taps
    return sorted(
        taps, key=lambda t: (t[0] * dilation[0] % stride[0], t[1] * dilation[1] % stride[1], t)
    )


def pack_weights(
    weights: NDArray[np.generic],
    taps: Sequence[tuple[int, int]],
    *,
    groups: int,
    own_channels: bool,
    channels_outermost: bool,
) -> NDArray[np.generic]:
    """Return weights (O, C/group, kh, kw) as (panels, k, PANEL), zeros in unused columns."""
    out_c = weights.shape[0]
    rows, columns = [i for i, _ in taps], [j for _, j in taps]
    picked = weights[:, :, rows, columns]  # (O, C/group, taps)
    if not channels_outermost:
        picked = picked.transpose(0, 2, 1)
    if own_channels:
        groups = 1
    per_group = out_c // groups
    flat = picked.reshape(groups, per_group, -1)
    panels = -(-per_group // PANEL)
    packed = np.zeros((groups, panels * PANEL, flat.shape[2]), weights.dtype)
    packed[:, :per_group] = flat
    packed = packed.reshape(groups * panels, PANEL, flat.shape[2]).transpose(0, 2, 1)
    return np.ascontiguousarray(packed)


def pack_columns(
    values: NDArray[np.generic], *, groups: int, fill: float = 0
) -> NDArray[np.generic]:
    """Return one value per output channel as (panels * PANEL), ``fill`` in unused columns."""
    per_group = values.size // groups
    panels = -(-per_group // PANEL)
    packed = np.full((groups, panels * PANEL), fill, values.dtype)
    packed[:, :per_group] = values.reshape(groups, per_group)
    return packed.reshape(-1)
