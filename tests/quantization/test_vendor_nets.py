"""Every parameter in real files of the toolkit that follows from the ranges of other tensors.

``constrain`` gets the ranges of those tensors that lead, as the file has them, and nonsense for all
that follow; of several leaders of one group the first has the low end and the last the high one.
What comes out is compared with the file and counted by rule; docs/quantization.md lists the counts.
"""

import json
import re
from collections import Counter

import numpy as np
import pytest

from npusim import load_model
from npusim.ir.quant import Affine
from npusim.ops import keeps_codes
from npusim.passes.pipeline import optimize
from npusim.quantization.apply import Formats, apply_formats
from npusim.quantization.constrain import clipped_for_sigmoid, constrain
from npusim.quantization.eras import DEFAULT_ERA, era_of
from npusim.quantization.groups import groups
from npusim.quantization.schemes import Scheme, WeightQuantizer, affine_u8, dynamic_fixed_point
from tests.quantization.vendor_nets import FILES, ROWS, Net, constants_of_file, net, rows_of_file

KINDS = ("Conv", "ConvTranspose", "Add", "Div")
NONSENSE = (-1e6, 1e6)
LAST_BITS = 2e-6  # lstm14 prints scales with six digits
RELEASES = {
    "mnist": "1.7.0",
    "static_det": "1.7.3",
    "yolov5lite": "1.7.0",
    "lstm14": "1.7",
    "PNet_18_14": "1.7",
}
# rule -> tensors that come out as the file has them; nothing deviates
AGREE = {
    "mnist": {"move": 3, "before relu": 2, "sigmoid input": 1},
    "static_det": {"move": 3, "concat": 8, "before relu": 14, "sigmoid input": 1},
    "yolov5lite": {
        "move": 4,
        "concat": 80,
        "before relu": 27,
        "before a relu of a group": 17,
        "sigmoid input": 3,
    },
    "lstm14": {"move": 4},
    "PNet_18_14": {"move": 1},
}


def followers(found, era):
    """Return tensor -> rule, and the ranges of the file without what the rules have to find."""
    graph, given = found.graph, found.ranges()
    producers, rules, joined = graph.producers(), {}, set()
    for group in groups(graph, era=era):
        low, high = given[group.leaders[0]]
        for name in group.members:
            if group.concats:
                rules[name] = "concat"
            elif name not in group.leaders:
                rules[name] = "move"
            given[name] = (0.0, 0.0) if name in group.leaders else NONSENSE
        first, last = group.leaders[0], group.leaders[-1]
        given[last] = (given[last][0], high)
        given[first] = (low, given[first][1])
        joined.update(group.members if group.concats else ())
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else ""
        if node.op == "relu" and source in producers:
            rules[source] = (
                "before a relu of a group" if node.outputs[0] in joined else "before relu"
            )
            if rules[source] == "before relu":
                given[source] = NONSENSE
        elif node.op == "sigmoid":
            rules[source] = "sigmoid input"
            if not keeps_codes(producers[source]):
                given[source] = NONSENSE
    return rules, given


def agrees(found, name, rule, ranges):
    quant = found.quants[name]
    if not isinstance(quant, Affine):
        return dynamic_fixed_point(ranges[name], 8) == quant
    if rule == "sigmoid input":
        # the high end is that of the layer before, whose own parameters tell it to half a step
        low, high = ranges[name]
        ranges = {name: (low, 255 * quant.scale + low)}
        source = found.quants[found.graph.producers()[name].inputs[0]]
        if abs(high - ranges[name][1]) > source.scale / 2:
            return False
    own = affine_u8(ranges[name])
    return own.zero_point == quant.zero_point and abs(own.scale / quant.scale - 1) < LAST_BITS


def counted(name, era):
    found = net(name)
    rules, given = followers(found, era)
    ranges = constrain(found.graph, given, era=era)
    ranges |= clipped_for_sigmoid(found.graph, ranges, era)
    return Counter(
        (rule, agrees(found, tensor, rule, ranges))
        for tensor, rule in rules.items()
        if tensor in found.quants
    )


@pytest.mark.parametrize("name", RELEASES)
def test_parameters_follow_from_those_of_the_leaders(name):
    expected = {(rule, True): count for rule, count in AGREE[name].items()}
    assert counted(name, era_of(RELEASES[name])) == expected


def test_slices_of_1_7_0_give_their_range_to_the_concat_they_read():
    wrong = counted("yolov5lite", DEFAULT_ERA)
    assert wrong["concat", False] > 0  # other releases tie a concat to its parts
    found = net("yolov5lite")
    concats = [node for node in found.graph.nodes if node.op == "concat"]
    own = [found.quants[n.inputs[0]] == found.quants[n.outputs[0]] for n in concats]
    assert (own.count(True), own.count(False)) == (7, 10)


@pytest.mark.parametrize("name", RELEASES)
def test_numbers_are_those_of_the_files(name):
    path = FILES / f"{name}.rknn"
    if not path.exists():
        pytest.skip("the vendor's files are not there")
    assert json.loads(ROWS.read_text())[name] == rows_of_file(path)


@pytest.mark.parametrize(("name", "layers"), [("mnist", 4), ("static_det", 56)])
def test_weights_of_the_source_networks_to_the_last_bit(name, layers):
    """Folding, scale, zero point, codes of weights and biases, against the files themselves."""
    if not (FILES / f"{name}.onnx").exists():
        pytest.skip("the vendor's files are not there")
    stored = constants_of_file(FILES / f"{name}.rknn")
    shapes = [(1, 1, 28, 28)] if name == "mnist" else None
    graph = optimize(load_model(FILES / f"{name}.onnx", input_shapes=shapes))
    by_layer = {layer.rsplit("_", 1)[0]: found for layer, found in stored.items()}
    quantizer, equal = WeightQuantizer(scheme=Scheme.U8), 0
    for node in graph.nodes:
        source = next((by_layer[n] for n in sources(node) if n in by_layer), None)
        if node.op not in ("conv2d", "fc") or source is None:
            continue
        (codes, (scale, zero_point)), (bias, (step, _)) = source[:2]
        weights, quant = quantizer.weights(graph.constants[node.inputs[1]])
        assert quant == Affine(scale=scale, zero_point=zero_point), node.name
        assert np.array_equal(weights, codes.reshape(weights.shape)), node.name
        own = np.rint(graph.constants[node.inputs[2]] / np.float64(step))
        assert np.array_equal(own, bias.reshape(-1)), node.name
        equal += 1
    assert equal == layers


def test_matrices_of_an_lstm_cell_share_one_scale():
    if not (FILES / "lstm14.rknn").exists():
        pytest.skip("the vendor's files are not there")
    stored = constants_of_file(FILES / "lstm14.rknn")
    for cell in ("lstm1_2", "lstm2_3"):
        matrices = [(codes, own) for codes, own in stored[cell] if codes.ndim == 2]
        assert len(matrices) == 8
        assert len({tuple(own) for _, own in matrices}) == 1
        joint = np.concatenate([codes.reshape(-1) for codes, _ in matrices])
        assert (joint.min(), joint.max()) == (0, 255)


def sources(node):
    """Return the toolkit's names of a layer, which keeps that of the convolution in a fold."""
    return [f"{kind}_{name}" for kind in ("Conv", "Gemm") for name in node.origin]


def test_source_network_gets_the_parameters_of_the_file():
    """static_det.onnx, imported and lowered by the rules of 1.7.3: every tensor that both have."""
    if not (FILES / "static_det.onnx").exists():
        pytest.skip("the vendor's files are not there")
    era = era_of("1.7.3")
    graph = optimize(load_model(FILES / "static_det.onnx"), splits_deconv=era.splits_deconv)
    stored = {plain(name): quant for name, quant in net("static_det").quants.items()}
    quants = {graph.inputs[0]: stored["input"]}
    for node in graph.nodes:
        names = [
            plain(node.layer_id),
            *(f"{kind}_{n}" for n in node.origin[::-1] for kind in KINDS),
        ]
        quants[node.outputs[0]] = next(stored[name] for name in names if name in stored)
    found = Net(graph=graph, quants=quants)
    rules, given = followers(found, era)
    ranges = constrain(graph, given, era=era)
    ready = apply_formats(graph, ranges, Formats(default=Scheme.U8, era=era))
    assert "concat" in rules.values()
    close = [
        ready.spec(name).quant.zero_point == quant.zero_point
        and abs(ready.spec(name).quant.scale / quant.scale - 1) < LAST_BITS
        for name, quant in quants.items()
    ]
    assert (close.count(True), close.count(False), len(rules)) == (106, 0, 13)


def plain(layer):
    """Return a layer id without its numbers, which depend on the importer."""
    return re.sub(r"_\d+(?=$|_plane|_dual_conv)", "", layer)
