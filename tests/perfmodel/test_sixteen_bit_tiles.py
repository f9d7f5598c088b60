"""16-bit tiles against the vendor's estimator: rows that leave, kernels of few row groups, reads.

Every case is the answer for one layer without a DDR limit, unless a rate is given.
"""

import pytest

from npusim.ir.dtypes import DType
from npusim.perfmodel.engines.nn import price_tile
from npusim.perfmodel.engines.nn_traffic import row_lines_bytes
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.tiling import make_tile
from tests.perfmodel.test_feed import layer

CHIP = load_machine("rk1808")


def cost(work, width, height, rate=100.0):
    tile = make_tile(work, CHIP, width, height)
    return price_tile(work, tile, CHIP, rate)


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        *[(9, 1.5), (11, 1.5), (12, 1.5), (13, 1.75), (14, 1.75), (15, 1.875), (17, 2), (20, 2)],
        *[(23, 2), (24, 2), (25, 2.5), (27, 2.5), (28, 2.5), (29, 2.75), (30, 2.75), (31, 2.875)],
        *[(32, 1), (8, 0.25)],
    ],
)
def test_rows_leave_in_whole_lines(width, lines):
    assert row_lines_bytes(width, 2, 64) == 64 * lines


@pytest.mark.parametrize(
    ("in_c", "out_c", "width", "height", "tile", "cycles"),
    [
        *[(4, 192, 28, 14, 2, 25882), (4, 256, 28, 14, 2, 33677), (4, 192, 28, 56, 2, 106522)],
        *[(32, 192, 28, 14, 2, 28570), (4, 192, 30, 14, 2, 28186), (4, 44, 28, 14, 2, 7866)],
        *[(4, 24, 28, 14, 2, 5934), (4, 60, 28, 14, 2, 9774), (4, 192, 12, 14, 2, 16474)],
    ],
)
def test_float16_layers_of_few_inputs_wait_for_lines_or_handover(
    in_c, out_c, width, height, tile, cycles
):
    work = layer(in_c, out_c, width, height, 1, zeros=0.0, dtype=DType.F16)
    assert cost(work, width, tile).cycles == pytest.approx(cycles, rel=1e-2)


def test_narrow_tiles_at_the_edge_leave_as_full_ones():
    work = layer(24, 112, 80, 80, 1, zeros=0.5, dtype=DType.I16)
    assert cost(work, 32, 1).cycles == pytest.approx(260493, rel=2e-3)


@pytest.mark.parametrize(
    ("kernel", "height", "per_channel"),
    [
        *[(2, 2, 12), (2, 4, 14.4), (2, 6, 16.8), (2, 8, 19.2), (3, 2, 19), (3, 4, 22), (3, 6, 27)],
        *[(4, 2, 43), (4, 4, 46), (4, 6, 54), (5, 2, 67), (5, 4, 70), (6, 4, 94), (7, 4, 134)],
    ],
)
def test_groups_of_taps_of_float16_kernels_take_a_step_each(kernel, height, per_channel):
    work = layer(512, 48, 7, height, kernel, zeros=0.0, dtype=DType.F16)
    assert cost(work, 7, height).cycles - 2458 == pytest.approx(512 * 5 * per_channel, rel=2e-3)


@pytest.mark.parametrize(
    ("kernel", "zeros", "per_channel"),
    [
        *[(2, 0.2, 11.63), (2, 0.5, 8.08), (2, 0.8, 4.32), (3, 0.5, 11.04), (3, 0.8, 5.15)],
        *[(4, 0.8, 9.54), (5, 0.8, 14.11), (5, 0.95, 4.52)],
    ],
)
def test_one_float16_tap_alone_costs_as_two(kernel, zeros, per_channel):
    work = layer(512, 48, 7, 4, kernel, zeros=zeros, dtype=DType.F16)
    assert cost(work, 7, 4).cycles - 2458 == pytest.approx(512 * 5 * per_channel, rel=1e-2)


def test_phases_of_a_strided_float16_kernel_are_priced_one_by_one():
    work = layer(2048, 112, 4, 4, 2, zeros=0.8, dtype=DType.F16, tap_ratio=(3 / 4) ** 2)
    assert cost(work, 4, 4, 8.0).cycles == pytest.approx(69868, rel=4e-3)


@pytest.mark.parametrize(
    ("in_c", "out_c", "width", "height", "tile", "image"),
    [
        *[(64, 16, 8, 16, 4, 16384), (256, 96, 8, 16, 12, 65536), (16, 16, 8, 10, 5, 10240)],
        *[(16, 8, 16, 16, 4, 8192), (256, 8, 16, 16, 1, 262144), (16, 192, 16, 30, 6, 30720)],
    ],
)
def test_short_float16_rows_are_fetched_together_by_fours(in_c, out_c, width, height, tile, image):
    work = layer(in_c, out_c, width, height, 1, zeros=0.0, dtype=DType.F16)
    assert cost(work, width, tile).traffic.ddr_image_bytes == image
