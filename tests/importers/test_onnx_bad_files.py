"""Files that are damaged, foreign, too new or hostile: a clear message, nothing else."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers import load
from npusim.importers.onnx.importer import load_onnx
from npusim.importers.onnx.walk import FLAGS

node = helper.make_node
RELU = [node("Relu", ["x"], ["y"])]


def tensor_info(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def raw_model(nodes, inputs=(), outputs=(), initializers=(), **kwargs):
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    kwargs.setdefault("opset_imports", [helper.make_opsetid("", 13)])
    return helper.make_model(graph, **kwargs)


def weighted(tensor):
    """Return x + w with the given tensor as w."""
    return raw_model(
        [node("Add", ["x", "w"], ["y"])], [tensor_info("x", 2)], [tensor_info("y", 2)], [tensor]
    )


def damaged_model():
    """Return the bytes of a model with folding, windows and resizing to damage."""
    constants = {
        "w": np.ones((2, 2, 3, 3), np.float32), "zero": np.array([0]), "one": np.array([1]),
        "rest": np.array([-1]), "twice": np.array([1, 1, 2, 2], np.float32),
        "low": np.float32(0), "high": np.float32(6), "roi": np.zeros(0, np.float32),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Clip", ["a", "low", "high"], ["b"]),
        node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["p", "roi", "twice"], ["q"], mode="linear"),
        node("Softmax", ["q"], ["r"], axis=1),
        node("Slice", ["r", "zero", "one"], ["s"]),
        node("Shape", ["s"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Concat", ["batch", "rest"], ["target"], axis=0),
        node("Reshape", ["s", "target"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    imports = [helper.make_opsetid("", 11)]
    model = raw_model(nodes, [tensor_info("x", 1, 2, 6, 6)], [tensor_info("y")], tensors,
                      opset_imports=imports)  # fmt: skip
    return model.SerializeToString()


DAMAGED = damaged_model()


@pytest.fixture
def refused(save):
    def check(model, *said, **kwargs):
        path = save(model)
        with pytest.raises(ModelImportError) as error:
            load_onnx(path, **kwargs)
        text = str(error.value)
        assert str(path) in text
        for words in said:
            assert words in text
        return error.value

    return check


def test_missing_file(tmp_path) -> None:
    (tmp_path / "classifier.onnx").write_bytes(b"")
    with pytest.raises(ModelImportError, match=r"does not exist[\s\S]*'classifier.onnx'"):
        load_onnx(tmp_path / "clasifier.onnx")
    with pytest.raises(ModelImportError, match="does not exist"):
        load_onnx(tmp_path / "nowhere" / "m.onnx")
    with pytest.raises(ModelImportError, match="folder"):
        load_onnx(tmp_path)


def test_every_truncation_is_refused(save, tmp_path) -> None:
    data = save(RELU, {"x": (1, 2)}, ["y"]).read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelImportError, match=r"cut\.onnx"):
            load_onnx(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"not a model at all, just text", "no ONNX model"),
        (bytes(range(256)), "no ONNX model"),
        (b"RKNN\0\0\0\0\1\0\0\0", "rknn"),
        (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04....", "zip"),
        (b"\x80\x02}q\0.", "pickle"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b'name: "net"\nlayer {\n', "Caffe"),
        (b"[net]\nwidth=416\n", "Darknet"),
    ],
)
def test_foreign_formats_are_recognised(tmp_path, data, said) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelImportError, match=said):
        load_onnx(path)


def test_protobuf_of_another_kind(refused, save, tmp_path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(tensor_info("x", 2).SerializeToString())
    with pytest.raises(ModelImportError, match="ONNX"):
        load_onnx(path)


@pytest.mark.parametrize("suffix", ["mlmodel", "engine"])
def test_other_suffixes_name_the_onnx_route(tmp_path, suffix) -> None:
    (tmp_path / f"net.{suffix}").write_bytes(b"")
    with pytest.raises(
        ModelImportError, match=r"export the model to ONNX from its framework and [^{}]+$"
    ):
        load(tmp_path / f"net.{suffix}")


def test_versions(refused, save) -> None:
    """Case B23."""
    infos = ([tensor_info("x", 2)], [tensor_info("y", 2)])
    newest = onnx.defs.onnx_opset_version()
    too_new = raw_model(RELU, *infos, opset_imports=[helper.make_opsetid("", newest + 1)])
    refused(too_new, f"opset {newest + 1} is too new", "pip install -U onnx")
    future = raw_model(RELU, *infos)
    future.ir_version = onnx.IR_VERSION + 1
    refused(future, f"IR version {onnx.IR_VERSION + 1} is too new")
    old = raw_model(RELU, *infos, opset_imports=[helper.make_opsetid("", 6)])
    refused(old, "opset 6 is too old", "version_converter")
    none = raw_model(RELU, *infos)
    del none.opset_import[:]
    refused(none, "names no version")
    for opset in (7, 17, newest):
        fine = raw_model(RELU, *infos, opset_imports=[helper.make_opsetid("", opset)])
        assert load_onnx(save(fine)).nodes[0].op == "relu"


def test_empty_graphs(refused) -> None:
    refused(raw_model([], [tensor_info("x", 2)], [tensor_info("x", 2)]), "no nodes")
    refused(raw_model(RELU, [tensor_info("x", 2)]), "no outputs")


def test_cycle(refused) -> None:
    nodes = [
        node("Add", ["x", "b"], ["a"], name="first"),
        node("Relu", ["a"], ["b"], name="second"),
    ]
    refused(raw_model(nodes, [tensor_info("x", 2)], [tensor_info("b", 2)]), "cycle", "second")


def test_nodes_out_of_order_are_sorted(save) -> None:
    nodes = [node("Relu", ["a"], ["y"]), node("Abs", ["x"], ["a"])]
    graph = load_onnx(save(raw_model(nodes, [tensor_info("x", 2)], [tensor_info("y", 2)])))
    assert [n.op for n in graph.nodes] == ["abs", "relu"]


def test_missing_producer(refused) -> None:
    nodes = [node("Add", ["x", "ghost"], ["y"], name="adder")]
    refused(raw_model(nodes, [tensor_info("x", 2)], [tensor_info("y", 2)]), "ghost", "adder")
    refused(raw_model(RELU, [tensor_info("x", 2)], [tensor_info("z", 2)]), "'z'")


def test_duplicate_names(refused) -> None:
    x, y = tensor_info("x", 2), tensor_info("y", 2)
    twice = [node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"], name="again")]
    refused(raw_model(twice, [x], [y]), "'y' is written twice", "again")
    refused(raw_model([node("Relu", ["x"], ["x"])], [x], [x]), "'x' is written twice")
    refused(raw_model(RELU, [x, x], [y]), "two inputs are called 'x'")
    refused(raw_model(RELU, [x], [y, y]), "repeat")
    w = numpy_helper.from_array(np.ones(2, np.float32), "w")
    model = weighted(w)
    model.graph.initializer.append(w)
    refused(model, "two initializers are called 'w'")
    model.graph.initializer[1].name = ""
    refused(model, "an initializer has no name")


@pytest.mark.parametrize(
    "shape",
    [(1 << 40,), (1 << 20, 1 << 20), (1, 3, 1 << 31, 1 << 31), (1 << 62, 1 << 62), (1,) * 70],
)
def test_absurd_shapes(refused, shape) -> None:
    refused(raw_model(RELU, [tensor_info("x", *shape)], [tensor_info("y")]), "absurd", "'x'")
    tensor = TensorProto(dims=shape, data_type=TensorProto.FLOAT, name="w", raw_data=b"1234")
    refused(weighted(tensor), "absurd", "'w'")


def test_absurd_results_and_totals(refused) -> None:
    wide = node("Conv", ["x", "w"], ["y"], pads=[1 << 20] * 4, name="wide")
    w = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    refused(raw_model([wide], [tensor_info("x", 1, 1, 2, 2)], [tensor_info("y")], [w]), "absurd")
    names = ["x"] + [f"t{i}" for i in range(70)]
    chain = [node("Relu", [a], [b]) for a, b in pairwise(names)]
    many = raw_model(chain, [tensor_info("x", 1 << 28)], [tensor_info(names[-1])])
    refused(many, "elements together")


def test_data_that_does_not_fit_the_shape(refused) -> None:
    short = TensorProto(dims=[2], data_type=TensorProto.FLOAT, name="w", raw_data=b"1234")
    refused(weighted(short), "'w'", "4 bytes", "8 bytes")
    listed = TensorProto(dims=[2], data_type=TensorProto.FLOAT, name="w", float_data=[1, 2, 3])
    refused(weighted(listed), "'w'", "3 values")
    negative = TensorProto(dims=[-2], data_type=TensorProto.FLOAT, name="w")
    refused(weighted(negative), "'w'", "(-2,)")


def test_element_types_without_numbers(refused) -> None:
    text = helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"b"])
    refused(weighted(text), "'w'", "STRING")
    packed = TensorProto(dims=[2], data_type=TensorProto.INT4, name="w", raw_data=b"1")
    refused(weighted(packed), "'w'", "INT4")
    unknown = TensorProto(dims=[2], data_type=77, name="w", raw_data=b"1")
    refused(weighted(unknown), "'w'", "77")
    model = raw_model(RELU, [tensor_info("x", 2, kind=TensorProto.STRING)], [tensor_info("y", 2)])
    refused(model, "'x'", "STRING")
    constant = [node("Constant", [], ["c"], name="words", value_string="a"), *RELU]
    model = raw_model(constant, [tensor_info("x", 2)], [tensor_info("y", 2), tensor_info("c")])
    refused(model, "words")


def test_inputs_that_are_no_tensors(refused) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [2])
    refused(raw_model(RELU, [sequence], [tensor_info("y", 2)]), "'x'", "sequence")


def test_sparse_weights(refused) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.array([1], np.int64), "i")
    model = weighted(numpy_helper.from_array(np.ones(2, np.float32), "other"))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
    assert isinstance(refused(model, "sparse", "'w'"), UnsupportedOpError)


@pytest.mark.parametrize(
    "wrong",
    [
        node("Conv", ["x"], ["y"], name="bad"),
        node("Relu", ["x", "x"], ["y"], name="bad"),
        node("LeakyRelu", ["x"], ["y"], name="bad", alpha="steep"),
        node("Relu", ["x"], ["y"], name="bad", colour=3),
        node("Concat", ["x", "x"], ["y"], name="bad"),
        node("Concat", ["x", "x"], ["y"], name="bad", axis=9),
        node("Flatten", ["x"], ["y"], name="bad", axis=9),
        node("Transpose", ["x"], ["y"], name="bad", perm=[0, 0]),
        node("MaxPool", ["x"], ["y"], name="bad", kernel_shape=[2]),
        node("MaxPool", ["x"], ["y"], name="bad", kernel_shape=[2, 2], auto_pad="MAYBE"),
        node("MaxPool", ["x"], ["y"], name="bad", kernel_shape=[9, 9]),
        node("Conv", ["x", "w"], ["y"], name="bad", group=2),
        node("Conv", ["x", "w"], ["y"], name="bad", kernel_shape=[5, 5]),
        node("Gemm", ["x", "w"], ["y"], name="bad"),
        node("MatMul", ["x", "w"], ["y"], name="bad"),
        node("Split", ["x"], ["y", "z"], name="bad", axis=1),
        node("Squeeze", ["x", "one"], ["y"], name="bad"),
        node("Reshape", ["x", "seven"], ["y"], name="bad"),
        node("Gather", ["x", "seven"], ["y"], name="bad", axis=1),
        node("Pad", ["x", "seven"], ["y"], name="bad"),
        node("Add", ["x", "odd"], ["y"], name="bad"),
    ],
)
def test_invalid_nodes_are_named(refused, wrong) -> None:
    constants = {
        "w": np.ones((4, 2, 3, 3), np.float32), "one": np.array([1]), "seven": np.array([7]),
        "odd": np.ones(11, np.float32),
    }  # fmt: skip
    initializers = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    outs = [tensor_info(name) for name in wrong.output]
    refused(raw_model([wrong], [tensor_info("x", 1, 3, 4, 5)], outs, initializers), "bad")


def test_names_that_are_no_text(save, tmp_path) -> None:
    data = save([node("LeakyRelu", ["x"], ["y"], alpha=0.5)], {"x": (2,)}, ["y"]).read_bytes()
    path = tmp_path / "bytes.onnx"
    for word in (b"alpha", b"LeakyRelu"):
        path.write_bytes(data.replace(word, b"\xff" * len(word)))
        with pytest.raises(ModelImportError, match=r"bytes\.onnx"):
            load_onnx(path)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_never_escape_as_other_errors(tmp_path, changes) -> None:
    data = bytearray(DAMAGED)
    for position, value in changes:
        data[position % len(data)] = value
    path = tmp_path / "flipped.onnx"
    path.write_bytes(data)
    message = ""
    try:
        load_onnx(path)
    except ModelImportError as error:
        message = str(error)
    assert not message or "flipped.onnx" in message


@pytest.mark.parametrize("version", [-1, -(2**62), 2**31, 2**62])
@pytest.mark.parametrize("domain", ["", "ai.onnx.ml", "own"])
def test_versions_that_are_no_versions(refused, domain, version) -> None:
    model = raw_model(RELU, [tensor_info("x", 2)], [tensor_info("y", 2)])
    model.opset_import.add(domain=domain, version=version)
    refused(model, f"version {version} of the operators of domain '{domain}'")


@pytest.mark.parametrize("version", [-1, -(2**62), 2**31, 2**62])
def test_format_versions_that_are_no_versions(refused, version) -> None:
    model = raw_model(RELU, [tensor_info("x", 2)], [tensor_info("y", 2)])
    model.ir_version = version
    refused(model, "no ONNX model" if version < 0 else "is too new")


@pytest.mark.parametrize("field", [b"Relu_", b"alpha_"])
def test_names_of_operators_and_attributes_that_are_no_text_are_refused(tmp_path, field):
    model = raw_model([node("Relu_", ["x"], ["y"], alpha_=1.0)], [tensor_info("x", 2)],
                      [tensor_info("y", 2)])  # fmt: skip
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString().replace(field, b"\xff" * len(field)))
    with pytest.raises(ModelImportError, match=r"node 'y'.*is no text"):
        load(path)


@pytest.mark.parametrize(
    ("op_type", "flag", "more"),
    [
        ("ReduceMax", "keepdims", {}),
        ("AveragePool", "ceil_mode", {"kernel_shape": [2, 2]}),
        ("AveragePool", "count_include_pad", {"kernel_shape": [2, 2]}),
        ("CumSum", "exclusive", {}),
        ("CumSum", "reverse", {}),
        ("Gemm", "transB", {}),
    ],
)
@pytest.mark.parametrize("value", [-1, 2])
def test_what_is_yes_or_no_is_0_or_1(save, op_type, flag, more, value) -> None:
    second = {"CumSum": np.array(1), "Gemm": np.ones((2, 2), np.float32)}
    constants = {"c": second[op_type]} if op_type in second else {}
    shape = (2, 2) if op_type == "Gemm" else (1, 2, 4, 4)
    made = {}
    for number in (1, value):
        flagged = helper.make_node(op_type, ["x", *constants], ["y"], **more, **{flag: number})
        made[number] = save([flagged], {"x": shape}, ["y"], constants, name=f"{number}.onnx")
    load_onnx(made[1])
    with pytest.raises(ModelImportError, match=rf"{flag}' is {value}\n  Rule: it is 0 or 1"):
        load_onnx(made[value])


def test_every_flag_is_an_attribute_of_an_operator() -> None:
    known = {name for s in onnx.defs.get_all_schemas_with_history() for name in s.attributes}
    assert known >= FLAGS


@pytest.mark.parametrize("imported", ["", "ai.onnx"])
@pytest.mark.parametrize("used", ["", "ai.onnx"])
def test_both_names_of_the_standard_operators_are_read(tmp_path, imported, used):
    model = raw_model([node("Relu", ["x"], ["y"], domain=used)], [tensor_info("x", 2)],
                      [tensor_info("y", 2)])  # fmt: skip
    model.opset_import[0].domain = imported
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert [layer.op for layer in load(path).nodes] == ["relu"]
