"""Unsupported operators are reported all at once, with advice (case B22)."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from npusim.errors import UnsupportedOpError
from npusim.importers.onnx.importer import load_onnx

node = helper.make_node


def message(path):
    with pytest.raises(UnsupportedOpError) as error:
        load_onnx(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_case_b22_all_at_once(save) -> None:
    nodes = [
        node("Sin", ["x"], ["a"], name="one"),
        node("Relu", ["a"], ["b"], name="fine"),
        node("Cos", ["b"], ["c"], name="two"),
        node(
            "MaxPool",
            ["x"],
            ["d"],
            kernel_shape=[2, 2],
            dilations=[2, 2],
            pads=[1] * 4,
            name="three",
        ),
        node("Hardmax", ["x"], ["e"]),
    ]
    text = message(save(nodes, {"x": (1, 3, 8, 8)}, ["c", "d", "e"]))
    assert "4 unsupported nodes" in text
    for words in ("'one': Sin (ai.onnx version 13)", "'two': Cos", "'three': MaxPool",
                  "dilations (2, 2)", "'e': Hardmax", "use ArgMax", "npusim ops"):  # fmt: skip
        assert words in text
    assert "fine" not in text


def test_celu_is_refused_where_its_two_definitions_differ(save) -> None:
    text = message(save([node("Celu", ["x"], ["y"], alpha=-2.0)], {"x": (1, 3, 8, 8)}, ["y"]))
    assert "alpha -2" in text
    assert "positive alpha" in text


def test_other_domains_name_domain_and_version(save) -> None:
    graph = helper.make_graph(
        [node("FusedConv", ["x"], ["y"], name="fused", domain="com.microsoft")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    imports = [helper.make_opsetid("com.microsoft", 1)]
    text = message(save(helper.make_model(graph, opset_imports=imports)))
    assert "'fused': FusedConv (com.microsoft version 1)" in text
    assert "optimised" in text


def fork(then_nodes, else_nodes):
    """Return an If of two branches whose result is called r."""

    def branch(nodes):
        end = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [end])

    return node("If", ["c"], ["y"], name="fork", then_branch=branch(then_nodes),
                else_branch=branch(else_nodes))  # fmt: skip


RELU, NEG = node("Relu", ["x"], ["r"]), node("Neg", ["x"], ["r"])


def test_control_flow_is_named(save) -> None:
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Cast", ["s"], ["c"], to=9),
             fork([RELU], [NEG])]  # fmt: skip
    text = message(save(nodes, {"x": (2,)}, ["y"]))
    assert "'fork': If" in text
    assert "sub-graphs" in text


@pytest.mark.parametrize(("condition", "op"), [(True, "relu"), (False, "neg")])
def test_a_known_condition_chooses_the_branch(agrees, condition, op) -> None:
    constants = {"c": np.array(condition)}
    graph = agrees([fork([RELU], [NEG])], {"x": (2,)}, ["y"], constants)
    assert [n.op for n in graph.nodes] == [op]


def test_squeeze_as_pytorch_exports_it(agrees, save) -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "axis"], ["size"], axis=0),
        node("Equal", ["size", "one"], ["c"]),
        fork([node("Squeeze", ["a", "axes"], ["r"])], [node("Identity", ["a"], ["r"])]),
        node("Abs", ["x"], ["a"]),
    ]
    constants = {"axis": np.array(1), "one": np.array(1), "axes": np.array([1])}
    graph = agrees([*nodes[:3], nodes[4], nodes[3]], {"x": (2, 1, 3)}, ["y"], constants)
    assert graph.spec("y").shape == (2, 3)
    kept = load_onnx(save([*nodes[:3], nodes[4], nodes[3]], {"x": (2, 5, 3)}, ["y"], constants))
    assert kept.spec("y").shape == (2, 5, 3)


def test_unsupported_nodes_of_the_branch_are_named(save) -> None:
    nodes = [fork([node("Sin", ["x"], ["r"], name="inner")], [NEG]), node("Abs", ["y"], ["z"])]
    text = message(save(nodes, {"x": (2,)}, ["z"], {"c": np.array(True)}))
    assert "1 unsupported node:" in text
    assert "'inner': Sin" in text


@pytest.mark.parametrize(
    ("nodes", "shape", "said"),
    [
        ([node("ConvTranspose", ["x", "w"], ["y"])], (1, 2, 4, 4, 4), "3 spatial axes"),
        ([node("Conv", ["x", "x"], ["y"])], (1, 1, 4, 4), "weights"),
        ([node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2]), node("Relu", ["p"], ["r"]),
          node("Cast", ["i"], ["c"], to=1), node("Add", ["r", "c"], ["y"])], (1, 1, 4, 4), "['i']"),
        ([node("LpNormalization", ["x"], ["y"], p=1)], (2, 3), "p is not 2"),
        ([node("ArgMax", ["x"], ["i"], select_last_index=1), node("Cast", ["i"], ["y"], to=1)],
         (2, 3), "select_last_index"),
        ([node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Cast", ["i"], ["y"], to=1)],
         (2,), "fractions"),
        ([node("Dropout", ["x", "half", "true"], ["y"])], (2,), "inference mode"),
        ([node("SpaceToDepth", ["x"], ["y"], blocksize=2)], (1, 4, 4), "axes"),
    ],
)  # fmt: skip
def test_unsupported_forms(save, nodes, shape, said) -> None:
    constants = {
        "w": np.ones((2, 2, 1, 1, 1), np.float32), "half": np.float32(0.5), "true": np.array(True),
    }  # fmt: skip
    assert said in message(save(nodes, {"x": shape}, ["y"], constants))


def test_shuffled_case_of_a_known_operator_gets_a_suggestion(save) -> None:
    graph = helper.make_graph(
        [node("relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    text = message(save(model))
    assert "Relu" in text


def test_forms_behind_an_unsupported_node_are_seen_as_well(save) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["front"]),
        node("Sin", ["front"], ["a"], name="one"),
        node(
            "MaxPool", ["a"], ["b"], kernel_shape=[2, 2], dilations=[2, 2], pads=[1] * 4, name="two"
        ),
        node("Relu", ["front"], ["fine"]),
        node("TopK", ["b", "k"], ["values", "indices"], name="three"),
    ]
    constants = {"w": np.ones((2, 3, 1, 1), np.float32), "k": np.array([2])}
    path = save(nodes, {"x": (1, 3, 8, 8)}, ["fine", "values", "indices"], constants)
    text = message(path)
    assert "3 unsupported nodes" in text
    assert "dilations (2, 2)" in text
    assert "outputs=['fine', 'front']" in text
    assert load_onnx(path, outputs=["fine", "front"]).outputs == ("fine", "front")


def test_an_invalid_node_does_not_hide_what_was_found_before(save) -> None:
    nodes = [node("Sin", ["x"], ["a"], name="one"), node("Reshape", ["x", "n"], ["b"], name="bad")]
    text = message(save(nodes, {"x": (2, 3)}, ["a", "b"], {"n": np.array([5, 5])}))
    assert "'one': Sin" in text
    assert "also invalid" in text
    assert "'bad'" in text
