"""quantize, tune and equalize on the bundled model."""

import json
import signal
import sys

import numpy as np
import pytest
import yaml

import npusim
from npusim import assets
from npusim.cli import main
from npusim.ir import archive
from npusim.ir.dtypes import DType
from npusim.reference.evaluate import evaluate
from npusim.rknn import RKNN


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function: arguments -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["npusim", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


def source():
    return npusim.load_model(
        assets.model_path(), input_shapes={assets.INPUT_NAME: assets.INPUT_SHAPE}
    )


@pytest.mark.parametrize("algorithm", ["normal", "moving_average", "kl_divergence", "mmse"])
def test_every_algorithm(run, algorithm):
    code, out, _ = run(
        "quantize", "demo", "-o", "m.rknn", "--algorithm", algorithm, "--divergence-nbins", 256
    )
    assert code == 0
    assert algorithm in out
    assert "float engine" in out
    notes = archive.load("m.rknn").notes
    assert any(f"8 samples: {algorithm}" in note for note in notes)
    code, out, _ = run("info", "m.rknn", "--json")
    assert json.loads(out)["notes"] == list(notes)


@pytest.mark.parametrize(
    "spelling",
    ["asymmetric_quantized-u8", "dynamic_fixed_point-8", "dynamic_fixed_point-i16", "float16"],
)
def test_every_spelling_of_the_formats(run, spelling):
    assert run("quantize", "demo", "-o", "m.rknn", "--quantize", spelling)[0] == 0
    dtype = {"8": DType.U8, "-8": DType.I8, "16": DType.I16, "t16": DType.F16}
    key = next(k for k in sorted(dtype, key=len, reverse=True) if spelling.endswith(k))
    graph = archive.load("m.rknn")
    assert graph.spec(graph.inputs[0]).dtype is dtype[key]


def test_cfg_file_round_trip(run, tmp_path):
    code, text = run("quantize", "demo", "-o", "a.rknn", "--write-cfg", "a.cfg")[:2]
    assert code == 0
    assert "npusim's own file, which no stick or board loads" in " ".join(text.split())
    assert run("quantize", "demo", "-o", "b.rknn", "--hybrid", "a.cfg")[0] == 0
    a, b = archive.load("a.rknn"), archive.load("b.rknn")
    assert a.tensors == b.tensors
    content = yaml.safe_load((tmp_path / "a.cfg").read_text())
    name = next(k for k in content["quantize_parameters"] if k.endswith(":weight"))
    layer = name[1:].removesuffix(":weight")
    text = (tmp_path / "a.cfg").read_text()
    (tmp_path / "a.cfg").write_text(
        text.replace("layers: {}", f"layers: {{'{layer}': dynamic_fixed_point-16}}")
    )
    code, out, _ = run("quantize", "demo", "-o", "c.rknn", "--hybrid", "a.cfg")
    assert code == 0
    assert "1 layers of their own" in out
    assert sum(node.op == "convert" for node in archive.load("c.rknn").nodes) == 2
    (tmp_path / "a.cfg").write_text("%YAML 1.2\n---\ncustomized_quantize_layers: {x: u8}")
    code, _, err = run("quantize", "demo", "-o", "c.rknn", "--hybrid", "a.cfg")
    assert code == 2
    assert "a.cfg" in err
    (tmp_path / "a.cfg").write_text(
        text[: text.index("quantize_parameters:")].replace("{}", "{'nobody_3': i16}")
    )
    code, _, err = run(
        "quantize", "demo", "--dataset", assets.calibration_list(), "-o", "c.rknn",
        "--hybrid", "a.cfg",
    )  # fmt: skip
    assert code == 2
    assert "a.cfg:" in err
    assert "nobody_3" in err


def test_wrong_options(run):
    for options, says in (
        (("--algorithm", "best"), "kl_divergence"),
        (("--equalize", "all"), "restrict"),
        (("--moving-alpha-weighs", "both", "--algorithm", "moving_average"), "'old' or 'new'"),
        (("--engine", "torch"), "onnxruntime"),
        (("--quantize", "f16", "--equalize", "keep"), "nothing to calibrate"),
        (("--hybrid", "none.cfg"), "none.cfg"),
    ):
        code, _, err = run("quantize", "demo", "-o", "m.rknn", *options)
        assert code == 2, options
        assert says in err


def test_equalized_model_as_onnx_has_the_same_function(run, tmp_path):
    code, out, _ = run("equalize", "demo", "-o", "e.onnx", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["pairs"] >= 10
    assert facts["spread_after"] < facts["spread_before"]
    before, after = source(), npusim.load_model("e.onnx")
    rng = np.random.default_rng(1)
    for _ in range(2):
        feeds = {assets.INPUT_NAME: rng.uniform(-1, 1, assets.INPUT_SHAPE).astype(np.float32)}
        (wanted,), (got,) = evaluate(before, feeds).values(), evaluate(after, feeds).values()
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)
    assert run("quantize", "e.onnx", "-o", "e.rknn", "--quantize", "f16")[0] == 0
    code, _, err = run("equalize", "e.rknn", "-o", "f.onnx")
    assert code == 2
    assert "quantized" in err


def test_equalized_and_corrected_quantization_is_recorded(run):
    code, out, _ = run(
        "quantize", "demo", "-o", "m.rknn", "--equalize", "restrict", "--bias-correction", "--json"
    )
    assert code == 0
    notes = json.loads(out)["notes"]
    assert any("weights equalized across" in note for note in notes)
    assert any("biases corrected" in note for note in notes)


def tune(*more):
    return ("tune", "demo", "--samples", 2, "-o", "t", "--most", 4, *more)


def test_tune_writes_files_that_step2_builds(run, tmp_path):
    code, out, _ = run(*tune("--json"))
    result = json.loads(out)
    assert code == 0
    assert not result["interrupted"]
    assert result["front"]
    assert result["best"]["metric"] == max(point["metric"] for point in result["front"])
    rknn = RKNN()
    assert rknn.hybrid_quantization_step2("t.json", "t.data", "t.quantization.cfg", None) == 0
    assert rknn.init_runtime() == 0
    perf = rknn.eval_perf(is_print=False)
    raised = [n for n in rknn._built.nodes if n.op == "convert"]
    assert bool(raised) == bool(result["best"]["layers"])
    assert perf["total_time"] > 0
    rknn.release()
    state = json.loads((tmp_path / "t.tune.json").read_text())
    code, out, _ = run(*tune())
    assert code == 0
    assert f"{len(state['points'])} measurements of an earlier run are used" in out
    code, _, err = run(*tune("--metric", "cosine"))
    assert code == 2
    assert "metric differ" in err
    assert run(*tune("--metric", "cosine", "--restart"))[0] == 0


def test_tune_interrupted_keeps_what_it_has(run, tmp_path, monkeypatch):
    from npusim.tuning.search import Tuner

    original = Tuner.measure

    def stopping(self, layers, scheme, graph=None):
        point = original(self, layers, scheme, graph)
        if len(self.state.points) == 2:
            signal.raise_signal(signal.SIGINT)
        return point

    monkeypatch.setattr(Tuner, "measure", stopping)
    code, out, _ = run(*tune("--budget-us", 1000000))
    assert code == 130
    assert "the same command goes on" in out
    assert len(json.loads((tmp_path / "t.tune.json").read_text())["points"]) == 2
    assert (tmp_path / "t.quantization.cfg").exists()
    monkeypatch.setattr(Tuner, "measure", original)
    code, out, _ = run(*tune("--budget-us", 1000000))
    assert code == 0
    assert "2 measurements of an earlier run" in out


def test_tune_says_when_the_budget_is_too_small(run):
    code, out, err = run(*tune("--budget-us", 10))
    assert code == 2
    assert not out  # nothing was calibrated
    assert "without any raise the network takes about" in err
    assert "--budget-us" in err
    code, _, err = run(*tune("--to", "u8"))
    assert code == 2
    assert "wider format" in err


def test_options_that_contradict_a_stored_model_are_refused(run):
    assert run("quantize", "demo", "-o", "m.rknn")[0] == 0
    for option, value in (("--mean", "1,2,3"), ("--std", "2"), ("--reorder", "0,1,2")):
        code, _, err = run("run", "m.rknn", "--input", "0.png", option, value)
        assert code == 2
        assert f"{option} differs from what is stored" in err
    code, _, err = run("run", "m.rknn", "--input", "0.png", "--target", "rk3399pro")
    assert code == 2
    assert "the target rk1808" in err
    for options in (
        ("--toolkit", "1.7.3"),
        ("--no-join", "x"),
        ("--algorithm", "mmse"),
        ("--dataset", "list.txt"),
    ):
        code, _, err = run("quantize", "m.rknn", "-o", "n.rknn", *options)
        assert code == 2
        assert options[0] in err
        assert "nothing to calibrate" in err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--reorder", "3,1,0", "an order of the channels"),
        ("--reorder", "2.5,1,0", "whole numbers"),
        ("--std", "0,1,1", "not 0"),
        ("--mean", "nan", "finite"),
    ],
)
def test_preprocessing_that_no_picture_can_have_is_refused(run, option, value, words):
    code, _, err = run("run", "demo", option, value)
    assert code == 2
    assert words in err


FOCUS = [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.fixture
def focus(tmp_path):
    """Return an ONNX file that begins with four slices of every second pixel, and its dataset."""
    onnx = pytest.importorskip("onnx")
    make, number = onnx.helper, onnx.numpy_helper.from_array
    axes = number(np.array([2, 3], np.int64), "axes")
    constants = [axes, number(np.array([2, 2], np.int64), "step")]
    constants.append(number(np.array([8, 8], np.int64), "end"))
    nodes, parts = [], []
    for at, place in enumerate(FOCUS):
        constants.append(number(np.array(place, np.int64), f"begin{at}"))
        parts.append(f"p{at}")
        names = ["x", f"begin{at}", "end", "axes", "step"]
        nodes.append(make.make_node("Slice", names, [parts[-1]], name=parts[-1]))
    nodes.append(make.make_node("Concat", parts, ["j"], name="j", axis=1))
    nodes.append(make.make_node("Sigmoid", ["j"], ["y"], name="y"))
    info = [
        make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in (("x", [1, 2, 8, 8]), ("y", [1, 8, 4, 4]))
    ]
    graph = make.make_graph(nodes, "focus", info[:1], info[1:], constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)])
    onnx.save(model, tmp_path / "focus.onnx")
    sample = np.random.default_rng(0).standard_normal((8, 8, 2)).astype(np.float32)
    np.save(tmp_path / "sample.npy", sample)
    (tmp_path / "list.txt").write_text("sample.npy\n")
    return "focus.onnx", "--dataset", "list.txt"


def test_driver_faults_are_reproduced_on_request(run, focus, caplog):
    means = {}
    for how in ("correct", "reproduce"):
        code, _, err = run(
            "run", *focus, "--quantize", "u8", "--driver-faults", how, "--output", how
        )
        assert code == 0, err
        assert ("never writes 96 of its 128 elements" in caplog.text) == (how == "reproduce")
        means[how] = np.load(f"{how}/output_0.npy")[:, 2:]
    assert len(np.unique(means["reproduce"])) == 1
    assert len(np.unique(means["correct"])) > 9
    code, _, err = run("run", *focus, "--quantize", "u8", "--driver-faults", "same")
    assert code == 2
    assert "correct" in err
    assert "reproduce" in err


def test_a_dump_and_a_comparison_reproduce_as_well(run, focus):
    for how in ("correct", "reproduce"):
        options = (*focus, "--quantize", "u8", "--driver-faults", how)
        assert run("dump", *options, "-o", how)[0] == 0
        assert run("compare", *options, "--folder", how)[0] == 0
    assert run("compare", *options[:-1], "correct", "--folder", "reproduce")[0] == 1


def test_driver_faults_are_avoided_on_request(run, focus, caplog):
    code, out, _ = run("quantize", *focus, "-o", "a.rknn", "--avoid-driver-faults")
    assert code == 0
    assert "driver faults avoided at: Concat_j" in out
    assert run("run", "a.rknn", "--dataset", "list.txt")[0] == 0
    assert "concat-of-views" not in caplog.text
    code, _, err = run("quantize", "a.rknn", "-o", "b.rknn", "--avoid-driver-faults")
    assert code == 2
    assert "already quantized" in err
