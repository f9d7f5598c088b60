"""Loop and Scan with a known number of turns, against ONNX Runtime."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.common import unroll
from npusim.importers.onnx.importer import load_onnx

node = helper.make_node
FLOAT, BOOL, INT = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64


def graph(nodes, inputs, outputs, constants=()):
    """Return a body; inputs and outputs are (name, type)."""

    def told(pairs):
        return [
            helper.make_tensor_value_info(name, kind, None if kind == FLOAT else ())
            for name, kind in pairs
        ]

    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in dict(constants).items()]
    return helper.make_graph(nodes, "body", told(inputs), told(outputs), tensors)


TURN = [("i", INT), ("c", BOOL)]


def summing(limit=None):
    """Return a body of v <- v * 0.5 + x + i that collects v; it stops at a turn of its own."""
    nodes = [
        node("Cast", ["i"], ["number"], to=FLOAT),
        node("Mul", ["v", "half"], ["part"], name="halved"),
        node("Add", ["part", "x"], ["sum"]),
        node("Add", ["sum", "number"], ["next"]),
        node("Identity", ["next"], ["kept"]),
    ]
    constants = {"half": np.float32(0.5)}
    if limit is None:
        nodes.append(node("Identity", ["c"], ["again"]))
    else:
        nodes.append(node("Less", ["i", "limit"], ["again"]))
        constants["limit"] = np.int64(limit)
    ends = [("again", BOOL), ("next", FLOAT), ("kept", FLOAT)]
    return graph(nodes, [*TURN, ("v", FLOAT)], ends, constants)


SHAPES = {"x": (2, 3), "first": (2, 3)}
COUNT = {"n": np.int64(4), "yes": np.array(True)}


def loop(inputs=("n", "yes", "first"), outputs=("y", "all"), **options):
    return node("Loop", list(inputs), list(outputs), name="again", body=summing(**options))


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_a_loop_of_a_known_count(agrees, opset):
    found = agrees([loop()], SHAPES, ["y", "all"], COUNT, opset=opset)
    assert found.spec("all").shape == (4, 2, 3)
    names = [n.name for n in found.nodes]
    assert [name for name in names if name.startswith("Mul")] == [
        f"Mul_again/turn{turn}/halved" for turn in range(4)
    ]
    assert len({n.inputs[1] for n in found.nodes if n.op == "mul"}) == 1


@pytest.mark.parametrize(("inputs", "turns"), [(("n", "", "first"), 3), (("", "yes", "first"), 3)])
def test_a_condition_ends_a_loop(agrees, inputs, turns):
    found = agrees([loop(inputs, limit=2)], SHAPES, ["y", "all"], COUNT)
    assert found.spec("all").shape == (turns, 2, 3)


def test_a_loop_that_never_turns_gives_what_it_was_given(agrees):
    nodes = [loop(), node("Neg", ["y"], ["z"])]
    agrees(nodes, SHAPES, ["z"], {**COUNT, "yes": np.array(False)})


def test_a_count_from_a_shape(agrees):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "axis"], ["n"]),
        loop(("n", "", "first")),
    ]
    found = agrees(nodes, SHAPES, ["y", "all"], {"axis": np.int64(1)})
    assert found.spec("all").shape == (3, 2, 3)


def test_a_loop_in_a_loop_with_a_branch(agrees):
    def branch(op):
        return graph([node(op, ["w"], ["r"])], [], [("r", FLOAT)])

    inside = graph(
        [
            node("Equal", ["i", "one"], ["odd"]),
            node("If", ["odd"], ["w2"], then_branch=branch("Neg"), else_branch=branch("Tanh")),
            node("Identity", ["c2"], ["again2"]),
        ],
        [("j", INT), ("c2", BOOL), ("w", FLOAT)],
        [("again2", BOOL), ("w2", FLOAT)],
        {"one": np.int64(1)},
    )
    outside = graph(
        [
            node("Loop", ["two", "", "v"], ["next"], body=inside, name="inner"),
            node("Identity", ["c"], ["again"]),
        ],
        [*TURN, ("v", FLOAT)],
        [("again", BOOL), ("next", FLOAT)],
    )
    nodes = [node("Loop", ["n", "yes", "x"], ["y"], body=outside, name="outer")]
    found = agrees(nodes, {"x": (2, 3)}, ["y"], {**COUNT, "two": np.int64(2)})
    names = [n.name for n in found.nodes]
    assert len(names) == len(set(names)) == 8


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scan_input_directions": [1, 0]},
        {"scan_input_axes": [1, -1], "scan_output_axes": [1], "scan_output_directions": [1]},
    ],
)
def test_scans(agrees, options):
    body = graph(
        [
            node("Add", ["s", "a"], ["sum"]),
            node("Mul", ["sum", "b"], ["next"]),
            node("Neg", ["next"], ["seen"]),
        ],
        [("s", FLOAT), ("a", FLOAT), ("b", FLOAT)],
        [("next", FLOAT), ("seen", FLOAT)],
    )
    nodes = [node("Scan", ["s0", "x", "z"], ["y", "all"], body=body, num_scan_inputs=2, **options)]
    agrees(nodes, {"s0": (4,), "x": (4, 4), "z": (4, 4)}, ["y", "all"])


def refused(save, nodes, constants=COUNT, shapes=SHAPES, kind=UnsupportedOpError):
    with pytest.raises(kind) as caught:
        load_onnx(save(nodes, shapes, ["y"], constants))
    return str(caught.value)


def test_a_count_that_depends_on_data_is_refused_by_the_name_of_the_loop(save):
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["n"], to=INT),
        loop(),
    ]
    text = refused(save, nodes, {"yes": np.array(True)})
    assert (
        "'again': Loop (ai.onnx version 13), its number of turns depends on the input data" in text
    )
    assert "fixed number of steps" in text


def test_a_loop_without_end_is_refused_with_the_limit(save, monkeypatch):
    monkeypatch.setattr(unroll, "MAX_TURNS", 30)
    assert "more than 30 turns at turn 30" in refused(save, [loop(("", "yes", "first"))])


def test_what_a_turn_has_no_counterpart_for_is_named_once(save):
    body = summing()
    body.node[1].op_type = "Hardmax"
    del body.node[1].input[1:]
    text = refused(save, [node("Loop", ["n", "yes", "first"], ["y", ""], name="again", body=body)])
    assert "1 unsupported node:" in text
    assert "'again': Loop" in text
    assert text.count("Hardmax") == 1


def test_bodies_that_contradict_the_loop(save):
    nodes = [node("Loop", ["n", "yes"], ["y"], name="again", body=summing())]
    text = refused(save, nodes, kind=ModelImportError)
    assert "its body takes 3 and gives 3 tensors" in text
