"""Every command on the bundled model: text, JSON, exit codes, bad input."""

import csv
import json
import re

import numpy as np
import onnx
import pytest
from onnx import helper

import npusim
from npusim import assets
from npusim.importers.formats import is_stored
from npusim.ir.codes import dequantize
from npusim.kernels import _jit
from npusim.kernels.elementwise import copy_runs
from npusim.runtime import isa
from npusim.runtime.kernel_table import listing
from tests.onnx_models import onnx_model


def test_help_lists_the_commands_and_version_prints(run):
    code, out, _ = run("--help")
    assert code == 0
    for name in ("demo", "run", "quantize", "perf", "dump", "compare", "info", "ops"):
        assert name in out
    assert run("--version")[1].strip() == npusim.__version__
    assert run("no-such-command")[0] == 2


def test_info_shows_the_kernels(run):
    code, out, _ = run("info", "--kernels", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["kernels"] == listing()
    assert found["isa"] == isa.selected()
    code, out, _ = run("info", "--kernels")
    assert code == 0
    assert "depthwise convolution" in out


def test_an_interrupted_warmup_says_how_far_it_came(run, monkeypatch):
    def interrupted():
        yield "copy_runs.copy_runs"
        copy_runs.copy_runs.compile()
        raise KeyboardInterrupt

    monkeypatch.setattr(_jit, "compile_all", interrupted)
    code, out, _ = run("warmup")
    assert code == 130
    said = re.search(r"interrupted: (\d+) of (\d+) kernels are ready; the same command", out)
    ready, total = map(int, said.groups())
    assert 1 <= ready < total
    code, out, _ = run("warmup", "--json")
    assert code == 130
    assert "copy_runs.copy_runs" in json.loads(out)["kernels"]


@pytest.mark.parametrize("arguments", [(), ("demo", "--kernels")])
def test_info_wants_a_model_or_kernels(run, arguments):
    code, _, err = run("info", *arguments)
    assert code == 2
    assert "--kernels" in err


def test_info_lists_inputs_also_of_what_cannot_be_imported(run, tmp_path):
    path = tmp_path / "open.onnx"
    for op, words in (("Relu", "input x (n, 3, h, w) float"), ("Unique", "input x (1, 3) float")):
        shape = ["n", 3, "h", "w"] if op == "Relu" else [1, 3]
        model = onnx_model([helper.make_node(op, ["x"], ["y"])], {"x": shape}, ["y"])
        path.write_bytes(model.SerializeToString())
        code, out, err = run("info", str(path))
        assert code == 2
        assert words in out
        assert ("axis 2 is 'h'" if op == "Relu" else "Unique") in err
    code, out, _ = run("info", str(path), "--json")
    assert code == 2
    assert json.loads(out)["inputs"] == ["x (1, 3) float"]


def test_info(run):
    code, out, _ = run("info", "demo", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["unsupported"] == []
    assert facts["operators"]["conv2d"] == 53
    assert facts["macs"] > 1e6
    assert facts["parameters"] > 1e5
    code, out, _ = run("info", "demo")
    assert code == 0
    assert "conv2d x 53" in out


def test_info_lists_constants_that_do_not_fit(run, tmp_path):
    node = onnx.helper.make_node
    nodes = [
        node("Mul", ["x", "k"], ["a"]),
        node("Add", ["a", "eps"], ["b"]),
        node("Sqrt", ["b"], ["y"]),
    ]
    constants = {"k": np.float32(1e6), "eps": np.float32(1e-8)}
    onnx.save(onnx_model(nodes, {"x": (1, 3, 4, 4)}, ["y"], constants), tmp_path / "m.onnx")
    code, out, _ = run("info", str(tmp_path / "m.onnx"), "--json")
    assert code == 0
    found = json.loads(out)["does_not_fit"]
    assert [len(found[name]) for name in ("f16", "u8", "i8", "i16")] == [2, 0, 0, 0]
    assert "'k' of layer 'Mul_a' (mul) is 1e+06" in found["f16"][0]
    assert "keeps Sqrt_y_1 (sqrt) from 0 no longer" in found["f16"][1]
    code, out, _ = run("info", str(tmp_path / "m.onnx"))
    assert "does not fit f16 (2)" in out
    assert "does not fit u8" not in out


def test_compare_does_not_mind_layers_below_float16(run, tmp_path):
    node = onnx.helper.make_node
    nodes = [
        node("Mul", ["x", "k"], ["a"]),
        node("Mul", ["a", "m"], ["b"]),
        node("Add", ["b", "x"], ["y"]),
    ]
    constants = {"k": np.float32(1e-3), "m": np.float32(1e-2)}
    onnx.save(onnx_model(nodes, {"x": (1, 3, 4, 4)}, ["y"], constants), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    arguments = (str(tmp_path / "m.onnx"), "--input", str(tmp_path / "x.npy"), "--quantize", "f16")
    code, out, err = run("compare", *arguments)
    assert code == 0, out + err


def test_ops_lists_engines_with_reasons(run):
    code, out, _ = run("ops", "--json")
    rows = {row["op"]: row for row in json.loads(out)}
    assert code == 0
    assert {e["engine"] for e in rows["conv2d"]["engines"]} >= {"NN", "TP", "SH"}
    assert all(row["engines"] for row in rows.values() if row["op"] != "batch_norm")
    assert run("ops", "conv2d")[0] == 0
    assert run("ops", "no_such_op")[0] == 2


def test_run_u8_and_layer_dump_equals_the_executor(run, monkeypatch, tmp_path):
    """The issue's own check: the files' content equals the executor's tensors exactly."""
    monkeypatch.setenv("NN_LAYER_DUMP", "1")
    code, out, _ = run(
        "run", assets.model_path(), "--shape", "x=1,3,48,192", "--quantize", "u8",
        "--dataset", assets.calibration_list(), "--mean", "127.5,127.5,127.5",
        "--std", "127.5", "--reorder", "2,1,0", "--json",
    )  # fmt: skip
    assert code == 0
    outputs = json.loads(out)["outputs"]
    assert outputs[0]["shape"] == [1, 2]
    import npusim
    from npusim.quantization.dataset import open_dataset

    graph = npusim.load_model(assets.model_path(), input_shapes={"x": (1, 3, 48, 192)})
    how = npusim.Preprocess(mean=(127.5,) * 3, std=(127.5,) * 3, reorder=(2, 1, 0))
    graph = graph.copy(preprocess={"x": how})
    program = npusim.compile(npusim.quantize(graph, assets.calibration_list()))
    _, feeds = next(iter(open_dataset(assets.calibration_list(), graph)))
    seen = {}
    program.run(feeds, preprocessed=True, observe=lambda n, t, v: seen.update({t: np.array(v)}))
    with open(tmp_path / "nn_layer_dump_index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["tensor"] for row in rows} == set(seen)
    for row in rows:
        spec = program.graph.spec(row["tensor"])
        value = dequantize(seen[row["tensor"]], spec.quant)
        if row["order"] == "NHWC":
            value = value.transpose(0, 2, 3, 1)
        read = np.loadtxt(tmp_path / row["file"], dtype=np.float32, ndmin=1)
        assert np.array_equal(read, value.ravel()), row["layer"]


def test_without_the_variable_nothing_is_dumped(run, tmp_path):
    code, out, _ = run("run", "demo", "--input", assets.test_images()[0][0])
    assert code == 0
    assert "largest 5" in out
    assert list(tmp_path.iterdir()) == []


def test_quantize_by_the_rules_of_a_release(run, tmp_path):
    code, out, _ = run("quantize", "demo", "-o", "cls.rknn", "--toolkit", "1.7.3", "--json")
    assert code == 0
    assert any("toolkit 1.7.3" in note for note in json.loads(out)["notes"])
    code, _, err = run("quantize", "demo", "-o", "cls.rknn", "--toolkit", "2.3")
    assert (code, "1.7.5" in err) == (2, True)
    code, _, err = run("quantize", "demo", "-o", "cls.rknn", "--no-join", "Concat_9")
    assert (code, "no concat is called 'Concat_9'" in err) == (2, True)


def test_quantize_then_run_the_stored_model(run, tmp_path):
    code, out, _ = run("quantize", "demo", "-o", "cls.rknn", "--json")
    assert code == 0
    assert json.loads(out)["bytes"] == (tmp_path / "cls.rknn").stat().st_size
    assert is_stored(tmp_path / "cls.rknn")
    image = assets.test_images()[0][0]
    _, stored, _ = run("run", "cls.rknn", "--input", image, "--json")
    _, direct, _ = run("run", "demo", "--quantize", "u8", "--input", image, "--json")
    assert json.loads(stored)["outputs"] == json.loads(direct)["outputs"]
    code, _, err = run("run", "cls.rknn", "--quantize", "u8", "--input", image)
    assert code == 2
    assert "already quantized" in err
    assert run("compare", "cls.rknn")[0] == 2


def test_dump_into_a_folder(run, tmp_path):
    code, _, _ = run("dump", "demo", "-o", "out", "--quantize", "u8", "--layout", "NCHW")
    assert code == 0
    assert (tmp_path / "out" / "nn_layer_dump_index.csv").exists()
    assert run("dump", "demo", "-o", "out2", "--layout", "WHCN")[0] == 2


def test_dumps_are_arrays_unless_text_is_asked_for(run, tmp_path):
    stored = ("dump", "demo", "--quantize", "u8")
    for folder, more in (
        ("npy", ()),
        ("txt", ("--file-type", "txt")),
        ("printed", ("--format", "%f")),
    ):
        assert run(*stored, "-o", folder, *more)[0] == 0
        kinds = {path.suffix for path in (tmp_path / folder).glob("NodeID_*")}
        assert kinds == {".npy" if folder == "npy" else ".txt"}
    arrays, texts = (npusim.read_dump(tmp_path / name) for name in ("npy", "txt"))
    assert len(arrays.layers) > 50
    for one, other in zip(arrays.layers, texts.layers, strict=True):
        assert (one.layer, one.tensor) == (other.layer, other.tensor)
        np.testing.assert_array_equal(one.stored, other.stored)
    code, _, err = run(*stored, "-o", "x", "--file-type", "npy", "--format", "%f")
    assert code == 2
    assert "printf format is for text" in err
    assert run(*stored, "-o", "x", "--file-type", "tensor")[0] == 2


def test_compare_finds_no_wrong_layer_and_a_swapped_mean_is_found(run):
    code, out, _ = run("compare", "demo", "--quantize", "u8", "--threshold", "0.9", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["first_wrong"] is None
    assert len(report["layers"]) > 100
    code, out, _ = run("compare", "demo", "--quantize", "u8", "--threshold", "0.99999")
    assert code == 1
    assert "first layer below" in out


def test_case_2_1_wrong_channel_order_gives_the_preprocessing_hint(run, tmp_path):
    rng = np.random.default_rng(3)
    pixels = np.zeros((1, 48, 192, 3), np.uint8)
    pixels[..., 0] = rng.integers(0, 256, (1, 48, 192))  # red only: order matters
    np.save(tmp_path / "image.npy", pixels[0])
    right = (pixels.transpose(0, 3, 1, 2)[:, ::-1].astype(np.float32) - 127.5) / 127.5
    np.save(tmp_path / "source.npy", right)
    files = ("--input", "image.npy", "--source-input", "source.npy", "--quantize", "u8")
    assert "--reorder" not in run("compare", "demo", *files)[1]
    code, out, _ = run(
        "compare", "demo", *files, "--mean", "127.5", "--std", "127.5", "--reorder", "0,1,2"
    )
    assert code == 1
    assert "fed different values: look at preprocessing" in " ".join(out.split())
    assert "--reorder" in out
    np.save(tmp_path / "source.npy", right[:, :, :10])
    assert run("compare", "demo", *files)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "missing.onnx"), "missing.onnx: the model file does not exist"),
        (("info", "nosuchname"), "nosuchname: the model file does not exist"),
        (("info", "nosuchname"), "the path of a file or 'demo'"),
        (("run", "dmeo"), "did you mean 'demo'?"),
        (("info", "demo-layers"), "did you mean 'demo'?"),
        (("perf", "."), "this is a folder"),
        (("run", "demo", "--quantize", "int4"), "int4"),
        (("run", "demo", "--target", "rk9999"), "rk3399pro"),
        (("run", "demo", "--input", "missing.png"), "missing.png"),
        (("run", "demo", "--shape", "x"), "--shape"),
        (("run", "demo", "--mean", "a,b"), "--mean"),
        (("quantize", "demo", "-o", "no/such/folder/x"), "no/such/folder"),
    ],
)
def test_bad_input_exits_with_2_and_names_the_culprit(run, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_demo_writes_everything_and_is_right(run, tmp_path):
    code, out, _ = run("demo", "-o", "result", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["right"] == dict.fromkeys(("float", "f16", "u8"), len(assets.test_images()))
    folder = tmp_path / "result"
    assert {p.name for p in folder.iterdir()} == {"model_u8.npusim", "report.json", "nn_layer_dump"}
    assert len(list((folder / "nn_layer_dump").iterdir())) == 111
