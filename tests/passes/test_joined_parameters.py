"""Parts whose scale differs from the concat's by less than the driver notices."""

from dataclasses import replace

import numpy as np
import pytest

from npusim.ir.attrs import AxisAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Form
from npusim.ir.quant import Affine
from npusim.passes.pipeline import lower
from npusim.runtime.program import Program
from npusim.testing import GraphBuilder

OWN = Affine(scale=0.002, zero_point=3)


def net(scale, zero_point=3, *, read=False):
    build = GraphBuilder(DType.U8, OWN)
    x = build.input("x", 1, 4, 3, 5)
    parts = [build.node("sigmoid", [x], f"p{i}") for i in range(2)]
    build.node("concat", parts, "j", AxisAttrs(axis=1))
    outputs = ["j", build.node("tanh", ["p0"], "y")] if read else ["j"]
    graph = build.done(*outputs)
    quant = Affine(scale=scale, zero_point=zero_point)
    graph.tensors["j"] = replace(graph.spec("j"), quant=quant)
    return graph


@pytest.mark.parametrize(
    ("scale", "zero_point", "in_place"),
    [
        (0.002, 3, True),
        (0.002 + 9e-6, 3, True),
        (0.002 - 9e-6, 3, True),
        (0.002 + 1.1e-5, 3, False),
        (0.002, 4, False),
    ],
)
def test_scales_within_a_hundred_thousandth_are_equal_to_the_driver(scale, zero_point, in_place):
    lowered = lower(net(scale, zero_point))
    (join,) = (node for node in lowered.nodes if node.op == "concat")
    assert join.form is (Form.IN_PLACE if in_place else Form.CONCATENATION)
    stored = lowered.spec("j").quant if in_place else OWN
    assert lowered.spec("p0").quant == lowered.spec("p1").quant == stored


def test_the_layer_before_stores_in_the_concats_parameters_at_once():
    scale, codes = 0.002 + 9e-6, np.arange(60, dtype=np.uint8).reshape(1, 4, 3, 5) * 4
    direct = GraphBuilder(DType.U8, OWN)
    x = direct.input("x", 1, 4, 3, 5)
    direct.node("sigmoid", [x], "p", quant=Affine(scale=scale, zero_point=3))
    (expected,) = Program(lower(direct.done())).run_stored({"x": codes}).values()
    (value,) = Program(lower(net(scale))).run_stored({"x": codes}).values()
    np.testing.assert_array_equal(value, np.concatenate([expected, expected], 1))


def test_a_part_that_others_read_keeps_its_own():
    lowered = lower(net(0.002 + 9e-6, read=True))
    assert lowered.spec("p0").quant == OWN
    assert lowered.spec("p1").quant == lowered.spec("j").quant
