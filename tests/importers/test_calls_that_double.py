"""Functions and models that call each other twice: small files, networks twice as large a step."""

import pytest
from onnx import helper

import npusim
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.common import unroll
from npusim.importers.onnx import inline
from tests.importers.tensorflow_build import FLOAT, Function, Net
from tests.importers.test_keras import archive, layer, model, start
from tests.importers.tflite_build import Model
from tests.onnx_models import onnx_model

STEPS = 7


def onnx(folder):
    node, opsets = helper.make_node, [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", "f0", ["a"], ["r"], [node("Elu", ["a"], ["r"])], opsets)
    ]
    for step in range(STEPS):
        calls = [
            node(f"f{step}", [source], [result], domain="own")
            for source, result in (("a", "t"), ("t", "r"))
        ]
        functions.append(helper.make_function("own", f"f{step + 1}", ["a"], ["r"], calls, opsets))
    call = node(f"f{STEPS}", ["x"], ["y"], domain="own")
    made = onnx_model([call], {"x": (1, 4)}, {"y": (1, 4)}, domains={"own": 1})
    made.functions.extend(functions)
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return npusim.load_model(path)


def tensorflow(folder):
    net = Net()
    net.input("x", (4,))
    last = Net()
    last.op("n", "Elu", "a")
    net.function("f0", ["a"], {"r": "n:activations:0"}, last)
    for step in range(STEPS):
        inner = Net()
        for name, source in (("one", "a"), ("two", "one:output:0")):
            call = Function(f"f{step}")
            inner.op(name, "PartitionedCall", source, f=call, Tout=[FLOAT])
        net.function(f"f{step + 1}", ["a"], {"r": "two:output:0"}, inner)
    net.op("y", "PartitionedCall", "x", f=Function(f"f{STEPS}"), Tout=[FLOAT])
    return net.load(folder, outputs=["y"])


def tflite(folder):
    made = Model()
    for step in range(STEPS + 1):  # a function calls the one behind it
        graph = made.function() if not step else made.function(f"f{step}")
        a, r = graph.tensor("a", (4,)), graph.tensor("r", (4,))
        if step == STEPS:
            graph.op("ELU", [a], [r])
        else:
            between = graph.tensor("t", (4,))
            for source, result in ((a, between), (between, r)):
                graph.op("CALL", [source], [result], "CallOptions", subgraph=step + 1)
        graph.proto.inputs, graph.proto.outputs = [a], [r]
    return npusim.load_model(made.save(folder / "net.tflite"))


def keras(folder):
    inner = model(start((4,)), layer("ELU", "e", "x"))
    for step in range(STEPS):
        name = f"m{step}"
        called = layer("Functional", name, "x") | {"config": inner["config"] | {"name": name}}
        again = {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
        called["inbound_nodes"] = [*called["inbound_nodes"], {"args": [again], "kwargs": {}}]
        inner = model(start((4,)), called)
        inner["config"]["output_layers"] = [[name, 1, 0]]
    return npusim.load_model(archive(folder, inner))


@pytest.mark.parametrize("framework", [onnx, tensorflow, tflite, keras])
def test_calls_are_written_out_up_to_a_number_of_layers(framework, tmp_path, monkeypatch):
    graph = framework(tmp_path)
    assert sum(node.op == "elu" for node in graph.nodes) == 2**STEPS
    monkeypatch.setattr(unroll, "MAX_LAYERS", 100)
    monkeypatch.setattr(inline, "MAX_LAYERS", 100)
    with pytest.raises((ModelImportError, UnsupportedOpError), match="written out") as refused:
        framework(tmp_path)
    assert "100" in str(refused.value)


def test_operators_that_calls_visit_are_counted_where_they_make_no_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(unroll, "MAX_VISITS", 100)
    with pytest.raises(UnsupportedOpError, match="more than 100 operators in turns and calls"):
        tensorflow(tmp_path)
