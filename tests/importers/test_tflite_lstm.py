"""LSTM layers of TensorFlow Lite files, unrolled, against LiteRT."""

from itertools import product

import numpy as np
import pytest

import npusim
from npusim.errors import UnsupportedOpError
from npusim.importers.tflite.importer import load_tflite
from npusim.importers.tflite.ops_lstm import MERGED_NOTE
from npusim.reference.evaluate import evaluate

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
from tests.importers.tflite_build import Model
from tests.importers.tflite_run import check

R = np.random.default_rng(3)
UNITS, DEPTH = 4, 3
TANH, RELU6 = 4, 3


def real(*shape):
    return R.uniform(-0.7, 0.7, shape).astype(np.float32)


def direction(main, label, outputs, *, coupled, peepholes, projected):
    """Return the operands of one direction, from the input weights to the projection's bias."""

    def add(name, *shape, there=True):
        return main.constant(f"{label}{name}", real(*shape)) if there else -1

    operands = [add(f"w{g}", UNITS, DEPTH, there=g or not coupled) for g in range(4)]
    operands += [add(f"r{g}", UNITS, outputs, there=g or not coupled) for g in range(4)]
    operands += [add(f"p{g}", UNITS, there=peepholes and (g or not coupled)) for g in range(3)]
    operands += [add(f"b{g}", UNITS, there=g or not coupled) for g in range(4)]
    return [*operands, add("proj", outputs, UNITS, there=projected), -1]


def states(main, label, batch, outputs):
    found = [main.tensor(f"{label}{w}", (batch, n)) for w, n in (("h", outputs), ("c", UNITS))]
    for index in found:
        main.proto.tensors[index].isVariable = True
    return found


def sequence(*, both=False, time_major=False, merged=False, batch=2, steps=3, clip=0.0,
             activation=TANH, coupled=False, peepholes=False, projected=False):  # fmt: skip
    model = Model()
    main = model.function()
    outputs = 2 if projected else UNITS
    x = main.tensor("x", (steps, batch, DEPTH) if time_major else (batch, steps, DEPTH))
    more = {"coupled": coupled, "peepholes": peepholes, "projected": projected}
    operands = [x, *direction(main, "fw", outputs, **more)]
    kind, table = "UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions"
    fields = {"fusedActivationFunction": activation, "timeMajor": time_major, "cellClip": clip}
    results = [main.tensor("y", (1, 1, 1))]
    if both:
        kind, table = "BIDIRECTIONAL_SEQUENCE_LSTM", "BidirectionalSequenceLSTMOptions"
        operands += direction(main, "bw", outputs, **more)
        operands += [*states(main, "fw", batch, outputs), *states(main, "bw", batch, outputs)]
        operands += [-1] * 9
        fields["mergeOutputs"] = merged
        results += [] if merged else [main.tensor("z", (1, 1, 1))]
    else:
        operands += states(main, "", batch, outputs)
        operands += [-1] * 4
    main.op(kind, operands, results, table, **fields)
    main.proto.inputs, main.proto.outputs = [x], results
    return model


@pytest.mark.parametrize(
    ("time_major", "batch", "steps"), [*product((False, True), (1, 2), (1, 4))]
)
def test_sequences(time_major, batch, steps):
    assert check(sequence(time_major=time_major, batch=batch, steps=steps)) == "ok"


@pytest.mark.parametrize(("coupled", "peepholes", "projected"), [*product((False, True), repeat=3)])
def test_kinds_of_cells(coupled, peepholes, projected):
    model = sequence(coupled=coupled, peepholes=peepholes, projected=projected)
    assert check(model) == "ok"


@pytest.mark.parametrize("options", [{"clip": 0.3}, {"activation": RELU6}])
def test_clips_and_activations(options):
    assert check(sequence(**options)) == "ok"


@pytest.mark.parametrize(("merged", "time_major"), [*product((False, True), repeat=2)])
def test_both_directions(merged, time_major):
    """LiteRT 2.3.0 leaves the second sample of merged outputs unwritten when the batch is first."""
    batch = 1 if merged and not time_major else 2
    model = sequence(both=True, merged=merged, time_major=time_major, batch=batch)
    assert check(model) == "ok"


def test_merged_outputs_are_both_side_by_side(tmp_path):
    apart = sequence(both=True)
    x = R.uniform(-1, 1, (2, 3, DEPTH)).astype(np.float32)
    ahead, back = evaluate(load_tflite(apart.save(tmp_path / "two.tflite")), {"x": x}).values()
    (op,) = apart.proto.subgraphs[0].operators
    op.builtinOptions.mergeOutputs, op.outputs = True, op.outputs[:1]
    apart.proto.subgraphs[0].outputs = op.outputs
    (both,) = evaluate(load_tflite(apart.save(tmp_path / "one.tflite")), {"x": x}).values()
    np.testing.assert_array_equal(both, np.concatenate([ahead, back], -1))


@pytest.mark.parametrize(("time_major", "batch"), [(False, 2), (False, 1), (True, 2)])
def test_a_note_says_where_litert_is_no_reference(tmp_path, time_major, batch):
    model = sequence(both=True, merged=True, time_major=time_major, batch=batch)
    graph = load_tflite(model.save(tmp_path / "net.tflite"))
    assert (MERGED_NOTE in graph.notes) == (batch > 1 and not time_major)


def test_on_the_chip(tmp_path):
    """float16 follows the float values; the note says how the state begins."""
    graph = load_tflite(sequence(steps=5).save(tmp_path / "net.tflite"))
    assert any("state of zeros" in note for note in graph.notes)
    feeds = {"x": R.uniform(-1, 1, (2, 5, DEPTH)).astype(np.float32)}
    source = npusim.record_source(graph, feeds)
    assert source.label.startswith("float (LiteRT")
    program = npusim.compile(npusim.float16(graph))
    found = npusim.compare(npusim.record_program(program, feeds, preprocessed=True), source)
    assert found.layers[-1].difference.cosine > 0.9999


def test_what_is_refused(tmp_path):
    def message(model):
        with pytest.raises(UnsupportedOpError) as error:
            load_tflite(model.save(tmp_path / "net.tflite"))
        return str(error.value)

    normal = sequence()
    (graph,) = normal.proto.subgraphs
    (op,) = graph.operators
    op.inputs[20:24] = [op.inputs[13]] * 4
    assert "layer normalization; build the cell of other layers" in message(normal)
    for activation in (0, 5):
        assert "its activation; use tanh" in message(sequence(activation=activation))
