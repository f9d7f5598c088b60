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
