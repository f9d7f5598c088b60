"""Masks, the classes of pixels, and the mean intersection over union."""

import io
from base64 import b64encode

import numpy as np
import pytest
from PIL import Image

import npusim
from npusim.errors import ConfigError, DatasetError, InputError
from npusim.evaluation.annotations import open_masks
from npusim.evaluation.labelled import Item
from npusim.evaluation.segmentation import (
    IGNORED,
    MIOU,
    SegmentationMeasure,
    mean_iou,
    segmentation_measure,
)
from npusim.ir.attrs import Conv2dAttrs
from npusim.testing import GraphBuilder


def colours():
    """A network that says which of three colours a pixel has."""
    b = GraphBuilder(name="colours")
    b.input("x", 1, 3, 8, 12)
    inputs = ["x", b.constant("w", np.eye(3).reshape(3, 3, 1, 1)), b.constant("b", np.zeros(3))]
    return b.done(b.node("conv2d", inputs, "y", Conv2dAttrs()))


def text_of(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(file, "png")
    return b64encode(file.getvalue()).decode()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(3):
        mask = rng.integers(0, 3, (4, 6)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
        Image.fromarray((np.eye(3)[mask] * 250).astype(np.uint8)).save(
            tmp_path / "images" / f"{i}.png"
        )
        mask[0] = IGNORED
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    return tmp_path


def test_a_network_is_measured_in_float_and_quantized(folder):
    graph = colours()
    samples = [("s", npusim.read_input(graph, folder / "images" / f"{i}.png")) for i in range(3)]
    networks = {"float": graph, "u8": npusim.quantize(graph, samples)}
    found = npusim.evaluate(networks, folder, task="segmentation", jobs=1)
    assert [run.headline for run in found.accuracies] == [(MIOU, 1.0)] * 2
    assert found.accuracies[1].means == {"iou": 1.0}


def test_counts_are_those_of_pixels():
    value = np.zeros((1, 2, 2, 2), np.float32)
    value[0, 1, 0] = 1  # the first row is class 1
    measure = SegmentationMeasure((2, 2), "stretch", 2)
    found = measure([value], text_of(np.array([[1, 0], [0, IGNORED]])))
    assert found["counts"] == {"0": [1, 2], "1": [1, 2]}
    assert found["iou"] == 0.5
    assert mean_iou([{"0": [1, 2]}, {"0": [2, 2], "1": [0, 4]}]) == {MIOU: (3 / 4 + 0) / 2}
    with pytest.raises(InputError, match="the mask holds class 2"):
        measure([value], text_of(np.full((2, 2), 2)))


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_labels_return_to_the_picture_however_it_was_fitted(fit):
    """Left half 1, right half 0, in a picture twice as wide as the input."""
    value = np.zeros((1, 1, 16, 16), np.float32)
    value[..., :8] = 1
    measure = SegmentationMeasure((16, 16), fit, 0)
    mask = np.zeros((16, 32), np.uint8)
    mask[:, :16] = 1
    assert measure([value], text_of(mask))["iou"] == 1.0


def test_other_outputs_and_sets_are_refused(folder):
    b = GraphBuilder()
    b.input("x", 1, 4)
    with pytest.raises(ConfigError, match="score maps"):
        segmentation_measure(b.done(b.node("relu", ["x"], "y")), 0)
    item = Item(index=0, name="a", paths=("a.png",), label="0")
    (folder / "list.txt").write_text("images/0.png images/list.txt\n")
    with pytest.raises(DatasetError, match="no png"):
        open_masks(folder / "list.txt")
    with pytest.raises(DatasetError, match="no masks"):
        npusim.evaluate({"float": colours()}, [item], task="segmentation")
