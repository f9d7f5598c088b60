"""What goes over the wire arrives as it was; what is no message is refused."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npusim.foreign.wire import (
    BrokenWire,
    Message,
    holds,
    laid_out,
    packed,
    receive,
    send,
    size_of,
    unpacked,
)

TYPES = (np.bool_, np.uint8, np.int8, np.int16, np.float16, np.float32, np.int64, np.complex64)
arrays = st.sampled_from(TYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | arrays
values = st.recursive(plain, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8)


def carried(value):
    text, found = packed(value)
    stream = io.BytesIO()
    send(stream.write, Message(7, text, laid_out(found), 3))
    stream.seek(0)
    message = receive(stream.readinto)
    assert (message.number, message.shelf) == (7, 3)
    return unpacked(message.text, message.content)


def same(one, other):
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    else:
        assert type(one) is type(other)
        assert one == other or one != one


@given(values)
def test_values_arrive_as_they_were(value):
    same(value, carried(value))


@pytest.mark.parametrize("turn", [np.transpose, np.asfortranarray, lambda a: a[::-1, ::2]])
def test_views_arrive_with_their_values(turn):
    array = turn(np.arange(24, dtype=np.float32).reshape(4, 6))
    found = carried(array)
    np.testing.assert_array_equal(found, array)
    assert size_of([array]) % 64 == 0


def test_texts_and_odd_names_arrive():
    np.testing.assert_array_equal(carried(np.array([["a", "\udc80"]])), [["a", "\udc80"]])
    assert carried({"\udcff/\n": 1}) == {"\udcff/\n": 1}


@pytest.mark.parametrize("value", [object(), np.array([object()]), np.zeros(2, "V3"), {1, 2}])
def test_other_things_do_not_go(value):
    if isinstance(value, np.ndarray):
        assert not holds(value)
    with pytest.raises(TypeError, match="does not go over the wire"):
        packed([value])


@given(st.binary(max_size=200))
def test_noise_is_no_message(noise):
    with pytest.raises(BrokenWire):
        receive(io.BytesIO(noise).readinto)


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense",
        b"\xff",
        b"[" * 100_000,
        b'{"array": "<f4", "shape": [3]}',
        b'{"array": "O", "shape": [0]}',
        b'{"array": "<f4", "shape": [-1]}',
        b'{"array": "<f4", "shape": "x"}',
        b'{"else": 1}',
        b'{"dict": [[1]]}',
    ],
)
def test_texts_that_are_no_values_are_refused(text):
    with pytest.raises(BrokenWire):
        unpacked(text, b"12345678")
