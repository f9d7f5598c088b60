"""The NN engine's order of addition, as read off the vendor simulator tap by tap.

Each string was recorded: for every ordered pair of taps one output channel had bias 2**14, weight
-2**14 at the first tap and 2**-12 at the second, so the sum is 2**-12 only when the small one comes
later. The pairs gave a total order every time. "12" is row 1, column 2.
"""

import pytest

from npusim.kernels.pack.geometry import accumulation_order

# kernel, stride, dilation, order
RECORDED = [
    ((3, 3), (1, 1), (2, 2), "00 01 02 10 11 12 20 21 22"),
    ((3, 3), (2, 2), (1, 1), "00 02 20 22 01 21 10 12 11"),
    ((4, 4), (3, 3), (1, 1), "00 03 30 33 01 31 02 32 10 13 11 12 20 23 21 22"),
    (
        (5, 5),
        (4, 4),
        (1, 1),
        "00 04 40 44 01 41 02 42 03 43 10 14 11 12 13 20 24 21 22 23 30 34 31 32 33",
    ),
    ((5, 1), (2, 2), (1, 1), "00 20 40 10 30"),
    ((2, 5), (2, 2), (1, 1), "00 02 04 01 03 10 12 14 11 13"),
    ((3, 5), (2, 2), (1, 1), "10 12 14 11 13 00 02 04 20 22 24 01 03 21 23"),
    ((5, 3), (2, 2), (1, 1), "01 21 41 00 02 20 22 40 42 11 31 10 12 30 32"),
    (
        (4, 7),
        (3, 3),
        (1, 1),
        "10 13 16 11 14 12 15 20 23 26 21 24 22 25 00 03 06 30 33 36 01 04 31 34 02 05 32 35",
    ),
    ((3, 3), (2, 1), (1, 1), "10 11 12 00 01 02 20 21 22"),
    ((3, 3), (1, 2), (1, 1), "01 11 21 00 02 10 12 20 22"),
    (
        (5, 5),
        (2, 1),
        (1, 1),
        "00 01 02 03 04 20 21 22 23 24 40 41 42 43 44 10 11 12 13 14 30 31 32 33 34",
    ),
    ((2, 2), (2, 1), (1, 1), "10 11 00 01"),
    ((2, 2), (1, 2), (1, 1), "00 10 01 11"),
    ((4, 2), (1, 2), (1, 1), "00 10 20 30 01 11 21 31"),
    ((4, 3), (1, 2), (1, 1), "00 02 10 12 20 22 30 32 01 11 21 31"),
    ((4, 4), (3, 1), (1, 1), "20 21 22 23 00 01 02 03 30 31 32 33 10 11 12 13"),
    ((3, 3), (4, 2), (1, 1), "20 22 21 00 02 01 10 12 11"),
    (
        (5, 5),
        (3, 2),
        (1, 1),
        "10 12 14 40 42 44 11 13 41 43 20 22 24 21 23 00 02 04 30 32 34 01 03 31 33",
    ),
    (
        (5, 5),
        (2, 4),
        (1, 1),
        "01 21 41 02 22 42 03 23 43 00 04 20 24 40 44 11 31 12 32 13 33 10 14 30 34",
    ),
    ((3, 3), (2, 1), (1, 2), "10 11 12 00 01 02 20 21 22"),
    ((2, 3), (3, 2), (2, 2), "00 01 02 10 11 12"),
]


@pytest.mark.parametrize(("kernel", "stride", "dilation", "order"), RECORDED)
def test_order_of_addition_is_the_recorded_one(kernel, stride, dilation, order):
    taps = accumulation_order(kernel, stride, dilation)
    assert " ".join(f"{i}{j}" for i, j in taps) == order


@pytest.mark.parametrize("stride", [(1, 1), (1, 3), (2, 1), (3, 2), (4, 4)])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 6), (7, 2), (5, 5)])
def test_every_tap_is_added_once(kernel, stride):
    taps = accumulation_order(kernel, stride, (2, 1))
    assert sorted(taps) == [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
