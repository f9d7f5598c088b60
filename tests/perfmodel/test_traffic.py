"""Bytes of NN operations, against what the vendor's estimator prints for its own tile."""

import pytest

from npusim.ir.dtypes import DType
from npusim.perfmodel.engines.nn import tile_bytes
from npusim.perfmodel.engines.nn_traffic import aligned_bytes
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.tiling import make_tile
from npusim.perfmodel.workload import NnWork

RK1808 = load_machine("rk1808")


def moved(dtype, in_c, out_c, height, width, kernel, tile):
    work = NnWork(
        in_w=width, in_h=height, in_c=in_c, out_w=width, out_h=height, out_c=out_c,
        final_w=width, final_h=height, kernel_w=kernel, kernel_h=kernel, dtype=DType(dtype),
    )  # fmt: skip
    return tile_bytes(work, make_tile(work, RK1808, *tile), RK1808, stream=1)


@pytest.mark.parametrize(
    ("shape", "tile", "image", "write"),
    # Printed by the vendor's estimator: dtype, in_c, out_c, height, width, kernel; the tile it
    # chose; image bytes read; bytes written.
    [
        # The bytes of a tile are rounded up to lines: three or four channels show it.
        (("f16", 3, 48, 26, 26, 1), (26, 2), 9152, 134784),
        (("u8", 3, 32, 28, 24, 1), (24, 2), 7168, 21504),
        (("u8", 4, 24, 28, 28, 3), (28, 7), 4864, 22579),
        (("f16", 4, 96, 28, 56, 1), (32, 1), 25088, 516096),
        # Rows of 32 bytes are fetched together only when the pixels of a tile fill lines.
        (("i16", 4, 24, 16, 16, 1), (16, 2), 4096, 24576),
        # Column tiles that need the whole width read whole rows.
        (("f16", 384, 24, 16, 16, 5), (12, 10), 491520, 50381),
        (("f16", 256, 100, 56, 16, 5), (12, 20), 1048576, 725760),
        # 16-bit output that fits the write cache: twice the row, or its lines if that is less.
        (("f16", 3, 96, 38, 38, 1), (10, 1), 38912, 595354),
        (("f16", 8, 6, 26, 26, 3), (26, 9), 13824, 19507),
        # 16-bit output beyond it: each row of a column touches lines of its own.
        (("f16", 512, 72, 28, 28, 3), (14, 16), 2703360, 354816),
        (("i16", 48, 192, 20, 38, 1), (20, 1), 192000, 737280),
        (("i16", 8, 40, 26, 26, 3), (26, 2), 26432, 112320),
        # 8 bits: columns, whole rows, one tile.
        (("u8", 16, 96, 14, 44, 7), (22, 8), 56320, 131712),
        (("i8", 384, 100, 14, 112, 1), (56, 1), 1204224, 313600),
        (("u8", 128, 192, 26, 26, 1), (26, 6), 292864, 179712),
        (("i8", 3, 512, 16, 16, 3), (16, 4), 1408, 131072),
        # Columns less than a line apart start wherever the gap between them leaves them.
        (("u8", 320, 144, 80, 80, 3), (48, 4), 7249920, 1843200),
        (("i8", 24, 48, 104, 104, 3), (54, 2), 1107456, 1098240),
        (("i8", 48, 384, 56, 56, 7), (30, 16), 681984, 2505216),
        # So do 16-bit rows beside the gap of their pitch, unless all tiles start on lines.
        (("f16", 24, 192, 20, 20, 1), (20, 2), 46080, 337920),
        (("i16", 96, 144, 32, 4, 1), (4, 4), 196608, 73728),
    ],
)
def test_bytes_of_the_drivers_tile(shape, tile, image, write):
    found = moved(*shape, tile)
    assert found.image == pytest.approx(image, rel=0.004)
    assert found.write == pytest.approx(write, rel=0.001)


@pytest.mark.parametrize(
    ("size", "step", "expected"), [(64, 64, 64), (56, 56, 112), (56, 8, 112), (96, 32, 128)]
)
def test_bytes_of_the_lines_a_piece_touches(size, step, expected):
    starts = range(0, 64, step if step < 64 else 64)
    slow = sum(64 * (-(-(start + size) // 64)) for start in starts) / len(starts)
    assert aligned_bytes(size, step, 64) == expected
    if 64 % step == 0:
        assert slow == expected
