"""Operators that a user's Python function computes."""

import numpy as np
import onnx
import pytest
from onnx import helper

from npusim.errors import ConfigError
from npusim.host import custom
from npusim.rknn import RKNN
from tests.importers.tensorflow_build import Net
from tests.onnx_models import onnx_model

IMAGE = np.arange(192).reshape(8, 8, 3).astype(np.uint8)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Run in an empty folder with an empty table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(custom, "_functions", {})
    return tmp_path


@pytest.fixture
def tensorflow(work):
    net = Net()
    net.input("input", (None, 8, 8, 3))
    net.op("r", "Relu", "input")
    net.op("m", "MyOp", "r", np.array([2, 3], np.float32), factor=3.0, ways=2, padding="SAME")
    return net.save(work, "net.pb")


def load_tensorflow(rknn, outputs=("m",)):
    return rknn.load_tensorflow("net.pb", ["input"], [[8, 8, 3]], list(outputs))


def run(rknn):
    assert rknn.build(False) == 0
    assert rknn.init_runtime() == 0
    return rknn.inference([IMAGE])


def scale(x, table, factor=1.0, padding=""):
    assert padding == "SAME"
    return x * factor + table[0]


def test_a_function_is_a_host_layer(tensorflow, capfd):
    rknn = RKNN()
    assert load_tensorflow(rknn) == -1
    assert "'m': MyOp" in capfd.readouterr().err
    rknn.register_op("MyOp", scale)
    assert load_tensorflow(rknn) == 0
    (found,) = run(rknn)
    np.testing.assert_array_equal(found, IMAGE[None] * np.float32(3) + 2)
    assert load_tensorflow(rknn, ["m", "r"]) == 0
    found, front = run(rknn)
    np.testing.assert_array_equal(found, front * 3 + 2)
    np.testing.assert_array_equal(front[0], IMAGE)


def test_an_archive_names_the_operator(tensorflow):
    rknn = RKNN()
    rknn.register_op("./my/MyOp.rknnop", scale)
    assert load_tensorflow(rknn) == 0


def test_functions_are_not_stored(tensorflow, capfd, monkeypatch):
    rknn = RKNN()
    rknn.register_op("MyOp", scale)
    assert load_tensorflow(rknn) == 0
    wanted = run(rknn)
    assert rknn.export_rknn("net.rknn") == 0
    monkeypatch.setattr(custom, "_functions", {})
    other = RKNN()
    assert other.load_rknn("net.rknn") == 0
    assert other.init_runtime() == 0
    assert other.inference([IMAGE]) is None
    assert "register_op('MyOp', function)" in capfd.readouterr().err
    other.register_op("MyOp", scale)
    np.testing.assert_array_equal(other.inference([IMAGE])[0], wanted[0])
    other.register_op("MyOp", lambda x, table: x)  # the last one counts
    assert (other.inference([IMAGE])[0] != wanted[0]).any()


def test_other_operators_behind_are_refused(work, capfd):
    net = Net()
    net.input("input", (None, 8, 8, 3))
    net.op("n", "Relu", net.op("m", "MyOp", net.op("r", "Relu", "input")))
    net.save(work)
    rknn = RKNN()
    rknn.register_op("MyOp", lambda x: x)
    assert load_tensorflow(rknn, ["n"]) == -1
    assert "Relu comes behind" in capfd.readouterr().err
    assert load_tensorflow(rknn, ["m"]) == 0


def test_onnx_operators_of_a_domain(work, capfd):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="r"),
        helper.make_node("Top", ["r"], ["a", "b"], name="t", domain="mine", count=2),
        helper.make_node("Top", ["a"], ["c", "d"], name="u", domain="mine", count=1),
    ]
    shapes = {"x": (1, 3, 8, 8)}
    model = onnx_model(nodes, shapes, {"c": (1, 3, 8, 8), "b": (1, 3, 8, 8)})
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, "net.onnx")
    rknn = RKNN()
    assert rknn.load_onnx("net.onnx") == -1
    capfd.readouterr()
    rknn.register_op("Top", lambda x, count: (x * count, x + count))
    assert rknn.load_onnx("net.onnx") == 0, capfd.readouterr().err
    c, b = run(rknn)
    planes = IMAGE.transpose(2, 0, 1)[None].astype(np.float32)
    np.testing.assert_array_equal(c, planes * 2)
    np.testing.assert_array_equal(b, planes + 2)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x, table: (x, x), "gives 2 of 1 results"),
        (lambda x: x, "positional argument"),
    ],
)
def test_functions_that_do_not_fit(function, says, tensorflow, capfd):
    rknn = RKNN()
    rknn.register_op("MyOp", function)
    assert load_tensorflow(rknn) == 0
    assert run(rknn) is None
    text = capfd.readouterr().err
    assert says in text
    assert "host layers 'm' (MyOp)" in text


def test_what_is_registered(capfd):
    for name, function in (("MyOp", 3), ("my op", len), ("", len), (5, len)):
        with pytest.raises(ConfigError):
            custom.register(name, function)
    rknn = RKNN()
    assert rknn.register_op("MyOp", 3) is None
    rknn.register_op("./exp/Exp.rknnop")
    text = capfd.readouterr().err
    assert "int" in text
    assert "Exp" not in text
    rknn.register_op("./other/Other.rknnop")
    assert "register_op('Other', function)" in capfd.readouterr().err
