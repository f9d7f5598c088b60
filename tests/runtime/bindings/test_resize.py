"""Nearest resize on the tensor processor: which rows it copies."""

import numpy as np
import pytest

from npusim.ir.attrs import Coordinates, ResizeAttrs, ResizeMode
from npusim.ir.graph import Engine
from npusim.testing import bound_layer, memory_orders, random_codes
from tests.formats import I16, U8

SHAPE = (2, 3, 8, 6)


@pytest.mark.parametrize(
    ("coordinates", "size", "rows", "columns"),
    [
        ("half_pixel", (4, 6), [0, 2, 4, 6], range(6)),  # the first rows, not 1, 3, 5, 7
        ("half_pixel", (2, 6), [0, 4], range(6)),
        ("half_pixel", (4, 3), [1, 3, 5, 7], [1, 3, 5]),
        ("half_pixel", (8, 3), range(8), [1, 3, 5]),
        ("asymmetric", (4, 6), [0, 2, 4, 6], range(6)),
    ],
)
def test_rows_and_columns(coordinates, size, rows, columns):
    """Source: measured, docs/arithmetic/tp.md rule 2.5."""
    attrs = ResizeAttrs(size=size, mode=ResizeMode.NEAREST, coordinates=Coordinates(coordinates))
    codes = random_codes(np.random.default_rng(5), SHAPE, U8[0])
    step = bound_layer("resize", Engine.TP, [(SHAPE, U8)], U8, attrs)
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value)[0], codes[:, :, list(rows)][..., list(columns)])


def test_first_rows_of_i16():
    attrs = ResizeAttrs(size=(4, 6), mode=ResizeMode.NEAREST, coordinates=Coordinates("half_pixel"))
    codes = random_codes(np.random.default_rng(6), SHAPE, I16[0])
    got = bound_layer("resize", Engine.TP, [(SHAPE, I16)], I16, attrs)(codes)[0]
    kept = codes[:, :, ::2]
    nearest = kept / 2.0 ** I16[1].fl
    expected = np.clip(np.rint(nearest) * 2.0 ** I16[1].fl, -32768, 32767)  # whole steps
    np.testing.assert_array_equal(got, expected)
