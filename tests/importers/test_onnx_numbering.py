"""Layer numbers against those in real files of the toolkit."""

import json
import re
from dataclasses import replace

import pytest

import npusim
from npusim.analysis.stored_ranges import era_of_file, quantize_like
from npusim.importers.onnx.numbering import numbered
from npusim.ir.attrs import Conv2dAttrs, SplitAttrs
from npusim.passes.pipeline import lower, optimize
from npusim.testing import GraphBuilder
from tests.quantization.vendor_nets import FILES, ROWS, net


def unmerged(graph):
    """Return the network with sigmoid and product for every swish, as it was imported."""
    nodes = []
    for node in graph.nodes:
        found = re.fullmatch(r"(Sigmoid_.+_\d+)_(Mul_.+_\d+)", node.name)
        if found is None:
            nodes.append(node)
            continue
        (ifm,), gate = node.inputs, found[1]
        graph.tensors[gate] = replace(graph.spec(node.outputs[0]), name=gate)
        nodes.append(replace(node, name=gate, op="sigmoid", outputs=(gate,)))
        nodes.append(replace(node, name=found[2], op="mul", inputs=(ifm, gate)))
    return graph.copy(nodes=tuple(nodes))


@pytest.mark.parametrize(("name", "layers"), [("mnist", 10), ("yolov5lite", 184)])
def test_numbers_of_a_file_follow_from_its_connections(name, layers):
    graph = numbered(unmerged(net(name).graph))
    wrong = [n.layer_id for n in graph.nodes if n.uid != int(n.name.rsplit("_", 1)[1])]
    assert (wrong, len(graph.nodes)) == ([], layers)


@pytest.mark.parametrize(
    ("name", "shapes", "layers"), [("mnist", [(1, 1, 28, 28)], 10), ("static_det", None, 118)]
)
def test_layer_ids_of_source_networks_are_those_of_the_files(name, shapes, layers):
    if not (FILES / f"{name}.onnx").exists():
        pytest.skip("the vendor's files are not there")
    graph = npusim.load_model(FILES / f"{name}.onnx", input_shapes=shapes)
    known = {
        node.layer_id for g in (graph, optimize(graph, splits_deconv=True)) for node in g.nodes
    }
    stored = {row[0] for row in json.loads(ROWS.read_text())[name] if row[1] != "VARIABLE"}
    assert len(stored & known) == layers
    assert stored - known == {"input"}


@pytest.mark.parametrize(
    ("name", "layers"), [("mnist", 8), pytest.param("static_det", 103, marks=pytest.mark.slow)]
)
def test_placed_layers_of_source_and_file_line_up_one_to_one(name, layers):
    """What dumps, reports and prices call layers: the same ids, operators and numbers."""
    if not (FILES / f"{name}.onnx").exists():
        pytest.skip("the vendor's files are not there")
    file = npusim.load_model(FILES / f"{name}.rknn")
    source = npusim.load_model(FILES / f"{name}.onnx")
    made = quantize_like(source, file, era=era_of_file(file))
    theirs, ours = ({n.layer_id: n.op for n in lower(g).nodes} for g in (file, made))
    assert ours == theirs
    assert len(ours) == layers


def test_layers_of_several_outputs_come_last_output_first():
    b = GraphBuilder()
    x = b.input("x", 1, 4, 2, 2)
    graph = numbered(b.done(*(b.node("relu", [x], name) for name in "abc")))
    assert {n.outputs[0]: n.uid for n in graph.nodes} == {"a": 5, "b": 4, "c": 3}


def test_split_waits_until_its_last_part_is_asked_for():
    b = GraphBuilder()
    b.node("split", [b.input("x", 1, 4, 2, 2)], "p", SplitAttrs(axis=1, sizes=(2, 2)), ["q"])
    b.node("relu", ["p"], "r")
    b.node("relu", [b.node("relu", ["q"], "s")], "t")
    graph = numbered(b.done(b.node("add", ["r", "t"], "y")))
    assert {n.outputs[0]: n.uid for n in graph.nodes} == {"y": 1, "r": 2, "t": 3, "s": 4, "p": 5}


def test_constants_of_sums_count_and_weights_do_not():
    b = GraphBuilder()
    x = b.input("x", 1, 1, 2, 2)
    weights = [b.constant("w", [[[[1.0]]]]), b.constant("b", [0.0])]
    b.node("conv2d", [x, *weights], "c", Conv2dAttrs())
    b.node("add", ["c", b.constant("k", [1.0])], "s")
    graph = numbered(b.done(b.node("add", ["s", "k"], "y")))
    assert {n.outputs[0]: n.uid for n in graph.nodes} == {"y": 1, "s": 2, "c": 4}  # k has 3 and 5
