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

from npusim.kernels.tiles.fma import PANEL

ALIGN = 16  # columns are computed in multiples of this
TILE_ROWS = 12  # at least the pixels of any register tile
CHUNK = 256  # taps between flushes: 256 * 255 * 255 < 2**24, exact in float32
_WINDOW_BYTES = 1 << 19  # of scratch that a unit's input window may take (half of a usual L2)
_BLOCK_PIXELS = 384
SHARES = 2  # ranges of units per thread: one that is late does less
_BYTE = 8  # multiply-adds in the time in which a byte comes from memory
_UNIT = 1 << 15  # multiply-adds in the time that a unit takes to begin


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
    most = max(1, min(by_memory, -(-_BLOCK_PIXELS // out_w), out_h))
    block_h, shares = _cut(shape, most, images, workers)
    blocks = -(-out_h // block_h)
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


def _cut(shape: ConvShape, most: int, images: int, workers: int) -> tuple[int, int]:
    """Return (output rows of a block, at most ``most``; shares) with which the threads end first.

    Few rows do not divide well among threads, and every block reads all weights; every share copies
    the window of its block again.
    """
    if workers == 1:
        return most, 1
    out_h, out_w = shape.out_size
    reach_h, reach_w = shape.reach
    columns = _columns(shape)
    taps = reach_h * reach_w * (1 if shape.own_channels else shape.in_c // shape.groups)
    row_bytes = out_w * shape.stride[1] * shape.in_c if (reach_h, reach_w) != (1, 1) else 0

    def last_end(block_h: int, shares: int) -> float:
        """Return when the last thread is done, in multiply-adds."""
        units = []
        for first in range(0, out_h, block_h):
            rows = min(block_h, out_h - first)
            window = ((rows - 1) * shape.stride[0] + reach_h) * row_bytes
            for share in range(shares):
                own = columns[share * len(columns) // shares : (share + 1) * len(columns) // shares]
                weights = sum(own) * taps
                units.append(weights * rows * out_w + (weights + window) * _BYTE + _UNIT)
        units *= images
        parts = min(len(units), workers * SHARES)
        busy = [0] * workers
        for part in range(parts):
            taken = units[len(units) * part // parts : len(units) * (part + 1) // parts]
            busy[busy.index(min(busy))] += sum(taken)
        return max(busy)

    fewest = -(-out_h // most)
    blocks = {fewest, *(-(-workers * n // images) for n in range(1, SHARES + 1))}
    heights = sorted({-(-out_h // n) for n in blocks if fewest <= n <= out_h}, reverse=True)
    numbers = range(1, min(len(columns), workers * SHARES) + 1)
    return min(((h, n) for h in heights for n in numbers), key=lambda cut: last_end(*cut))


def _columns(shape: ConvShape) -> list[int]:
    """Return how many columns each panel computes."""
    whole, rest = divmod(shape.out_c // shape.groups, PANEL)
    return ([PANEL] * whole + [-(-rest // ALIGN) * ALIGN] * (rest > 0)) * shape.groups


def panel_count(shape: ConvShape) -> int:
    """Return the number of panels of all groups."""
    return shape.groups * -(-(shape.out_c // shape.groups) // PANEL)


def block_pixels(geometry: Geometry) -> int:
    """Return the pixels of a unit, with those that fill up its last tile."""
    return geometry.block_h * geometry.out_w + TILE_ROWS


def block_places(geometry: Geometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each pixel of a whole block reads in the window, and writes from its first."""
    g = geometry
    y, x = np.divmod(np.arange(g.block_h * g.out_w), g.out_w)
    reads = (y * g.stride_h * g.window_w + x * g.stride_w) * g.in_c
    writes = (y * g.out_h_step * g.ofm_w + x * g.out_w_step) * g.out_c
    return reads, writes


def window_size(geometry: Geometry) -> int:
    """Return the numbers in a unit's window, with the slack that whole vectors may read."""
    return geometry.window_h * geometry.window_w * geometry.in_c + 4 * PANEL


def sums_size(geometry: Geometry) -> int:
    """Return the numbers in a unit's block of accumulators."""
    return block_pixels(geometry) * PANEL


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

    The driver cuts the image into ``stride_h * stride_w`` phases and the kernel with it. In front
    of the kernel it may put rows or columns of zeros, which moves every tap to another phase.

    Source: measured, docs/arithmetic/nn.md rule 1.5.
    """
    taps = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    if max(stride) == 1:
        return taps
    rows, columns = _zeros_in_front(kernel, stride, dilation)

    def phase(tap: tuple[int, int]) -> tuple[int, int]:
        return (
            (tap[0] * dilation[0] + rows) % stride[0],
            (tap[1] * dilation[1] + columns) % stride[1],
        )

    return sorted(taps, key=lambda tap: (phase(tap), tap))


def _zeros_in_front(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """Return the rows and columns of zeros with which a phase's kernel is made square.

    A phase one column wide stays as it is. Of an odd number of zeros the larger half goes behind.
    """
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = (-(-size // step) for size, step in zip(extent, stride, strict=True))
    if width == 1:
        return 0, 0
    if height < width:
        return (width * stride[0] - extent[0]) // 2, 0
    if width < height:
        return 0, (height * stride[1] - extent[1]) // 2
    return 0, 0


def flat_weights(
    weights: NDArray[np.generic],
    taps: Sequence[tuple[int, int]],
    *,
    groups: int,
    channels_outermost: bool,
) -> NDArray[np.generic]:
    """Return weights (O, C/group, kh, kw) as (groups, O/group, k) in the order of the taps."""
    rows, columns = [i for i, _ in taps], [j for _, j in taps]
    picked = weights[:, :, rows, columns]  # (O, C/group, taps)
    if not channels_outermost:
        picked = picked.transpose(0, 2, 1)
    return picked.reshape(groups, weights.shape[0] // groups, -1)


def pack_weights(flat: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return weights (groups, O/group, k) as (panels, k, PANEL), zeros in unused columns."""
    groups, per_group, count = flat.shape
    panels = -(-per_group // PANEL)
    packed = np.zeros((groups, panels * PANEL, count), flat.dtype)
    packed[:, :per_group] = flat
    packed = packed.reshape(groups * panels, PANEL, count).transpose(0, 2, 1)
    return np.asarray(packed, order="C")


def pack_columns(
    values: NDArray[np.generic], *, groups: int, fill: float = 0
) -> NDArray[np.generic]:
    """Return one value per output channel as (panels * PANEL), ``fill`` in unused columns."""
    per_group = values.size // groups
    panels = -(-per_group // PANEL)
    packed = np.full((groups, panels * PANEL), fill, values.dtype)
    packed[:, :per_group] = values.reshape(groups, per_group)
    return packed.reshape(-1)
