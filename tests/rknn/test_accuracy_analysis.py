"""accuracy_analysis: the vendor's tree, names and columns, and what they mean."""

import csv
import json
import re

import numpy as np
import pytest
from onnx import helper

from npusim.report.analysis_table import COLUMNS
from tests.rknn.conftest import conv_weights, write_onnx

# written from the example line of the document, not from the code
ENTIRE_LINE = re.compile(
    r"^(?P<file>\S+_(?P<uid>\d+)_out(?P<out>\d+)_nhwc_(?P<dims>[0-9_]+)\.(?:tensor|npy)) *\t"
    r"(?P<type>u8|i8|i16|fp16)\teculidean_norm=(?P<en>\d+\.\d{6})\t"
    r"cosine_norm=(?P<cn>-?\d+\.\d{6}|nan)$"
)
BARE_LINE = re.compile(
    r"^(?P<layer>\S+_\d+) *\t(?P<type>u8|i8|i16|fp16)\teculidean_norm=(?P<en>\d+\.\d{6})\t"
    r"cosine_norm=(?P<cn>-?\d+\.\d{6}|nan)$"
)


@pytest.fixture
def built(new, convnet, images):
    """A built model whose analysis reads one of its images."""

    def make(path=None, dataset=None, **build):
        rknn = new()
        rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3])
        assert rknn.load_onnx(path or convnet()) == 0
        assert rknn.build(**({"dataset": dataset or images(4).path} | build)) == 0
        return rknn

    return make


@pytest.fixture
def one(images):
    return images(1, name="one.txt").path


def parsed(path, pattern):
    lines = path.read_text().splitlines()
    found = [pattern.match(line) for line in lines]
    assert all(found), lines
    return [match.groupdict() for match in found]


def load(path):
    value = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, ndmin=1)
    return value.ravel().astype(np.float64)


@pytest.mark.parametrize("kind", ["tensor", "npy"])
def test_tree_names_and_columns(built, one, work, kind):
    rknn = built()
    assert rknn.accuracy_analysis(one, output_dir="out", dump_file_type=kind) == 0
    out = work / "out"
    assert {p.name for p in out.iterdir()} == {
        "entire_qnt", "entire_qnt_error_analysis.txt", "fp32", "individual_qnt",
        "individual_qnt_error_analysis.txt", "analysis.csv", "analysis.json",
    }  # fmt: skip
    rows = parsed(out / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
    names = [row["file"].rsplit("_out", 1)[0] for row in rows]
    # execution order; a fused convolution has a line beside its relu's
    assert [n.rsplit("_", 1)[0] for n in names] == [
        "Conv_c1", "Relu_r1", "Conv_c2", "GlobalAveragePool_pool", "Flatten_flat", "Softmax_prob"
    ]  # fmt: skip
    assert [row["dims"] for row in rows] == [
        "1_8_10_8", "1_8_10_8", "1_3_4_4", "1_1_1_4", "1_4", "1_4"
    ]  # fmt: skip
    for folder in ("fp32", "entire_qnt", "individual_qnt"):
        files = {p.name for p in (out / folder).iterdir()} - {"order.txt"}
        assert files == {row["file"] for row in rows}
        assert all(name.endswith(f".{kind}") for name in files)
    assert (out / "fp32" / "order.txt").read_text().split() == [row["file"] for row in rows]
    bare = parsed(out / "individual_qnt_error_analysis.txt", BARE_LINE)
    assert [row["layer"] for row in bare] == names


def test_numbers_follow_from_the_files(built, one, work):
    assert built().accuracy_analysis(one, output_dir="out") == 0
    out = work / "out"
    entire = parsed(out / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
    alone = parsed(out / "individual_qnt_error_analysis.txt", BARE_LINE)
    for row, single in zip(entire, alone, strict=True):
        for numbers, folder in ((row, "entire_qnt"), (single, "individual_qnt")):
            a, b = load(out / folder / row["file"]), load(out / "fp32" / row["file"])
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert float(numbers["cn"]) == pytest.approx(cosine, abs=1e-6)
            unit = np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))
            assert float(numbers["en"]) == pytest.approx(unit, abs=1e-6)
            assert float(numbers["en"]) == pytest.approx(np.sqrt(max(0, 2 - 2 * cosine)), abs=1e-5)


def test_both_file_types_hold_the_same_values(built, one, work):
    rknn = built()
    assert rknn.accuracy_analysis(one, output_dir="a") == 0
    assert rknn.accuracy_analysis(one, output_dir="b", dump_file_type="npy") == 0
    files = sorted((work / "a").rglob("*.tensor"))
    assert len(files) == 18
    for path in files:
        other = work / "b" / path.relative_to(work / "a").with_suffix(".npy")
        value = np.load(other)
        assert value.dtype == np.float32
        dims = tuple(map(int, path.stem.rsplit("nhwc_", 1)[1].split("_")))
        assert value.shape == dims
        np.testing.assert_array_equal(np.loadtxt(path, ndmin=1).astype(np.float32), value.ravel())


def test_conv_row_equals_its_relu_row(built, one, work):
    assert built().accuracy_analysis(one, output_dir="out") == 0
    for name, pattern in (
        ("entire_qnt_error_analysis.txt", ENTIRE_LINE),
        ("individual_qnt_error_analysis.txt", BARE_LINE),
    ):
        conv, relu = parsed(work / "out" / name, pattern)[:2]
        assert [conv[k] for k in ("type", "en", "cn")] == [relu[k] for k in ("type", "en", "cn")]


def test_entire_run_equals_inference_and_first_layer_alone_equals_entire(built, one, work, images):
    rknn = built()
    assert rknn.accuracy_analysis(one, output_dir="out", dump_file_type="npy") == 0
    assert rknn.init_runtime() == 0
    (output,) = rknn.inference([images(1, name="again").pixels[0]])
    (last,) = (work / "out" / "entire_qnt").glob("Softmax_*")
    np.testing.assert_array_equal(np.load(last), output)
    first = next((work / "out" / "entire_qnt").glob("Relu_*"))
    alone = work / "out" / "individual_qnt" / first.name
    np.testing.assert_array_equal(np.load(first), np.load(alone))


def test_machine_readable_tables(built, one, work):
    assert built().accuracy_analysis(one, output_dir="out") == 0
    with open(work / "out" / "analysis.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["op"] for row in rows] == ["conv2d", "conv2d", "global_pool", "reshape", "softmax"]
    report = json.loads((work / "out" / "analysis.json").read_text())
    assert [row["layer"] for row in report["layers"]] == [row["layer"] for row in rows]
    for row, full in zip(rows, report["layers"], strict=True):
        assert float(row["entire_cosine"]) == full["entire"]["cosine"]
        assert float(row["individual_rms"]) == full["individual"]["rms"]
        assert float(row["range_low"]) <= float(row["range_high"])
        assert row["verdict"] in {"ok", "inherited", "clipped_range", "few_steps"}
    assert rows[-1]["entire_max_steps"] == ""  # float16


def test_case_b43_more_than_one_line(built, images, capsys, work):
    rknn = built()
    capsys.readouterr()
    assert rknn.accuracy_analysis(images(2, name="two.txt").path) == 0
    assert capsys.readouterr().err.count("two.txt has 2 lines; the first sample is used") == 1
    first = (work / "snapshot" / "entire_qnt_error_analysis.txt").read_text()
    assert rknn.accuracy_analysis(images(1, name="one.txt").path, output_dir="one") == 0
    assert (work / "one" / "entire_qnt_error_analysis.txt").read_text() == first


def test_inputs_may_be_paths(built, images, work):
    rknn = built()
    assert rknn.accuracy_analysis(["dataset.txt.0.png"], output_dir="a") == 0
    assert rknn.accuracy_analysis([images(1, name="one.txt").path], output_dir="b") == 0
    assert rknn.accuracy_analysis([]) == -1
    assert rknn.accuracy_analysis(3) == -1
    assert rknn.accuracy_analysis("missing.txt") == -1


def test_only_float_sources(built, one, new, capsys):
    rknn = built()
    assert rknn.export_rknn("stored.rknn") == 0
    other = new()
    assert other.load_rknn("stored.rknn") == 0
    assert other.accuracy_analysis(one) == -1
    assert "float source" in capsys.readouterr().err
    assert new().accuracy_analysis(one) == -1
    assert "after build" in capsys.readouterr().err


def test_quantized_source_models_are_refused_with_the_reason(built, one, capsys):
    rknn = built()
    rknn._source = rknn._built  # as an importer of quantized models leaves it
    assert rknn.accuracy_analysis(one) == -1
    assert "quantized already" in capsys.readouterr().err


def test_float16_builds_are_analysed_too(built, one, work):
    assert built(do_quantization=False).accuracy_analysis(one, output_dir="out") == 0
    rows = parsed(work / "out" / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
    assert all(float(row["cn"]) > 0.9999 for row in rows)


def test_after_both_steps_of_hybrid_quantization(new, convnet, images, one, work):
    rknn = new()
    rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3])
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.hybrid_quantization_step1(dataset=images(4).path) == 0
    assert rknn.accuracy_analysis(one, output_dir="step1") == 0
    cfg = work / "toy.quantization.cfg"
    text = cfg.read_text()
    layer = re.search(r"Conv_c2_\d+", text)[0]
    cfg.write_text(
        text.replace(
            "customized_quantize_layers: {}",
            f"customized_quantize_layers:\n    {layer}: dynamic_fixed_point-i16",
        )
    )
    assert rknn.hybrid_quantization_step2("toy.json", "toy.data", str(cfg)) == 0
    assert rknn.accuracy_analysis(one, output_dir="step2") == 0
    first, second = (
        parsed(work / step / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
        for step in ("step1", "step2")
    )
    names = [row["file"] for row in second]
    assert len(names) > len(first)
    converters = [name for name in names if "_u8_to_i16_" in name or "_i16_to_u8_" in name]
    assert len(converters) == len(names) - len(first)  # and each has its line
    for row in second:
        assert float(row["cn"]) > 0.99
    with open(work / "step2" / "analysis.csv", newline="") as file:
        types = {row["op"]: row["dtype"] for row in csv.DictReader(file)}
    assert types["conv2d"] == "i16"


def test_case_B44_histograms_of_the_analysed_sample(built, one, work, monkeypatch):
    rknn = built()
    assert rknn.accuracy_analysis(one, output_dir="plain") == 0
    assert not (work / "dump_data_distribute").exists()
    monkeypatch.setenv("RKNN_DRAW_DATA_DISTRIBUTE", "1")
    assert rknn.accuracy_analysis(one, output_dir="out") == 0
    names = {path.name for path in (work / "dump_data_distribute").iterdir()}
    assert len(names) > 5
    assert any("weight" in name for name in names)


def test_case_B45_part_of_a_model(new, convnet, work):
    np.save(work / "r1.npy", np.random.default_rng(3).uniform(0, 1, (8, 10, 8)))
    (work / "part.txt").write_text("r1.npy\n")
    rknn = new()
    assert (
        rknn.load_onnx(convnet(), inputs=["r1"], input_size_list=[[8, 8, 10]], outputs=["p"]) == 0
    )
    assert rknn.build(dataset="part.txt") == 0
    assert rknn.accuracy_analysis("part.txt", output_dir="out") == 0
    rows = parsed(work / "out" / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
    assert [row["file"].split("_")[0] for row in rows] == ["Conv", "GlobalAveragePool"]
    assert all(float(row["cn"]) > 0.999 for row in rows)


def test_without_errors_and_on_a_board(built, one, work, capsys):
    rknn = built()
    assert rknn.accuracy_analysis(one, output_dir="plain", calc_qnt_error=False) == 0
    assert {p.name for p in (work / "plain").iterdir()} == {"fp32", "entire_qnt"}
    assert rknn.accuracy_analysis(one, output_dir="board", target="rk1808") == 0
    names = {p.name for p in (work / "board").iterdir()}
    assert names >= {"qnt_npu_dump", "individual_qnt_error_analysis_on_npu.txt"}
    assert "no board is used" in capsys.readouterr().err
    assert rknn.accuracy_analysis(one, output_dir="x", target="rv1126") == -1
    assert rknn.accuracy_analysis(one, output_dir="x", dump_file_type="bin") == -1
    assert not (work / "x").exists()


def test_an_earlier_tree_is_replaced_and_other_files_stay(built, one, work, capsys):
    rknn = built()
    assert rknn.accuracy_analysis(one, output_dir="out") == 0
    (work / "out" / "fp32" / "mine.txt").write_text("kept")
    assert rknn.accuracy_analysis(one, output_dir="out", dump_file_type="npy") == 0
    assert "18 files of an earlier analysis" in capsys.readouterr().err
    assert not list((work / "out").rglob("*.tensor"))
    assert (work / "out" / "fp32" / "mine.txt").read_text() == "kept"


def test_names_are_escaped(built, one, work):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="../../层1 \t:x", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["y"], name="/" + "long" * 80),
    ]
    path = write_onnx(
        work / "odd.onnx", nodes, {"x": (1, 3, 8, 10)}, {"y": (1, 4, 8, 10)}, conv_weights(4, 3)
    )
    assert built(path).accuracy_analysis(one, output_dir="inner/out") == 0
    assert {p.name for p in (work / "inner").iterdir()} == {"out"}
    rows = parsed(work / "inner" / "out" / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
    assert len(rows) == 2
    for row in rows:
        assert (work / "inner" / "out" / "entire_qnt" / row["file"]).exists()
        assert len(row["file"]) < 250
        assert "/" not in row["file"]
    bare = parsed(work / "inner" / "out" / "individual_qnt_error_analysis.txt", BARE_LINE)
    assert bare[0]["layer"].startswith(r"Conv_../../层1%20\t:x_")


def test_case_2_1_a_bad_first_layer_gives_the_preprocessing_hint(built, one, work, capsys, images):
    """Both runs share mean, std and order: values beyond the calibrated input show up here."""
    dark = images(1, name="dark.txt", seed=1)
    odd = np.random.default_rng(2).integers(0, 256, (8, 10, 3)).astype(np.float32)
    odd[4, 5] = 30000  # a pixel that no calibration image has
    np.save(work / "bright.npy", odd)
    rknn = built(dataset=dark.path)
    assert rknn.accuracy_analysis(["bright.npy"], output_dir="out") == 0
    assert "preprocessing" in capsys.readouterr().err


def test_several_inputs(new, work):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="c", pads=[1] * 4),
        helper.make_node("Add", ["c", "z"], ["s"], name="s"),
        helper.make_node("Split", ["s"], ["p", "q"], name="cut", axis=1),
    ]
    path = write_onnx(
        work / "two.onnx", nodes, {"x": (1, 3, 4, 5), "z": (1, 4, 4, 5)},
        {"p": (1, 2, 4, 5), "q": (1, 2, 4, 5)}, conv_weights(4, 3), opset=11,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    np.save(work / "x.npy", rng.normal(size=(4, 5, 3)).astype(np.float32))
    np.save(work / "z.npy", rng.normal(size=(4, 5, 4)).astype(np.float32))
    (work / "list.txt").write_text("x.npy z.npy\n")
    rknn = new()
    assert rknn.load_onnx(path) == 0
    assert rknn.build(dataset="list.txt", rknn_batch_size=2) == 0
    assert rknn.accuracy_analysis("list.txt", output_dir="out") == 0
    rows = parsed(work / "out" / "entire_qnt_error_analysis.txt", ENTIRE_LINE)
    assert [row["out"] for row in rows] == ["0", "0", "0"]
    assert len(parsed(work / "out" / "individual_qnt_error_analysis.txt", BARE_LINE)) == 3
