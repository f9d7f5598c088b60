"""Boxes on the page: in the picture's own pixels, float beside quantized, paired once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import npusim
from npusim.errors import ConfigError
from npusim.report.page.boxes import Pair, boxes_of, paired
from tests.report.blob_detector import ANCHORS, GREEN, RED, write_detector, write_picture

NAMES = ("red", "green")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("boxes")
    write_detector(path / "blobs.onnx")
    write_picture(path / "wide.png")
    (path / "list.txt").write_text("wide.png\n")
    return path


def report_of(folder, fit, **choices):
    graph = npusim.load_model(folder / "blobs.onnx")
    how = npusim.Preprocess(std=(255.0,) * 3, fit=fit)
    graph = graph.copy(preprocess={"image": how})
    choices = {"dataset": folder / "list.txt"} | choices
    return npusim.report(graph, decoder="yolov5", anchors=ANCHORS, labels=NAMES, **choices)


def test_letterboxed_boxes_are_mapped_back_to_the_picture(folder):
    data = report_of(folder, "letterbox").data
    (output,) = data["outputs"]
    for run in ("float", "quantized"):
        boxes = {b["label"]: b["box"] for b in output["boxes"] if b["from"] == run}
        assert boxes.keys() == set(NAMES)
        np.testing.assert_allclose(boxes["red"], RED, atol=0.5)
        np.testing.assert_allclose(boxes["green"], GREEN, atol=0.5)
    assert output["found"] == {
        "float": 2, "quantized": 2, "both": 2, "mean_overlap": 1.0, "least_score": 0.25,
    }  # fmt: skip
    input_picture, own = data["pictures"]
    assert input_picture["pixels"] == [64, 64]
    assert own["pixels"] == [128, 64]
    assert {b["picture"] for b in output["boxes"]} == {own["name"]}


def test_numbers_instead_of_a_picture_have_boxes_in_the_input(folder):
    with Image.open(folder / "wide.png") as picture:
        pixels = np.asarray(picture.crop((16, 0, 80, 64)), np.float32)
    feeds = {"image": pixels.transpose(2, 0, 1)[None] / 255}
    graph = npusim.load_model(folder / "blobs.onnx")
    graph = graph.copy(preprocess={"image": npusim.Preprocess(fit="letterbox")})
    data = npusim.report(
        graph, [("one", feeds)], decoder="yolov5", anchors="16,16,24,24,32,32"
    ).data
    (output,) = data["outputs"]
    (picture,) = data["pictures"]
    boxes = [b for b in output["boxes"] if b["from"] == "float"]
    assert boxes
    assert all(b["picture"] == picture["name"] for b in boxes)
    assert all(0 <= end <= 64 for b in boxes for end in b["box"])
    assert all(b["label"].startswith("class ") for b in boxes)


def test_a_decoder_without_anything_to_decode_is_refused(folder):
    with pytest.raises(ConfigError, match="nothing to find boxes in"):
        report_of(folder, "stretch", dataset=None)


def test_anchors_without_a_decoder_are_refused(folder):
    graph = npusim.load_model(folder / "blobs.onnx")
    with pytest.raises(ConfigError, match="no decoder"):
        npusim.report(graph, folder / "list.txt", anchors=ANCHORS)


def test_without_a_decoder_there_are_no_boxes(folder):
    graph = npusim.load_model(folder / "blobs.onnx")
    data = npusim.report(graph, folder / "list.txt").data
    assert [output["boxes"] for output in data["outputs"]] == [None]
    assert len(data["pictures"]) == 1


ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.just(0.5), *[st.integers(0, 9)] * 2, *[st.integers(10, 20)] * 2)
)


@given(ROWS, ROWS)
def test_every_box_is_in_one_pair(left, right):
    pairs = paired(left, right)
    assert sorted(p.left for p in pairs if p.left is not None) == list(range(len(left)))
    assert sorted(p.right for p in pairs if p.right is not None) == list(range(len(right)))
    for pair in pairs:
        assert (pair.overlap is None) == (pair.left is None or pair.right is None)
        if pair.overlap is not None:
            assert 0.5 <= pair.overlap <= 1
            assert left[pair.left][0] == right[pair.right][0]
    assert [pair.overlap for pair in paired(left, left)] == [1.0] * len(left)


def test_a_class_that_changed_is_no_match():
    box = (0, 0, 10, 10)
    pairs = paired([(0, 0.9, *box)], [(1, 0.9, *box)])
    assert pairs == [Pair(0, None, None), Pair(None, 0, None)]


def test_a_lost_box_and_one_in_the_border_of_a_letterbox(folder):
    made = report_of(folder, "letterbox")
    contents = made.contents
    floats = contents.analysis.values["heads"].copy()
    # a box wholly above the picture, and quantized loses the red one
    floats[0, 4:6, 0, 0] = 8.0
    analysis = replace(contents.analysis, values={**contents.analysis.values, "heads": floats})
    real = floats.copy()
    real[0, 4, 3, 2] = -8.0
    boxes, found = boxes_of(replace(contents, analysis=analysis), [real])
    assert (found["float"], found["quantized"], found["both"]) == (2, 1, 1)
    (lost,) = (box for box in boxes if box["match"] is None)
    assert (lost["label"], lost["from"], lost["there"]) == ("red", "float", None)
    assert lost["box"] == list(RED)
