"""Tiles of several superblocks: what the vendor's estimator adds between two of them."""

import pytest

from npusim.ir.dtypes import DType
from npusim.perfmodel.engines.nn import price_tile
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.network import UNKNOWN_ZERO_FRACTION
from npusim.perfmodel.tiling import make_tile
from npusim.perfmodel.workload import NnWork

RK1808 = load_machine("rk1808")


@pytest.mark.parametrize(
    ("shape", "tile", "rate", "zeros", "blocks", "cycles"),
    # Printed by the vendor's estimator: dtype, in_c, out_c, height, width, kernel; the tile it
    # chose; bytes per cycle; share of weights set to zero; cycles. The bus limits all of them.
    [
        # 150 cycles a tile, and 9 for each kernel and row group: 56, 52 and 60 of them.
        (("u8", 24, 128, 56, 56, 1), (56, 8), 3.8, 0.8, 2, 146101),
        (("u8", 4, 512, 56, 56, 3), (56, 4), 8.0, 0.2, 4, 241678),
        (("u8", 8, 160, 38, 38, 3), (38, 10), 3.8, 0.8, 3, 78582),
        (("i8", 8, 255, 28, 40, 1), (40, 12), 3.8, 0.5, 6, 90969),
        # Full accumulators wait ten rows longer: 64.
        (("u8", 48, 512, 56, 56, 3), (56, 8), 3.8, 0.2, 7, 533908),
        (("u8", 32, 160, 40, 40, 3), (40, 8), 3.8, 0.8, 2, 89319),
        # Four rows share an accumulator, and int16.
        (("i16", 24, 160, 28, 14, 3), (14, 14), 3.8, 0.0, 4, 87641),
        (("i16", 24, 128, 26, 26, 7), (26, 6), 3.8, 0.8, 3, 134110),
    ],
)
def test_cycles_of_the_drivers_tile(shape, tile, rate, zeros, blocks, cycles):
    dtype, in_c, out_c, height, width, kernel = shape
    kind = DType(dtype)
    work = NnWork(
        in_w=width, in_h=height, in_c=in_c, out_w=width, out_h=height, out_c=out_c,
        final_w=width, final_h=height, kernel_w=kernel, kernel_h=kernel, dtype=kind,
        zero_fraction=zeros + (1 - zeros) * UNKNOWN_ZERO_FRACTION[kind.bits],
    )  # fmt: skip
    chosen = make_tile(work, RK1808, *tile)
    assert chosen.superblocks == blocks
    assert price_tile(work, chosen, RK1808, rate).cycles == pytest.approx(cycles, rel=0.003)


@pytest.mark.parametrize(
    ("shape", "tile", "image"),
    # Image bytes that the estimator prints: dtype, in_c, out_c, height, width, kernel; tile.
    [
        # Up to 32 pixels, padding included, are read for every superblock ...
        (("u8", 192, 768, 4, 4, 1), (4, 4), 2 * 49152),
        (("u8", 256, 1024, 4, 8, 1), (8, 4), 2 * 65536),
        (("i16", 80, 512, 4, 4, 1), (4, 4), 4 * 20480),
        (("f16", 256, 768, 4, 4, 1), (4, 4), 3 * 65536),
        (("i16", 384, 512, 16, 16, 1), (16, 2), 2 * 393216),
        # ... but for images that fit the buffer as they are, and larger ones.
        (("u8", 128, 768, 4, 4, 1), (4, 4), 32768),
        (("i16", 64, 512, 4, 4, 1), (4, 4), 16384),
        (("u8", 192, 768, 7, 7, 1), (7, 7), 94080),
        (("f16", 128, 768, 7, 7, 1), (7, 7), 68096),
    ],
)
def test_images_of_few_pixels_are_not_kept_for_the_next_superblock(shape, tile, image):
    dtype, in_c, out_c, height, width, kernel = shape
    work = NnWork(
        in_w=width, in_h=height, in_c=in_c, out_w=width, out_h=height, out_c=out_c,
        final_w=width, final_h=height, kernel_w=kernel, kernel_h=kernel, dtype=DType(dtype),
    )  # fmt: skip
    cost = price_tile(work, make_tile(work, RK1808, *tile), RK1808, 100.0)
    assert cost.traffic.ddr_image_bytes == image


@pytest.mark.parametrize(
    ("shape", "tile", "kernels"),
    # Kernels of a core that the vendor's estimator prints.
    [
        *[(("u8", 1200, 2, 8), (8, 2), 120), (("u8", 1200, 3, 8), (8, 3), 60)],
        *[(("i16", 112, 13, 13), (13, 1), 56), (("i16", 48, 13, 13), (13, 2), 24)],
        (("f16", 768, 16, 16), (16, 1), 96),
    ],
)
def test_tiles_of_few_rows_hold_more_kernels(shape, tile, kernels):
    dtype, out_c, height, width = shape
    work = NnWork(
        in_w=width, in_h=height, in_c=32, out_w=width, out_h=height, out_c=out_c,
        final_w=width, final_h=height, kernel_w=1, kernel_h=1, dtype=DType(dtype),
    )  # fmt: skip
    assert make_tile(work, RK1808, *tile).kernels_per_core == kernels


def test_coefficients_stay_where_they_fit_beside_the_image():
    # The driver reserves more than they take; what it reads again is decided by what they take.
    work = NnWork(
        in_w=26, in_h=26, in_c=1024, out_w=26, out_h=26, out_c=512, final_w=26, final_h=26,
        kernel_w=1, kernel_h=1, dtype=DType.U8, zero_fraction=0.309,
    )  # fmt: skip
    cost = price_tile(work, make_tile(work, RK1808, 26, 2), RK1808, 3.8)
    assert cost.traffic.ddr_kernel_bytes == pytest.approx(453248, rel=0.01)
