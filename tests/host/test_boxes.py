"""Overlaps and suppression against loops over single boxes; anchors against published numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from npusim.host.boxes import overlaps, suppressed
from npusim.host.detection_output import decoded
from npusim.host.proposal import anchors, moved

CORNERS = arrays(np.float32, st.tuples(st.integers(1, 9), st.just(4)), elements=st.integers(-4, 4))


def overlap(a, b, extra):
    """Count in whole numbers: exact for these boxes."""
    sizes = [
        0 if x[0] > x[2] or x[1] > x[3] else (x[2] - x[0] + extra) * (x[3] - x[1] + extra)
        for x in (a, b)
    ]
    w = min(a[2], b[2]) - max(a[0], b[0]) + extra
    h = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (sum(sizes) - w * h)


@given(CORNERS, st.sampled_from([0, 1]))
def test_overlaps_are_those_of_single_boxes(boxes, extra):
    wanted = [overlap(boxes[0].tolist(), box.tolist(), extra) for box in boxes]
    np.testing.assert_allclose(overlaps(boxes[0], boxes, extra), wanted, 1e-6)


@given(CORNERS, st.sampled_from([0.0, 0.3, 0.6]), st.sampled_from([1.0, 0.5]))
def test_suppression_keeps_what_a_loop_keeps(boxes, threshold, eta):
    kept, limit = [], threshold
    for i in range(len(boxes)):
        if all(overlap(boxes[j].tolist(), boxes[i].tolist(), 0) <= limit for j in kept):
            kept.append(i)
            if eta < 1 and limit > 0.5:
                limit *= eta
    assert suppressed(boxes, np.arange(len(boxes)), threshold, eta=eta) == kept


def test_anchors_are_the_published_ones():
    """The table in the comments of Faster R-CNN, for sides of 128, 256 and 512."""
    wanted = [
        [-84, -40, 99, 55],
        [-176, -88, 191, 103],
        [-360, -184, 375, 199],
        [-56, -56, 71, 71],
        [-120, -120, 135, 135],
        [-248, -248, 263, 263],
        [-36, -80, 51, 95],
        [-80, -168, 95, 183],
        [-168, -344, 183, 359],
    ]
    np.testing.assert_array_equal(anchors(16, (0.5, 1, 2), (8, 16, 32)), wanted)


def test_boxes_move_by_their_sides():
    box = np.array([[0, 0, 9, 19]], np.float32)
    np.testing.assert_array_equal(moved(box, np.zeros((1, 4), np.float32)), [[0, 0, 10, 20]])
    wide = moved(box, np.array([[0.5, -0.5, np.log(2), 0]], np.float32))
    np.testing.assert_allclose(wide, [[0, -10, 20, 10]], atol=1e-5)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("CORNER", [0.2, 0.2, 0.7, 0.7]),
        ("CORNER_SIZE", [0.14, 0.14, 0.58, 0.58]),
        ("CENTER_SIZE", [0.0957194, 0.0957194, 0.5842806, 0.5842806]),
    ],
)
def test_the_codes_of_places(code, wanted):
    prior = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
    variance = np.array([[0.1, 0.1, 0.2, 0.2]], np.float32)
    found = decoded(np.ones((1, 4), np.float32), prior, variance, code)
    np.testing.assert_allclose(found, [wanted], atol=1e-6)
