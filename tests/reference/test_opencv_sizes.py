"""OpenCV is no reference where its depthwise program reads beside the map."""

import numpy as np
import pytest

from npusim.ir.attrs import Conv2dAttrs
from npusim.reference.opencv import reads_beside
from npusim.testing import GraphBuilder


@pytest.mark.parametrize(
    ("rows", "pad", "dilation", "stride", "group", "beside"),
    [
        (1, 1, 1, 1, 4, True),
        (1, 1, 1, 2, 4, True),
        (1, 2, 1, 1, 4, False),
        (1, 1, 1, 1, 2, False),
        (6, 1, 1, 1, 4, False),
        (6, 1, 2, 1, 4, True),
        (6, 1, 2, 2, 4, False),
        (6, 2, 2, 1, 4, False),
    ],
)
def test_depthwise_convolutions_that_opencv_computes_wrong(
    rows, pad, dilation, stride, group, beside
):
    build = GraphBuilder()
    weights = build.constant("w", np.ones((4, 4 // group, 3, 3), np.float32))
    bias = build.constant("b", np.zeros(4, np.float32))
    attrs = Conv2dAttrs(pad=(pad,) * 4, dilation=(dilation,) * 2, stride=(stride,) * 2, group=group)
    build.node("conv2d", [build.input("x", 1, 4, rows, 6), weights, bias], "y", attrs)
    assert reads_beside(build.graph.nodes[0], build.graph) == beside
