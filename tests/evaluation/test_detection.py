"""Boxes from heads, annotations in three forms, mean average precision by COCO's own code."""

import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import npusim
from npusim.cli import main
from npusim.errors import ConfigError, DatasetError, InputError, MissingExtraError
from npusim.evaluation.annotations import open_boxes, open_masks
from npusim.evaluation.decoders import SSD_VARIANCES, YOLO_ANCHORS, Head, decode
from npusim.evaluation.detection import (
    MAP,
    MAP50,
    DetectorMeasure,
    average_precision,
    detector_of,
    kept_boxes,
)
from npusim.evaluation.labelled import Item
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, EltwiseAttrs, ReshapeAttrs
from npusim.quantization.images import placement
from npusim.report.evaluate_table import accuracy_table, evaluation_verdict, worst_table
from npusim.testing import GraphBuilder
from tests.detectors import detector

SIZE, CELL = 32, 8
BOX = (8.0, 16.0, 24.0, 32.0)  # what every head below encodes


def logit(p):
    return np.log(p / (1 - p))


def yolo_map(anchors, *, v3, sigmoid):
    """One anchor map of 4x4 cells that holds BOX with class 1, other cells empty."""
    value = np.full((1, 3, 7, 4, 4), -12.0)
    x, y, w, h = 16 / CELL, 24 / CELL, 16.0, 16.0  # centre in cells
    column, row = int(x), int(y)
    own = value[0, 1, :, row, column]
    part_x, part_y = x - column, y - row
    wide, high = anchors[2:4]
    if v3:
        low = 1e-6  # a centre on the edge of its cell
        own[:2] = logit(max(part_x, low)), logit(max(part_y, low))
        own[2:4] = (
            np.log(w / wide),
            np.log(h / high),
        )
    else:
        own[:4] = [
            logit((part_x + 0.5) / 2),
            logit((part_y + 0.5) / 2),
            logit((w / wide) ** 0.5 / 2),
            logit((h / high) ** 0.5 / 2),
        ]
    own[4:] = 6.0, -12.0, 6.0
    return 1 / (1 + np.exp(-value)) if sigmoid else value


def decoded(rows, objectness):
    """YOLO's decoded output (1, places, 4 + ...)."""
    centre = [(BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2, BOX[2] - BOX[0], BOX[3] - BOX[1]]
    found = np.zeros((1, rows, 6 + objectness))
    found[0, 5] = [*centre, *([1.0] if objectness else []), 0.0, 0.9]
    return found


def dfl_heads():
    """YOLO v8's maps: distances over 16 bins, and classes."""
    sides = np.zeros((1, 4, 16, 4, 4))
    # of cell (row 2, column 1), whose centre is 12, 20
    for side, reach in enumerate(((12 - 8) / 8, (20 - 16) / 8, (24 - 12) / 8, (32 - 20) / 8)):
        low = int(reach)
        sides[0, side, :, 2, 1] = -40
        sides[0, side, low, 2, 1] = np.log(max(low + 1 - reach, 1e-9))
        sides[0, side, low + 1, 2, 1] = np.log(max(reach - low, 1e-9))
    classes = np.full((1, 2, 4, 4), -12.0)
    classes[0, 1, 2, 1] = 6
    return [sides.reshape(1, 64, 4, 4), classes]


def ssd_heads(*, y_first):
    priors = np.array([[0.5, 0.5, 0.4, 0.4], [0.5, 0.7, 0.5, 0.6]])  # centre, size
    x, y, w, h = 16 / 32, 24 / 32, 16 / 32, 16 / 32
    wanted = np.array([y, x, h, w] if y_first else [x, y, w, h])
    step = np.zeros((1, 2, 4))
    step[0, 1, :2] = (wanted[:2] - priors[1, :2]) / priors[1, 2:] / SSD_VARIANCES[:2]
    step[0, 1, 2:] = np.log(wanted[2:] / priors[1, 2:]) / SSD_VARIANCES[2:]
    scores = np.full((1, 2, 3), -12.0)
    scores[0, :, 0], scores[0, 1, 0], scores[0, 1, 2] = 6, -12, 6
    return [step, scores], tuple(map(tuple, priors))


ANCHORS = (10.0, 10.0, 13.0, 20.0, 30.0, 30.0)
SSD_XY, SSD_XY_PRIORS = ssd_heads(y_first=False)
SSD, SSD_PRIORS = ssd_heads(y_first=True)
CASES = {
    "v5 decoded": ([decoded(30, 1)], {"decoder": "yolov5"}),
    "v5 turned": ([decoded(30, 1).transpose(0, 2, 1)], {"decoder": "yolov5"}),
    "v8 decoded": ([decoded(30, 0).transpose(0, 2, 1)], {"decoder": "yolov8"}),
    "v8 of four axes": (
        [decoded(30, 0).reshape(1, 30, 1, 6)],
        {"decoder": "yolov8"},
    ),
    "v8 apart": (
        [decoded(30, 0)[..., :4], decoded(30, 0)[..., 4:]],
        {"decoder": "yolov8", "ops": ("mul", "sigmoid")},
    ),
    "v8 heads": (dfl_heads(), {"decoder": "yolov8", "ops": ("conv2d", "conv2d")}),
    "v5 heads": (
        [yolo_map(ANCHORS, v3=False, sigmoid=False).reshape(1, 21, 4, 4)],
        {"decoder": "yolov5", "anchors": ANCHORS},
    ),
    "v5 after sigmoid": (
        [yolo_map(ANCHORS, v3=False, sigmoid=True).transpose(0, 1, 3, 4, 2)],
        {"decoder": "yolov5", "anchors": ANCHORS, "ops": ("sigmoid",)},
    ),
    "v3 heads": (
        [yolo_map(ANCHORS, v3=True, sigmoid=False).reshape(1, 21, 4, 4)],
        {"decoder": "yolov3", "anchors": ANCHORS},
    ),
    "ssd of TensorFlow": (SSD, {"decoder": "ssd", "priors": SSD_PRIORS, "offset": 1}),
    "ssd of Caffe": (SSD_XY, {"decoder": "ssd-xy", "priors": SSD_XY_PRIORS, "offset": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_head_gives_the_box_that_was_put_into_it(case):
    outputs, options = CASES[case]
    head = Head(**({"size": (SIZE, SIZE), "ops": ("conv2d",) * len(outputs)} | options))
    (row,) = kept_boxes(*decode(outputs, head))[:1]
    assert row[0] == 1
    assert row[1] > 0.85
    assert row[2:] == pytest.approx(BOX, abs=0.01)


def test_scales_take_their_anchors_from_the_finest_grid_on():
    heads = [np.full((1, 3 * 7, n, n), -12.0) for n in (1, 2, 4)]
    head = Head(decoder="yolov3", size=(32, 32), ops=("conv2d",) * 3)
    boxes, scores = decode(heads, head)
    assert boxes.shape == (3 * 21, 4)
    assert scores.shape == (3 * 21, 2)
    widths = boxes[:, 2] - boxes[:, 0]
    anchors = np.array(YOLO_ANCHORS["yolov3"]).reshape(-1, 2)
    assert widths[0] == pytest.approx(anchors[0, 0] * np.exp(-12))
    assert widths[-1] == pytest.approx(anchors[-1, 0] * np.exp(-12))


@pytest.mark.parametrize("decoder", ["yolov3", "yolov5", "yolov8"])
def test_outputs_of_another_head_are_refused(decoder):
    head = Head(decoder=decoder, size=(32, 32), ops=("conv2d",) * 2)
    with pytest.raises(InputError, match="the outputs have shapes"):
        decode([np.zeros((1, 4, 3, 3)), np.zeros((1, 5, 3, 3))], head)


def test_detectors_say_what_they_miss():
    with pytest.raises(ConfigError, match="no decoder is given"):
        detector_of("")
    with pytest.raises(ConfigError, match="yolov8"):
        detector_of("yolov9")
    with pytest.raises(ConfigError, match="anchors"):
        detector_of("yolov5", anchors="1,2,x")
    with pytest.raises(ConfigError, match="3 numbers"):
        detector_of("yolov5", anchors="1,2,3")
    head = Head(decoder="ssd", size=(32, 32), ops=("", ""))
    with pytest.raises(ConfigError, match="priors"):
        decode(SSD, head)


@given(
    picture=st.tuples(st.integers(8, 90), st.integers(8, 90)),
    fit=st.sampled_from(["stretch", "letterbox"]),
)
def test_boxes_return_to_the_picture_however_it_was_fitted(picture, fit):
    """The whole picture in input pixels is the whole picture."""
    place = placement(picture, (SIZE, SIZE), fit)
    whole = np.array(
        [[place.left, place.top, place.left + place.width, place.top + place.height]], float
    )
    centre = [*(whole[0, :2] + whole[0, 2:]) / 2, place.width, place.height]
    output = np.array([[[*centre, 1.0, 0.9]], [[0] * 6]]).reshape(1, 2, 6)
    output = np.concatenate([output, np.zeros((1, 20, 6))], 1)
    measure = DetectorMeasure(Head(decoder="yolov5", size=(SIZE, SIZE), ops=("",)), fit)
    truth = json.dumps({"size": picture, "boxes": [[0, 0, 0, picture[1], picture[0], 0]]})
    found = measure([output], truth)
    assert found["boxes"][0][2:] == pytest.approx([0, 0, picture[1], picture[0]], abs=1e-3)
    assert found["found"] == pytest.approx(0.9)


def items(*boxes):
    return [
        Item(
            index=i,
            name=str(i),
            paths=(),
            label="",
            truth=json.dumps({"size": [32, 32], "boxes": rows}),
        )
        for i, rows in enumerate(boxes)
    ]


def test_average_precision_of_a_curve_drawn_by_hand():
    right, wrong = [8, 8, 24, 24], [0, 0, 6, 6]
    truth = items([[0, *right, 0]], [[0, *right, 0]])
    whole = average_precision(truth, {0: [[0, 0.9, *right]], 1: [[0, 0.8, *right]]})
    assert whole == pytest.approx({MAP50: 1.0, MAP: 1.0})
    # one of two found, behind a false one: precision 1/2 up to recall 1/2, 51 of 101 points
    half = average_precision(truth, {0: [[0, 0.9, *wrong], [0, 0.5, *right]], 1: []})
    assert half[MAP50] == pytest.approx(0.5 * 51 / 101)
    # an overlap of 0.75 is right at the thresholds .5 .. .75: 6 of 10
    loose = average_precision(items([[0, *right, 0]]), {0: [[0, 0.9, 8, 8, 24, 20]]})
    assert loose == pytest.approx({MAP50: 1.0, MAP: 0.6})
    assert average_precision(truth, {0: [], 1: []}) == {MAP50: 0.0, MAP: 0.0}


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtraError, match=r"npusim\[detection\]"):
        average_precision(items([[0, 1, 1, 2, 2, 0]]), {0: []})


def pictures(folder, count=3):
    """Write pictures with one bright cell each; return their boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = []
    for i in range(count):
        row, column = divmod(5 * i + 2, SIZE // CELL)
        pixels = np.full((SIZE, SIZE, 3), 10, np.uint8)
        pixels[row * CELL :, column * CELL :][:CELL, :CELL] = 240
        Image.fromarray(pixels).save(folder / f"{i}.png")
        left, top = column * CELL, row * CELL
        boxes.append((left, top, left + CELL, top + CELL))
    return boxes


def bright_cells():
    """A detector of bright cells in the form of YOLO v8."""
    b = GraphBuilder(name="cells")
    b.input("x", 1, 3, SIZE, SIZE)
    n = SIZE // CELL
    step = Conv2dAttrs(stride=(CELL, CELL))
    weights = np.full((1, 3, CELL, CELL), 0.06 / (3 * CELL * CELL))
    inputs = ["x", b.constant("w", weights), b.constant("b", np.array([-7.0]))]
    b.node("conv2d", inputs, "logits", step)
    b.node("sigmoid", ["logits"], "scores")
    inputs = ["x", b.constant("w0", np.zeros((4, 3, CELL, CELL))), b.constant("b0", np.zeros(4))]
    b.node("conv2d", inputs, "nowhere", step)
    x, y = np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5)
    side = np.ones((n, n))
    boxes = CELL * np.stack([x, y, side, side])[None]
    b.node("add", ["nowhere", b.constant("grid", boxes)], "boxes", EltwiseAttrs())
    b.node("concat", ["boxes", "scores"], "joined", AxisAttrs(axis=1))
    return b.done(b.node("reshape", ["joined"], "y", ReshapeAttrs(shape=(1, 5, n * n))))


def voc(folder, boxes):
    (folder / "Annotations").mkdir()
    for i, (left, top, right, bottom) in enumerate(boxes):
        ends = (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom))
        corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in ends)
        (folder / "Annotations" / f"{i}.xml").write_text(
            f"<annotation><object><name>cell</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    return folder


def yolo(folder, boxes):
    (folder / "labels").mkdir()
    for i, (left, top, right, bottom) in enumerate(boxes):
        numbers = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        line = " ".join(str(v / SIZE) for v in numbers)
        (folder / "labels" / f"{i}.txt").write_text(f"0 {line}\n")
    return folder


def coco(folder, boxes):
    content = {
        "images": [
            {"id": 7 + i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE}
            for i in range(len(boxes))
        ],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [
            {"id": i, "image_id": 7 + i, "category_id": 3, "bbox": [x, y, r - x, b - y]}
            for i, (x, y, r, b) in enumerate(boxes)
        ],
    }
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def listed(folder, boxes):
    yolo(folder, boxes)
    lines = [f"images/{i}.png labels/{i}.txt\n" for i in range(len(boxes))]
    (folder / "list.txt").write_text("".join(lines))
    return folder / "list.txt"


@pytest.mark.parametrize(
    ("form", "inside"),
    [(voc, "JPEGImages"), (yolo, "images"), (coco, "images"), (listed, "images")],
)
def test_annotations_of_every_form_hold_the_same_boxes(tmp_path, form, inside):
    boxes = pictures(tmp_path / inside)
    found = open_boxes(form(tmp_path, boxes), labels=("cell",))
    assert [item.index for item in found] == [0, 1, 2]
    truths = [json.loads(item.truth) for item in found]
    assert [truth["size"] for truth in truths] == [[SIZE, SIZE]] * 3
    rows = [truth["boxes"][0] for truth in truths]
    assert np.array(rows) == pytest.approx(np.array([[0, *box, 0] for box in boxes]))


def test_annotations_that_cannot_be_used_are_listed(tmp_path):
    boxes = pictures(tmp_path / "JPEGImages")
    with pytest.raises(DatasetError, match=r"3 annotations.*\n.*class 'cell' is not in labels"):
        open_boxes(voc(tmp_path, boxes), labels=("dog",))
    path = coco(tmp_path, boxes)
    with pytest.raises(DatasetError, match=r"0.png: not in .*; give images"):
        open_boxes(path)
    assert len(open_boxes(path, images=tmp_path / "JPEGImages")) == 3
    with pytest.raises(DatasetError, match="no sample"):
        open_boxes(tmp_path / "Annotations")


ODD = ("", "x", "nan", "inf", "-1e999", "null", "[]", "{}", '"a"', "1e400")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("form", "inside"), [(voc, "JPEGImages"), (yolo, "images")])
def test_no_number_of_an_annotation_is_lost(tmp_path, form, inside, odd):
    boxes = pictures(tmp_path / inside)
    folder = form(tmp_path, boxes)
    file = next(tmp_path.glob("Annotations/1.xml"), None) or tmp_path / "labels" / "1.txt"
    text = file.read_text()
    number = re.findall(r"\d+\.\d+|(?<=>)\d+(?=<)", text)[-1]
    file.write_text(text.replace(number, odd))
    with pytest.raises(DatasetError, match=r"1.png: .*not four numbers"):
        open_boxes(folder, labels=("cell",))


@given(data=st.data())
def test_a_coco_file_is_read_or_refused(data):
    with TemporaryDirectory() as name:
        folder = Path(name)
        boxes = pictures(folder / "images")
        content = json.loads(coco(folder, boxes).read_text())
        holder, key = content, data.draw(st.sampled_from(sorted(content)))
        while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            key = data.draw(st.sampled_from(keys))
        value = st.sampled_from([None, "x", "", [], {}, -1, 1e300, float("nan"), [1, 2], [[0] * 4]])
        holder[key] = data.draw(value)
        (folder / "set.json").write_text(json.dumps(content))
        found, said = (), ""
        try:
            found = open_boxes(folder / "set.json", labels=("cell",))
        except DatasetError as error:
            said = str(error)
        assert found or "set.json" in said
        boxes = [box for item in found for box in json.loads(item.truth)["boxes"]]
        assert np.isfinite(boxes).all()


def test_a_mask_that_is_not_there_is_listed(tmp_path):
    pictures(tmp_path, 1)
    (tmp_path / "list.txt").write_text("0.png gone.png\n")
    with pytest.raises(DatasetError, match=r"gone.png cannot be read"):
        open_masks(tmp_path / "list.txt")


def test_a_detector_is_measured_in_float_and_quantized(tmp_path):
    boxes = pictures(tmp_path / "images")
    graph = bright_cells()
    samples = [("s", npusim.read_input(graph, tmp_path / "images" / f"{i}.png")) for i in range(3)]
    networks = {"float": graph, "u8": npusim.quantize(graph, samples)}
    found = npusim.evaluate(
        networks, yolo(tmp_path, boxes), task="detection", decoder="yolov8", jobs=1
    )
    float_run, u8 = found.accuracies
    assert float_run.scores == pytest.approx({MAP50: 1.0, MAP: 1.0})
    assert u8.headline[0] == MAP
    assert u8.means["found"] > 0.5
    assert found.at_chance == ""
    # what it says of the parts, worst first
    assert list(found.parts["u8"]) == ["y [scores]", "y [boxes]"]
    assert found.parts["u8"]["y [scores]"] < found.parts["u8"]["y [boxes]"]
    assert "u8: mean cosine with float y [scores] " in evaluation_verdict(found)
    assert found.to_dict()["parts"] == found.parts
    assert "u8 against float: mAP@.5:.95 " in evaluation_verdict(found)
    assert MAP50 in [column.heading for column in accuracy_table(found).columns]
    assert worst_table(found).row_count == 3
    nothing = npusim.evaluate(
        {"float": graph}, tmp_path, task="detection", decoder="yolov5", jobs=1
    )
    assert "float itself finds next to nothing" in nothing.at_chance


def test_the_command_measures_a_detector(tmp_path, monkeypatch, capsys):
    boxes = pictures(tmp_path / "images")
    yolo(tmp_path, boxes)
    monkeypatch.chdir(tmp_path)
    graph = bright_cells()
    samples = [("s", npusim.read_input(graph, f"images/{i}.png")) for i in range(3)]
    npusim.save(npusim.quantize(graph, samples), "cells.npusim")
    arguments = ["evaluate", "cells.npusim", "--dataset", ".", "--task", "detection"]
    for more, code, said in (
        (["--decoder", "yolov8", "--jobs", "1"], 0, MAP50),
        ([], 2, "--decoder"),
        (["--task", "classification"], 2, "no vector of class scores"),
    ):
        monkeypatch.setattr(sys, "argv", ["npusim", *arguments, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert (ended.value.code or 0) == code, captured.err
        assert said in " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize(
    "priors", [np.array(3.0), [1, 2], [["a"] * 4], [[10**400] * 4], [[1], [1, 2]]]
)
def test_priors_that_are_no_rows_of_numbers_are_refused(priors):
    with pytest.raises(ConfigError, match=r"\(n, 4\) or \(4, n\) numbers"):
        detector_of("ssd", priors=priors)
    with pytest.raises(ConfigError, match="priors would have no effect"):
        npusim.evaluate({"float": detector(body=1)}, ".", priors=priors)
