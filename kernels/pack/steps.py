"""Windows and weights for instructions that multiply whole tiles. Numpy only; done at load time.

The pixels of a tile are equally far apart. So the rows of a unit's window are dealt to *planes*,
one for each phase of the vertical stride: plane p holds rows p, p + stride_h, .. Output pixel
(y, x) then reads, in every plane, from place ``y * columns + x`` on. Places are stride_w input
pixels apart, and a line has ``columns`` of them; those whose x is beyond the output are computed
too and not stored. Only planes that the kernel touches exist. Without stride the window is one.

The inputs of an output pixel are taken in *steps* of 64 bytes side by side; a run of inputs that
is no multiple of 64 ends in zero weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.pack.fours import Groups, aligned, groups_of, spread_weights
from npusim.kernels.pack.geometry import Geometry
from npusim.kernels.tiles.amx import LANES, PAIR
from npusim.kernels.tiles.amx import ROW_BYTES as STEP


class Planes(NamedTuple):
    """How a unit's window lies.

    Attributes
    ----------
    columns : int
        Places of a line.
    lines : int
        Of every plane.
    down : int
        Planes.
    taps : int64 (taps, 2)
        What each tap reads: the place of its line, and the input pixel from there.
    """

    columns: int
    lines: int
    down: int
    taps: NDArray[np.int64]

    def size(self, plan: Geometry) -> int:
        """Return the inputs in a unit's window."""
        return self.down * self.lines * self.columns * plan.stride_w * plan.in_c


def planes_of(places: Sequence[tuple[int, int]], plan: Geometry) -> Planes:
    """Return the planes of a window, given the input pixel of each tap from its start."""
    columns, lines = -(-plan.window_w // plan.stride_w), -(-plan.window_h // plan.stride_h)
    down = max((y % plan.stride_h for y, _ in places), default=0) + 1
    taps = [((y % plan.stride_h * lines + y // plan.stride_h) * columns, x) for y, x in places]
    return Planes(columns, lines, down, np.array(taps, np.int64).reshape(-1, 2))


def steps_of(planes: Planes, plan: Geometry) -> Groups:
    """Return the steps of an output pixel; their taps number k as ``geometry.flat_weights``."""
    channels = np.arange(plan.in_c // plan.groups, dtype=np.int64)
    pixels = planes.taps[:, 0] * plan.stride_w + planes.taps[:, 1]
    return groups_of((pixels[:, None] * plan.in_c + channels).reshape(-1), STEP)


class Sums(NamedTuple):
    """How the inputs of an output pixel are added up: by rows of the kernel, each in runs.

    Attributes
    ----------
    rows : int64 (rows,)
        The place of each row's line.
    runs : int64 (runs, 2)
        Where each run of a row begins, in inputs from its place, and its length.
    """

    rows: NDArray[np.int64]
    runs: NDArray[np.int64]


def sums_of(planes: Planes, plan: Geometry) -> Sums | None:
    """Return how the inputs are added up; None unless the kernel is a grid of rows and columns."""
    rows, columns = (np.unique(planes.taps[:, axis]) for axis in range(2))
    if rows.size * columns.size != len(planes.taps):
        return None
    channels = plan.in_c // plan.groups
    if plan.groups > 1:
        return Sums(rows, np.stack([columns * plan.in_c, np.full_like(columns, channels)], axis=1))
    cuts = np.flatnonzero(np.diff(columns) != 1) + 1
    parts = np.split(columns, cuts)
    runs = [(part[0] * channels, part.size * channels) for part in parts]
    return Sums(rows, np.array(runs, np.int64))


def pack_steps(weights: NDArray[np.int64], steps: Groups) -> NDArray[np.int8]:
    """Pack weights (groups, O/group, k), which fit a signed byte, as flat tiles.

    Order: group; pair of tiles of channels (the last one may be single); step; tile of the pair;
    then the tile itself: 16 fours of inputs x 16 channels x 4 inputs. Channels are filled up with
    zero weights to a multiple of 16.
    """
    packed = [
        group[first : first + PAIR].swapaxes(0, 1).reshape(-1)
        for group in _tiles_of(weights, steps, np.int8)
        for first in range(0, len(group), PAIR)
    ]
    return aligned(np.concatenate([np.zeros(0, np.int8), *packed]))


def pack_words(weights: NDArray[np.int64], steps: Groups) -> NDArray[np.int8]:
    """Pack weights (groups, O/group, k), which fit 16 bits, as flat tiles of bytes.

    Order: group; tile of channels; step; upper bytes, then lower ones; the tile as in
    ``pack_steps``.
    """
    words = _tiles_of(weights, steps, np.int16)
    return aligned(np.stack([words >> 8, words & 0xFF], axis=3).astype(np.uint8).view(np.int8))


def _tiles_of(
    weights: NDArray[np.int64], steps: Groups, dtype: DTypeLike
) -> NDArray[np.signedinteger]:
    """Return weights as (groups, tiles of channels, steps, 16, 16, 4)."""
    groups, per_group, _ = weights.shape
    count = len(steps.offsets)
    spread = spread_weights(weights, steps).astype(dtype)  # (panels, steps, PANEL, STEP)
    panels, _, width, _ = spread.shape
    shape = (groups, panels // groups, count, width // LANES, LANES, STEP // 4, 4)
    # (group, panel, tile, step, four, channel, 4)
    spread = spread.reshape(shape).transpose(0, 1, 3, 2, 5, 4, 6)
    return spread.reshape(groups, -1, count, STEP // 4, LANES, 4)[:, : -(-per_group // LANES)]
