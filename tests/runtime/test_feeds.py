"""Which array shapes fit an input, and what comes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import InputError
from npusim.ir.tensor import TensorSpec
from npusim.runtime.feeds import accepted_shapes, arrange, as_number_array

sizes = st.integers(1, 5)


@given(n=st.integers(1, 2), c=sizes, h=sizes, w=sizes, batch=st.integers(1, 3))
def test_every_accepted_shape_is_the_same_picture(n, c, h, w, batch):
    spec = TensorSpec(name="x", shape=(n, c, h, w))
    expected = np.arange(n * batch * c * h * w).reshape(n * batch, c, h, w)
    for layout, memory in (("nhwc", expected.transpose(0, 2, 3, 1)), ("nchw", expected)):
        for shape in accepted_shapes(spec, layout=layout, batch=batch):
            found = arrange(memory.reshape(shape), spec, layout=layout, batch=batch)
            np.testing.assert_array_equal(found, expected)


@given(shape=st.lists(sizes, max_size=3).map(tuple), batch=st.integers(1, 3))
def test_other_ranks_keep_their_shape(shape, batch):
    spec = TensorSpec(name="x", shape=shape)
    full = (shape[0] * batch, *shape[1:]) if shape else ()
    assert accepted_shapes(spec, batch=batch)[0] == full
    for accepted in accepted_shapes(spec, batch=batch):
        assert arrange(np.zeros(accepted), spec, batch=batch).shape == full


@given(c=st.integers(2, 5), h=sizes, w=sizes)
def test_no_accepted_shape_is_ambiguous(c, h, w):
    """A C, H, W array is never silently read as H, W, C, unless the sizes agree."""
    spec = TensorSpec(name="x", shape=(1, c, h, w))
    if (c, h, w) == (h, w, c):
        return
    with pytest.raises(InputError, match="NCHW order"):
        arrange(np.zeros((c, h, w)), spec)


def test_views_are_not_copied():
    spec = TensorSpec(name="x", shape=(1, 3, 4, 5))
    pixels = np.zeros((4, 5, 3), np.uint8)
    assert np.shares_memory(arrange(pixels, spec), pixels)


@pytest.mark.parametrize("value", [None, "text", object(), [[1], [2, 3]], np.array("a")])
def test_no_numbers(value):
    with pytest.raises(InputError, match="input 0"):
        as_number_array(value, where="input 0")
