"""Windows and weights for instructions that multiply whole tiles. Numpy only; done at load time.

The pixels of a tile are equally far apart. So a unit's window is cut into *planes*, one for each
phase of the strides: plane (p, q) holds the input pixels of rows p, p + stride_h, .. and columns q,
q + stride_w, .., each line ``columns`` pixels long. Output pixel (y, x) then reads, in every plane,
from place ``y * columns + x`` on; places whose x is beyond the output are computed too and not
stored. Only planes that the kernel touches exist. Without stride there is one plane, the window.

The inputs of an output pixel are taken in *steps* of 64 bytes side by side; a run of inputs that
is no multiple of 64 ends in zero weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.pack.fours import Groups, aligned, groups_of, spread_weights
from npusim.kernels.pack.geometry import Geometry
from npusim.kernels.tiles.amx import LANES, PAIR
from npusim.kernels.tiles.amx import ROW_BYTES as STEP


class Planes(NamedTuple):
    """How a unit's window lies.

    Attributes
    ----------
    columns, lines : int
        Of every plane.
    down, across : int
        Planes by rows and by columns of their phase.
    taps : int64 (taps,)
        Where each tap's pixel lies, in pixels from an output pixel's place.
    """

    columns: int
    lines: int
    down: int
    across: int
    taps: NDArray[np.int64]

    @property
    def pixels(self) -> int:
        """All pixels of a unit's window."""
        return self.columns * self.lines * self.down * self.across


def planes_of(places: Sequence[tuple[int, int]], plan: Geometry) -> Planes:
    """Return the planes of a window, given the input pixel of each tap from its start."""
    columns, lines = -(-plan.window_w // plan.stride_w), -(-plan.window_h // plan.stride_h)
    phases = [(y % plan.stride_h, x % plan.stride_w) for y, x in places]
    down, across = (max((phase[axis] for phase in phases), default=0) + 1 for axis in range(2))
    taps = [
        ((p * across + q) * lines + y // plan.stride_h) * columns + x // plan.stride_w
        for (p, q), (y, x) in zip(phases, places, strict=True)
    ]
    return Planes(columns, lines, down, across, np.array(taps, np.int64))


def steps_of(planes: Planes, plan: Geometry) -> Groups:
    """Return the steps of an output pixel; their taps number k as ``geometry.flat_weights``."""
    channels = np.arange(plan.in_c // plan.groups, dtype=np.int64)
    return groups_of((planes.taps[:, None] * plan.in_c + channels).reshape(-1), STEP)


def pack_steps(weights: NDArray[np.int64], steps: Groups) -> NDArray[np.int8]:
    """Pack weights (groups, O/group, k), which fit a signed byte, as flat tiles.

    Order: group; pair of tiles of channels (the last one may be single); step; tile of the pair;
    then the tile itself: 16 fours of inputs x 16 channels x 4 inputs. Channels are filled up with
    zero weights to a multiple of 16.
    """
    groups, per_group, _ = weights.shape
    count = len(steps.offsets)
    tiles = -(-per_group // LANES)
    spread = spread_weights(weights, steps).astype(np.int8)  # (panels, steps, PANEL, STEP)
    panels, _, width, _ = spread.shape
    spread = spread.reshape(groups, panels // groups, count, width // LANES, LANES, STEP // 4, 4)
    # (group, panel, tile, step, four, channel, 4)
    spread = spread.transpose(0, 1, 3, 2, 5, 4, 6)
    spread = spread.reshape(groups, -1, count, STEP // 4, LANES, 4)[:, :tiles]
    packed = [
        group[first : first + PAIR].swapaxes(0, 1).reshape(-1)
        for group in spread
        for first in range(0, tiles, PAIR)
    ]
    return aligned(np.concatenate([np.zeros(0, np.int8), *packed]))
