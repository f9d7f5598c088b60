"""Names of layers and tensors, uids, origin, nodes that vanish (docs/rknn-compat.md section 16)."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from npusim.importers.onnx.importer import load_onnx

node = helper.make_node


def test_layer_names_and_uids(save) -> None:
    graph = load_onnx(save(
        [node("Relu", ["x"], ["a"], name="Relu_7"), node("Abs", ["a"], ["b"]),
         node("Neg", ["b"], ["y"], name="last")],
        {"x": (2,)}, ["y"],
    ))  # fmt: skip
    assert [n.layer_id for n in graph.nodes] == ["Relu_Relu_7_3", "Abs_b_2", "Neg_last_1"]
    assert [n.origin for n in graph.nodes] == [("Relu_7",), ("b",), ("last",)]


def test_repeated_node_names_stay_apart(save) -> None:
    graph = load_onnx(save(
        [node("Relu", ["x"], ["a"], name="n"), node("Relu", ["a"], ["b"], name="n"),
         node("Relu", ["b"], ["y"], name="n")],
        {"x": (2,)}, ["y"],
    ))  # fmt: skip
    assert [n.name for n in graph.nodes] == ["Relu_n", "Relu_n@b", "Relu_n@y"]


@pytest.mark.parametrize(
    "name", ["_plus0", "a b", "层1", "x:y/z", "../../up", "é'\"\n", "\U0001f600"]
)
def test_case_3_3_any_name(agrees, name) -> None:
    graph = agrees([node("Relu", ["x"], [name], name=name), node("Abs", [name], ["y"])],
                   {"x": (2,)}, ["y"])  # fmt: skip
    assert graph.nodes[0].name == f"Relu_{name}"
    assert graph.nodes[0].outputs == (name,)


def ops(graph):
    return [n.op for n in graph.nodes]


VANISHING = [
    node("Identity", ["a"], ["b"]),
    node("Dropout", ["a"], ["b"]),
    node("Dropout", ["a", "ratio"], ["b", "mask"]),
    node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
    node("Cast", ["a"], ["b"], to=TensorProto.FLOAT16),
]


@pytest.mark.parametrize("middle", VANISHING)
def test_nodes_that_do_nothing_vanish(save, middle) -> None:
    constants = {"ratio": np.float32(0.5)}
    inner = [node("Relu", ["x"], ["a"]), middle, node("Abs", ["b"], ["y"])]
    assert ops(load_onnx(save(inner, {"x": (2,)}, ["y"], constants))) == ["relu", "abs"]
    last = [node("Relu", ["x"], ["a"]), middle]
    graph = load_onnx(save(last, {"x": (2,)}, ["b"], constants))
    assert ops(graph) == ["relu"]
    assert graph.outputs == graph.nodes[0].outputs == ("b",)


def test_output_names_survive_in_every_position(agrees) -> None:
    identity = node("Identity", ["x"], ["y"])
    graph = agrees([identity, node("Relu", ["x"], ["z"])], {"x": (2,)}, ["y", "z"])
    assert ops(graph) == ["relu", "identity"]
    both = [node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["b"])]
    graph = agrees(both, {"x": (2,)}, ["a", "b"])
    assert ops(graph) == ["relu", "identity"]
    twice = [*both, node("Identity", ["b"], ["c"])]
    graph = agrees(twice, {"x": (2,)}, ["c", "b"])
    assert sorted(ops(graph)) == ["identity", "relu"]
    used = [*both, node("Abs", ["a"], ["c"])]
    graph = agrees(used, {"x": (2,)}, ["b", "c"])
    assert ops(graph) == ["relu", "abs"]
    assert graph.nodes[1].inputs == ("b",)


def test_invented_names_do_not_collide(agrees) -> None:
    w = np.ones((2, 2, 3), np.float32)
    agrees(
        [node("Relu", ["x"], ["y/to_2d"]), node("Abs", ["y/to_2d"], ["y/bias"]),
         node("Conv", ["y/bias", "w"], ["y"]), node("Neg", ["y/to_2d"], ["w/2d"]),
         node("Split", ["x"], ["half", "y/in_2d"], axis=1)],
        {"x": (1, 2, 5)}, ["y", "w/2d", "half"], {"w": w},
    )  # fmt: skip


def test_shared_weights_are_stored_once(save) -> None:
    w = np.ones((2, 2, 1, 1), np.float32)
    graph = load_onnx(save([node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "w"], ["y"])],
                           {"x": (1, 2, 3, 3)}, ["y"], {"w": w}))  # fmt: skip
    assert sum(v.shape == w.shape for v in graph.constants.values()) == 1


def test_source_and_graph_name(save) -> None:
    path = save([node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"], opset=11)
    graph = load_onnx(path)
    assert graph.name == "tiny"
    assert graph.source.path == str(path)
    assert graph.source.detail == "opset 11, ir 8, producer unknown"
    assert len(graph.source.sha256) == 64
