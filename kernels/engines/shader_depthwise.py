"""Depthwise convolution of i16 on the shader: sums that wrap, added up in float32. Numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.engines.shader import F32


def depthwise_i16(
    ifm: NDArray[np.int16],
    weights: NDArray[np.int16],
    bias: NDArray[np.integer[Any]],
    out_size: tuple[int, int],
    *,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad: tuple[int, int],
) -> F32:
    """Return sums (N, O, OH, OW): ``t = f32(t + f32(row))``, from the bias on.

    ``row`` is the sum of the products of one kernel row, wrapped to 32 bits. Source: measured,
    0 of 86400 differ (docs/arithmetic/shader.md rule 4.3).

    Parameters
    ----------
    ifm : (N, C, H, W)
    weights : (O, 1, KH, KW)
        O is a multiple of C; output o reads channel ``o // (O / C)``.
    bias : (O,)
    pad : (int, int)
        Above and left; zeros are taken wherever a window leaves the input.
    """
    images, channels, height, width = ifm.shape
    outputs, _, rows, columns = weights.shape
    reach = [
        (n - 1) * step + (k - 1) * wide + 1
        for n, step, k, wide in zip(out_size, stride, (rows, columns), dilation, strict=True)
    ]
    padded = np.zeros((images, channels, *reach), np.int64)
    below, right = min(height, reach[0] - pad[0]), min(width, reach[1] - pad[1])
    inside = ifm[:, :, :below, :right]
    padded[:, :, pad[0] : pad[0] + below, pad[1] : pad[1] + right] = inside
    padded = padded.repeat(outputs // channels, axis=1)
    total = np.broadcast_to(
        bias.astype(np.float32)[None, :, None, None], (images, outputs, *out_size)
    )
    for y in range(rows):
        row = np.zeros(total.shape, np.int64)
        down = slice(
            y * dilation[0], y * dilation[0] + (out_size[0] - 1) * stride[0] + 1, stride[0]
        )
        for x in range(columns):
            along = slice(
                x * dilation[1], x * dilation[1] + (out_size[1] - 1) * stride[1] + 1, stride[1]
            )
            row += padded[:, :, down, along] * weights[:, 0, y, x].astype(np.int64)[:, None, None]
        total = total + row.astype(np.int32).astype(np.float32)
    return total
