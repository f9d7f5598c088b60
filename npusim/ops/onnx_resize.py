"""Where ONNX Resize reads, in float32 and in the order of ONNX Runtime's operations.

The scale that the file gives divides, also where it is not output / input. Importer and exporter
compare with the operator's own positions (``npusim.ops.resize_positions``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError

F32 = np.float32
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
TIE = 1e-6
"""The runtime takes positions this close to a half for one."""
CROP = "tf_crop_and_resize"
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a resize: sizes, the scale as the runtime has it, and the region of interest."""

    size: int
    out: int
    scale: np.float32
    start: np.float32 = ZERO
    end: np.float32 = ONE

    @property
    def stays(self) -> bool:
        """Tell whether the runtime leaves the axis alone."""
        return bool(self.scale == 1 and self.size == self.out)


def by_size(size: int, out: int) -> Axis:
    """Return an axis whose target is given as a size."""
    return Axis(size, out, F32(out) / F32(size))


def source_positions(rule: str, axis: Axis) -> Array:
    """Return the source position of every output element, float32.

    Raises
    ------
    GraphError
        When ONNX has no such coordinate rule.
    """
    o = np.arange(axis.out, dtype=F32)
    size, out, scale = F32(axis.size), F32(axis.out), axis.scale
    last = F32(axis.size - 1)
    if axis.stays:
        return o
    if rule == "asymmetric":
        return o / scale
    if rule == "align_corners":
        return o * last / F32(axis.out - 1) if axis.out > 1 else np.zeros(1, F32)
    if rule == "pytorch_half_pixel" and axis.out == 1:
        return np.zeros(1, F32)
    if rule in ("half_pixel", "pytorch_half_pixel"):
        return (o + HALF) / scale - HALF
    if rule == "tf_half_pixel_for_nn":
        return (o + HALF) / scale
    if rule == "half_pixel_symmetric":
        # the runtime writes some of the constants in double precision
        offset = F32(axis.size / 2 * (1 - float(out / (scale * size))))
        exact = float(offset) + (o.astype(np.float64) + 0.5) / float(scale) - 0.5
        return exact.astype(F32)
    if rule == CROP:
        if axis.out == 1:
            return np.array([HALF * (axis.start + axis.end) * last], F32)
        return axis.start * last + o * (axis.end - axis.start) * last / F32(axis.out - 1)
    raise GraphError(f"there is no coordinate rule {rule!r}")


def nearest_of(mode: str, positions: Array, size: int) -> Array:
    """Return source indices, int64, by one of ``ROUNDINGS``.

    Raises
    ------
    GraphError
        When ONNX has no such rounding.
    """
    place = positions.astype(np.float64)
    if mode == "floor":
        found = np.floor(place)
    elif mode == "ceil":
        found = np.ceil(place)
    elif mode in ROUNDINGS:
        low = np.floor(place)
        near_half = np.abs(place - (low + 0.5)) < TIE
        half = low if mode == "round_prefer_floor" else low + 1
        found = np.where(near_half, half, np.floor(place + 0.5))
    else:
        raise GraphError(f"nearest_mode {mode!r}", rule=", ".join(ROUNDINGS))
    return np.clip(found, 0, size - 1).astype(np.int64)
