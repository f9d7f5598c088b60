"""``npusim report``: the page, what it prints, and that what it offers to paste works."""

import json
import re
import shlex

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.report.blob_detector import ANCHORS, GREEN, RED, write_detector, write_picture

RNG = np.random.default_rng(3)


def data_of(path):
    text = path.read_text(encoding="utf-8")
    (found,) = re.findall(r'id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


@pytest.fixture
def model(tmp_path):
    """Write a network whose concat has parts of different size, pictures and a list."""
    weights = {
        "v": np.eye(4, 3).reshape(4, 3, 1, 1) * 0.002,
        "w": RNG.normal(size=(4, 3, 1, 1)),
        "u": np.concatenate([np.eye(4), np.zeros((4, 4))], axis=1).reshape(4, 8, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["small"], name="small"),
        helper.make_node("Conv", ["x", "w"], ["large"], name="large"),
        helper.make_node("Concat", ["small", "large"], ["both"], name="both part", axis=1),
        helper.make_node("Conv", ["both", "u"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "net.onnx",
    )
    for name in ("a.png", "b.png"):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("a.png\nb.png\n")
    return tmp_path / "net.onnx"


CALL = ("report", "net.onnx", "--dataset", "list.txt", "--mean", "127.5", "--std", "127.5")


def test_a_page_and_the_command_that_repeats_it(run, model, tmp_path):
    code, out, _ = run(*CALL, "-o", "r.html", "--node-data", "me.json")
    assert code == 0
    data = data_of(tmp_path / "r.html")
    assert data["head"]["verdict"] in out
    assert "wrote r.html" in out
    assert "wrote me-time.json" in out
    repeated = shlex.split(data["head"]["command"])
    assert repeated[:3] == ["npusim", *CALL[:2]]
    assert sorted(repeated) == sorted(
        ["npusim", *CALL, "--output", "r.html", "--node-data", "me.json"]
    )
    assert data["head"]["dataset"] == {"path": "list.txt", "samples": 2}
    assert "pixels 0..255" in data["head"]["inputs"][0]["what_goes_in"]
    assert [p["width"] for p in data["pictures"]] == [8]
    assert any(w["code"] == "shared-range" for w in data["head"]["warnings"])
    lane = json.loads((tmp_path / "me-error-alone.json").read_text())
    assert "both part" in lane["results"]


def test_what_it_offers_to_paste_works(run, model, tmp_path):
    run(*CALL)
    causes = data_of(tmp_path / "report.html")["causes"]
    pasted = [p for cause in causes for p in cause["paste"]]
    commands = [shlex.split(p["text"]) for p in pasted if p["what"].startswith("command")]
    assert any("--layer" in words for words in commands)
    for words in commands:
        assert words[0] == "npusim"
        code, _, err = run(*words[1:])
        assert code == 0, err
    assert (tmp_path / "repaired.npusim").is_file()
    code, out, _ = run(*CALL, "--vs", "repaired.npusim", "--json")
    assert code == 0
    vs = json.loads(out)["vs"]
    assert vs["model"] == "repaired.npusim"
    assert any(row["there_format"] == "i16" for row in vs["rows"])


def test_a_stored_model_is_priced_and_says_what_is_missing(run, model, tmp_path):
    run("quantize", *CALL[1:], "-o", "net.npusim")
    code, out, _ = run("report", "net.npusim", "-o", "s.html")
    assert code == 0
    assert "accuracy was not measured" in out
    data = data_of(tmp_path / "s.html")
    assert data["causes"] == []
    assert "npusim report" in data["missing"]["causes"]
    code, _, err = run("report", "net.npusim", "--quantize", "u8")
    assert code == 2
    assert "already quantized" in err
    code, _, _ = run(*CALL, "--stored", "net.npusim", "-o", "t.html")
    assert code == 0
    assert data_of(tmp_path / "t.html")["causes"]


@pytest.mark.parametrize("command", [CALL, ("compare", *CALL[1:], "--quantize", "u8")])
def test_a_stored_model_stands_beside_one_whose_shape_is_given(run, model, tmp_path, command):
    shape = ("--shape", "x=1,3,8,8")
    assert run("quantize", *CALL[1:], *shape, "-o", "net.npusim")[0] == 0
    page = ("-o", "r.html") if command is CALL else ("--html", "r.html")
    code, _, err = run(*command, *shape, "--vs", "net.npusim", *page)
    assert code == 0, err
    assert data_of(tmp_path / "r.html")["layers"]
    if command is CALL:
        assert data_of(tmp_path / "r.html")["vs"]["model"] == "net.npusim"


def test_a_labelled_set_gives_metrics(run, tmp_path):
    from npusim import assets

    lines = [f"{path} {label}" for path, label in assets.test_images()[:2]]
    (tmp_path / "set.txt").write_text("\n".join(lines))
    code, _, err = run("report", "demo", "--labelled", "set.txt", "-o", "d.html")
    assert code == 0, err
    data = data_of(tmp_path / "d.html")
    metrics = {row["name"]: row for row in data["metrics"]}
    assert metrics["top-1"]["float"] == 1.0
    assert {row["name"] for row in data["outputs"][0]["classes"]} == {"0", "180"}
    assert (tmp_path / "d.html").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("arguments", "sections"),
    [
        (("analyze", *CALL[1:]), {"causes", "time", "outputs"}),
        (("compare", *CALL[1:], "--quantize", "u8"), {"time"}),
        (("perf", "net.onnx"), {"time"}),
        (("perf", "net.onnx", "--vs-dtype", "i16"), {"time", "vs"}),
        (("perf", "demo-layers"), {"time"}),
        (("evaluate", "net.onnx", "--calibration", *CALL[3:], "--task", "custom:measure:mean"),
         {"time", "metrics"}),
        (("tune", *CALL[1:], "--most", "2", "-o", "best"), {"time", "vs", "tuning"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_commands_write_pages(run, model, tmp_path, arguments, sections):
    (tmp_path / "measure.py").write_text(
        "def mean(outputs, label):\n    return outputs[0].mean()\n"
    )
    (tmp_path / "set.txt").write_text("a.png 0\nb.png 1\n")
    if arguments[0] == "evaluate":
        arguments = (*arguments, "--dataset", "set.txt")
    code, out, err = run(*arguments, "--html", "p.html")
    assert code in (0, 1), err
    assert "wrote p.html" in out
    data = data_of(tmp_path / "p.html")
    measured = {"causes", "time", "outputs", "metrics", "vs", "tuning"} - set(data["missing"])
    assert measured == sections
    words = shlex.split(data["head"]["command"])
    assert words[:3] == ["npusim", *arguments[:2]]
    assert words[words.index("--html") + 1] == "p.html"


@pytest.mark.parametrize(("place", "why"), [("no/r.html", "no is missing"), (".", "a folder")])
def test_a_page_with_no_place_is_refused_before_anything_is_measured(run, model, place, why):
    for call in ((*CALL, "-o"), ("perf", "net.onnx", "--html")):
        code, out, err = run(*call, place)
        assert code == 2
        assert f"{place} cannot be written: " in err
        assert why in err
        assert "pixels 0..255" not in out + err


def test_report_fits_pictures_as_asked(run, model, tmp_path):
    Image.fromarray(RNG.integers(0, 256, (8, 16, 3), np.uint8)).save(tmp_path / "a.png")
    assert run(*CALL, "--fit", "letterbox", "-o", "r.html")[0] == 0
    head = data_of(tmp_path / "r.html")["head"]
    assert "--fit letterbox" in head["command"]
    assert "within grey borders in 8x8" in head["inputs"][0]["what_goes_in"]


def test_help_names_the_extra_of_pages(run):
    assert "extra 'report'" in " ".join(run("perf", "--help")[1].replace("│", " ").split())


def test_without_the_package_nothing_runs(run, model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    for command in ("report", "analyze"):
        code, _, err = run(
            command, *CALL[1:], *(("--html", "p.html") if command != "report" else ())
        )
        assert code == 2
        assert "npusim[report]" in err
    assert not list(tmp_path.glob("*.html"))


def test_boxes_of_a_detector_and_names_that_are_hostile(run, tmp_path):
    write_detector(tmp_path / "blobs.onnx")
    write_picture(tmp_path / "wide.png")
    (tmp_path / "list.txt").write_text("wide.png\n")
    names = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>\u202e"]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    write_picture(tmp_path / "set/images/wide.png")
    lines = [
        f"{label} {(x0 + x1) / 256} {(y0 + y1) / 128} {(x1 - x0) / 128} {(y1 - y0) / 64}"
        for label, (x0, y0, x1, y1) in enumerate((RED, GREEN))
    ]
    (tmp_path / "set/labels/wide.txt").write_text("\n".join(lines))
    call = ["report", "blobs.onnx", "--dataset", "list.txt", "--std", "255", "--fit", "letterbox"]
    call += ["--decoder", "yolov5", "--anchors", ANCHORS, "--labels", "names.txt"]
    code, _, err = run(*call, "--labelled", "set")
    assert code == 0, err
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    data = data_of(tmp_path / "report.html")
    boxes = data["outputs"][0]["boxes"]
    assert [b["label"] for b in boxes if b["from"] == "quantized"] == names
    assert [b["box"] for b in boxes if b["from"] == "float"] == [list(RED), list(GREEN)]
    metrics = {row["name"]: row for row in data["metrics"]}
    assert metrics["mAP@.5"] == {"name": "mAP@.5", "float": 1.0, "quantized": 1.0}
    assert "--fit letterbox" in data["head"]["command"]
    assert not any("measures nothing" in w["text"] for w in data["head"]["warnings"])


def test_a_float_network_that_guesses_is_warned_of(run, tmp_path):
    write_detector(tmp_path / "blobs.onnx")
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    write_picture(tmp_path / "set/images/wide.png")
    (tmp_path / "set/labels/wide.txt").write_text("1 0.9 0.9 0.1 0.1")  # nothing is there
    call = ["report", "blobs.onnx", "--input", "set/images/wide.png", "--dataset", "list.txt"]
    (tmp_path / "list.txt").write_text("set/images/wide.png\n")
    call += ["--std", "255", "--decoder", "yolov5", "--anchors", ANCHORS, "--labelled", "set"]
    code, _, err = run(*call)
    assert code == 0, err
    (said,) = (
        w["text"] for w in data_of(tmp_path / "report.html")["head"]["warnings"]
        if "measures nothing" in w["text"]
    )  # fmt: skip
    assert "finds next to nothing" in said


def test_anchors_need_a_decoder(run, model):
    code, _, err = run(*CALL, "--anchors", ANCHORS)
    assert code == 2
    assert "--decoder" in err
