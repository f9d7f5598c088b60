"""Resize and Upsample: the chip's coordinate rules where they agree, an exact detour elsewhere."""

import numpy as np
import pytest
from onnx import helper

from npusim.errors import UnsupportedOpError
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.attrs import Coordinates

node = helper.make_node


def reals(*values):
    return np.array(values, np.float32)


def ints(*values):
    return np.array(values, np.int64)


def test_upsample_of_both_eras(agrees) -> None:
    for mode in ("nearest", "linear"):
        old = agrees([node("Upsample", ["x"], ["y"], mode=mode, scales=[1.0, 1.0, 2.0, 3.0])],
                     {"x": (1, 2, 3, 4)}, ["y"], opset=7)  # fmt: skip
        new = agrees([node("Upsample", ["x", "s"], ["y"], mode=mode)], {"x": (1, 2, 3, 4)}, ["y"],
                     {"s": reals(1, 1, 2, 3)}, opset=9)  # fmt: skip
        assert old.nodes[0].attrs == new.nodes[0].attrs
        assert old.nodes[0].op == "resize"


def test_resize_10(agrees) -> None:
    for mode in ("nearest", "linear"):
        for scales in (reals(1, 1, 2, 2), reals(1, 1, 0.5, 0.5)):
            agrees([node("Resize", ["x", "s"], ["y"], mode=mode)], {"x": (1, 2, 4, 6)}, ["y"],
                   {"s": scales}, opset=10)  # fmt: skip


RULES = ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]


@pytest.mark.parametrize("rule", [*RULES, "half_pixel_symmetric"])
@pytest.mark.parametrize("size", [(8, 12), (5, 9), (2, 3), (4, 6), (7, 2)])
def test_linear_by_sizes(agrees, rule, size) -> None:
    agrees(
        [node("Resize", ["x", "", "", "n"], ["r"], mode="linear",
              coordinate_transformation_mode=rule), node("Abs", ["r"], ["y"])],
        {"x": (1, 2, 4, 6)}, ["y"], {"n": ints(1, 2, *size)}, opset=19,
    )  # fmt: skip


@pytest.mark.parametrize("rule", [*RULES, "tf_half_pixel_for_nn", "half_pixel_symmetric"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("size", [(8, 12), (5, 9), (2, 3), (3, 4)])
def test_nearest_by_sizes(agrees, rule, rounding, size) -> None:
    opset = 11 if rule == "tf_half_pixel_for_nn" else 19  # removed in 13
    graph = agrees(
        [node("Resize", ["x", "", "", "n"] if opset > 11 else ["x", "e", "e", "n"], ["y"],
              mode="nearest", nearest_mode=rounding, coordinate_transformation_mode=rule)],
        {"x": (1, 2, 4, 6)}, ["y"], {"n": ints(1, 2, *size), "e": reals()}, opset=opset,
    )  # fmt: skip
    assert {n.op for n in graph.nodes} <= {"resize", "gather"}


def test_common_exports_become_one_resize(agrees) -> None:
    doubled = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
               "nearest_mode": "floor"}  # fmt: skip
    graph = agrees([node("Resize", ["x", "", "s"], ["y"], **doubled)], {"x": (1, 2, 3, 4)}, ["y"],
                   {"s": reals(1, 1, 2, 2)})  # fmt: skip
    assert graph.nodes[0].attrs.coordinates is Coordinates.ASYMMETRIC
    graph = agrees([node("Resize", ["x", "e", "s"], ["y"], mode="linear")], {"x": (1, 2, 3, 4)},
                   ["y"], {"s": reals(1, 1, 2, 2), "e": reals()}, opset=11)  # fmt: skip
    assert graph.nodes[0].attrs.coordinates is Coordinates.HALF_PIXEL
    graph = agrees([node("Resize", ["x", "", "s"], ["y"])], {"x": (1, 2, 3, 4)}, ["y"],
                   {"s": reals(1, 1, 2, 2)})  # fmt: skip
    assert [n.op for n in graph.nodes] == ["resize"]


def test_scales_that_float32_cannot_hold(agrees) -> None:
    agrees([node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="asymmetric",
                 nearest_mode="floor")],
           {"x": (1, 1, 3, 3)}, ["y"], {"s": reals(1, 1, 10 / 3, 5 / 3)})  # fmt: skip


def test_axes_and_aspect_ratio(agrees) -> None:
    for policy in ("not_larger", "not_smaller"):
        agrees([node("Resize", ["x", "", "", "n"], ["y"], axes=[2, 3],
                     keep_aspect_ratio_policy=policy)],
               {"x": (1, 1, 4, 6)}, ["y"], {"n": ints(7, 8)}, opset=18)  # fmt: skip


def test_one_dimensional(agrees) -> None:
    graph = agrees([node("Resize", ["x", "", "s"], ["y"], mode="linear")], {"x": (1, 2, 5)}, ["y"],
                   {"s": reals(1, 1, 2)})  # fmt: skip
    assert [n.op for n in graph.nodes] == ["reshape", "resize", "reshape"]


def test_scales_of_one_vanish(agrees) -> None:
    graph = agrees(
        [node("Resize", ["x", "", "s"], ["r"], mode="linear"), node("Abs", ["r"], ["y"])],
        {"x": (1, 2, 5, 5)}, ["y"], {"s": reals(1, 1, 1, 1)},
    )  # fmt: skip
    assert [n.op for n in graph.nodes] == ["abs"]


@pytest.mark.parametrize(
    ("attributes", "sizes", "said"),
    [
        ({"mode": "cubic"}, (1, 2, 8, 8), "cubic"),
        ({"mode": "linear"}, (2, 2, 8, 8), "spatial axes"),
        ({"mode": "linear", "antialias": 1}, (1, 2, 2, 3), "antialias"),
        ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
         (1, 2, 3, 1), "scales that are not"),
    ],
)  # fmt: skip
def test_linear_that_no_rule_fits(save, attributes, sizes, said) -> None:
    path = save([node("Resize", ["x", "", "", "n"], ["y"], **attributes)], {"x": (1, 2, 4, 6)},
                ["y"], {"n": ints(*sizes)}, opset=18)  # fmt: skip
    with pytest.raises(UnsupportedOpError, match=said):
        load_onnx(path)
