"""Loops, conditions and calls of TensorFlow Lite files, against LiteRT where it takes them."""

import numpy as np
import pytest

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.common import unroll
from npusim.importers.tflite.importer import load_tflite
from npusim.reference.evaluate import evaluate
from tests.importers.tflite_build import Model
from tests.importers.tflite_run import graph_order, litert

X = np.array([1, -3], np.float32)
VARIABLES = (("i", (), "int32"), ("v", (2,), "float32"), ("n", (), "int32"))


def doubling(turns=3, *, known=True, name="loop", op="ADD", body=2, condition=1, results=2):
    """Return a model of y = x * 2 ** turns in a loop of (counter, value)."""
    model = Model()
    main = model.function()
    x, count = main.tensor("x", (2,)), main.constant("begin", np.int32(0))
    limit = main.constant("limit", np.int32(turns)) if known else main.tensor("n", (), "int32")
    ends = [main.tensor(word, shape, kind) for word, shape, kind in (
        (f"{name}", (), "int32"), ("end", (2,), "float32"), ("last", (), "int32"))]  # fmt: skip
    main.op(
        "WHILE", [count, x, limit], ends, "WhileOptions", condSubgraphIndex=condition,
        bodySubgraphIndex=body,
    )  # fmt: skip
    y = main.tensor("y", (2,))
    main.op("NEG", [ends[1]], [y])
    main.proto.inputs, main.proto.outputs = [x, *([] if known else [limit])], [y]
    asks, turn = model.function("goes_on"), model.function("body")
    for graph in (asks, turn):
        graph.proto.inputs = [
            graph.tensor(word, shape, kind)
            for word, shape, kind in (
                ("i", (), "int32"),
                ("v", (2,), "float32"),
                ("n", (), "int32"),
            )
        ]
    asks.proto.outputs = [asks.tensor("less", (), "bool")]
    asks.op("LESS", [0, 2], asks.proto.outputs)
    one, after = turn.constant("one", np.int32(1)), turn.tensor("loop/next", (), "int32")
    twice = turn.tensor("loop/twice", (2,))
    turn.op("ADD", [0, one], [after], "AddOptions")
    turn.op(op, [1, 1], [twice])
    turn.proto.outputs = [after, twice, 2][: results + 1]
    return model


def run(model, tmp_path, *values):
    graph = load_tflite(model.save(tmp_path / "net.tflite"))
    found = evaluate(graph, dict(zip(graph.inputs, values, strict=True)))
    return graph, [found[name] for name in graph.outputs]


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_a_loop_turns_as_often_as_its_condition_says(turns, tmp_path):
    model = doubling(turns)
    graph, (y,) = run(model, tmp_path, X)
    (wanted,) = litert(model.bytes(), [X])
    np.testing.assert_array_equal(y, wanted)
    names = [node.name for node in graph.nodes]
    assert names == [*(f"loop/turn{i}/twice" for i in range(turns)), "y"]


def test_a_count_that_depends_on_data_is_refused_by_the_name_of_the_loop(tmp_path):
    with pytest.raises(UnsupportedOpError) as caught:
        load_tflite(doubling(known=False, name="rnn/while").save(tmp_path / "net.tflite"))
    text = str(caught.value)
    assert "WHILE version 1, its number of turns depends on the input data" in text
    assert "'rnn/while'" in text
    assert "unroll=True" in text


def test_a_loop_without_end_is_refused_with_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(unroll, "MAX_TURNS", 50)
    with pytest.raises(UnsupportedOpError, match=r"more than 50 turns at turn 50.*'loop'"):
        load_tflite(doubling(2**31 - 1).save(tmp_path / "net.tflite"))


def test_what_a_turn_has_no_counterpart_for_is_named_once(tmp_path):
    with pytest.raises(UnsupportedOpError) as caught:
        load_tflite(doubling(op="ATAN2").save(tmp_path / "net.tflite"))
    assert "1 unsupported operator" in str(caught.value)
    assert "'loop/turn0/twice'" in str(caught.value)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"body": 9}, "function 9 does not exist"),
        ({"condition": 0}, "function 0 does not exist"),
        ({"condition": 2}, "its condition gives 3 results"),
        ({"body": 1}, "its body gives 1 results"),
        ({"results": 1}, "its body gives 2 results"),
    ],
)
def test_loops_that_contradict_themselves_are_refused_with_their_place(broken, words, tmp_path):
    with pytest.raises(ModelImportError, match=words) as caught:
        load_tflite(doubling(**broken).save(tmp_path / "net.tflite"))
    assert "layer 'loop' (WHILE)" in str(caught.value)


def chosen(kind, *, condition=None):
    """Return a model of one of two functions of x: its double, or its opposite."""
    model = Model()
    main = model.function()
    x, y = main.tensor("x", (2,)), main.tensor("y", (2,))
    if kind == "CALL":
        main.op("CALL", [x], [y], "CallOptions", subgraph=2)
    else:
        asked = (
            main.tensor("c", (1,), "bool")
            if condition is None
            else main.constant("c", np.array([condition]))
        )
        main.op(
            "IF", [asked, x], [y], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2
        )  # fmt: skip
    main.proto.inputs, main.proto.outputs = [x], [y]
    if kind == "IF" and condition is None:
        main.proto.inputs.append(asked)
    for word, op in (("then", "ADD"), ("other", "NEG")):
        graph = model.function(word)
        a, r = graph.tensor("a", (2,)), graph.tensor("r", (2,))
        graph.op(op, [a, a] if op == "ADD" else [a], [r])
        graph.proto.inputs, graph.proto.outputs = [a], [r]
    return model


@pytest.mark.parametrize(("condition", "factor"), [(True, 2), (False, -1)])
def test_a_known_condition_chooses_a_function(condition, factor, tmp_path):
    _, (y,) = run(chosen("IF", condition=condition), tmp_path, X)
    np.testing.assert_array_equal(y, X * factor)


def test_a_call_is_the_function(tmp_path):
    graph, (y,) = run(chosen("CALL"), tmp_path, X)
    np.testing.assert_array_equal(y, -X)
    assert [node.name for node in graph.nodes][:1] == ["y/r"]


def test_a_condition_on_data_is_refused(tmp_path):
    with pytest.raises(UnsupportedOpError, match=r"IF version 1, its condition depends on.*'y'"):
        load_tflite(chosen("IF").save(tmp_path / "net.tflite"))


def test_functions_that_call_themselves_are_refused(tmp_path):
    model = chosen("CALL")
    again = model.proto.subgraphs[2]
    call = model.proto.subgraphs[0].operators[0]
    again.operators[0].opcodeIndex = call.opcodeIndex
    again.operators[0].builtinOptionsType = call.builtinOptionsType
    again.operators[0].builtinOptions = call.builtinOptions
    with pytest.raises(UnsupportedOpError, match="calls go too deep"):
        load_tflite(model.save(tmp_path / "net.tflite"))


def streaming():
    """Return a model whose loop adds x to a variable three times."""
    model = doubling(3)
    main, body = (model.proto.subgraphs[i] for i in (0, 2))
    held = [model_function(model, i) for i in (0, 2)]
    handle = held[0].tensor("handle", (), "resource")
    held[0].op("VAR_HANDLE", [], [handle], "VarHandleOptions", sharedName=b"total")
    main.operators.insert(0, main.operators.pop())
    loop = next(op for op in main.operators if op.inputs and len(op.inputs) == 3)
    after = held[0].tensor("handle after", (), "resource")
    loop.inputs, loop.outputs = [*loop.inputs, handle], [*loop.outputs, after]
    asks = model_function(model, 1)
    asks.proto.inputs.append(asks.tensor("h", (), "resource"))
    own, old, new = (held[1].tensor(w, s, k) for w, s, k in (
        ("h", (), "resource"), ("old", (2,), "float32"), ("new", (2,), "float32")))  # fmt: skip
    body.inputs, body.outputs = [*body.inputs, own], [*body.outputs, own]
    held[1].op("READ_VARIABLE", [own], [old])
    held[1].op("ADD", [old, body.inputs[1]], [new], "AddOptions")
    held[1].op("ASSIGN_VARIABLE", [own, new], [])
    return model


def model_function(model, number):
    """Return a function of a model that goes on being written."""
    from tests.importers.tflite_build import Function

    found = Function.__new__(Function)
    found.model, found.proto, found.name = model, model.proto.subgraphs[number], ""
    return found


def test_variables_go_through_the_turns(tmp_path):
    graph, (y, total) = run(streaming(), tmp_path, X, np.float32([10, 20]))
    assert graph.inputs == ("x", "state/total")
    np.testing.assert_array_equal(y, X * -8)
    np.testing.assert_array_equal(total, np.float32([10, 20]) + X * (1 + 2 + 4))


def writing(turns=4, size=4):
    """Return a model whose loop writes x + turn into row ``turn`` of zeros."""
    model = doubling(turns)
    main, body = model.proto.subgraphs[0], model_function(model, 2)
    main.tensors[0].shape = [size, 2]
    for graph in model.proto.subgraphs[1:]:
        graph.tensors[1].shape = [size, 2]
    row = body.constant("row", X[None])
    i = body.constant("one again", np.array([1], np.int32))
    zero, rest = (body.constant(w, np.array(v, np.int32)) for w, v in (("o", [0]), ("r", [-1])))
    names = [body.tensor(w, (1,), "int32") for w in ("at", "next at")]
    body.op("RESHAPE", [0, i], [names[0]], "ReshapeOptions", newShape=[1])
    body.op("ADD", [names[0], i], [names[1]], "AddOptions")
    pairs = [body.tensor(w, (2,), "int32") for w in ("size", "place", "front")]
    for target, parts in zip(
        pairs, ([names[0], rest], [names[1], zero], [zero, zero]), strict=True
    ):
        body.op("CONCATENATION", parts, [target], "ConcatenationOptions", axis=0)
    whole = body.constant("whole", np.array([-1, -1], np.int32))
    front, back = (body.tensor(w, (-1, 2)) for w in ("before", "behind"))
    front_proto, made = body.proto.tensors[front], body.tensor("written", (size, 2))
    for proto in (front_proto, body.proto.tensors[back]):
        proto.shape, proto.shapeSignature = [1, 2], [-1, 2]
    body.op("SLICE", [1, pairs[2], pairs[0]], [front])
    body.op("SLICE", [1, pairs[1], whole], [back])
    body.op("CONCATENATION", [front, row, back], [made], "ConcatenationOptions", axis=0)
    body.proto.outputs = [body.proto.outputs[0], made, 2]
    main.tensors[main.operators[0].outputs[1]].shape = [size, 2]
    main.tensors[main.outputs[0]].shape = [size, 2]
    return model


@pytest.mark.parametrize("turns", [1, 3, 4])
def test_a_sequence_written_in_turns_is_one_join(turns, tmp_path):
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    model = writing(turns)
    graph, (y,) = run(model, tmp_path, x)
    (wanted,) = litert(model.bytes(), [x])
    np.testing.assert_array_equal(y, wanted)
    assert sum(node.op == "concat" for node in graph.nodes) <= turns


def test_whole_numbers_that_are_known_are_computed_at_once(tmp_path):
    model = Model()
    main = model.function()
    x, y = main.tensor("x", (2,)), main.tensor("y", (2,))
    a, b = (main.constant(w, np.array([v], np.int32)) for w, v in (("a", -7), ("b", 3)))
    rest, quotient, real, factor = (
        main.tensor(w, (1,), k)
        for w, k in (("m", "int32"), ("d", "int32"), ("r", "float32"), ("f", "int32"))
    )
    main.op("FLOOR_MOD", [a, b], [rest])
    main.op("FLOOR_DIV", [a, b], [quotient])
    main.op("SUB", [rest, quotient], [factor], "SubOptions")
    main.op("CAST", [factor], [real], "CastOptions")
    main.op("MUL", [x, real], [y], "MulOptions")
    main.proto.inputs, main.proto.outputs = [x], [y]
    _, (found,) = run(model, tmp_path, X)
    np.testing.assert_array_equal(found, X * 5)


@pytest.mark.parametrize("shape", [(5, 2), (5, 2, 3, 2), (5, 2, 2, 1, 3)])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("place", [-3, 0, 1, 9])
def test_updates_of_slices(shape, axis, place, tmp_path):
    own = list(shape)
    own[axis] -= 1
    begin = np.zeros(len(shape), np.int32)
    begin[axis] = place
    model = Model()
    main = model.function()
    inputs = [main.tensor("x", shape), main.tensor("u", own)]
    y = main.tensor("y", shape)
    main.op("DYNAMIC_UPDATE_SLICE", [*inputs, main.constant("at", begin)], [y])
    main.proto.inputs, main.proto.outputs = inputs, [y]
    values = [np.arange(np.prod(n), dtype=np.float32).reshape(n) for n in (shape, own)]
    (wanted,) = litert(model.bytes(), values)
    _, (found,) = run(model, tmp_path, *map(graph_order, values))
    np.testing.assert_array_equal(found, wanted)
