"""Tiles of the NN engine: what fits, and which one the driver takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npusim.ir.dtypes import DType
from npusim.perfmodel.engines.nn import tile_bytes
from npusim.perfmodel.engines.nn_plan import (
    output_lines,
    plan,
    planned_bytes,
    planned_cycles,
)
from npusim.perfmodel.engines.nn_steps import kernel_time
from npusim.perfmodel.engines.nn_time import time_tile
from npusim.perfmodel.engines.nn_traffic import tile_image_bytes
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.tiling import interleave, legal_tiles, make_tile
from npusim.perfmodel.workload import NnWork

RK1808 = load_machine("rk1808")


def work(in_c, out_c, height, width, kernel, dtype=DType.U8, **changes):
    values = {
        "in_w": width, "in_h": height, "in_c": in_c, "out_w": width, "out_h": height,
        "out_c": out_c, "final_w": width, "final_h": height, "kernel_w": kernel,
        "kernel_h": kernel, "dtype": dtype, "zero_fraction": 0.0125,
    }  # fmt: skip
    return NnWork(**(values | changes))


@pytest.mark.parametrize(
    ("width", "kernel", "dtype", "expected"),
    [
        (16, 3, DType.U8, 4), (17, 3, DType.U8, 2), (16, 5, DType.U8, 2), (32, 5, DType.U8, 2),
        (33, 3, DType.U8, 1), (16, 3, DType.I16, 2), (17, 3, DType.F16, 1),
    ],
)  # fmt: skip
def test_interleave_follows_the_width_with_its_halo(width, kernel, dtype, expected):
    assert interleave(width, kernel, dtype) == expected


def test_accumulators_limit_kernels_and_rows():
    # Printed by the vendor's estimator for 64 channels, 56x56, 3x3.
    tile = make_tile(work(64, 64, 56, 56, 3), RK1808, 56, 8)
    assert (tile.kernels_per_core, tile.superblocks, tile.rows) == (7, 1, 7)
    assert make_tile(work(64, 64, 56, 56, 3), RK1808, 56, 11) is None


def test_legal_tiles_stay_in_the_map_and_fit():
    for tile in legal_tiles(work(96, 320, 26, 26, 3), RK1808):
        assert tile.width <= 26
        assert tile.height <= 12 * tile.interleave - 2
        assert tile.kernels_per_core * max(tile.height, tile.interleave) <= 64 * tile.interleave


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # Asked of the vendor's estimator: 16 input channels, rows of 64, 1x1, 3.8 bytes per cycle.
        # The more output channels, the lower the tile, so that its lines fit the write cache.
        ((16, 7, 64, 64, 1), (64, 8)),
        ((16, 32, 64, 64, 1), (64, 1)),
        ((64, 64, 56, 56, 3), (56, 8)),
        ((512, 512, 14, 14, 3), (14, 14)),
        # From 128 output channels up the driver weighs no cache and waits for no last output.
        ((4, 192, 64, 64, 1), (64, 2)),
        ((4, 384, 26, 26, 1), (26, 24)),
        ((24, 1024, 28, 28, 1), (28, 24)),
        ((96, 384, 16, 16, 1), (16, 16)),
        ((4, 144, 20, 20, 1), (20, 20)),
        ((32, 512, 28, 20, 3), (20, 20)),
        ((24, 160, 26, 26, 3), (26, 13)),
    ],
)
def test_the_drivers_choice(shape, expected):
    tile = plan(work(*shape), RK1808, 3.8)
    assert (tile.width, tile.height) == expected


@pytest.mark.parametrize(
    ("shape", "zeros", "rate", "expected"),
    [
        # Asked of the vendor's estimator. Bytes count beside cycles, which alone would take 28x4,
        # 52x4, 16x32, 32x2.
        ((768, 112, 28, 28, 2), 0.4, 8.0, (28, 14)),
        ((160, 256, 52, 52, 3), 0.4, 3.8, (52, 10)),
        ((256, 384, 32, 32, 3), 0.6, 100.0, (32, 16)),
        ((3, 512, 64, 64, 1), 0.0, 100.0, (64, 1)),
        # Tiles that wait for their image start behind the first, without a DDR limit. As if all
        # images were there in time: 26x13, 52x10, 7x7, 64x10.
        ((320, 4, 26, 26, 1), 0.9, 100.0, (26, 1)),
        ((384, 4, 20, 52, 1), 0.0, 100.0, (52, 1)),
        ((80, 160, 7, 7, 1), 0.7, 100.0, (7, 4)),
        ((128, 3, 160, 160, 3), 0.0, 100.0, (54, 10)),
        # Columns of 64 count as the next cut, 43 of 128, 54 of 320: with their own lines 64x3, 64x5
        # would fit the cache.
        ((40, 32, 128, 128, 3), 0.6, 100.0, (64, 2)),
        ((16, 40, 128, 128, 3), 0.4, 8.0, (64, 2)),
        # Coefficients have all of the memory where one superblock needs the image once.
        ((1024, 80, 28, 28, 3), 0.0, 3.8, (28, 14)),
        # Pointwise: rows stack up in lines, and few input channels never leave the cache.
        ((4, 96, 20, 28, 1), 0.0, 100.0, (28, 1)),
        ((3, 80, 13, 13, 1), 0.1, 100.0, (13, 3)),
        # Padded at the right and the bottom only: not seen as a whole map.
        ((144, 576, 10, 10, 2), 0.998, 3.8, (10, 8)),
    ],
)
def test_the_drivers_choice_with_zeros_and_rates(shape, zeros, rate, expected):
    tile = plan(work(*shape, zero_fraction=zeros + (1 - zeros) * 0.0125), RK1808, rate)
    assert (tile.width, tile.height) == expected


@pytest.mark.parametrize(
    ("shape", "dtype", "zeros", "rate", "expected"),
    # Asked of the vendor's estimator. While it plans, an image is kept where twice its size fits
    # the on-chip memory for 16 bits, once for 8, whatever the coefficients take.
    [
        ((768, 192, 160, 20, 3), DType.I16, 0.6, 100.0, (20, 6)),
        ((512, 256, 56, 20, 3), DType.I16, 0.6, 8.0, (20, 8)),
        ((768, 320, 26, 26, 3), DType.I16, 0.8, 100.0, (26, 4)),
        ((384, 160, 52, 52, 3), DType.U8, 0.0, 3.8, (52, 8)),
    ],
)
def test_the_drivers_choice_with_images_that_are_kept(shape, dtype, zeros, rate, expected):
    tile = plan(work(*shape, dtype=dtype, zero_fraction=zeros), RK1808, rate)
    assert (tile.width, tile.height) == expected


@pytest.mark.parametrize(
    ("shape", "rates", "single", "several"),
    [
        # Asked of the vendor's estimator, which gives the single tile up at 7.45, 3.21, 6.22, 7.23
        # and 4.41 bytes per cycle: all but the last two columns wait for the bus, and what is
        # behind them is fed.
        ((512, 4, 20, 20, 3), (7.2, 7.7), (20, 20), (20, 10)),
        ((512, 4, 16, 32, 3), (3.1, 3.55), (32, 16), (32, 8)),
        ((256, 4, 16, 28, 3), (6.0, 6.5), (28, 16), (28, 10)),
        ((256, 4, 8, 48, 3), (7.0, 7.9), (48, 8), (48, 4)),
        ((256, 4, 16, 16, 3), (4.25, 4.9), (16, 16), (16, 10)),
    ],
)
def test_single_tiles_wait_for_their_first_column(shape, rates, single, several):
    layer = work(*shape, zero_fraction=0.0)
    found = [plan(layer, RK1808, rate) for rate in rates]
    assert [(tile.width, tile.height) for tile in found] == [single, several]


def test_heights_include_those_whose_input_is_whole_row_groups():
    # The vendor's estimator takes 16x10 of a 16x16 map: twelve input rows, four share accumulators.
    sizes = {(tile.width, tile.height) for tile in legal_tiles(work(64, 16, 16, 16, 3), RK1808)}
    assert {(16, 10), (16, 6), (16, 14)} <= sizes


@pytest.mark.parametrize(
    ("size", "tile", "fits", "too_many"),
    # Printed by the vendor's estimator: input channels at which images are kept and no longer kept.
    [(28, (28, 22), 720, 728), (28, (28, 18), 856, 864), (14, (14, 14), 2000, 2050)],
)
def test_a_tiles_place_includes_the_padding(size, tile, fits, too_many):
    sram = RK1808.memory.vip_sram_bytes
    for channels, kept in ((fits, True), (too_many, False)):
        layer = work(channels, 200, size, size, 3)
        held = tile_image_bytes(layer, make_tile(layer, RK1808, *tile), padded=True)
        assert (held <= sram) == kept
        assert tile_image_bytes(layer, make_tile(layer, RK1808, *tile)) <= sram


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(2, 40), st.integers(2, 40)),
    st.sampled_from((1, 3, 5)), st.sampled_from((DType.U8, DType.I16, DType.F16)),
    st.sampled_from((3.8, 8.0, 16.0)),
)  # fmt: skip
def test_no_legal_tile_is_cheaper_to_the_driver(shape, kernel, dtype, rate):
    asked = work(*shape, kernel, dtype)

    def driver_cycles(tile):
        stream = kernel_stream_bytes(asked, tile, RK1808)
        planned = planned_bytes(asked, tile, RK1808, stream, rate)
        moved = tile_bytes(asked, tile, RK1808, stream)
        true = time_tile(asked, tile, moved, RK1808, rate)[0]
        cycles = planned_cycles(asked, tile, planned, RK1808, rate)
        cycles += RK1808.nn.planned_true_ratio * true
        return cycles * planned.total**RK1808.nn.planned_bytes_ratio

    everything = [driver_cycles(tile) for tile in legal_tiles(asked, RK1808)]
    assert driver_cycles(plan(asked, RK1808, rate)) == pytest.approx(min(everything), rel=1e-9)


def test_lines_of_an_output_tile_grow_with_its_height():
    shape = work(16, 32, 64, 28, 1)
    tiles = [make_tile(shape, RK1808, 28, height) for height in (1, 2, 4)]
    lines = [output_lines(shape, tile, RK1808) for tile in tiles]
    assert lines == [1.375, 1.75, pytest.approx(2.625, abs=0.13)]


@pytest.mark.parametrize(
    ("kernel", "zeros", "cycles"),
    # Measured on single tiles: cycles of a kernel, input channel and row group.
    [(3, 0.0, 3.0), (5, 0.0, 12.0), (7, 0.0125, 20.91), (4, 0.0125, 8.947), (6, 0.0, 12.0),
     (8, 0.0125, 24.0), (3, 0.5, 2.655), (5, 0.5, 9.69), (2, 0.5, 2.24), (7, 0.61, 13.68)],
)  # fmt: skip
def test_products_of_a_kernel(kernel, zeros, cycles):
    shape = work(64, 80, 14, 14, kernel, zero_fraction=zeros)
    assert kernel_time(shape, RK1808).full == pytest.approx(cycles, rel=0.035)


def test_lower_tiles_at_the_bottom_cost_a_3x3_kernel():
    for kernel in (4, 5, 6, 7):
        time = kernel_time(work(64, 80, 24, 14, kernel, zero_fraction=0.0), RK1808)
        assert time.partial == pytest.approx(3.0)
