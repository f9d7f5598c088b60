"""TensorFlow files that are damaged, cut off, absurd or something else."""

import random
import tracemalloc

import numpy as np
import pytest

import npusim
from npusim.errors import ModelImportError
from npusim.importers.tensorflow.importer import load_tensorflow
from tests.importers.tensorflow_build import FLOAT, Net, run
from tests.importers.test_tensorflow import quantized_net, switched
from tests.importers.test_tensorflow_faq import mobilenet, ssd


def test_a_saved_model_is_refused_with_the_way_to_freeze_it(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x05hello")
    for path in (folder, folder / "saved_model.pb"):
        with pytest.raises(ModelImportError, match=r"SavedModel[\s\S]*saved_model.load\(DIR\)"):
            npusim.load_model(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello, world",
        bytes(100),
        b"\n\xff\xff\xff\xff\x0f",
        b"\n\x03\n\x01x",
        b"\xff" * 9,
    ],
)
def test_other_contents_are_refused_by_file(tmp_path, content):
    path = tmp_path / "net.pb"
    path.write_bytes(content)
    with pytest.raises(ModelImportError, match=r"net\.pb"):
        load_tensorflow(path)


def test_every_cut_off_file_is_refused_or_has_fewer_nodes(tmp_path):
    content = mobilenet().proto.SerializeToString()
    path = tmp_path / "net.pb"
    for size in [*range(0, 200, 7), *range(200, len(content), 97)]:
        path.write_bytes(content[:size])
        try:
            load_tensorflow(path, inputs=["input"], outputs=["MobilenetV1/Predictions/Reshape_1"])
        except ModelImportError as error:
            named = str(path) in str(error)
        else:
            named = False  # taken
        assert named, f"{size} of {len(content)} bytes"


def test_changed_files_are_taken_or_refused_with_the_file(tmp_path):
    rng = random.Random(4)
    path = tmp_path / "net.pb"
    switched(False, tmp_path)
    sources = [path.read_bytes()]
    sources += [net.proto.SerializeToString() for net in (mobilenet(), ssd(), quantized_net())]
    outcomes = {"taken": 0, "refused": 0, "without the file": 0}
    tracemalloc.start()
    for _ in range(150):
        content = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(content))
            if rng.random() < 0.7:
                content[place] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            else:
                del content[place : place + rng.randint(1, 3)]
        path.write_bytes(bytes(content))
        try:
            load_tensorflow(path)
            outcomes["taken"] += 1
        except ModelImportError as error:
            outcomes["refused"] += 1
            outcomes["without the file"] += str(path) not in str(error)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcomes["refused"] > 40
    assert outcomes["without the file"] == 0
    assert peak < 200e6


def of_tensor(**fields):
    """Return a graph whose constant is written by hand."""
    net = Net()
    net.input("x", (2, 2))
    node = net.proto.node.add(name=b"w", op=b"Const")
    entry = node.attr.add(key=b"value").value.tensor
    entry.dtype = fields.pop("dtype", 1)
    for size in fields.pop("shape", (2, 2)):
        entry.tensor_shape.dim.add(size=size)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(entry, name).extend(value)
        else:
            setattr(entry, name, value)
    net.op("y", "AddV2", "x", "w")
    return net


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tensor_content": bytes(12)}, r"12 bytes[\s\S]*16 bytes"),
        ({"float_val": [1.0] * 5}, r"5 values[\s\S]*at most 4"),
        ({"shape": (1 << 30, 1 << 30)}, "absurd shape"),
        ({"shape": (-1, 4)}, "no shape"),
        ({"dtype": 7, "string_val": [b"a"]}, r"type string[\s\S]*numbers"),
        ({"dtype": 8}, "complex64"),
        ({"dtype": 99}, "type 99"),
        ({"shape": (3, 3), "float_val": [1.0]}, r"\(2, 2\) and \(3, 3\)"),
    ],
)
def test_constants_that_do_not_fit_are_named(tmp_path, fields, says):
    with pytest.raises(ModelImportError, match=says) as error:
        of_tensor(**fields).load(tmp_path)
    assert "net.pb: node '" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"float_val": [3.0]}, [3, 3, 3, 3]),
        ({"float_val": [1.0, 2.0]}, [1, 2, 2, 2]),
        ({}, [0, 0, 0, 0]),
        ({"dtype": 2, "double_val": [0.5]}, [0.5] * 4),
        ({"dtype": 19, "half_val": [0x3E00]}, [1.5] * 4),
        ({"dtype": 14, "half_val": [0x4049]}, [3.140625] * 4),
        ({"dtype": 14, "tensor_content": b"\x49\x40" * 4}, [3.140625] * 4),
        ({"dtype": 3, "int_val": [7]}, [7] * 4),
        ({"dtype": 9, "int64_val": [-7, 8]}, [-7, 8, 8, 8]),
        ({"dtype": 4, "int_val": [200]}, [200] * 4),
        ({"dtype": 10, "bool_val": [True]}, [1] * 4),
    ],
)
def test_all_forms_of_constants(tmp_path, fields, wanted):
    graph = of_tensor(**fields).load(tmp_path)
    assert run(graph, np.zeros((2, 2)))[0].reshape(-1).tolist() == wanted


def test_content_of_any_size_reads_alike(tmp_path):
    for count in (3, 900, 1100, 5000):
        net = Net()
        net.input("x", (count,))
        value = np.arange(count, dtype=np.float32)
        net.op("y", "AddV2", "x", value)
        assert np.array_equal(run(net.load(tmp_path), np.zeros(count))[0], value)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (("Relu", ("nobody",)), "reads 'nobody', which no node makes"),
        (("Relu", ("x:7",)), "has 1 results"),
        (("AddV2", ("x",)), "node 'y'"),
        (("Conv2D", ("x", "x")), "node 'y'"),
        (("Reshape", ("x", np.array([3, -1]))), r"do not fill \[3, -1\]"),
        (("Reshape", ("x", np.array([1 << 30, 1 << 30]))), "absurd|fill"),
        (("Tile", ("x", np.array([1 << 20, 1 << 20]))), "absurd"),
        (("Transpose", ("x", np.array([0, 0]))), "no permutation"),
        (("ConcatV2", ("x", "x", np.int32(5))), "axis 5"),
        (("ResizeBilinear", ("x", np.array([1 << 20, 4]))), "resize of"),
        (("Pad", ("x", np.array([[1 << 30, 0], [0, 0]]))), "absurd"),
        (("StridedSlice", ("x", np.array([9]), np.array([10]), np.array([1]))), "empty"),
    ],
)
def test_nodes_that_do_not_fit_are_named(tmp_path, node, says):
    net = Net()
    net.input("x", (2, 2))
    op, inputs = node
    net.op("y", op, *inputs, T=FLOAT)
    with pytest.raises(ModelImportError, match=says) as error:
        net.load(tmp_path)
    assert str(tmp_path / "net.pb") in str(error.value)


def test_two_nodes_of_one_name_are_refused(tmp_path):
    net = Net()
    net.input("x", (2,))
    net.op("y", "Relu", "x")
    net.op("y", "Abs", "x")
    with pytest.raises(ModelImportError, match="two nodes are called 'y'"):
        net.load(tmp_path)


def test_names_may_be_anything_and_invented_ones_avoid_them(tmp_path):
    net = Net()
    net.input("a b/层", (1, 2, 2, 2))
    net.op("y/weights", "Abs", "a b/层")
    net.op("y", "Conv2D", "a b/层", np.ones((1, 1, 2, 2), np.float32), strides=[1, 1, 1, 1],
           padding="SAME")  # fmt: skip
    net.op("y:0/nchw", "Relu", "y")
    graph = net.load(tmp_path, outputs=["y", "y/weights"])
    assert graph.outputs == ("y:0", "y/weights:0")
    assert {node.origin for node in graph.nodes} >= {("y",), ("y/weights",)}
