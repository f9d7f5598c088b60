"""Operators that move elements, in the forms of all eras, against ONNX Runtime (case B24)."""

import numpy as np
import pytest
from onnx import helper

node = helper.make_node
BIG = 2**63 - 1


def ints(*values):
    return np.array(values, np.int64)


def ops(graph):
    return [n.op for n in graph.nodes]


@pytest.mark.parametrize(
    ("starts", "ends", "axes"),
    [
        ([1], [3], [1]),
        ([0, -2], [BIG, -1], [0, 2]),
        ([1, 0, 2], [2, 100, 4], None),
        ([-100], [100], [2]),
    ],
)
def test_slice_by_attributes(agrees, starts, ends, axes) -> None:
    attributes = {"starts": starts, "ends": ends} | ({"axes": axes} if axes else {})
    agrees([node("Slice", ["x"], ["s"], **attributes), node("Abs", ["s"], ["y"])],
           {"x": (2, 4, 5)}, ["y"], opset=9)  # fmt: skip


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [4], [2], [2]),
        ([-1], [-BIG], [1], [-1]),
        ([3], [0], [1], [-2]),
        ([10], [-10], [2], [-3]),
        ([4, 3], [-6, 0], [-1, -2], [-1, -1]),
        ([2], [-1], [2], None),
        ([BIG], [-BIG - 1], [2], [-2]),
    ],
)
def test_slice_by_inputs_with_steps(agrees, starts, ends, axes, steps) -> None:
    for dtype in (np.int64, np.int32):
        limit = np.iinfo(dtype)
        constants = {
            "s": np.clip(starts, limit.min, limit.max).astype(dtype),
            "e": np.clip(ends, limit.min, limit.max).astype(dtype),
            "a": np.array(axes, dtype),
        }
        if steps:
            constants["t"] = np.array(steps, dtype)
        agrees([node("Slice", ["x", *constants], ["y"])], {"x": (2, 4, 5)}, ["y"], constants)


def test_slice_of_everything_vanishes(agrees) -> None:
    constants = {"s": ints(0), "e": ints(BIG), "a": ints(1)}
    graph = agrees([node("Slice", ["x", "s", "e", "a"], ["z"]), node("Abs", ["z"], ["y"])],
                   {"x": (2, 4)}, ["y"], constants)  # fmt: skip
    assert ops(graph) == ["abs"]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pad_of_all_eras(agrees, mode) -> None:
    pads = [0, 0, 1, 2, 0, 0, 2, 1]
    extra = {"value": 1.5} if mode == "constant" else {}
    agrees([node("Pad", ["x"], ["y"], mode=mode, pads=pads, **extra)], {"x": (1, 2, 4, 5)}, ["y"],
           opset=10)  # fmt: skip
    agrees([node("Pad", ["x", "p"], ["y"], mode=mode)], {"x": (1, 2, 4, 5)}, ["y"],
           {"p": ints(*pads)}, opset=11)  # fmt: skip
    agrees([node("Pad", ["x", "p", "v"], ["y"], mode=mode)], {"x": (1, 2, 4, 5)}, ["y"],
           {"p": ints(*pads), "v": np.float32(2.5)})  # fmt: skip
    agrees([node("Pad", ["x", "p", "", "a"], ["y"], mode=mode)], {"x": (1, 2, 4, 5)}, ["y"],
           {"p": ints(1, 2, 3, 1), "a": ints(-1, 2)}, opset=18)  # fmt: skip


def test_negative_pads_cut(agrees) -> None:
    graph = agrees([node("Pad", ["x", "p"], ["y"])], {"x": (4, 5)}, ["y"],
                   {"p": ints(-1, 2, 0, -2)})  # fmt: skip
    assert ops(graph) == ["slice", "pad"]
    graph = agrees([node("Pad", ["x", "p"], ["y"])], {"x": (4, 5)}, ["y"],
                   {"p": ints(-1, 0, -1, -2)})  # fmt: skip
    assert ops(graph) == ["slice"]


def test_split_of_all_eras(agrees) -> None:
    outs = ["a", "b", "c"]
    agrees([node("Split", ["x"], outs, axis=1, split=[1, 2, 3])], {"x": (2, 6)}, outs, opset=11)
    agrees([node("Split", ["x"], outs, axis=-1)], {"x": (2, 6)}, outs, opset=11)
    agrees([node("Split", ["x", "s"], outs, axis=1)], {"x": (2, 6)}, outs, {"s": ints(3, 1, 2)})
    agrees([node("Split", ["x"], outs, axis=1, num_outputs=3)], {"x": (2, 7)}, outs, opset=18)
    agrees([node("Split", ["x", "s"], ["a", "b", "c"], axis=1)], {"x": (2, 6)}, ["c"],
           {"s": ints(3, 1, 2)})  # fmt: skip


def test_squeeze_and_unsqueeze_of_both_eras(agrees) -> None:
    agrees([node("Squeeze", ["x"], ["y"], axes=[0, -1])], {"x": (1, 3, 1, 1)}, ["y"], opset=11)
    agrees([node("Squeeze", ["x"], ["y"])], {"x": (1, 3, 1, 1)}, ["y"], opset=11)
    agrees([node("Squeeze", ["x", "a"], ["y"])], {"x": (1, 3, 1, 1)}, ["y"], {"a": ints(2)})
    agrees([node("Unsqueeze", ["x"], ["y"], axes=[0, 3])], {"x": (2, 3)}, ["y"], opset=11)
    agrees([node("Unsqueeze", ["x", "a"], ["y"])], {"x": (2, 3)}, ["y"], {"a": ints(-1, 0)})


@pytest.mark.parametrize("target", [(0, -1), (2, 0, 2, 2), (-1,), (4, 6)])
def test_reshape(agrees, target) -> None:
    agrees([node("Reshape", ["x", "s"], ["y"])], {"x": (2, 3, 4)}, ["y"], {"s": ints(*target)})


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(agrees, axis) -> None:
    agrees([node("Flatten", ["x"], ["y"], axis=axis)], {"x": (2, 3, 4)}, ["y"])


def test_transpose(agrees) -> None:
    agrees([node("Transpose", ["x"], ["y"])], {"x": (2, 3, 4)}, ["y"])
    agrees([node("Transpose", ["x"], ["y"], perm=[0, 2, 1])], {"x": (2, 3, 4)}, ["y"])


def test_concat_with_a_constant(agrees) -> None:
    constant = np.ones((2, 1), np.float32)
    agrees([node("Concat", ["x", "c", "x"], ["y"], axis=-1)], {"x": (2, 3)}, ["y"], {"c": constant})


@pytest.mark.parametrize(
    ("indices", "axis", "wanted"),
    [
        (np.array(1), 1, ["slice", "reshape"]),
        (np.array(-1), 0, ["slice", "reshape"]),
        (ints(1, 2), 1, ["slice"]),
        (ints(2, 0, -1), 1, ["gather"]),
        (ints(0, 1, 2, 3).reshape(2, 2), 2, ["reshape"]),
        (ints(3, 1).reshape(2, 1), 2, ["gather"]),
    ],
)
def test_gather(agrees, indices, axis, wanted) -> None:
    graph = agrees([node("Gather", ["x", "i"], ["y"], axis=axis)], {"x": (2, 3, 4)}, ["y"],
                   {"i": indices.astype(np.int64)})  # fmt: skip
    assert ops(graph) == wanted


def test_gather_from_a_table(agrees) -> None:
    table = np.arange(20, dtype=np.float32).reshape(5, 4)
    rows = ints(0, 4, 1, 1, 3, 2).reshape(2, 3)
    graph = agrees([node("Gather", ["t", "i"], ["y"])], {"i": (2, 3)}, ["y"], {"t": table},
                   types={"i": "int64"}, feeds={"i": rows})  # fmt: skip
    assert graph.spec("i").dtype.value == "i64"


def test_tile_and_expand(agrees) -> None:
    agrees([node("Tile", ["x", "r"], ["y"])], {"x": (2, 3)}, ["y"], {"r": ints(2, 3)})
    for shape, target in (((3, 1), (3, 4)), ((1, 3), (2, 1, 3)), ((3,), (2, 2, 1)), ((2, 3), (1,))):
        agrees([node("Expand", ["x", "s"], ["e"]), node("Abs", ["e"], ["y"])], {"x": shape}, ["y"],
               {"s": ints(*target)})  # fmt: skip
