"""Resize and Upsample: the chip's coordinate rules where they agree, an exact detour elsewhere."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from npusim.errors import ModelImportError
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.attrs import Coordinates
from npusim.kernels.engines import shader_resize as on_chip
from npusim.ops.resize_positions import nearest_indices, positions
from npusim.reference.evaluate import evaluate
from tests.onnx_models import onnx_model

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
    ("attributes", "sizes"),
    [
        ({"mode": "cubic"}, (1, 2, 8, 8)),
        ({"mode": "linear", "antialias": 1}, (1, 2, 2, 3)),
        ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, (1, 2, 3, 1)),
    ],
)
def test_what_no_rule_of_the_chip_fits_is_a_product_along_each_axis(
    agrees, attributes, sizes
) -> None:
    graph = agrees([node("Resize", ["x", "", "", "n"], ["y"], **attributes)], {"x": (1, 2, 4, 6)},
                   ["y"], {"n": ints(*sizes)}, opset=18)  # fmt: skip
    assert {n.op for n in graph.nodes} == {"fc", "transpose"}
    assert "products with constant weights" in graph.notes[0]


def test_other_axes_than_the_last_two(agrees) -> None:
    graph = agrees([node("Resize", ["x", "", "", "n"], ["y"], mode="linear")],
                   {"x": (1, 4, 6, 3)}, ["y"], {"n": ints(1, 8, 9, 3)}, opset=18)  # fmt: skip
    assert [n.op for n in graph.nodes].count("resize") == 1
    graph = agrees([node("Resize", ["x", "", "", "n"], ["y"])], {"x": (2, 3)}, ["y"],
                   {"n": ints(4, 9)}, opset=18)  # fmt: skip
    assert [n.op for n in graph.nodes].count("resize") == 1
    agrees([node("Resize", ["x", "", "", "n"], ["y"], mode="linear")], {"x": (1, 2, 3, 4, 5)},
           ["y"], {"n": ints(1, 2, 6, 8, 10)}, opset=18)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "scale", "index", "wanted"), [(2, 41.0, 41, 1), (20, 1.2, 18, 14)]
)
def test_the_given_scale_divides_in_float32(agrees, size, scale, index, wanted) -> None:
    """Exact positions and TensorFlow's products give another element at these indices."""
    x = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    graph = agrees([node("Resize", ["x", "", "s"], ["y"], nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")],
                   {"x": x.shape}, ["y"], {"s": reals(1, 1, 1, scale)})  # fmt: skip
    assert evaluate(graph, {"x": x})["y"][0, 0, 0, index] == wanted


def test_a_crop_has_a_border_of_one_value(agrees) -> None:
    graph = agrees(
        [node("Resize", ["x", "r", "", "n"], ["y"], mode="linear", extrapolation_value=1.5,
              coordinate_transformation_mode="tf_crop_and_resize")],
        {"x": (1, 2, 8, 9)}, ["y"], {"n": ints(1, 2, 7, 12),
                                     "r": reals(0, 0, -0.2, 0.1, 1, 1, 0.7, 1.3)},
    )  # fmt: skip
    assert graph.nodes[-1].op == "pad"


RULE_WORDS = ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel",
              "half_pixel_symmetric", "tf_crop_and_resize")  # fmt: skip
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_resize_is_that_of_onnx_runtime(data) -> None:
    mode = data.draw(st.sampled_from(["nearest", "nearest", "linear", "cubic"]))
    rule = data.draw(st.sampled_from(RULE_WORDS))
    attributes = {"mode": mode, "coordinate_transformation_mode": rule}
    attributes["extrapolation_value"] = 1.5
    if mode == "nearest":
        attributes["nearest_mode"] = data.draw(st.sampled_from(ROUNDINGS))
    else:
        attributes["antialias"] = data.draw(st.integers(0, 1))
        attributes["exclude_outside"] = data.draw(st.integers(0, 1)) if mode == "cubic" else 0
    shape = (1, 2, *(data.draw(st.integers(1, 64)) for _ in range(2)))
    outs = [data.draw(st.integers(1, 128)) for _ in range(2)]
    constants = {"r": reals(0, 0, 0.1, -0.1, 1, 1, 0.8, 1.2)}
    if data.draw(st.booleans()):
        free = [data.draw(st.sampled_from([0.3, 0.7, 1.2, 1.7, 2.0, 3.0])) for _ in range(2)]
        exact = [o / n for o, n in zip(outs, shape[2:], strict=True)]
        pairs = zip(free, exact, strict=True)
        constants["s"] = reals(1, 1, *(data.draw(st.sampled_from(pair)) for pair in pairs))
        if any(np.float32(n) * s < 1 for n, s in zip(shape, constants["s"], strict=True)):
            return
        inputs = ["x", "r", "s"]
    else:
        constants["n"], inputs = ints(1, 2, *outs), ["x", "r", "", "n"]
    model = onnx_model(
        [node("Resize", inputs, ["y"], **attributes)], {"x": shape}, ["y"], constants, opset=19
    )
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    (want,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(model.SerializeToString())
        graph = load_onnx(path)
    ours = evaluate(graph, {"x": x})["y"] if graph.nodes else x
    assert ours.shape == want.shape
    if mode == "nearest":
        assert np.array_equal(ours, want)
    else:  # positions of float32: three digits less than values
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=2e-4)


def test_the_float_meaning_reads_as_the_chip_does() -> None:
    for rule in Coordinates:
        for size in (1, 2, 3, 7, 20, 63):
            for out in range(1, 129):
                assert np.array_equal(
                    nearest_indices(size, out, rule), on_chip.nearest_indices(size, out, rule.value)
                )
                assert np.array_equal(
                    positions(size, out, rule, centred=True),
                    on_chip.positions(size, out, rule.value, centred=True),
                )


def test_an_empty_result_is_refused(save) -> None:
    path = save([node("Resize", ["x", "", "s"], ["y"])], {"x": (1, 2, 4, 6)}, ["y"],
                {"s": reals(1, 1, 0.2, 1)})  # fmt: skip
    with pytest.raises(ModelImportError, match="no empty result"):
        load_onnx(path)
