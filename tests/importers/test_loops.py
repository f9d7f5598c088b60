"""Loops with a known number of turns are written out; others are refused by name."""

from pathlib import Path

import numpy as np
import pytest

import npusim
from npusim.conformance.forms import FORMS
from npusim.conformance.importer_cases import read_cases
from npusim.conformance.importers import replay_case
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.common import unroll
from tests.importers.tensorflow_build import BOOL, FLOAT, INT32, Function, Net, Type, run

RECORDS = list(read_cases(Path(__file__).with_name("loops_recorded.jsonl.gz")))
COMPILED = (
    "keras LSTM",
    "keras GRU return_sequences",
    "lowered keras Bidirectional, stacked",
    "dynamic_rnn LSTM",
)


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.label)
def test_recorded_loops(case):
    assert replay_case(case) == ("", "")


@pytest.mark.parametrize("form", ["u8", "f16"])
@pytest.mark.parametrize("label", COMPILED)
def test_recorded_loops_as_the_chip_runs_them(label, form):
    (case,) = (case for case in RECORDS if case.label == label)
    assert replay_case(case, FORMS[form]) == ("", "")


def loaded(label, tmp_path):
    (case,) = (case for case in RECORDS if case.label == label)
    case.write(tmp_path)
    return npusim.load_model(next(tmp_path.glob("net.*")))


@pytest.mark.parametrize("label", ["keras LSTM", "lowered keras LSTM", "dynamic_rnn LSTM"])
def test_all_turns_read_the_same_weights_and_have_layers_of_their_own(label, tmp_path):
    graph = loaded(label, tmp_path)
    products = [node for node in graph.nodes if node.op == "fc"]
    assert len(products) in (5, 9)  # of the state, which begins with zeros, and of the input
    assert len({node.inputs[1] for node in products}) == (1 if len(products) == 5 else 2)
    names = [node.name for node in graph.nodes]
    assert len(set(names)) == len(names)
    for turn in range(5):
        assert any(f"while/turn{turn}/lstm_cell" in name for name in names)


# ---- written by hand: y = x * 2 ** n
def doubling(condition, *, limit=None, name="loop", kind="StatelessWhile"):
    """Return a graph; ``condition`` makes the function of (turn, value, limit)."""
    net = Net()
    net.input("x", (2,))
    if limit is None:
        net.input("n", (), INT32)
        limit = "n"
    inner = Net()
    condition(inner)
    net.function("goes_on", ["i", "v", "n"], {"r": "r:z:0"}, inner)
    inner = Net()
    inner.op("one", "Const", dtype=INT32, value=np.int32(1))
    inner.op("next", "AddV2", "i", "one:output:0")
    inner.op("twice", "AddV2", "v", "v")
    net.function("body", ["i", "v", "n"], {"a": "next:z:0", "b": "twice:z:0", "c": "n"}, inner)
    net.op(
        name, kind, np.int32(0), "x", limit, cond=Function("goes_on"), body=Function("body"),
        T=[INT32, FLOAT, INT32],
    )  # fmt: skip
    net.op("y", "Identity", f"{name}:1")
    return net


def below(inner):
    inner.op("r", "Less", "i", "n")


def always(inner):
    inner.op("r", "Const", dtype=BOOL, value=np.bool_(True))


@pytest.mark.parametrize("kind", ["While", "StatelessWhile"])
@pytest.mark.parametrize("turns", [0, 1, 5])
def test_a_loop_turns_as_often_as_its_condition_says(turns, kind, tmp_path):
    graph = doubling(below, limit=np.int32(turns), kind=kind).load(tmp_path, outputs=["y"])
    assert run(graph, [1, 3])[0].tolist() == [2**turns, 3 * 2**turns]


def test_a_count_that_depends_on_data_is_refused_by_the_name_of_the_loop(tmp_path):
    with pytest.raises(UnsupportedOpError) as caught:
        doubling(below, name="rnn/while").load(tmp_path, outputs=["y"])
    text = str(caught.value)
    assert "node 'rnn/while': StatelessWhile, its number of turns depends on the input data" in text
    assert "unroll=True" in text
    assert "static_rnn" in text


def test_a_loop_without_end_is_refused_with_the_limit(tmp_path):
    with pytest.raises(UnsupportedOpError, match=r"'loop': .*more than 4096 turns at turn 4096"):
        doubling(always, limit=np.int32(0)).load(tmp_path, outputs=["y"])


def test_layers_of_loops_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(unroll, "MAX_LAYERS", 20)
    with pytest.raises(UnsupportedOpError, match=r"'loop': .*more than 20 layers at turn 21"):
        doubling(below, limit=np.int32(99)).load(tmp_path, outputs=["y"])


def test_what_turns_visit_is_limited_over_all_loops(tmp_path, monkeypatch):
    monkeypatch.setattr(unroll, "MAX_VISITS", 100)
    with pytest.raises(UnsupportedOpError, match=r"more than 100 operators in turns"):
        doubling(below, limit=np.int32(99)).load(tmp_path, outputs=["y"])


def test_names_of_turns_avoid_those_of_the_file(tmp_path):
    net = doubling(below, limit=np.int32(2))
    net.op("loop/turn0/twice", "Neg", "y")
    graph = net.load(tmp_path, outputs=["y", "loop/turn0/twice"])
    values = run(graph, [1, 3])
    assert [value.tolist() for value in values] == [[4, 12], [-4, -12]]


def test_what_a_turn_has_no_counterpart_for_is_named_once(tmp_path):
    net = doubling(below, limit=np.int32(3))
    body = next(f for f in net.proto.library.function if f.signature.name == b"body")
    next(n for n in body.node_def if n.name == b"twice").op = b"Igamma"
    with pytest.raises(UnsupportedOpError) as caught:
        net.load(tmp_path, outputs=["y"])
    assert str(caught.value).count("Igamma") == 1
    assert "'loop/turn0/twice'" in str(caught.value)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"cond": "gone"}, "calls the function 'gone'"),
        ({"cond": "body"}, "its condition gives 3 results"),
        ({"body": "goes_on"}, "its body gives 1 results"),
    ],
)
def test_loops_that_contradict_themselves(tmp_path, broken, words):
    net = doubling(below, limit=np.int32(2))
    loop = next(node for node in net.proto.node if node.name == b"loop")
    for entry in loop.attr:
        if entry.key.decode() in broken:
            entry.value.func.name = broken[entry.key.decode()].encode()
    with pytest.raises(ModelImportError, match=words):
        net.load(tmp_path, outputs=["y"])


# ---- version 1
def frames(limit="n"):
    """Return y = x * 2 ** n as Enter, Merge, Switch and Exit."""
    net = Net()
    net.input("x", (2,))
    if limit == "n":
        net.input("n", (), INT32)
    for name, begin in (("i", np.int32(0)), ("v", "x")):
        net.op(f"w/{name}_enter", "Enter", begin, frame_name="w/while_context")
        net.op(f"w/{name}", "Merge", f"w/{name}_enter", f"w/{name}_again")
        net.op(f"w/{name}_switch", "Switch", f"w/{name}", "w/LoopCond")
        net.op(f"w/{name}_exit", "Exit", f"w/{name}_switch")
    net.op("w/n", "Enter", limit, frame_name="w/while_context", is_constant=True)
    net.op("w/less", "Less", "w/i", "w/n")
    net.op("w/LoopCond", "LoopCond", "w/less")
    net.op("w/pivot", "Identity", "w/i_switch:1")
    net.op("w/one", "Const", "^w/pivot", dtype=INT32, value=np.int32(1))
    net.op("w/next", "AddV2", "w/pivot", "w/one")
    net.op("w/twice", "AddV2", "w/v_switch:1", "w/v_switch:1")
    net.op("w/i_again", "NextIteration", "w/next")
    net.op("w/v_again", "NextIteration", "w/twice")
    net.op("y", "Identity", "w/v_exit")
    return net


@pytest.mark.parametrize("turns", [0, 1, 4])
def test_a_frame_is_a_loop_whose_counter_is_no_output(turns, tmp_path):
    graph = frames(np.int32(turns)).load(tmp_path)
    assert graph.outputs == ("y:0",)
    assert run(graph, [1, 3])[0].tolist() == [2**turns, 3 * 2**turns]
    counted = frames(np.int32(turns)).load(tmp_path, outputs=["w/i_exit", "w/v_exit"])
    assert run(counted, [1, 3])[0] == turns


def test_a_frame_that_depends_on_data_is_refused_by_its_name(tmp_path):
    with pytest.raises(UnsupportedOpError, match=r"node 'w': While, its number of turns depends"):
        frames().load(tmp_path)


@pytest.mark.parametrize("gone", ["w/LoopCond", "w/v_again", "w/v_switch"])
def test_a_frame_that_is_no_loop_is_refused_node_by_node(gone, tmp_path):
    net = frames(np.int32(2))
    next(n for n in net.proto.node if n.name.decode() == gone).op = b"Identity"
    with pytest.raises(ModelImportError, match=r"Enter|loop|results"):
        net.load(tmp_path, outputs=["y"])


# ---- lists
VARIANT = Type(21)


def listed(tmp_path, *steps, outputs=("y",), shape=(3, 2)):
    """Return the outputs for 0, 1, .. of a graph that a list of operators makes of x."""
    net = Net()
    net.input("x", shape)
    for name, kind, inputs, attrs in steps:
        net.op(name, kind, *inputs, **attrs)
    graph = net.load(tmp_path, outputs=list(outputs))
    return [value.tolist() for value in run(graph, np.arange(np.prod(shape)).reshape(shape))]


SHAPE = np.array([2], np.int32)
FROM = ("l", "TensorListFromTensor", ("x", SHAPE), {"element_dtype": FLOAT})
STACK = {"element_dtype": FLOAT}


def test_lists_grow_and_shrink(tmp_path):
    (popped, rest, count) = listed(
        tmp_path,
        FROM,
        ("first", "TensorListGetItem", ("l", np.int32(0), SHAPE), STACK),
        ("more", "TensorListPushBack", ("l", "first"), STACK),
        ("pop", "TensorListPopBack", ("more", SHAPE), STACK),
        ("pop2", "TensorListPopBack", ("pop", SHAPE), STACK),
        ("y0", "Identity", ("pop:1",), {}),
        ("y1", "TensorListStack", ("pop2", SHAPE), STACK),
        ("count", "TensorListLength", ("more",), {}),
        ("counted", "Cast", ("count",), {"SrcT": INT32, "DstT": FLOAT}),
        ("y2", "Mul", ("first", "counted"), {}),
        outputs=("y0", "y1", "y2"),
    )
    assert popped == [0, 1]
    assert rest == [[0, 1], [2, 3]]
    assert count == [0, 4]


def test_items_that_nothing_has_written_are_zeros(tmp_path):
    (y,) = listed(
        tmp_path,
        FROM,
        ("i", "TensorListGetItem", ("l", np.int32(2), SHAPE), STACK),
        ("r", "TensorListReserve", (np.int32(-1), np.int32(3)), STACK),
        ("s", "TensorListSetItem", ("r", np.int32(1), "i"), STACK),
        ("y", "TensorListStack", ("s", np.int32(-1)), STACK),
    )
    assert y == [[0, 0], [4, 5], [0, 0]]


def test_items_are_gathered_scattered_and_joined(tmp_path):
    gathered, joined = listed(
        tmp_path,
        ("l", "TensorListScatterV2", ("x", np.array([2, 0, 4]), SHAPE, np.int32(5)), STACK),
        ("g", "TensorListGather", ("l", np.array([4, 2, 1]), SHAPE), STACK),
        ("c", "TensorListConcatV2", ("l", SHAPE, np.array([], np.int32)), STACK),
        ("y", "Identity", ("c",), {}),
        outputs=("g", "y"),
    )
    assert gathered == [[4, 5], [0, 1], [0, 0]]
    assert joined == [2, 3, 0, 0, 0, 1, 0, 0, 4, 5]


@pytest.mark.parametrize(
    ("index", "words"), [(3, "index 3"), (-1, "index of an item is -1"), ("k", "depends on")]
)
def test_indices_of_items(tmp_path, index, words):
    net = Net()
    net.input("x", (3, 2))
    net.input("k", (), INT32)
    net.op("l", "TensorListFromTensor", "x", SHAPE, element_dtype=FLOAT)
    place = index if isinstance(index, str) else np.int32(index)
    net.op("y", "TensorListGetItem", "l", place, SHAPE, element_dtype=FLOAT)
    with pytest.raises(ModelImportError, match=words):
        net.load(tmp_path, outputs=["y"])


def test_absurd_lists_are_refused_before_they_are_made(tmp_path):
    net = Net()
    net.input("x", (2,))
    net.op("l", "TensorListReserve", SHAPE, np.int32(2**31 - 1), element_dtype=FLOAT)
    net.op("y", "TensorListGetItem", "l", np.int32(0), SHAPE, element_dtype=FLOAT)
    net.op("z", "AddV2", "x", "y")
    with pytest.raises(UnsupportedOpError, match="list of 2147483647 items"):
        net.load(tmp_path, outputs=["z"])


@pytest.mark.parametrize(("index", "wanted"), [(0, [2, 6]), (1, [-1, -3]), (7, [-1, -3])])
def test_a_case_takes_the_branch_of_a_known_index(tmp_path, index, wanted):
    net = Net()
    net.input("x", (2,))
    for name, kind, inputs in (("twice", "AddV2", ("a", "a")), ("less", "Neg", ("a",))):
        inner = Net()
        inner.op("r", kind, *inputs)
        net.function(name, ["a"], {"r": f"r:{'z' if kind == 'AddV2' else 'y'}:0"}, inner)
    net.op("y", "StatelessCase", np.int32(index), "x", Tout=[FLOAT])
    entry = net.proto.node[-1].attr.add(key=b"branches")
    for name in ("twice", "less"):
        entry.value.list.func.add(name=name.encode())
    assert run(net.load(tmp_path), [1, 3])[0].tolist() == wanted
