"""Files of MXNet: two of them, found beside each other, damaged, or not belonging together."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import ModelImportError
from npusim.importers.formats import load_as
from npusim.importers.mxnet.importer import load_mxnet
from npusim.importers.mxnet.params import read_params
from tests.importers.mxnet_build import Net, array, params

FAST = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WEIGHTS = {"arg:c_weight": np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)}
SHAPES = {"data": (1, 2, 2, 2)}


def conv_net():
    net = Net()
    net.op("Convolution", "c", net.var("data"), net.var("c_weight"), kernel=(1, 1), num_filter=3,
           no_bias=True)  # fmt: skip
    return net


@pytest.fixture
def files(tmp_path):
    (tmp_path / "net-symbol.json").write_text(conv_net().text())
    (tmp_path / "net-0000.params").write_bytes(params(WEIGHTS))
    return tmp_path


def weights_of(graph):
    return next(v for k, v in graph.constants.items() if "weight" in k)


def test_the_params_of_the_highest_epoch_are_taken_and_named(files):
    later = {"arg:c_weight": WEIGHTS["arg:c_weight"] + 1}
    (files / "net-0012.params").write_bytes(params(later))
    (files / "net-0003.params").write_bytes(b"not read")
    (files / "network-0099.params").write_bytes(b"not read")
    graph = npusim.load_model(files / "net-symbol.json", input_shapes=SHAPES)
    assert "weights: net-0012.params, beside the network" in graph.notes
    np.testing.assert_array_equal(weights_of(graph), later["arg:c_weight"])
    first = npusim.load_model(
        files / "net-symbol.json", weights=files / "net-0000.params", input_shapes=SHAPES
    )
    np.testing.assert_array_equal(weights_of(first), WEIGHTS["arg:c_weight"])


def test_the_params_alone_find_their_symbol(files):
    graph = npusim.load_model(files / "net-0000.params", input_shapes=SHAPES)
    assert graph.inputs == ("data",)
    (files / "net-symbol.json").rename(files / "other-symbol.json")
    with pytest.raises(ModelImportError, match="the network is not beside it"):
        npusim.load_model(files / "net-0000.params", input_shapes=SHAPES)
    with pytest.raises(ModelImportError, match="holds weights"):
        load_mxnet(files / "net-0000.params", files / "other-symbol.json")


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int32", "uint8"])
def test_every_form_and_type_of_array_is_read(tmp_path, version, kind):
    value = np.arange(6).reshape(2, 3).astype(kind)
    path = tmp_path / "a.params"
    path.write_bytes(params({"arg:a": value}, version))
    found = read_params(path).value("a")
    np.testing.assert_array_equal(found, value)
    assert found.dtype == (np.float32 if kind.startswith("float") else value.dtype)


def test_bfloat16_and_row_sparse_arrays_are_read(tmp_path):
    value = np.array([1.5, -2.0, 0.25], np.float32)
    bits = (value.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    half = struct.pack("<Iiiqiii", 0xF993FAC9, 0, 1, 3, 1, 0, 12) + bits
    rows = np.array([[1, 2], [3, 4]], np.float32)
    sparse = (
        struct.pack("<Ii", 0xF993FAC9, 1)
        + struct.pack("<iqq", 2, 2, 2)
        + struct.pack("<iqq", 2, 4, 2)
        + struct.pack("<iii", 1, 0, 0)
        + struct.pack("<iiq", 6, 1, 2)
        + rows.tobytes()
        + np.array([0, 3], np.int64).tobytes()
    )
    path = tmp_path / "a.params"
    path.write_bytes(params({"h": None, "s": None}, blobs=[half, sparse]))
    found = read_params(path)
    np.testing.assert_array_equal(found.value("h"), value)
    np.testing.assert_array_equal(found.value("s"), [[1, 2], [0, 0], [0, 0], [3, 4]])


@FAST
@given(st.integers(0, len(params(WEIGHTS)) - 1))
def test_a_file_cut_anywhere_is_refused_by_name(files, length):
    path = files / "net-0000.params"
    path.write_bytes(params(WEIGHTS)[:length])
    with pytest.raises(ModelImportError) as caught:
        load_mxnet(files / "net-symbol.json", path, input_shapes=SHAPES)
    assert path.name in str(caught.value)


@FAST
@given(st.integers(0, len(params(WEIGHTS)) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(files, place, byte):
    content = bytearray(params(WEIGHTS))
    content[place] = byte
    path = files / "net-0000.params"
    path.write_bytes(content)
    refused = None
    tracemalloc.start()
    try:
        load_mxnet(files / "net-symbol.json", path, input_shapes=SHAPES)
    except ModelImportError as error:
        refused = error
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
    assert refused is None or "net-" in str(refused)


def damaged(layout, *numbers):
    return params({"a": None}, blobs=[struct.pack(layout, *numbers)])


NUMBER = np.zeros(1, np.float32)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (struct.pack("<QQQ", 0x113, 0, 0), "no MXNet parameter file"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 62), "the file ends inside"),
        (damaged("<Iii2q", 0xF993FAC9, 0, 2, 1 << 40, 1 << 40), "absurd shape"),
        (damaged("<Iii1q", 0xF993FAC9, 0, 1, -4), "absurd shape"),
        (damaged("<Iii", 0xF993FAC9, 0, 99), "99 axes"),
        (damaged("<Iii", 0xF993FAC9, 2, 1), "csr"),
        (damaged("<Iiiqiii", 0xF993FAC9, 0, 1, 1, 1, 0, 77), "element type 77"),
        (params({"a": NUMBER, "arg:a": NUMBER}), "two arrays are called"),
        (params({"a": None, "b": None}, blobs=[array(NUMBER)]), "1 arrays and 2 names"),
    ],
)  # fmt: skip
def test_wrong_counts_shapes_and_names_are_refused(tmp_path, content, what):
    path = tmp_path / "a.params"
    path.write_bytes(content)
    with pytest.raises(ModelImportError, match=what) as caught:
        read_params(path)
    assert caught.value.rule


def changed(change):
    content = json.loads(conv_net().text())
    change(content)
    return json.dumps(content)


def _attrs(**attrs):
    return lambda content: content["nodes"][2]["attrs"].update(attrs)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "no JSON text"),
        ("[" * 100_000, "no JSON text"),
        ("[1, 2]", "no MXNet symbol"),
        ('{"nodes": []}', "no MXNet symbol"),
        ('{"layers": []}', "layer list of npusim"),
        (changed(lambda c: c.pop("heads")), "no heads"),
        (changed(lambda c: c.update(heads=[[9, 0, 0]])), "node 9 is named"),
        (changed(lambda c: c.update(heads=[["a"]])), "names no tensor"),
        (changed(lambda c: c["nodes"][2].update(inputs=[[2, 0, 0]])), "no cycles"),
        (changed(lambda c: c["nodes"][2].update(inputs=[[0, 3, 0]])), "output 3 of node"),
        (changed(lambda c: c["nodes"].__setitem__(2, {"op": 5})), "node 2 is malformed"),
        (changed(lambda c: c["nodes"][2].update(attrs=[1])), "attrs is malformed"),
        (changed(lambda c: c["nodes"][2]["attrs"].pop("num_filter")), "num_filter is missing"),
        (changed(lambda c: c["nodes"][2]["attrs"].pop("kernel")), "kernel is missing"),
        (changed(_attrs(kernel="(1, x)")), "kernel is"),
        (changed(_attrs(kernel="(1,)")), "kernel is"),
        (changed(_attrs(num_filter="1e3")), "num_filter is"),
        (changed(_attrs(num_group="2")), "multiples of num_group"),
        (changed(_attrs(stride="(0, 1)")), "stride is"),
        (changed(_attrs(pad="(-1, 1)")), "pad is"),
        (changed(_attrs(no_bias="maybe")), "no_bias is"),
        (changed(_attrs(num_filter="4")), "has the shape"),
        (changed(_attrs(num_filter="99999999999")), "has the shape"),
    ],
)  # fmt: skip
def test_damaged_symbols_are_refused_with_a_place(files, text, what):
    path = files / "net-symbol.json"
    path.write_text(text)
    with pytest.raises(ModelImportError, match=what) as caught:
        load_mxnet(path, files / "net-0000.params", input_shapes=SHAPES)
    assert str(path) in str(caught.value)
    if '"nodes": [{' in text and "heads" in text and "malformed" not in what:
        assert "node " in str(caught.value) or "heads" in str(caught.value)


def test_a_missing_size_and_missing_arrays_are_named(files):
    with pytest.raises(ModelImportError, match="input 'data' has no size") as caught:
        npusim.load_model(files / "net-symbol.json")
    assert "input_shapes={'data'" in str(caught.value)
    (files / "net-0000.params").write_bytes(params({"arg:other": np.zeros(2, np.float32)}))
    with pytest.raises(ModelImportError, match="lacks 'c_weight'") as caught:
        npusim.load_model(files / "net-symbol.json", input_shapes=SHAPES)
    assert "node 'c'" in str(caught.value)


def test_twin_names_load(tmp_path):
    net = Net()
    first = net.op("relu", "a", net.var("data"))
    second = net.op("tanh", "a", first)
    net.op("_plus", "a", first, second)
    (tmp_path / "n.json").write_text(net.text(first, second, (3, 0, 0)))
    graph = load_mxnet(tmp_path / "n.json", False, input_shapes=[(1, 2)])
    assert graph.outputs == ("a_output", "a_output_2", "a_output_3")


def test_unused_arrays_are_noted(files):
    more = {**WEIGHTS, "arg:extra": np.zeros(3, np.float32)}
    (files / "net-0000.params").write_bytes(params(more))
    graph = npusim.load_model(files / "net-symbol.json", input_shapes=SHAPES)
    assert any("not used: extra" in note for note in graph.notes)


def test_the_command_line_takes_both_files(files):
    symbol, weights = str(files / "net-symbol.json"), str(files / "net-0000.params")
    shape = ["--shape", "data=1,2,2,2"]
    result = CliRunner().invoke(app, ["info", symbol, "--weights", weights, *shape])
    assert result.exit_code == 0, result.output
    assert "data" in result.output
    result = CliRunner().invoke(app, ["perf", symbol, *shape])
    assert result.exit_code == 0, result.output
    (files / "net-0000.params").write_bytes(b"\x12\x01" + bytes(6))
    result = CliRunner().invoke(app, ["info", symbol, *shape])
    assert isinstance(result.exception, ModelImportError)


def test_load_as_takes_any_suffix(files):
    (files / "net-symbol.json").rename(files / "net.symbol")
    graph = load_as("MXNet", files / "net.symbol", weights=False, input_shapes=SHAPES)
    assert graph.source.framework == "mxnet"
