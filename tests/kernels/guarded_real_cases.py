"""Cases of the kernels of the float engine and of calibration; see ``guarded_cases``."""

import numpy as np

from npusim.kernels.elementwise import statistics, stretch
from npusim.kernels.tiles.float32 import LANES
from npusim.kernels.windows import f32_conv
from tests.kernels.guarded_registry import LENGTHS, case, constant, drawn


@case(statistics.extremes)
def lowest_and_highest() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:
        result = np.zeros(2, np.float32)
        statistics.extremes(drawn(np.float32, length), result)
        results.append(result)
    return results


@case(statistics.histogram)
def histograms() -> list[np.ndarray]:
    results = []
    for absolute in (False, True):
        for length in LENGTHS:
            counts = np.zeros(length, np.int64)
            statistics.histogram(drawn(np.float32, length), -1.0, length / 2, absolute, counts)
            results.append(counts)
    return results


@case(statistics.divergences)
def lost_information() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:
        for levels in {1, min(length, 8), length}:
            found = np.zeros(length + 1 - levels)
            statistics.divergences(drawn(np.uint8, length).astype(np.int64), levels, found)
            results.append(found)
    return results


@case(stretch.stretch_bilinear)
def stretched_pictures() -> list[np.ndarray]:
    results = []
    for height, width, channels in ((1, 1, 1), (2, 3, 3), (5, 4, 3)):
        ofm = np.zeros((7, 6 * channels), np.float32)
        rows, columns = np.arange(7) * height // 7, np.arange(6) * width // 6
        stretch.stretch_bilinear(
            drawn(np.uint8, height, width, channels),
            constant(rows),
            constant(drawn(np.float32, 7)),
            constant(columns),
            constant(drawn(np.float32, 6)),
            ofm,
        )
        results.append(ofm)
    return results


@case(f32_conv.dot_panels)
def float_products() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:  # as few weights as are read again for each tile, and more
        pixels, panels = 2 * f32_conv.BLOCK + 3, -(-length // LANES)
        ofm = np.zeros((pixels, length), np.float32)
        f32_conv.dot_panels(
            drawn(np.float32, pixels * length),
            constant(drawn(np.float32, panels * length * LANES)),
            constant(drawn(np.float32, length)),
            constant(np.zeros(1, np.int64)),
            length,
            constant(np.array([0, 0, length, 1, pixels])),
            -np.inf,
            np.inf,
            ofm,
            1,
            0,
            0,
            pixels,
            0,
            panels,
        )
        results.append(ofm)
    return results


@case(f32_conv.depthwise)
def float_depthwise() -> list[np.ndarray]:
    results, height, width = [], 5, 7
    for channels in LENGTHS:
        taps = np.array([(y * width + x) * channels for y in range(3) for x in range(3)])
        ofm = np.zeros(((height - 2) * (width - 2), channels), np.float32)
        f32_conv.depthwise(
            drawn(np.float32, height * width * channels),
            constant(drawn(np.float32, 9, channels)),
            constant(drawn(np.float32, channels)),
            constant(taps),
            constant(np.array([0, width * channels, channels, height - 2, width - 2])),
            -np.inf,
            np.inf,
            ofm,
            0,
            len(ofm),
        )
        results.append(ofm)
    return results
