"""Resize of (N, H, W, C) codes, as the shader does it.

Source: measured, docs/arithmetic/shader.md section 8 and docs/arithmetic/tp.md rule 2.5.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.shader import Scaling, saturate, to_f16

Codes = NDArray[np.generic]
Positions = NDArray[np.float32]
HALF = np.float32(0.5)


def positions(in_size: int, out_size: int, coordinates: str, centred: bool) -> Positions:
    """Return where each output index lies in the input, float32.

    Parameters
    ----------
    coordinates : str
        "asymmetric", "half_pixel" or "align_corners".
    centred : bool
        half_pixel only: count from pixel centres (bilinear) instead of borders (nearest).
    """
    out = np.arange(out_size, dtype=np.float32)
    if coordinates == "align_corners" and out_size > 1:
        return out * (np.float32(in_size - 1) / np.float32(out_size - 1))
    step = np.float32(in_size) / np.float32(out_size)
    if coordinates == "half_pixel":
        return (out + HALF) * step - (HALF if centred else np.float32(0))
    return out * step


def nearest_indices(in_size: int, out_size: int, coordinates: str) -> NDArray[np.int64]:
    """Return the input index that each output index copies."""
    place = positions(in_size, out_size, coordinates, centred=False)
    if coordinates == "align_corners":
        place = place + HALF
    return np.clip(np.floor(place), 0, in_size - 1).astype(np.int64)


def whole_steps(codes: NDArray[np.int16], fl: int) -> NDArray[np.int16]:
    """Round i16 codes to whole numbers, as a TP copy through a tensor without fraction bits."""
    step = 2.0**fl
    return np.clip(np.rint(codes / step) * step, -32768, 32767).astype(np.int16)


def cut_to_half(value: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return values cut toward zero to 11 significant bits (exponent unlimited)."""
    mantissa, exponent = np.frexp(value.astype(np.float64))
    cut: NDArray[np.float64] = np.ldexp(np.trunc(mantissa * 2048), exponent - 11)
    return cut


def _halves(value: NDArray[np.floating]) -> NDArray[np.float64]:
    return value.astype(np.float16).astype(np.float64)


def _whole_factor(in_size: tuple[int, int], size: tuple[int, int]) -> int:
    """Return the enlargement when it is the same whole number in both directions, else 0."""
    (in_h, in_w), (out_h, out_w) = in_size, size
    return out_h // in_h if out_h * in_w == out_w * in_h and out_h % in_h == 0 else 0


def _neighbours(
    place: Positions, in_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Positions]:
    """Return lower index, upper index (both inside) and the weight of the upper one."""
    low = np.floor(place).astype(np.int64)
    weight = (place - low).astype(np.float32)
    return np.clip(low, 0, in_size - 1), np.clip(low + 1, 0, in_size - 1), weight


@np.errstate(over="ignore", invalid="ignore")  # infinity and NaN are results
def bilinear(
    ifm: Codes,
    size: tuple[int, int],
    coordinates: str,
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> Codes:
    """Return the bilinear resize of (N, H, W, C) codes.

    In general float32 interpolation in x, then in y. u8 without requantization mostly uses four
    weights in float16 instead (rule 8.3); float16 enlarged by 2 or 4 without flags is cut, not
    rounded, on rows that coincide with input rows.
    """
    in_h, in_w = ifm.shape[1:3]
    whole = _whole_factor((in_h, in_w), size)
    y = positions(in_h, size[0], coordinates, centred=True)
    x = positions(in_w, size[1], coordinates, centred=True)
    dtype = np.dtype(dtype)
    if ifm.dtype == dtype == np.uint8 and scaling == out_scaling:
        half_pixel = coordinates == "half_pixel" and whole not in (2, 3, 4)
        if size[1] > in_w and (coordinates == "align_corners" or half_pixel):
            return _by_four_weights(ifm, y, x, cut=True)
        if coordinates == "asymmetric" and in_w < 4 * size[1]:
            return _by_four_weights(ifm, y, x, cut=False)
    top, bottom, weight_y = _neighbours(np.maximum(y, np.float32(0)), in_h)
    left, right, weight_x = _neighbours(np.maximum(x, np.float32(0)), in_w)
    real = ifm.astype(np.float32) - np.float32(scaling[1])
    start, stop = np.take(real, left, axis=2), np.take(real, right, axis=2)
    lines = start + (stop - start) * weight_x[:, None]
    start, stop = np.take(lines, top, axis=1), np.take(lines, bottom, axis=1)
    value = start + (stop - start) * weight_y[:, None, None]
    if dtype == np.float16:
        value = value * np.float32(scaling[0])
        if whole in (2, 4) and coordinates == "asymmetric":
            on_row = (weight_y == 0)[:, None, None]
            value = np.where(on_row, cut_to_half(value).astype(np.float32), value)
        return to_f16(value)
    ratio = np.float32(scaling[0]) / np.float32(out_scaling[0])
    return saturate(value * ratio + np.float32(out_scaling[1]), dtype)


def _by_four_weights(ifm: Codes, y: Positions, x: Positions, *, cut: bool) -> NDArray[np.uint8]:
    """Return sums of four raw codes with float16 weights; only indices are clamped.

    Fractions are what is left behind whole numbers toward zero: a negative place has a negative
    one, and its two weights, of one pixel, do not add up to what they stand for.
    """
    top, bottom, _ = _neighbours(y, ifm.shape[1])
    left, right, _ = _neighbours(x, ifm.shape[2])
    down = (y - np.trunc(y))[:, None]
    across = (x - np.trunc(x))[None, :]
    limit = cut_to_half if cut else _halves
    rows = [np.take(ifm, index, axis=1).astype(np.float64) for index in (top, bottom)]
    total = np.zeros((ifm.shape[0], y.size, x.size, ifm.shape[3]))
    for row, share_y in zip(rows, (1 - down, down), strict=True):
        for index, share_x in ((left, 1 - across), (right, across)):
            total += np.take(row, index, axis=2) * limit(share_x * share_y)[:, :, None]
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)
