"""compare, analyze and evaluate on the bundled model: every kind of partner, exit codes, JSON."""

import json
import re

import numpy as np
import pytest

from npusim import assets
from npusim.report.analysis_table import COLUMNS


def report_of(result):
    code, out, err = result
    assert code in (0, 1), err
    return code, json.loads(out)


def test_two_formats_algorithms_datasets_and_a_stored_model(run, small):
    code, report = report_of(run("compare", *small, "--other-quantize", "i16", "--json"))
    assert code == 0
    assert report["actual"] == "net u8 normal (list.txt)"
    assert report["reference"] == "net i16 normal (list.txt)"
    assert report["layers"][0]["difference"]["max_steps"] > 0
    assert len(report["layers"]) >= 4
    code, report = report_of(run("compare", *small, "--other-algorithm", "mmse", "--json"))
    assert report["reference"] == "net u8 mmse (list.txt)"
    code, report = report_of(run("compare", *small, "--other-dataset", "other.txt", "--json"))
    assert code == 0
    assert report["reference"] == "net u8 normal (other.txt)"
    assert any(row["difference"]["max_abs"] > 0 for row in report["layers"])
    assert run("quantize", *small, "-o", "a.rknn")[0] == 0
    code, report = report_of(run("compare", *small, "--other-model", "a.rknn", "--json"))
    assert code == 0
    assert all(row["difference"]["max_abs"] == 0 for row in report["layers"])
    code, report = report_of(
        run("compare", "a.rknn", "--input", "0.png", "--other-model", "a.rknn", "--json")
    )
    assert code == 0


def test_dump_folders_of_boards_and_each_other(run, small, tmp_path):
    assert run("dump", *small, "-o", "own")[0] == 0
    assert run("dump", *small, "-o", "board", "--layout", "NCHW", "--format", "%f")[0] == 0
    (tmp_path / "board" / "nn_layer_dump_index.csv").unlink()
    code, report = report_of(run("compare", *small, "--folder", "board", "--json"))
    assert code == 0
    assert report["actual"] == "board"
    assert max(row["difference"]["max_abs"] for row in report["layers"]) < 1e-6  # %f
    assert any("axis order NCHW" in note for note in report["notes"])
    code, out, _ = run("compare", "own", "--folder", "own")
    assert code == 0
    assert "No layer is below" in out
    # one layer of the board goes wrong
    path = next(p for p in (tmp_path / "board").iterdir() if "_w_6_h_7_d_4_" in p.name)
    values = np.loadtxt(path)
    path.write_text("".join(f"{v}\n" for v in values[::-1]))
    code, report = report_of(run("compare", *small, "--folder", "board", "--json"))
    assert code == 1
    assert report["first_wrong"].startswith("Relu_r2_")
    assert f"NodeID_{report['first_wrong'].rpartition('_')[2]}_" in path.name


def test_analyze_writes_the_tree_that_compare_reads(run, small, tmp_path):
    code, out, _ = run("analyze", *small, "-o", "snap")
    assert code == 0
    assert "No layer is below 0.98" in out
    assert (tmp_path / "snap" / "entire_qnt_error_analysis.txt").exists()
    head = (tmp_path / "snap" / "analysis.csv").read_text().splitlines()[0]
    assert head == ",".join(COLUMNS)
    code, report = report_of(run("compare", *small, "--folder", "snap", "--json"))
    assert code == 0
    assert all(row["difference"]["max_abs"] == 0 for row in report["layers"])
    code, report = report_of(
        run("compare", "snap/individual_qnt", "--folder", "snap/fp32", "--json")
    )
    assert len(report["layers"]) == len(list((tmp_path / "snap" / "fp32").glob("*.npy")))
    code, out, _ = run("analyze", *small, "--brief", "--json")
    assert json.loads(out)["layers"][0]["individual"]["cosine"] > 0.99
    # a sample beyond the calibrated range: clipped, and found out
    odd = np.random.default_rng(2).integers(0, 256, (9, 8, 3)).astype(np.float32)
    odd[4, 5] = 30000
    np.save(tmp_path / "odd.npy", odd)
    code, out, _ = run("analyze", *small, "--input", "odd.npy")
    assert code == 1
    assert "lie beyond the range" in out
    assert "Next: calibrate with more data" in out
    assert "Check --reorder" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "demo", "--folder", "missing"), "no such folder"),
        (("compare", "demo", "--folder", ".", "--other-quantize", "i8"), "one thing"),
        (("compare", ".",), "--folder"),
        (("compare", "demo", "--folder", "."), "none of its"),
        (("compare", "demo", "--layout", "WHCN", "--folder", "."), "WHCN"),
        (("compare", "demo", "--source-input", "a.npy", "--other-quantize", "i8"), "no effect"),
        (("compare", ".", "--folder", ".", "--quantize", "u8"), "no model options"),
        (("analyze", "demo", "-o", "x", "--file-type", "bin"), "bin"),
        (("evaluate", "model.onnx"), "model.onnx"),
        (("evaluate", "demo", "--dataset", "missing"), "missing"),
        (("evaluate", "demo", "--task", "detection"), "--decoder"),
        (("evaluate", "demo", "--scheduler", "nonsense"), "--scheduler"),
    ],
)  # fmt: skip
def test_bad_input_exits_with_2_and_names_the_culprit(run, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_unrelated_dumps_are_an_error_not_a_match(run, tmp_path):
    for name, layer in (("a", "one_1"), ("b", "two_1")):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / f"{layer}_out0_nhwc_2.npy", np.zeros(2, np.float32))
    code, _, err = run("compare", "a", "--folder", "b")
    assert code == 2
    assert "no layer of a has a counterpart in b" in err


@pytest.fixture
def folders(tmp_path):
    """The bundled test images as one folder per class."""
    for path, label in assets.test_images():
        folder = tmp_path / "set" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path / "set"


def test_evaluate_the_bundled_images(run, folders, tmp_path):
    code, out, _ = run("evaluate", "demo", "--dataset", folders, "--jobs", 1, "-o", "r.json")
    assert code == 0
    assert re.search(r"u8 +16 +100\.00%", out)
    assert "16 of 16 samples measured" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert [run["name"] for run in report["runs"]] == ["float", "u8"]
    assert report["runs"][1]["agreement"] == 1.0
    assert {p.name for p in tmp_path.iterdir()} == {"set", "r.json"}  # no state is left


def test_evaluate_goes_on_after_an_interruption(run, tmp_path, monkeypatch):
    from npusim.evaluation.worker import Worker

    original, done = Worker.run, []

    def stop_at_six(worker, item, feeds):
        if len(done) == 6:
            raise KeyboardInterrupt
        done.append(item)
        return original(worker, item, feeds)

    monkeypatch.setattr(Worker, "run", stop_at_six)
    code, out, _ = run("evaluate", "demo", "--jobs", 1)
    assert code == 130
    assert "6 of 16 samples measured" in out
    (state,) = tmp_path.glob("npusim-evaluate-*.jsonl")
    assert state.name in out.replace("\n", "")
    monkeypatch.setattr(Worker, "run", original)
    code, out, err = run("evaluate", "demo", "--jobs", 1, "--json")
    assert code == 0
    assert json.loads(out)["measured"] == 16
    assert "going on with" in err
    assert not state.exists()


def test_evaluate_fails_when_top1_falls_too_far(run, tmp_path):
    lines = [f"{path} {label}" for path, label in assets.test_images()[:3]]
    (tmp_path / "right.txt").write_text("\n".join(lines))
    arguments = ("evaluate", "demo", "--dataset", "right.txt", "--jobs", 1, "--json")
    code, report = report_of(run(*arguments, "--max-drop", 0))
    assert code == 0
    assert report["runs"][0]["top1"] == 1
    assert run(*arguments, "--max-drop", "-1")[0] == 1


def test_evaluate_fails_when_float_itself_is_at_chance(run, tmp_path):
    lines = [f"{path} {1 - label}" for path, label in assets.test_images()[:3]]
    (tmp_path / "wrong.txt").write_text("\n".join(lines))
    code, out, _ = run("evaluate", "demo", "--dataset", "wrong.txt", "--jobs", 1, "--max-drop", 0)
    assert code == 1  # though both are equally wrong
    assert "float itself is right in 0 of 3 samples" in " ".join(out.split())


def test_stored_models_beside_the_float_one(run, small, tmp_path):
    path, *options = small
    assert run("quantize", *small, "-o", "tuned.rknn")[0] == 0
    lines = [f"{i}.png {i}\n" for i in range(4)]
    (tmp_path / "set.txt").write_text("".join(lines))
    preprocessing = options[2:6]
    arguments = ("evaluate", path, *preprocessing, "--dataset", "set.txt", "--calibration",
                 "list.txt", "--vs", "tuned.rknn", "--json")  # fmt: skip
    _, report = report_of(run(*arguments))
    lines = [f"{r['image']} {r['runs']['float']['top'][0]}\n" for r in report["records"]]
    (tmp_path / "set.txt").write_text("".join(lines))
    code, report = report_of(run(*arguments))
    assert code == 0
    assert [row["name"] for row in report["runs"]] == ["float", "u8", "tuned"]
    assert report["records"][0]["runs"]["tuned"] == report["records"][0]["runs"]["u8"]
    for options, words in ((preprocessing, path), ([], "tuned.rknn")):
        code, _, err = run("evaluate", path, *options, "--dataset", "set.txt", "--quantize", "f16",
                           "--vs", words)  # fmt: skip
        assert code == 2
        assert f"--vs {words}" in err
    code, report = report_of(run("evaluate", "tuned.rknn", "--dataset", "set.txt", "--json"))
    assert [row["name"] for row in report["runs"]] == ["model"]
    assert report["runs"][0]["agreement"] is None
    for option in (("--quantize", "u8"), ("--calibration", "list.txt")):
        code, _, err = run("evaluate", "tuned.rknn", "--dataset", "set.txt", *option)
        assert code == 2
        assert option[0] in err
    code, out, _ = run("analyze", path, *preprocessing, "--stored", "tuned.rknn", "--input",
                       "0.png", "--json")  # fmt: skip
    stored = json.loads(out)
    direct = json.loads(run("analyze", *small, "--input", "0.png", "--json")[1])
    assert stored["layers"] == direct["layers"]
    code, _, err = run("analyze", path, "--stored", path, "--input", "0.png")
    assert code == 2
    assert "--stored" in err


@pytest.mark.slow
def test_evaluate_in_processes_gives_the_same_result(run):
    _, one = report_of(run("evaluate", "demo", "--jobs", 1, "--json"))
    _, two = report_of(run("evaluate", "demo", "--jobs", 2, "--json"))
    assert one == two
