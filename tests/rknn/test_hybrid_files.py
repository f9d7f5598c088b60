"""Wrong, broken and damaged files of hybrid quantization."""

import json

import numpy as np
import pytest

from tests.rknn.hybrid_steps import CFG, edit, ids, stepped


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ({"Conv_c9_1": "float32"}, "no layer is called 'Conv_c9_1'"),
        ({"@": "int4"}, "quantization type 'int4'"),
        ({"@": 7}, "quantization type '7'"),
        ({"@": ["float32"]}, "is a list"),
    ],
)
def test_wrong_layers_are_named_with_file_and_line(new, convnet, images, capfd, layers, says):
    stepped(new, convnet(), images().path)
    name = next(key for key in ids() if key.startswith("@Conv_c2_"))[1:].split(":")[0]
    edit({name if key == "@" else key: value for key, value in layers.items()})
    rknn = new()
    assert rknn.hybrid_quantization_step2("toy.json", "toy.data", CFG, None) == -1
    err = capfd.readouterr().err
    assert says in err
    assert f"{CFG}:" in err.split(says)[0].splitlines()[-1]
    assert rknn.init_runtime() == -1


def test_at_most_two_formats(new, convnet, images, capfd):
    stepped(new, convnet(), images().path)
    names = [k[1:].split(":")[0] for k in ids() if k.startswith("@Conv") and k.endswith("weight")]
    edit(dict(zip(names, ["float32", "dynamic_fixed_point-i16"], strict=True)))
    assert new().hybrid_quantization_step2("toy.json", "toy.data", CFG, None) == -1
    err = capfd.readouterr().err
    assert "3 number formats" in err
    assert "at most 2" in err


def test_two_formats_for_one_fused_layer(new, convnet, images, capfd):
    stepped(new, convnet(), images().path)
    names = {
        next(k for k in ids() if k.startswith(stem))[1:].split(":")[0]: word
        for stem, word in (("@Conv_c1_", "float32"), ("@Relu_r1_", "asymmetric_affine-u8"))
    }
    edit(names)
    assert new().hybrid_quantization_step2("toy.json", "toy.data", CFG, None) == -1
    assert "one layer on the chip" in capfd.readouterr().err


BROKEN = [
    ("customized_quantize_layers: {\nquantize_parameters: {}", "not valid YAML"),
    ("customized_quantize_layers: [a]", "is a list"),
    ("a: 1", "unknown key 'a'"),
    ("", "neither"),
    ("customized_quantize_layers: {}\ncustomized_quantize_layers: {}", "there twice"),
    ("quantize_parameters: {x: {}}", "record key 'x'"),
    ("quantize_parameters: {'@nobody_1:out0': {dtype: None}}", "no layer is called 'nobody_1'"),
    ("quantize_parameters: {'@x:out0': {colour: 1}}", "unknown field 'colour'"),
    (
        "quantize_parameters: {'@x:out0': {dtype: asymmetric_affine, qtype: u9}}",
        "dtype asymmetric_affine with qtype u9",
    ),
    (
        "quantize_parameters:\n  '@x:out0':\n    dtype: asymmetric_affine\n    qtype: u8\n"
        "    zero_point: 300",
        "zero_point 300",
    ),
    (
        "quantize_parameters: {'@x:out0': {dtype: asymmetric_affine, qtype: u8, scale: [1, 2]}}",
        "2 values",
    ),
    (
        "quantize_parameters: {'@x:out0': {dtype: asymmetric_affine, qtype: u8, scale: ten}}",
        "'ten'",
    ),
    ("hybrid_quantization_action: replace", "'replace'"),
    ("customized_quantize_layers: \t{}", "not valid YAML"),
]


@pytest.mark.parametrize(("content", "says"), BROKEN)
def test_broken_cfg_files_are_named_with_file_and_line(
    new, convnet, images, work, capfd, content, says
):
    stepped(new, convnet(), images().path)
    (work / CFG).write_text("%YAML 1.2\n---\n" + content)
    assert new().hybrid_quantization_step2("toy.json", "toy.data", CFG, None) == -1
    err = capfd.readouterr().err
    assert says in err
    assert CFG in err
    if says != "neither":
        assert f"{CFG}:" in err


def test_cfg_that_is_no_text_or_missing(new, convnet, images, work, capfd):
    stepped(new, convnet(), images().path)
    (work / CFG).write_bytes(b"\xff\xfe\x00")
    assert new().hybrid_quantization_step2("toy.json", "toy.data", CFG, None) == -1
    assert "not UTF-8" in capfd.readouterr().err
    assert new().hybrid_quantization_step2("toy.json", "toy.data", "none.cfg", None) == -1
    assert "none.cfg" in capfd.readouterr().err
    assert new().hybrid_quantization_step2("toy.json", "toy.data", None, None) == -1


def test_damaged_json_and_data(new, convnet, images, work, capfd):
    stepped(new, convnet(), images().path)
    good = (work / "toy.json").read_text()

    def refused(text, says):
        (work / "toy.json").write_text(text)
        assert new().direct_build("toy.json", "toy.data", CFG) == -1
        assert says in capfd.readouterr().err

    refused("{", "not valid JSON")
    refused("{}", "no file of npusim's hybrid quantization")
    content = json.loads(good)
    refused(json.dumps(content | {"version": 9}), "version 9")
    refused(json.dumps(content | {"graph": {}}), "the description is not valid")
    refused(json.dumps(content | {"scheme": "u4"}), "the description is not valid")
    (work / "toy.json").write_text(good)
    np.savez(work / "other.npz", c0=np.zeros(3))
    assert new().direct_build("toy.json", "other.npz", CFG) == -1
    assert "not the weights that the json file was written with" in capfd.readouterr().err
    del content["data_sha256"]  # as development versions wrote it
    (work / "toy.json").write_text(json.dumps(content))
    assert new().direct_build("toy.json", "toy.data", CFG) == 0
    assert new().direct_build("toy.json", "other.npz", CFG) == -1
    assert "the description says" in capfd.readouterr().err
    np.savez(work / "object.npz", c0=np.array([{}], object))
    assert new().direct_build("toy.json", "object.npz", CFG) == -1
    assert "weights cannot be read" in capfd.readouterr().err
    (work / "toy.data").write_bytes((work / "toy.data").read_bytes()[:100])
    assert new().direct_build("toy.json", "toy.data", CFG) == -1
    assert "weights cannot be read" in capfd.readouterr().err
