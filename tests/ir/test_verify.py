"""Every rule of the verifier, by a graph that breaks it."""

from dataclasses import replace

import numpy as np
import pytest

from npusim.errors import GraphError
from npusim.ir.attrs import AlphaAttrs, ClipAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form, Preprocess
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, Requant
from npusim.ir.verify import verify
from npusim.passes.driver import check
from npusim.passes.pipeline import lower, optimize
from npusim.testing import GraphBuilder
from tests.passes.engine_net import Net

POOL = Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2))


def float_graph():
    builder = GraphBuilder()
    return builder.done(builder.node("relu", [builder.input("x", 1, 4, 4, 4)], "y"))


def quantized():
    net = Net(DType.U8)
    net.op("relu", net.op("pool2d", net.conv(net.x), attrs=POOL))
    graph = net.assigned()
    bare = tuple(replace(n, engine=None, form=None, reason="") for n in graph.nodes)
    return graph.copy(nodes=bare)


def with_spec(graph, name, **changes):
    graph = graph.copy()
    graph.tensors[name] = replace(graph.tensors[name], **changes)
    if name in graph.constants and "dtype" in changes:
        graph.constants[name] = graph.constants[name].astype(changes["dtype"].numpy)
    return graph


def with_node(graph, index, **changes):
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], **changes)
    return graph.copy(nodes=tuple(nodes))


def broken(graph, stage, words):
    with pytest.raises(GraphError, match=words):
        verify(graph, stage)


def test_every_stage_takes_what_the_passes_make():
    verify(optimize(float_graph()), "float")
    verify(quantized(), "quantized")
    verify(lower(quantized()), "quantized")
    verify(lower(quantized()), "lowered")
    verify(lower(quantized()))


def test_a_float_graph_has_no_codes_and_no_places():
    graph = float_graph()
    broken(with_spec(graph, "x", quant=Affine(scale=1.0), dtype=DType.U8), "float", "is quantized")
    for place in ({"engine": Engine.TP}, {"form": Form.COPY}, {"requant": Requant()}):
        broken(with_node(graph, 0, **place), "float", "is placed already")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quant": DynamicFixedPoint(fl=3)}, "u8 with DynamicFixedPoint"),
        ({"quant": Affine(scale=1.0, zero_point=256)}, r"zero point 256(.|\n)*0 to 255"),
        ({"quant": Affine(scale=1.0, zero_point=-1)}, "zero point -1"),
        ({"quant": Affine(scale=1.0, zero_point=-129), "dtype": DType.I8}, "-128 to 127"),
        (
            {"quant": AffinePerChannel(scales=(1.0,) * 3, zero_points=(0,) * 3, axis=1)},
            "3 scales and 3 zero points on axis 1",
        ),
        (
            {"quant": AffinePerChannel(scales=(1.0,) * 8, zero_points=(0,) * 7, axis=1)},
            "8 scales and 7 zero points",
        ),
        (
            {"quant": AffinePerChannel(scales=(1.0,) * 8, zero_points=(0,) * 8, axis=4)},
            "on axis 4",
        ),
        (
            {"quant": AffinePerChannel(scales=(1.0,) * 8, zero_points=(0,) * 7 + (300,), axis=1)},
            "300",
        ),
        ({"quant": Float()}, "holds u8 without parameters"),
    ],
)
def test_parameters_are_those_of_the_type(changes, words):
    broken(with_spec(quantized(), "x", **changes), "quantized", words)


@pytest.mark.parametrize("stage", [None, "quantized"])
@pytest.mark.parametrize(
    ("quant", "words"),
    [
        (Affine(scale=1.0, zero_point=2 * 10**9), "zero point 2000000000"),
        (AffinePerChannel(scales=(1.0,) * 8, zero_points=(0, -1) * 4, axis=1), "zero point -1"),
    ],
)
def test_zero_points_are_of_their_type_at_every_stage(quant, words, stage):
    broken(with_spec(quantized(), "x", quant=quant), stage, words)


def test_truth_values_are_not_quantized():
    broken(with_spec(quantized(), "x", dtype=DType.BOOL), None, "is bool and quantized")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_attributes_are_numbers(value):
    graph = with_node(float_graph(), 0, op="leaky_relu", attrs=AlphaAttrs(alpha=value))
    broken(graph, None, f"alpha is {value}")
    clip = ClipAttrs(minimum=0.0, maximum=value)
    if value == value:
        verify(with_node(float_graph(), 0, op="clip", attrs=clip))
    else:
        broken(with_node(float_graph(), 0, op="clip", attrs=clip), None, "maximum is nan")


def test_weights_that_are_multiplied_have_parameters():
    broken(
        with_spec(quantized(), "t0.weights", quant=Float()),
        "quantized",
        "'t0.weights' holds u8 without",
    )


def test_a_bias_has_one_value_a_result_in_steps_of_the_sums():
    graph = with_spec(quantized(), "t0.bias", quant=Affine(scale=0.05 * 0.01))
    verify(graph, "quantized")
    broken(
        with_spec(graph, "t0.bias", quant=Affine(scale=0.05)),
        "quantized",
        "has scale 0.05, its sums",
    )
    short = with_spec(graph, "t0.bias", shape=(4,))
    short.constants["t0.bias"] = np.zeros(4, np.int32)
    broken(short, "quantized", r"shape \(4,\), the weights \(8, 8, 1, 1\)")


def test_a_lowered_graph_says_where_and_how_every_layer_runs():
    graph = lower(quantized())
    assert [node.form for node in graph.nodes] == [Form.CONVOLUTION, Form.FUSED, Form.ACTIVATION]
    broken(with_node(graph, 2, engine=None), "lowered", "no engine or form")
    broken(with_node(graph, 2, form=None), "lowered", "no engine or form")
    broken(with_node(graph, 0, requant=None), "lowered", "convolution on NN has no requant")
    broken(with_node(graph, 2, requant=Requant()), "lowered", "activation on TP has a requant")


def test_preprocessing_belongs_to_inputs():
    graph = quantized()
    graph.preprocess["nobody"] = Preprocess(mean=(1.0,))
    broken(graph, "quantized", "preprocessing for .'nobody'.")


def test_a_lowered_graph_is_checked_and_not_lowered_again():
    graph = lower(quantized())
    assert lower(graph, level=0) is graph
    with pytest.raises(GraphError, match="no requant"):
        lower(with_node(graph, 0, requant=None))
    requant = graph.nodes[0].requant
    for wrong, words in (
        ({"zero_point": 5}, "zero point 5"),
        ({"multiplier": 0}, "multiplier 0"),
        ({"shift": 1024}, "shift 1024"),
    ):
        broken(with_node(graph, 0, requant=replace(requant, **wrong)), "lowered", words)
    with pytest.raises(GraphError, match="as view on TP"):
        lower(with_node(graph, 2, form=Form.VIEW))


def test_layers_have_the_operands_settings_and_results_of_their_operator():
    graph = quantized()
    node = graph.nodes[0]
    for changes, words in (
        ({"inputs": (*node.inputs, node.inputs[0])}, "has 4 inputs"),
        ({"attrs": AlphaAttrs(alpha=0.1)}, "has the settings AlphaAttrs"),
    ):
        with pytest.raises(GraphError, match=words):
            check(with_node(graph, 0, **changes))
    double = graph.copy()
    double.tensors["twice"] = replace(graph.spec(node.outputs[0]), name="twice")
    with pytest.raises(GraphError, match="2 outputs"):
        check(with_node(double, 0, outputs=(*node.outputs, "twice")))
    with pytest.raises(GraphError, match="its operator gives"):
        lower(with_spec(lower(graph), node.outputs[0], shape=(1, 1, 1, 1)))


def test_a_fused_layer_alone_reads_its_carrier():
    graph = lower(quantized())
    pool = graph.nodes[1]
    exposed = graph.copy(outputs=(*graph.outputs, pool.inputs[0]))
    broken(exposed, "lowered", "its carrier is missing")
    broken(with_node(graph, 1, inputs=("x",)), "lowered", "its carrier is missing")
    other = with_node(graph, 0, form=Form.FULLY_CONNECTED)
    broken(other, "lowered", "its carrier is missing")


@pytest.mark.parametrize("where", ["graph", "layer", "origin", "tensor"])
def test_names_are_texts_of_whole_characters(where):
    net = GraphBuilder()
    broken = "a\ud800"
    x = net.input(broken if where == "tensor" else "x", 1, 3, 4, 4)
    net.node("relu", [x])
    graph = net.done()
    if where == "graph":
        graph = graph.copy(name=broken)
    if where == "layer":
        graph = graph.copy(nodes=(replace(graph.nodes[0], name=broken),))
    if where == "origin":
        graph = graph.copy(nodes=(replace(graph.nodes[0], origin=(broken,)),))
    with pytest.raises(GraphError, match=r"a\\ud800"):
        verify(graph)


def test_layers_have_inputs_outputs_and_elements():
    graph = float_graph()
    for changes in ({"inputs": ()}, {"outputs": ()}):
        broken(with_node(graph, 0, **changes), None, "it has . inputs and . outputs")
    empty = with_spec(with_spec(graph, "x", shape=(1, 4, 0, 4)), "y", shape=(1, 4, 0, 4))
    verify(empty)  # as known values may be
    with pytest.raises(GraphError, match=r"'x' of shape .* is empty"):
        check(empty)
