"""Hybrid quantization through the toolkit's calls and files."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import helper

from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint
from tests.rknn.conftest import conv_weights, write_onnx
from tests.rknn.hybrid_steps import (
    CFG,
    bits,
    edit,
    ids,
    layer,
    old_layout,
    old_records,
    step2,
    stepped,
)


def test_step1_writes_three_files_in_the_documented_layout(new, convnet, images, work):
    stepped(new, convnet(), images().path)
    text = (work / CFG).read_text()
    lines = text.splitlines()
    assert lines[:2] == ["%YAML 1.2", "---"]
    assert lines[2].startswith("# ")
    assert "customized_quantize_layers: {}" in lines
    assert "quantize_parameters:" in lines
    content = yaml.safe_load(text)
    records = content["quantize_parameters"]
    names = [key for key in records if key.startswith("@Conv_c1_")]
    assert [key.split(":")[1] for key in names] == ["weight", "bias", "out0"]
    weight, bias, out = (records[name] for name in names)
    assert list(out) == [
        "dtype",
        "method",
        "max_value",
        "min_value",
        "zero_point",
        "scale",
        "qtype",
    ]
    assert (out["dtype"], out["qtype"], out["method"]) == ("asymmetric_affine", "u8", "layer")
    assert out["scale"][0] * 255 == pytest.approx(out["max_value"][0] - out["min_value"][0])
    assert (bias["qtype"], bias["zero_point"], bias["min_value"]) == ("i32", [0], None)
    relu = next(value for key, value in records.items() if key.startswith("@Relu_r1_"))
    assert relu == out
    softmax = next(value for key, value in records.items() if key.startswith("@Softmax_prob"))
    assert softmax == {"dtype": "None"}
    assert weight["min_value"][0] < 0 < weight["max_value"][0]
    assert (work / "toy.json").exists()
    with np.load(work / "toy.data", allow_pickle=False) as data:  # case 1.19
        assert all(data[name].dtype == np.float32 for name in data.files)


def test_step1_suggests_i16_for_a_layer_that_u8_ruins(new, images, work, capfd):
    weights = conv_weights(8, 3)
    weights["w"][0] *= 1000  # one channel takes the whole range
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="bad"),
        helper.make_node("Clip", ["c", "zero", "six"], ["y"], name="clip"),
    ]
    limits = {"zero": np.float32(0), "six": np.float32(6)}
    path = write_onnx(
        work / "bad.onnx", nodes, {"x": (1, 3, 8, 10)}, {"y": (1, 8, 6, 8)}, weights | limits
    )
    stepped(new, path, images().path, mean_values=[[128] * 3], std_values=[[128] * 3])
    content = yaml.safe_load((work / CFG).read_text())
    (name,) = content["customized_quantize_layers"]
    assert name.startswith("Conv_bad_")
    assert content["customized_quantize_layers"][name] == "dynamic_fixed_point-i16"
    rknn = step2(new)
    assert any(node.op == "convert" for node in rknn._built.nodes)


@pytest.mark.parametrize("dtype", ["asymmetric_quantized-u8", "dynamic_fixed_point-8", "i16"])
def test_step2_without_changes_equals_build(new, convnet, images, dtype):
    data, path = images(), convnet()
    first = stepped(new, path, data.path, quantized_dtype=dtype)
    built = new()
    built.config(quantized_dtype=dtype)
    assert built.load_onnx(path) == 0
    assert built.build(dataset=data.path) == 0
    second = step2(new)
    assert bits(first._built) == bits(built._built) == bits(second._built)
    assert second.init_runtime() == 0
    assert second.inference([data.pixels[0]])[0].shape == (1, 4)


def test_customized_layer_gets_converters_named_after_it(new, convnet, images, capfd):
    data = images()
    stepped(new, convnet(), data.path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]
    edit({name: "dynamic_fixed_point-i16"})
    rknn = step2(new, verbose=True)
    err = capfd.readouterr().err
    assert "Conv_c2: dynamic_fixed_point-i16" in err
    converters = [node for node in rknn._built.nodes if node.op == "convert"]
    assert [node.name for node in converters] == [
        "Conv_c2_pre_u8_to_i16",
        "Conv_c2_next_i16_to_u8",
    ]
    assert all(node.layer_id in err for node in converters)
    conv = next(node for node in rknn._built.nodes if node.name == "Conv_c2")
    assert rknn._built.spec(conv.inputs[0]).dtype is DType.I16
    assert rknn._built.spec(conv.inputs[1]).dtype is DType.I16
    assert rknn._built.spec(conv.outputs[0]).dtype is DType.I16
    assert rknn.init_runtime() == 0
    before = len(rknn.eval_perf(is_print=False)["layers"])
    plain = new()
    plain.load_onnx(convnet())
    plain.build(dataset=data.path)
    plain.init_runtime()
    assert before == len(plain.eval_perf(is_print=False)["layers"]) + 2


def test_converters_are_in_layer_dumps(new, convnet, images, work, monkeypatch):
    data = images()
    stepped(new, convnet(), data.path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]
    edit({name: "dynamic_fixed_point-i16"})
    rknn = step2(new)
    rknn.init_runtime()
    monkeypatch.setenv("NN_LAYER_DUMP", "1")
    assert rknn.inference([data.pixels[0]]) is not None
    index = (work / "nn_layer_dump_index.csv").read_text()
    assert "Conv_c2_pre_u8_to_i16" in index
    assert "Conv_c2_next_i16_to_u8" in index


@pytest.mark.parametrize("alias", ["@Conv_c1_", "@Relu_r1_"])
def test_a_fused_layer_is_found_under_both_names(new, convnet, images, alias):
    stepped(new, convnet(), images().path)
    name = next(key for key in ids() if key.startswith(alias))[1:].split(":")[0]
    edit({name: "dynamic_fixed_point-i16"})
    rknn = step2(new)
    assert rknn._built.spec(layer(rknn, "Relu_r1").outputs[0]).dtype is DType.I16


def test_float32_means_float16_and_says_so(new, convnet, images, capfd):
    data = images()
    stepped(new, convnet(), data.path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]
    edit({name: "float32"})
    rknn = step2(new)
    assert "float32 runs as float16" in capfd.readouterr().err
    conv = next(node for node in rknn._built.nodes if node.name == "Conv_c2")
    assert rknn._built.spec(conv.outputs[0]).dtype is DType.F16
    assert rknn._built.spec(conv.inputs[2]).dtype is DType.F32
    rknn.init_runtime()
    assert rknn.inference([data.pixels[0]])[0].sum() == pytest.approx(1, abs=1e-3)


def test_raising_layers_brings_the_result_nearer_to_float(new, convnet, images):
    data = images(8)
    path = convnet(softmax=False)
    stepped(new, path, data.path)
    floats = new()
    floats.load_onnx(path)
    floats.build(do_quantization=False)
    floats.init_runtime()
    wanted = [floats.inference([p])[0] for p in data.pixels]
    errors = []
    for layers in ({}, {k[1:].split(":")[0]: "dynamic_fixed_point-i16" for k in ids()
                        if k.startswith(("@Conv", "@GlobalAverage", "@Flatten"))}):  # fmt: skip
        edit(layers)
        rknn = step2(new)
        rknn.init_runtime()
        got = [rknn.inference([p])[0] for p in data.pixels]
        errors.append(max(np.abs(g - w).max() for g, w in zip(got, wanted, strict=True)))
    assert errors[1] < errors[0] / 2


def test_edited_scale_and_zero_point_override(new, convnet, images):
    stepped(new, convnet(), images().path)

    def change(records):
        key = next(k for k in records if k.startswith("@Conv_c2_") and k.endswith("out0"))
        records[key]["scale"], records[key]["zero_point"] = [0.125], 77  # scalar, as older files
        key = next(k for k in records if k.startswith("@Conv_c2_") and k.endswith("weight"))
        records[key]["min_value"], records[key]["max_value"] = [-1.0], [1.0]
        records[key]["scale"], records[key]["zero_point"] = [0.007843138], [127]

    edit(change=change)
    rknn = step2(new)
    conv = layer(rknn, "Conv_c2")
    assert rknn._built.spec(conv.outputs[0]).quant == Affine(scale=0.125, zero_point=77)
    assert rknn._built.spec(conv.inputs[1]).quant == Affine(scale=0.007843138, zero_point=127)


def test_edited_range_gives_new_parameters(new, convnet, images):
    stepped(new, convnet(), images().path)

    def change(records):
        key = next(k for k in records if k.startswith("@Conv_c2_") and k.endswith("out0"))
        records[key]["min_value"], records[key]["max_value"] = [-1.0], [1.0]

    edit(change=change)
    rknn = step2(new)
    spec = rknn._built.spec(layer(rknn, "Conv_c2").outputs[0])
    assert spec.quant == Affine(scale=0.007843138, zero_point=127)


def test_edited_range_counts_for_a_layer_of_another_format(new, convnet, images):
    stepped(new, convnet(), images().path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]

    def change(records):
        records[f"@{name}:out0"]["min_value"] = [-8.0]
        records[f"@{name}:out0"]["max_value"] = [8.0]

    edit({name: "dynamic_fixed_point-i16"}, change)
    rknn = step2(new)
    conv = next(node for node in rknn._built.nodes if node.name == "Conv_c2")
    assert rknn._built.spec(conv.outputs[0]).quant == DynamicFixedPoint(fl=12)


def test_case_B41_hybrid_with_pre_compile(new, convnet, images, capfd):
    stepped(new, convnet(), images().path)
    rknn = new()
    assert rknn.hybrid_quantization_step2("toy.json", "toy.data", CFG, "dataset.txt", True) == 0
    assert "W pre_compile=True has no effect" in capfd.readouterr().err


def test_direct_build_with_and_without_a_cfg(new, convnet, images):
    data = images()
    first = stepped(new, convnet(), data.path)
    same = new()
    assert same.direct_build("toy.json", "toy.data", CFG) == 0
    assert bits(same._built) == bits(first._built)
    half = new()
    assert half.direct_build("toy.json", "toy.data") == 0
    assert all(half._built.spec(n).dtype is DType.F16 for n in half._built.inputs)
    half.init_runtime()
    assert half.inference([data.pixels[0]]) is not None


def test_config_of_step2_must_agree_with_step1(new, convnet, images, capfd):
    data, path = images(), convnet()
    stepped(new, path, data.path, channel_mean_value="128 128 128 128")
    for value, expected in (("128 128 128 128", 0), ("0 0 0 255", -1)):
        rknn = new()
        rknn.config(channel_mean_value=value)
        assert rknn.hybrid_quantization_step2("toy.json", "toy.data", CFG, None) == expected
    assert "differ from those of step 1" in capfd.readouterr().err


# ---- the layouts of older releases


def test_layout_1_0_modify(new, convnet, images, work):
    stepped(new, convnet(), images().path)
    records = old_records()
    key = next(k for k in records if k.startswith("@Conv_c2_") and k.endswith("out0"))
    records[key] |= {"scale": [0.25], "zero_point": 3}
    (work / CFG).write_text(old_layout(records, "modify"))
    rknn = step2(new)
    assert rknn._built.spec(layer(rknn, "Conv_c2").outputs[0]).quant == Affine(
        scale=0.25, zero_point=3
    )


def test_layout_1_0_delete_makes_a_layer_float(new, convnet, images, work):
    stepped(new, convnet(), images().path)
    records = old_records()
    gone = ("@Relu_r1_", "@Conv_c1_")
    for key in list(records):
        own = key.startswith("@Conv_c2_") and not key.endswith("out0")
        if own or (key.startswith(gone) and key.endswith("out0")):
            del records[key]
    (work / CFG).write_text(old_layout(records, "delete"))
    rknn = step2(new)
    conv = next(node for node in rknn._built.nodes if node.name == "Conv_c2")
    assert rknn._built.spec(conv.inputs[0]).dtype is DType.F16
    assert rknn._built.spec(layer(rknn, "Relu_r1").outputs[0]).dtype is DType.U8
    assert rknn.init_runtime() == 0


def test_layout_1_0_add_gives_a_float_layer_a_type(new, convnet, images, work):
    stepped(new, convnet(), images().path)
    records = {
        key: (record if "Conv_c2_" in key or "Relu_r1" in key else {"dtype": "None"})
        for key, record in old_records().items()
    }
    (work / CFG).write_text(old_layout(records, "add"))
    rknn = step2(new)
    conv = next(node for node in rknn._built.nodes if node.name == "Conv_c2")
    assert rknn._built.spec(conv.inputs[1]).dtype is DType.U8
    first = next(node for node in rknn._built.nodes if node.name == "Relu_r1")
    assert rknn._built.spec(first.inputs[1]).dtype is DType.F16


def test_layout_1_3_0_has_both_keys_and_the_newer_one_decides(new, convnet, images, work, capfd):
    stepped(new, convnet(), images().path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]
    records = old_records()
    text = old_layout(records, "modify") + (
        f"customized_quantize_layers: {{'{name}': dynamic_fixed_point-16}}\n"
    )
    (work / CFG).write_text(text.replace("asymmetric_quantized", "asymmetric_affine"))
    rknn = step2(new)
    assert "hybrid_quantization_action is ignored" in capfd.readouterr().err
    conv = next(node for node in rknn._built.nodes if node.name == "Conv_c2")
    assert rknn._built.spec(conv.inputs[1]).dtype is DType.I16


# ---- names


def test_case_3_3_odd_names_survive_the_round_trip(new, images, work):
    names = ["_plus0", "a b", "层1", "x:y/z", "it's", "@w:out0", 'q"', "tab\tname"]
    weights, nodes, last = {}, [], "x"
    for i, name in enumerate(names):
        weights |= {f"w{i}": conv_weights(3, 3, 1, seed=i)["w"]}
        out = "y" if i == len(names) - 1 else f"t{i}"
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [out], name=name))
        last = out
    path = write_onnx(work / "odd.onnx", nodes, {"x": (1, 3, 8, 10)}, {"y": (1, 3, 8, 10)}, weights)
    stepped(new, path, images().path)
    layers = [k[1:].rpartition(":")[0] for k in ids() if k.endswith(":weight")]
    assert len(layers) == len(names)
    for name in layers:
        edit({name: "dynamic_fixed_point-i16"})
        rknn = step2(new)
        (raised,) = (n for n in rknn._built.nodes if n.layer_id == name)
        assert rknn._built.spec(raised.outputs[0]).dtype is DType.I16


def test_files_are_called_like_the_graph_without_special_characters(new, images, work):
    weights = {"w": conv_weights(3, 3, 1)["w"]}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="c")]
    shape = (1, 3, 8, 10)
    path = write_onnx(
        work / "any.onnx", nodes, {"x": shape}, {"y": shape}, weights, name="torch-jit-export"
    )
    stepped(new, path, images().path)
    for suffix in ("json", "data", "quantization.cfg"):
        assert (work / f"torchjitexport.{suffix}").exists()


def test_a_file_of_another_name_is_answered_with_what_step1_wrote(new, convnet, images, capfd):
    rknn = stepped(new, convnet(), images().path)
    names = {"data_input": "no.data", "model_quantization_cfg": "no.quantization.cfg"}
    assert rknn.hybrid_quantization_step2("no.json", **names) == -1
    assert "no.json: cannot be read" in (said := capfd.readouterr().err)
    (written,) = Path.cwd().glob("*.json")
    assert f"writes this file; it wrote {written.name}" in said


def test_failed_step1_leaves_no_files(new, convnet, work):
    rknn = new()
    rknn.load_onnx(convnet())
    before = sorted(work.iterdir())
    assert rknn.hybrid_quantization_step1(dataset="missing.txt") == -1
    assert [p for p in sorted(work.iterdir()) if p not in before] == [work / "npusim_error.log"]
    assert new().hybrid_quantization_step1(dataset="x") == -1


def test_accuracy_analysis_follows_step1_and_step2(new, convnet, images, work):
    data = images(1)
    first = stepped(new, convnet(), data.path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]
    edit({name: "dynamic_fixed_point-i16"})
    second = step2(new)
    for rknn, folder in ((first, "one"), (second, "two")):
        assert rknn.accuracy_analysis(data.path, output_dir=folder) == 0
        text = (work / folder / "individual_qnt_error_analysis.txt").read_text()
        assert "Conv_c2" in text
        assert (work / folder / "entire_qnt_error_analysis.txt").exists()
    names = {p.name for p in (work / "two" / "entire_qnt").iterdir()}
    assert any("Conv_c2_" in n for n in names)


def test_direct_build_without_cfg_equals_an_unquantized_build(new, images, work, capfd):
    weights = conv_weights(8, 3)
    weights["w"] *= 2.0**-14  # float16 would lose them: a layer behind scales back
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="tiny")]
    path = write_onnx(work / "tiny.onnx", nodes, {"x": (1, 3, 8, 10)}, {"y": (1, 8, 6, 8)}, weights)
    stepped(new, path, images().path)
    half = new()
    assert half.direct_build("toy.json", "toy.data") == 0
    graphs = [half._built]
    for config, build in (({}, {"do_quantization": False}), ({"quantized_dtype": "float16"}, {})):
        plain = new()
        plain.config(**config)
        plain.load_onnx(path)
        assert plain.build(dataset="missing.txt", **build) == 0
        graphs.append(plain._built)
    assert [node.op for node in graphs[0].nodes] == ["conv2d", "conv2d"]
    assert bits(graphs[0]) == bits(graphs[1]) == bits(graphs[2])
    assert "npusim scales them up by powers of two" in capfd.readouterr().err
