"""Layer numbers against those in real files of the toolkit."""

import json
import re
from dataclasses import replace

import pytest

import npusim
from npusim.importers.onnx.numbering import numbered
from npusim.passes.pipeline import optimize
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
