"""LSTM, GRU and RNN, unrolled on constants, against ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import npusim
from npusim.errors import UnsupportedOpError
from npusim.importers.onnx.importer import load_onnx
from npusim.reference.evaluate import evaluate

node = helper.make_node
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}


def network(op, *, steps=3, batch=2, inputs=4, hidden=5, direction="forward", states=False,
            bias=True, seed=0, peepholes=False, outputs=None, layout=0, **attributes):  # fmt: skip
    """Return the arguments of ``onnx_model`` for one recurrent node."""
    rng = np.random.default_rng(seed)
    count = 2 if direction == "bidirectional" else 1

    def draw(*shape):
        return (rng.standard_normal(shape) * 0.6).astype(np.float32)

    rows = GATES[op] * hidden
    constants = {"W": draw(count, rows, inputs), "R": draw(count, rows, hidden)}
    names = ["x", "W", "R", "B" if bias else "", ""]
    if bias:
        constants["B"] = draw(count, 2 * rows)
    shapes = {"x": (batch, steps, inputs) if layout else (steps, batch, inputs)}
    if states:
        for name in ("h", "c")[: 2 if op == "LSTM" else 1]:
            shapes[name] = (batch, count, hidden) if layout else (count, batch, hidden)
            names.append(name)
    if peepholes:
        names += [""] * (7 - len(names)) + ["P"]
        constants["P"] = draw(count, 3 * hidden)
    ends = outputs or ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    made = node(op, names, ends, hidden_size=hidden, direction=direction,
                **({"layout": 1} if layout else {}), **attributes)  # fmt: skip
    return [made], shapes, [name for name in ends if name], constants


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("states", [False, True])
def test_directions_and_states(agrees, op, direction, states) -> None:
    graph = agrees(*network(op, direction=direction, states=states), opset=14)
    assert "unrolled over 3 steps" in graph.notes[0]


@pytest.mark.parametrize("linear", [0, 1])
@pytest.mark.parametrize("states", [False, True])
def test_the_reset_of_a_gru(agrees, linear, states) -> None:
    agrees(*network("GRU", linear_before_reset=linear, states=states), opset=14)
    agrees(*network("GRU", linear_before_reset=linear, states=states, steps=1, batch=1), opset=14)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_form(tmp_path_factory, data) -> None:
    """What ONNX Runtime knows besides layout, which it refuses on the CPU."""
    from tests.importers.conftest import agree
    from tests.onnx_models import onnx_model

    op = data.draw(st.sampled_from(list(GATES)))
    direction = data.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)
    options = {}
    if data.draw(st.booleans()):
        options["activations"] = data.draw(
            st.lists(st.sampled_from(["Sigmoid", "Tanh", "Relu", "Softsign"]),
                     min_size=count, max_size=count)
        )  # fmt: skip
    if data.draw(st.booleans()):
        options["clip"] = data.draw(st.sampled_from([0.3, 1.0]))
    if op == "GRU":
        options["linear_before_reset"] = data.draw(st.integers(0, 1))
    if op == "LSTM":
        options["peepholes"] = data.draw(st.booleans())
        options["input_forget"] = data.draw(st.integers(0, 1))
    sizes = {name: data.draw(st.integers(1, 4)) for name in ("steps", "batch", "inputs", "hidden")}
    model = onnx_model(
        *network(op, direction=direction, states=data.draw(st.booleans()),
                 bias=data.draw(st.booleans()), seed=data.draw(st.integers(0, 9)),
                 **sizes, **options),
        opset=14,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("recurrent") / "m.onnx"
    path.write_bytes(model.SerializeToString())
    agree(path)


@pytest.mark.parametrize("op", GATES)
def test_the_batch_first_is_the_same_with_axes_changed(save, op) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    options = {"direction": "bidirectional", "seed": 5}
    steps_first = evaluate(load_onnx(save(*network(op, **options), opset=14)), {"x": x})
    graph = load_onnx(save(*network(op, layout=1, **options), opset=14))
    found = evaluate(graph, {"x": x.transpose(1, 0, 2)})
    np.testing.assert_allclose(found["Y"].transpose(1, 2, 0, 3), steps_first["Y"], atol=1e-6)
    np.testing.assert_allclose(found["Y_h"].transpose(1, 0, 2), steps_first["Y_h"], atol=1e-6)


@pytest.mark.parametrize("outputs", [["", "Y_h"], ["Y"], ["", "", "Y_c"]])
def test_outputs_that_are_left_out(agrees, outputs) -> None:
    graph = agrees(*network("LSTM", outputs=outputs, direction="bidirectional"), opset=14)
    assert all(not n.name.startswith("/") for n in graph.nodes)


def test_the_functions_with_numbers(agrees) -> None:
    agrees(*network("GRU", activations=["HardSigmoid", "LeakyRelu"], activation_alpha=[0.3, 0.1],
                    activation_beta=[0.4]), opset=14)  # fmt: skip
    agrees(*network("RNN", activations=["ScaledTanh"], activation_alpha=[1.2],
                    activation_beta=[0.7]), opset=14)  # fmt: skip
    agrees(*network("RNN", activations=["Affine"], activation_alpha=[0.5], activation_beta=[0.1]),
           opset=14)  # fmt: skip


def test_weights_are_there_once(save) -> None:
    graph = load_onnx(save(*network("LSTM", steps=6), opset=14))
    assert sum(value.shape == (20, 5) for value in graph.constants.values()) == 1


def test_what_is_refused(save) -> None:
    nodes, shapes, ends, constants = network("LSTM", steps=5000)
    with pytest.raises(UnsupportedOpError, match="5000 steps"):
        load_onnx(save(nodes, shapes, ends, constants, opset=14))
    nodes, shapes, ends, constants = network("LSTM")
    nodes[0].input[4] = "lengths"
    constants["lengths"] = np.array([3, 2], np.int32)
    with pytest.raises(UnsupportedOpError, match="sequences of"):
        load_onnx(save(nodes, shapes, ends, constants, opset=14))
    options = {"activations": ["Thresholded", "Tanh", "Tanh"]}
    with pytest.raises(UnsupportedOpError, match="activation 'thresholded'"):
        load_onnx(save(*network("LSTM", **options), opset=14))


@pytest.mark.parametrize("scheme", ["u8", "f16"])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_it_runs_on_the_chip(save, op, scheme) -> None:
    graph = npusim.load_model(save(*network(op, steps=4, batch=1), opset=14))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 1, 4)).astype(np.float32)
    want = evaluate(graph, {"x": x})["Y"]
    ready = (
        npusim.float16(graph)
        if scheme == "f16"
        else npusim.quantize(graph, [("s", {"x": x})], scheme=scheme)
    )
    got = npusim.compile(ready).run({"x": x}, preprocessed=True)["Y"]
    assert np.abs(got - want).max() < (0.1 if scheme == "u8" else 0.005)
