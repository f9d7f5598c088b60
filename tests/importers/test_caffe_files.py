"""Caffe files of every era, damaged ones, and what the importer says about them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import npusim
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.caffe.schema import read_record
from npusim.importers.caffe.text import parse
from npusim.importers.caffe.weights_file import read_weights
from npusim.rknn import RKNN
from tests.importers.caffe_build import PACKED, input_layer, layer, load, run, weights

FAST = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FC = "inner_product_param { num_output: 2 }"
W, B = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([0.5, -0.5], np.float32)
X = np.array([[1, -1, 2]], np.float32)
WANTED = X @ W.T + B


def network(tmp_path, content, text=None):
    text = text or input_layer("x", (1, 3)) + layer("InnerProduct", more=FC)
    return run(load(tmp_path, text, content), X)[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"legacy": True},
        {"double": True},
        {"packed": False},
        {"packed": False, "double": True},
        {"form": "V1"},
        {"form": "V0"},
    ],
    ids=str,
)
def test_weights_of_every_form_are_read(tmp_path, options):
    assert np.array_equal(network(tmp_path, weights({"l": [W, B]}, **options)), WANTED)


def test_halves_of_another_branch_are_read(tmp_path):
    net = PACKED["Net"]()
    stored = net.layer.add(name="l")
    for value in (W, B):
        blob = stored.blobs.add(raw_data_type=2, raw_data=value.astype(np.float16).tobytes())
        blob.shape.dim.extend(value.shape)
    assert np.array_equal(network(tmp_path, net.SerializeToString()), WANTED)


@FAST
@given(data=st.data())
def test_a_truncated_file_is_refused_with_its_name(tmp_path, data):
    whole = weights({"l": [W, B]})
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(ModelImportError, match=r"net\.caffemodel|layer 'l'"):
        network(tmp_path, whole[:cut])


@FAST
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path, data):
    content = bytearray(weights({"l": [W, B]}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    try:
        found = read_weights(path)
    except ModelImportError:
        return
    for blobs in found.layers.values():
        for blob in blobs:
            assert found.read(blob).size == blob.elements <= len(content)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"<html>not found</html>", "byte 0"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, what):
    with pytest.raises(ModelImportError, match=what):
        network(tmp_path, content)


@pytest.mark.parametrize(
    ("blobs", "what"),
    [
        ([W], "1 blobs are stored, the layer has 2"),
        ([W, B, B], "3 blobs are stored"),
        ([W.T, B], r"the weights are \(3, 2\) in the file"),
        ([W, B[:1]], r"the bias are \(1,\) in the file"),
    ],
)
def test_blobs_that_do_not_fit_name_the_layer(tmp_path, blobs, what):
    with pytest.raises(ModelImportError, match=rf"line 2: layer 'l' \(InnerProduct\): {what}"):
        network(tmp_path, weights({"l": blobs}))


def test_a_blob_says_its_size_before_it_is_read(tmp_path):
    net = PACKED["Net"]()
    blob = net.layer.add(name="l").blobs.add(data=[1.0])
    blob.shape.dim.extend([1 << 40, 1 << 20])
    with pytest.raises(ModelImportError, match="has 1 numbers"):
        network(tmp_path, net.SerializeToString())


def test_a_huge_layer_is_refused_before_anything_is_allocated(tmp_path):
    text = input_layer("x", (1, 1 << 14)) + layer(
        "InnerProduct", more="inner_product_param { num_output: 100000000 }"
    )
    with pytest.raises(ModelImportError, match="absurd shape"):
        load(tmp_path, text)


# ---- text
NUMBERS = st.one_of(st.integers(-(2**31), 2**31 - 1), st.floats(width=32, allow_nan=False))


@FAST
@given(
    name=st.text(max_size=20),
    kernel=st.lists(st.integers(0, 99), max_size=4),
    value=st.floats(width=32, allow_nan=False),
    flag=st.booleans(),
)
def test_text_is_read_as_protobuf_writes_it(name, kernel, value, flag):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto2")
    message = file.message_type.add(name="M")
    rows = [("type", 1, kinds.TYPE_STRING, 1), ("std", 2, kinds.TYPE_FLOAT, 1)]
    rows += [("sparse", 3, kinds.TYPE_INT32, 1), ("mean", 4, kinds.TYPE_DOUBLE, 1)]
    for field, number, kind, label in rows:
        message.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    real = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.M"))(
        type=name, std=value, sparse=sum(kernel), mean=value
    )
    text = text_format.MessageToString(real, as_utf8=flag)
    record = read_record(parse(text, "t"), "Filler", "t", [])
    assert record.text("type") == name
    assert record.whole("sparse") == sum(kernel)
    assert record.real("mean") == value
    assert np.float32(record.real("std")) == np.float32(value)


@pytest.mark.parametrize(
    "text",
    [
        "dim: 1 dim: 2",
        "dim: [1, 2]",
        "dim: 1, dim: 2;",
        "# a comment\ndim: 0x1 dim: 02 # another",
        "dim:1dim:2",
    ],
)
def test_forms_of_text(text):
    if text == "dim:1dim:2":
        with pytest.raises(ModelImportError):
            read_record(parse(text, "t"), "BlobShape", "t", [])
        return
    assert read_record(parse(text, "t"), "BlobShape", "t", []).wholes("dim") == (1, 2)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("layer { name: 'a' type: 'ReLU'", "'}' of line 1 is missing"),
        ("layer {\n name 'a' }", "line 2.*not by ':'"),
        ("layer {\n name: }", "line 2"),
        ("input: 'x'\ninput_dim: one", "line 2: 'input_dim' is 'one'"),
        ("name: 'a'\nname: 'b'", "line 2: 'name' is given twice"),
        ("layer: 5", "'layer' is '5'"),
        ("layer { pooling_param { pool: MIDDLE } }", "one of MAX, AVE"),
        ("\n\n%", "line 3: '%' cannot stand here"),
        ("layer { " * 80, "nested"),
    ],
)
def test_bad_text_names_the_line(tmp_path, text, what):
    with pytest.raises(ModelImportError, match=what):
        load(tmp_path, text)


@FAST
@given(text=st.text("{}:<>[]\"'#\n layerintop1.-", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        read_record(parse(text, "t"), "Net", "t", [])
    except ModelImportError:
        event("refused")


def test_fields_that_nobody_knows_are_named(tmp_path):
    text = input_layer("x", (1, 3)) + layer(
        "ReLU", more="relu_param { speed: 3 } my_param { a: 1 }"
    )
    notes = load(tmp_path, text).notes
    assert any("'speed' (line 2), 'my_param' (line 2)" in note for note in notes)


def test_the_network_given_as_weights(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"\x0a\x03net\xff\xfe")
    with pytest.raises(ModelImportError, match="the file is not text"):
        npusim.load_model(path)


# ---- two files
def test_weights_of_the_same_stem_are_found_and_named(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        input_layer("x", (1, 3)) + layer("InnerProduct", more=FC)
    )
    (tmp_path / "net.caffemodel").write_bytes(weights({"l": [W, B]}))
    for name in ("net.prototxt", "net.caffemodel"):
        graph = npusim.load_model(tmp_path / name)
        assert np.array_equal(run(graph, X)[0], WANTED)
    graph = npusim.load_model(tmp_path / "net.prototxt")
    assert graph.notes[0] == "weights: net.caffemodel, beside the network"


def test_structure_only_is_said_and_repeatable(tmp_path):
    text = input_layer("x", (1, 3)) + layer("InnerProduct", more=FC)
    first, second = load(tmp_path, text), load(tmp_path, text)
    assert "NO TRAINED WEIGHTS for 'l'" in first.notes[-1]
    assert np.array_equal(first.constants["l/weights"], second.constants["l/weights"])
    assert np.any(first.constants["l/weights"])


def test_layers_that_the_file_does_not_have_are_named(tmp_path):
    assert not np.any(network(tmp_path, weights({"other": [W, B]})))
    text = input_layer("x", (1, 3)) + layer("InnerProduct", more=FC)
    notes = load(tmp_path, text, weights({"other": [W, B]})).notes
    assert "has nothing for 'l'" in notes[-1]


def test_weights_for_a_model_of_one_file_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x07")
    with pytest.raises(ModelImportError, match="holds its weights itself"):
        npusim.load_model(path, weights=path)


def test_shared_parameters_are_one(tmp_path):
    more = f"{FC} param {{ name: 'w' }} param {{ name: 'b' }}"
    text = input_layer("x", (1, 3))
    text += layer("InnerProduct", more=more)
    text += layer("InnerProduct", tops=("z",), more=more).replace('name: "l"', 'name: "m"')
    first, second = run(load(tmp_path, text, weights({"l": [W, B]})), X)
    assert np.array_equal(first, WANTED)
    assert np.array_equal(second, WANTED)


# ---- networks
def test_in_place_layers_leave_the_last_value_in_the_blob(tmp_path):
    text = input_layer("x", (1, 3)) + layer("Power", more="power_param { scale: -2 }")
    text += layer("ReLU", ("y",), ("y",)).replace('name: "l"', 'name: "r"')
    graph = load(tmp_path, text)
    assert graph.outputs == ("y",)
    assert run(graph, X)[0].tolist() == [[0, 2, 0]]
    assert [node.outputs for node in graph.nodes] == [("y/l",), ("y",)]
    assert load(tmp_path, text, outputs=["l"]).outputs == ("y/l",)


def test_cuts(tmp_path):
    text = input_layer("x", (1, 3)) + layer("AbsVal", tops=("a",))
    text += layer("Exp", ("a",)).replace('name: "l"', 'name: "m"')
    assert run(load(tmp_path, text, outputs=["a"]), X)[0].tolist() == [[1, 1, 2]]
    graph = load(tmp_path, text, inputs=["a"], input_shapes=[(1, 3)])
    assert graph.inputs == ("a",)
    np.testing.assert_allclose(run(graph, X)[0], np.exp(X), 1e-6)
    with pytest.raises(ModelImportError, match="input 'a' has no size"):
        load(tmp_path, text, inputs=["a"])
    with pytest.raises(ModelImportError, match="did you mean 'a'"):
        load(tmp_path, text, outputs=["A"])


def test_inputs_of_what_is_cut_off_vanish(tmp_path):
    text = input_layer("x", (1, 3)) + input_layer("im_info", (1, 3)) + layer("AbsVal", tops=("a",))
    text += layer("Eltwise", ("a", "im_info")).replace('name: "l"', 'name: "m"')
    assert load(tmp_path, text).inputs == ("x", "im_info")
    assert load(tmp_path, text, outputs=["a"]).inputs == ("x",)


def test_labels_without_a_size_do_not_move_the_given_sizes(tmp_path):
    text = 'layer { name: "d" type: "Data" top: "label" top: "x" }\n' + layer("ReLU")
    graph = load(tmp_path, text, input_shapes=[(1,), (1, 3, 4, 4)])
    assert graph.spec("y").shape == (1, 3, 4, 4)
    assert load(tmp_path, text, input_shapes={"x": (1, 3, 4, 4)}).inputs == ("x",)


def test_layers_for_training_are_left_out(tmp_path):
    text = input_layer("x", (1, 3)) + 'layer { name: "d" type: "Data" top: "label" }\n'
    text += layer("Softmax")
    text += 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }'
    graph = load(tmp_path, text)
    assert (graph.inputs, graph.outputs) == (("x",), ("y",))
    assert any("is for training" in note for note in graph.notes)


def test_another_size_than_the_files(tmp_path):
    text = input_layer("x", (10, 3, 4, 4)) + layer("ReLU")
    shape = load(tmp_path, text, input_shapes={"x": (1, 3, 8, 6)}).spec("y").shape
    assert shape == (1, 3, 8, 6)
    assert load(tmp_path, text, input_shapes=[(3, 8, 6)]).spec("y").shape == (10, 3, 8, 6)


def test_all_layers_without_a_counterpart_are_listed(tmp_path):
    text = input_layer("x", (1, 3)) + layer("Wonder", tops=("a",))
    text += layer("ReLU", ("a",), ("b",))
    text += layer("Marvel", ("b",), ("c",)).replace('name: "l"', 'name: "m"')
    text += layer("ROIPooling", ("x",), ("d",)).replace('name: "l"', 'name: "n"')
    with pytest.raises(UnsupportedOpError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "3 unsupported layers" in message
    for line in ("'l' (line 2): Wonder", "'m' (line 4): Marvel", "'n' (line 5): ROIPooling"):
        assert line in message


def test_a_fault_behind_does_not_hide_what_is_unsupported(tmp_path):
    text = input_layer("x", (1, 3)) + layer("Wonder", tops=("a",))
    text += layer("Tile", ("x",), more="tile_param { tiles: 0 }").replace('"l"', '"t"')
    with pytest.raises(UnsupportedOpError, match=r"(?s)Wonder.*tiles is 0"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "kind"),
    [
        ("input: 'x' input_dim: 1 input_dim: 3", "four input_dim"),
        ("input: 'x' input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 4 input: 'z'", "2 inputs"),
    ],
)
def test_wrong_input_dimensions_show_the_new_form(tmp_path, old, kind):
    with pytest.raises(ModelImportError, match=kind) as caught:
        load(tmp_path, f"{old}\n{layer('ReLU')}")
    assert 'type: "Input" top: "x" input_param' in str(caught.value)


def test_the_toolkits_class_warns_without_weights_and_knows_its_readers(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.prototxt"
    more = "inner_product_param { num_output: 2 }"
    path.write_text(input_layer("x", (1, 3)) + layer("InnerProduct", more=more))
    rknn = RKNN()
    assert rknn.load_caffe(str(path)) == 0
    assert "W NO TRAINED WEIGHTS" in capfd.readouterr().err
    assert rknn.load_caffe(str(path), proto="lstm_caffe") == 0
    capfd.readouterr()
    assert rknn.load_caffe(str(path), proto="net.caffemodel") == -1
    said = capfd.readouterr().err
    assert "'caffe' or 'lstm_caffe'" in said
    assert "to blobs" in said
