"""Image, coefficients and outputs of tiles against the vendor's estimator: cycles and bytes.

Every case is the answer for one layer without a DDR limit, unless a rate is given.
"""

import pytest

from npusim.ir.dtypes import DType
from npusim.perfmodel.engines.nn import price_tile
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.tiling import make_tile
from npusim.perfmodel.workload import NnWork

CHIP = load_machine("rk1808")


def layer(in_c, out_c, width, height, kernel, *, zeros=0.016, pool=1, dtype=DType.U8, **sizes):
    return NnWork(
        in_w=sizes.pop("in_w", width),
        in_h=sizes.pop("in_h", height),
        in_c=in_c,
        out_w=width,
        out_h=height,
        out_c=out_c,
        final_w=width // pool,
        final_h=height // pool,
        kernel_w=kernel,
        kernel_h=kernel,
        pool=pool,
        zero_fraction=zeros,
        dtype=dtype,
        **sizes,
    )


def cost(work, width, height, rate=100.0):
    tile = make_tile(work, CHIP, width, height)
    return price_tile(work, tile, CHIP, rate)


@pytest.mark.parametrize(
    ("width", "height", "cycles"),
    [
        *[(9, 16, 8916), (10, 16, 8916), (12, 16, 9940), (13, 16, 10964), (15, 16, 11988)],
        *[(17, 8, 16731), (20, 8, 16731), (21, 8, 19291), (28, 8, 21851), (36, 4, 32361)],
    ],
)
def test_rows_that_share_an_accumulator_leave_together(width, height, cycles):
    work = layer(8, 128, width, 48, 3)
    assert cost(work, width, height).cycles == pytest.approx(cycles, rel=1e-3)


@pytest.mark.parametrize(("size", "cycles"), [(4, 6554), (6, 6554), (9, 7076), (10, 7652)])
def test_channels_of_small_maps_take_eight_cycles_or_their_pieces(size, cycles):
    work = layer(512, 8, size, size, 3, zeros=0.7048)
    assert cost(work, size, size).cycles == pytest.approx(cycles, rel=2e-3)


@pytest.mark.parametrize(
    ("width", "height", "cycles"), [(14, 7, 7588), (7, 14, 7620), (12, 12, 8996)]
)
def test_channels_arrive_in_whole_pieces(width, height, cycles):
    work = layer(512, 8, width, height, 3, zeros=0.7048)
    assert cost(work, width, height).cycles == pytest.approx(cycles, rel=2e-3)


@pytest.mark.parametrize("dtype", [DType.I16, DType.F16])
def test_sixteen_bit_channels_of_small_maps_take_eight_cycles(dtype):
    work = layer(512, 8, 5, 5, 3, zeros=0.95, dtype=dtype)
    assert cost(work, 5, 5).cycles == pytest.approx(6558, rel=2e-3)


@pytest.mark.parametrize(("size", "tile", "pool", "cycles"), [(64, 1, 1, 97288), (32, 2, 2, 26176)])
def test_coefficients_come_again_for_every_tile(size, tile, pool, cycles):
    work = layer(320, 8, size, size, 1, zeros=0.6064, pool=pool)
    assert cost(work, size, tile).cycles == pytest.approx(cycles, rel=5e-3)


@pytest.mark.parametrize(
    ("width", "height", "tile", "cycles"),
    [(10, 30, 15, 23319), (14, 32, 16, 30535), (20, 32, 8, 45395), (40, 32, 4, 89547)],
)
def test_nothing_leaves_during_the_first_superblock(width, height, tile, cycles):
    work = layer(8, 512, width, height, 3)
    assert cost(work, width, tile).cycles == pytest.approx(cycles, rel=3e-3)


@pytest.mark.parametrize(
    ("width", "height", "tile", "image"),
    [
        *[(16, 19, 20, 81920), (16, 20, 20, 81920), (16, 21, 22, 360448), (32, 19, 20, 163840)],
        *[(64, 19, 10, 327680), (20, 19, 20, 409600), (16, 17, 18, 294912), (32, 31, 16, 262144)],
    ],
)
def test_the_row_that_pads_an_odd_map_is_fetched(width, height, tile, image):
    work = layer(256, 4, width, height + height % 2, 1, pool=2, in_h=height)
    assert cost(work, width, tile, 3.8).traffic.ddr_image_bytes == image


def vector(in_w, in_h, in_c, out_c, kernel, zeros):
    return layer(in_c, out_c, 1, 1, kernel, in_w=in_w, in_h=in_h, zeros=zeros + 0.016 * (1 - zeros))


@pytest.mark.parametrize(
    ("work", "kernel"),
    [
        (vector(8, 2, 1, 512, 8, 0.7), 35200),
        (vector(8, 4, 1, 1000, 8, 0.5), 68224),
        (vector(8, 8, 1, 64, 8, 0.7), 4608),
        (vector(8, 7, 14, 1001, 8, 0.3), 722944),
        (vector(8, 7, 14, 1001, 8, 0.6), 458368),
        (vector(10, 8, 16, 512, 10, 0.6), 390528),
        (vector(9, 8, 128, 64, 9, 0.2), 587520),
    ],
    ids=str,
)
def test_vectors_as_images_have_no_runs_in_one_channel_and_zeros_below(work, kernel):
    assert cost(work, 1, 1).traffic.ddr_kernel_bytes == pytest.approx(kernel, rel=0.05)


@pytest.mark.parametrize(("rows", "cycles"), [(7, 164081), (8, 104849)])
def test_rows_below_a_vector_are_not_decoded(rows, cycles):
    channels, out_c = (14, 2048) if rows == 7 else (16, 1000)
    found = cost(vector(8, rows, channels, out_c, 8, 0.0), 1, 1).cycles
    assert found == pytest.approx(cycles, rel=0.01)


@pytest.mark.parametrize(
    ("kernel", "size", "bytes_read"), [(2, 6, 6400), (3, 5, 7424), (4, 6, 8832)]
)
def test_runs_reach_no_further_than_a_core_has_weights_of_a_channel(kernel, size, bytes_read):
    work = layer(512, 8, size, size, kernel, zeros=0.9508)
    found = cost(work, size, size).traffic.ddr_kernel_bytes
    assert found == pytest.approx(bytes_read, rel=0.12)


@pytest.mark.parametrize(("zeros", "bytes_read"), [(0.6, 10240), (0.8, 8128)])
def test_what_precedes_a_kernel_is_coded_as_well(zeros, bytes_read):
    work = layer(2, 640, 8, 8, 3, zeros=zeros + 0.016 * (1 - zeros))
    found = cost(work, 8, 4).traffic.ddr_kernel_bytes
    assert found == pytest.approx(bytes_read, rel=0.05)


@pytest.mark.parametrize(
    ("in_c", "out_c", "size", "kernel", "zeros", "tile", "rate", "cycles"),
    [(384, 80, 19, 7, 0.2, 10, 8.0, 352875), (384, 40, 16, 5, 0.7, 10, 100.0, 63465)],
)
def test_coefficients_of_a_lower_tile_come_early(
    in_c, out_c, size, kernel, zeros, tile, rate, cycles
):
    work = layer(in_c, out_c, size, size, kernel, zeros=zeros + 0.016 * (1 - zeros))
    assert cost(work, size, tile, rate).cycles == pytest.approx(cycles, rel=0.05)


@pytest.mark.parametrize(
    ("in_c", "out_c", "width", "height", "tile", "rate", "cycles"),
    [
        # Coefficients of all tiles come before the first one ends; later tiles wait for nothing.
        *[(96, 120, 16, 32, 16, 3.8, 53389), (96, 120, 16, 32, 16, 6.0, 38581)],
        *[(96, 120, 16, 32, 16, 8.0, 33006), (128, 64, 20, 40, 10, 6.0, 61061)],
        *[(128, 64, 20, 40, 10, 8.0, 56490), (64, 60, 56, 24, 6, 8.0, 30962)],
        # They come while the first tile is computed, or take longer than all tiles.
        *[(192, 112, 20, 20, 10, 12.0, 71578), (128, 64, 20, 40, 10, 100.0, 56218)],
        *[(64, 60, 56, 24, 8, 3.8, 54567)],
    ],
)
def test_nothing_hides_what_the_first_tile_waits_for(
    in_c, out_c, width, height, tile, rate, cycles
):
    work = layer(in_c, out_c, width, height, 3)
    assert cost(work, width, tile, rate).cycles == pytest.approx(cycles, rel=2e-3)


@pytest.mark.parametrize(
    ("in_c", "out_c", "size", "kernel", "zeros", "tile", "rate", "cycles"),
    [(192, 112, 20, 3, 0.4, 10, 3.8, 87009), (160, 24, 14, 5, 0.4, 8, 8.0, 22938)],
)
def test_coefficients_with_zeros_delay_the_first_tile_only(
    in_c, out_c, size, kernel, zeros, tile, rate, cycles
):
    work = layer(in_c, out_c, size, size, kernel, zeros=zeros + 0.016 * (1 - zeros))
    assert cost(work, size, tile, rate).cycles == pytest.approx(cycles, rel=1e-2)


@pytest.mark.parametrize(
    ("in_c", "out_c", "size", "tile", "cycles"),
    [
        # Rows that are left over cost output time, but not where all cores work to the end.
        *[(128, 21, 26, 10, 17812), (128, 28, 26, 10, 17938), (128, 29, 26, 10, 17956)],
        *[(128, 30, 26, 14, 17434), (128, 40, 26, 16, 22426), (128, 50, 26, 18, 27418)],
        *[(128, 41, 26, 10, 28156), (64, 31, 38, 9, 31890), (64, 30, 38, 10, 24346)],
    ],
)
def test_rows_left_over_wait_for_cores_that_are_idle(in_c, out_c, size, tile, cycles):
    work = layer(in_c, out_c, size, size, 3, zeros=0.016)
    assert cost(work, size, tile).cycles == pytest.approx(cycles, abs=2)


def test_columns_left_over_cost_no_output_time():
    work = layer(3, 128, 75, 75, 1, zeros=0.016)
    assert cost(work, 40, 3).cycles == pytest.approx(104837, rel=2e-3)
