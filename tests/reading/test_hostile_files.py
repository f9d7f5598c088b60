"""Files that are handed in and were made to break: every reader refuses them in a sentence."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

import npusim
from npusim import assets
from npusim.analysis.dump_files import dump_files
from npusim.analysis.dump_folder import read_dump
from npusim.errors import (
    ConfigError,
    ContainerError,
    DatasetError,
    InputError,
    MachineError,
    NpusimError,
)
from npusim.evaluation.annotations import open_boxes
from npusim.perfmodel import machine
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list, parse_layer_list
from npusim.perfmodel.machine import MOST, load_machine
from npusim.quantization.dataset import open_dataset
from npusim.quantization.hybrid.files import HybridModel, load_hybrid, save_hybrid
from npusim.quantization.hybrid.yaml_lines import read_yaml
from npusim.quantization.schemes import Scheme
from npusim.reading.records import DEEPEST, parse_json, too_deep
from npusim.testing import GraphBuilder
from npusim.tuning.state import State
from tests.memory import refused_within
from tests.nested import changed, places, without
from tests.onnx_models import onnx_model

ODD: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x",
    [],
    [None],
    {},
    {"a": 1},
)
LAYERS = Path(assets.__file__).with_name("example_layers.json")


def mutants(content):
    """Yield the content with every value missing, and replaced by every odd one."""
    for way in places(content):
        yield without(content, way)
        for value in ODD:
            yield changed(content, way, value)


# ---- YAML
def test_aliases_of_aliases_are_read_once(tmp_path):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    path = tmp_path / "bomb.cfg"
    path.write_text("\n".join(lines))
    assert path.stat().st_size < 1000
    item = read_yaml(path).mapping("it")["a29"]
    assert item.value[0] is item.value[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]", "inside of itself"),
        ("a: " + "[" * 30_000, "nested too deeply|not valid YAML"),
        ("{" * 30_000, "nested too deeply|not valid YAML"),
        ("a: \x01", "not valid YAML"),
        ("a: !!python/object:os.system x\nb: [", "not valid YAML"),
        ("\ud7ff".encode().decode() + ": [\n", "not valid YAML"),
    ],
    ids=range(6),
)
def test_broken_yaml_is_a_finding(tmp_path, text, words):
    path = tmp_path / "c.cfg"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_yaml(path)


# ---- ONNX
def test_a_small_file_makes_no_gigabytes(tmp_path):
    size = np.array([1 << 27], np.int64)
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["c"]),
        *(helper.make_node("Exp", [f"e{i}" if i else "c"], [f"e{i + 1}"]) for i in range(5)),
        helper.make_node("Gather", ["e5", "i"], ["g"]),
        helper.make_node("Add", ["x", "g"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": (1, 3)}, ["y"], {"n": size, "i": np.array([0], np.int64)})
    path = tmp_path / "bomb.onnx"
    onnx.save(model, path)
    assert path.stat().st_size < 1000
    code = f"import npusim; npusim.load_model({str(path)!r})"
    assert "computed while importing" in refused_within(code, megabytes=2500)


def test_many_values_of_a_permitted_size_are_too_many_together(tmp_path):
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["c"])]
    nodes += [helper.make_node("Neg", [f"c{i}" if i else "c"], [f"c{i + 1}"]) for i in range(9)]
    nodes += [
        helper.make_node("Gather", ["c9", "i"], ["g"]),
        helper.make_node("Add", ["x", "g"], ["y"]),
    ]
    constants = {"n": np.array([1 << 23], np.int64), "i": np.array([0], np.int64)}
    onnx.save(onnx_model(nodes, {"x": (1, 3)}, ["y"], constants), tmp_path / "net.onnx")
    with pytest.raises(NpusimError, match="computed while importing"):
        npusim.load_model(tmp_path / "net.onnx")


# ---- arrays
def hybrid(tmp_path):
    net = GraphBuilder()
    net.conv(net.input("x", 1, 3, 4, 4), 2)
    model = HybridModel(source=net.done(), scheme=Scheme.U8, targets=("rk1808",))
    save_hybrid(model, tmp_path / "m.json", tmp_path / "m.data")
    content = json.loads((tmp_path / "m.json").read_text())
    del content["data_sha256"]  # as in files of development versions: what follows counts alone
    (tmp_path / "m.json").write_text(json.dumps(content))
    return tmp_path / "m.json", tmp_path / "m.data"


def test_weights_that_nobody_names_are_not_read(tmp_path):
    described, data = hybrid(tmp_path)
    with np.load(data) as stored:
        values = dict(stored)
    np.savez_compressed(tmp_path / "more.npz", **values, bomb=np.zeros(1 << 30, np.uint8))
    code = "from npusim.quantization.hybrid.files import load_hybrid; load_hybrid"
    args = f"({str(described)!r}, {str(tmp_path / 'more.npz')!r})"
    end = "raise __import__('npusim').errors.InputError('all is read')"
    assert "all is read" in refused_within(f"{code}{args}\n{end}")


def test_weights_of_another_shape_are_refused_before_they_are_read(tmp_path):
    described, data = hybrid(tmp_path)
    with np.load(data) as stored:
        values = dict(stored)
    values["c0"] = np.zeros(1 << 28, np.uint8)
    np.savez_compressed(tmp_path / "other.npz", **values)
    code = "from npusim.quantization.hybrid.files import load_hybrid; load_hybrid"
    found = refused_within(f"{code}({str(described)!r}, {str(tmp_path / 'other.npz')!r})")
    assert "the description says" in found


def test_hybrid_descriptions_with_odd_values_are_read_or_refused(tmp_path):
    described, data = hybrid(tmp_path)
    for content in mutants(json.loads(described.read_text())):
        described.write_text(json.dumps(content))
        try:
            load_hybrid(described, data)
        except NpusimError:
            continue


def test_a_dump_that_declares_gigabytes_is_refused(tmp_path):
    name = "Conv_1_1_out0_nhwc_1_2_2_1.npy"
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2147483648,)}".ljust(117) + "\n"
    (tmp_path / name).write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + head.encode())
    with pytest.raises(InputError, match="cannot be read"):
        read_dump(tmp_path)


def test_a_text_dump_longer_than_its_values_is_refused(tmp_path):
    name = "NodeID_1_ConvolutionReluPoolingLayer2_w_2_h_2_d_1_batchID_0_out_0.txt"
    (tmp_path / name).write_text("0.5\n" * 4)
    assert len(read_dump(tmp_path).layers) == 1
    (tmp_path / name).write_text("0.5\n" * 4000)
    with pytest.raises(InputError, match="for 4 values"):
        read_dump(tmp_path)


# ---- pictures
def test_a_picture_of_too_many_pixels_is_left_out_by_its_header(tmp_path):
    Image.new("L", (20_000, 20_000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 500_000
    (tmp_path / "list.txt").write_text("a.png\n")
    net = GraphBuilder()
    net.node("relu", [net.input("x", 1, 1, 16, 16)])
    with pytest.raises(DatasetError, match="pixels"):
        open_dataset(tmp_path / "list.txt", net.done())


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "EPS"])
def test_only_documented_pictures_are_samples(tmp_path, kind):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", kind)
    (tmp_path / "list.txt").write_text("a.png\n")
    net = GraphBuilder()
    net.node("relu", [net.input("x", 1, 3, 16, 16)])
    with pytest.raises(DatasetError, match=r"a\.png cannot be read"):
        open_dataset(tmp_path / "list.txt", net.done())


# ---- records
def test_a_search_state_with_odd_values_is_read_or_refused(tmp_path):
    path = tmp_path / "state.json"
    point = {"scheme": "i16", "layers": ["l"], "metric": 1.0, "time_us": 2.0, "parts": {"p": 1.0}}
    content = {"kind": "npusim tune", "version": 1, "job": {"model": "a"}, "points": [point]}
    path.write_text(json.dumps(content))
    assert State(path, {"model": "a"}).load() == 1
    read = 0
    for made in (*mutants(content), *ODD, [content]):
        path.write_text(json.dumps(made))
        try:
            read += State(path, {"model": "a"}).load()
        except ConfigError:
            continue
    assert read < 40


def test_coco_files_with_odd_values_are_read_or_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    content = {
        "images": [{"file_name": "a.png", "id": 1, "height": 8, "width": 8}],
        "annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 1, 4, 4], "iscrowd": 0}],
        "categories": [{"id": 2, "name": "cat"}],
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    assert len(open_boxes(path)) == 1
    for made in (*mutants(content), *ODD):
        path.write_text(json.dumps(made))
        try:
            open_boxes(path)
        except DatasetError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "<a>" * 100_000,
        '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10 if i else "&a;" * 10}">' for i in range(12))
        + "]><annotation><object><name>&b11;</name></object></annotation>",
        '<?xml version="1.0" encoding="nonsense"?><a/>',
        "\x00",
    ],
    ids=["deep", "entities", "encoding", "zero"],
)
def test_broken_boxes_are_findings(tmp_path, text):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(text)
    (tmp_path / "list.txt").write_text("a.png a.xml\n")
    with pytest.raises(DatasetError, match=r"a\.xml"):
        open_boxes(tmp_path / "list.txt")


def test_a_text_that_stands_for_a_hundred_is_not_made(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    begin = f'<!DOCTYPE a [<!ENTITY e "{"x" * 20_000}">]><annotation><object><name>'
    for content in (begin.encode(), begin.encode("utf-16")):
        (tmp_path / "a.xml").write_bytes(content)
        (tmp_path / "list.txt").write_text("a.png a.xml\n")
        with pytest.raises(DatasetError, match=r"a\.xml declares the entity 'e'"):
            open_boxes(tmp_path / "list.txt", labels=("cat",))


def test_a_pipe_in_the_place_of_boxes_is_not_waited_for(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images/a.png")
    os.mkfifo(tmp_path / "labels/a.txt")
    with pytest.raises(DatasetError, match=r"a\.txt: this is a pipe"):
        open_boxes(tmp_path)


@pytest.mark.parametrize("word", ["²", "9" * 200])
def test_names_of_dumps_whose_numbers_are_none(tmp_path, word):
    """``²`` is a digit to Python, and no number."""
    np.save(tmp_path / f"layer_{word}_out0_nhwc_1_2_2_3.npy", np.zeros((1, 2, 2, 3), np.float32))
    assert [file.uid for file in dump_files(tmp_path)] == [0]


def test_layer_lists_with_odd_values_are_read_or_refused():
    content = json.loads(LAYERS.read_text())
    seen, kept = set(), []
    for layer in content["layers"]:
        if layer["op"] not in seen and all(n == "data" or n in kept for n in layer["inputs"]):
            seen.add(layer["op"])
            kept.append(layer["name"])
    small = content | {
        "layers": [layer for layer in content["layers"] if layer["name"] in kept],
        "outputs": kept[-1:],
    }
    parse_layer_list(small)
    read = 0
    for made in (*mutants(small), *ODD):
        try:
            network = parse_layer_list(made)
        except NpusimError:
            continue
        read += 1
        assert 0 < estimate(network, "rk1808").total_time_us < 1e12
    assert read


def test_entries_of_a_chip_that_are_zero_or_huge_are_refused_or_give_a_time(tmp_path):
    network = load_layer_list(LAYERS)
    chip = load_machine("rk1808")
    path = tmp_path / "chip.toml"
    refused = 0
    entries = [key.split(".") for key in chip.provenance]
    for section, key in entries:
        for value in ("0", "1e30", "nan", "-1", "true", '"x"', "[0.0]"):
            entry = f'{{ value = {value}, source = "s", confidence = "guess" }}'
            path.write_text(f'name = "c"\nextends = "rk1808"\n[{section}]\n{key} = {entry}\n')
            try:
                machine = load_machine(path)
            except NpusimError:
                refused += 1
                continue
            assert value == "0"
            for profile in ("board", "vendor"):
                assert 0 < estimate(network, machine, profile=profile).total_time_us < 1e12
    assert refused > 6 * len(entries)


def test_a_chip_is_read_again_when_its_file_changed(tmp_path):
    path = tmp_path / "chip.toml"
    for hertz in (500e6, 700e6):
        entry = f'{{ value = {hertz}, source = "s", confidence = "guess" }}'
        path.write_text(f'name = "c"\nextends = "rk1808"\n[board]\nclock_hz = {entry}\n')
        assert load_machine(path).board.clock_hz == hertz


def test_stored_models_with_odd_values_are_read_or_refused(tmp_path):
    from tests.ir.test_archive import rewrite

    net = GraphBuilder()
    net.conv(net.input("x", 1, 3, 4, 4), 2)
    path = tmp_path / "m.rknn"
    npusim.save(net.done(), path)
    whole = path.read_bytes()
    content = {}
    rewrite(path, content.update)
    for made in mutants(content):
        path.write_bytes(whole)
        rewrite(path, lambda found, made=made: (found.clear(), found.update(made)))
        try:
            npusim.load_model(path)
        except ContainerError:
            continue


def test_a_model_file_that_is_a_pipe_or_a_device_is_no_model():
    for path in ("/dev/zero", "/dev/null"):
        with pytest.raises(NpusimError):
            npusim.load_model(path)


def test_predefined_values_that_are_no_archive_are_refused(tmp_path):
    from npusim.importers.tensorflow.predefined import read_predefined

    path = tmp_path / "p.npz"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.npy", b"\x93NUMPY\x01\x00\x0a\x00{'descr': \n")
    with pytest.raises(NpusimError, match="cannot be read"):
        read_predefined(path, {"a": None}, "here")


@pytest.mark.parametrize(("depth", "deep"), [(DEEPEST, False), (DEEPEST + 1, True)])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_json_has_one_limit_of_depth_on_every_python(depth, deep, pair):
    begin = {"[]": "[", "{}": '{"a": '}[pair]
    text = f'["[[[[", 1, {begin * (depth - 1)}1{pair[1] * (depth - 1)}]'
    assert too_deep(json.loads(text)) is deep
    if deep:
        with pytest.raises(InputError, match="nested too deeply"):
            parse_json(text, "file", InputError)
    else:
        parse_json(text, "file", InputError)


@pytest.mark.parametrize("key", MOST)
def test_exponents_and_depths_of_a_chip_have_limits_that_can_be_priced(key, tmp_path):
    (source,) = Path(machine.__file__).parent.glob("machines/rk1808.toml")
    text, path = source.read_text(), tmp_path / "chip.toml"
    before = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
    rest = before.partition(",")[2]
    build = GraphBuilder()
    x = build.input("x", 1, 16, 32, 32)
    graph = build.done(build.node("relu", [build.conv(x, 32)]))
    for most in (MOST[key], MOST[key] + 1):
        path.write_text(text.replace(before, f"{key} = {{ value = {most},{rest}"))
        if most > MOST[key]:
            with pytest.raises(MachineError, match=f"{key}.*does not fit"):
                load_machine(path)
            continue
        found = estimate(npusim.float16(graph), load_machine(path))
        assert np.isfinite(found.total_time_us)
