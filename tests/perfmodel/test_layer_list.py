"""Layer lists: short forms, operators by their own names, results that follow from the shapes."""

import pytest

from npusim.errors import ModelImportError
from npusim.perfmodel.layer_list import layer_graph, parse_layer_list
from npusim.perfmodel.lowering import lower


def listed(*layers, shape=(1, 16, 12, 12), **more):
    names = [
        {"name": f"n{i}", "inputs": [f"n{i - 1}" if i else "data"]} for i in range(len(layers))
    ]
    entries = [name | layer for name, layer in zip(names, layers, strict=True)]
    outputs = [entries[-1]["name"]]
    return {
        "name": "list", "input": list(shape), "outputs": outputs, "layers": entries,
    } | more  # fmt: skip


def operations(*layers, **more):
    lowered = lower(parse_layer_list(listed(*layers, **more)))
    return [f"{w.engine.value}:{w.operation}" for low in lowered for w in low.works]


CONV = {"op": "conv", "channels": 16, "kernel": 3, "pad": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ({"op": "slice", "start": 4, "stop": 12}, (1, 8, 12, 12)),
        ({"op": "slice", "start": 0, "stop": 12, "axis": 3, "step": 2}, (1, 16, 12, 6)),
        ({"op": "slice", "begin": [0, 0, 1, 0], "end": [1, 16, 12, 12], "step": [1, 1, 2, 1]},
         (1, 16, 6, 12)),
        ({"op": "reduce_mean", "axes": [2, 3]}, (1, 16, 1, 1)),
        ({"op": "reduce_max", "axes": [1], "keepdims": False}, (1, 12, 12)),
        ({"op": "clip", "minimum": -1, "maximum": 2.5}, (1, 16, 12, 12)),
        ({"op": "transpose", "perm": [0, 2, 3, 1]}, (1, 12, 12, 16)),
        ({"op": "deconv", "channels": 8, "kernel": 2, "stride": 2}, (1, 8, 24, 24)),
        ({"op": "pad", "front": [0, 0, 1, 0], "back": [0, 0, 0, 2]}, (1, 16, 13, 14)),
        ({"op": "conv", "channels": 4, "kernel": 3, "dilation": 2}, (1, 4, 8, 8)),
        ({"op": "dwconv", "kernel": 3}, (1, 16, 10, 10)),
        ({"op": "resize", "factor": 2}, (1, 16, 24, 24)),
        ({"op": "matmul", "inputs": ["data", "data"], "transpose_b": True}, (1, 16, 12, 12)),
        ({"op": "channel_shuffle", "group": 4}, (1, 16, 12, 12)),
        ({"op": "fc", "channels": 10}, (1, 10)),
        ({"op": "fc", "out": [1, 16, 12, 5]}, (1, 16, 12, 5)),
        ({"op": "leaky_relu"}, (1, 16, 12, 12)),
        ({"op": "add", "inputs": ["data", {"constant": [1, 16, 1, 1]}]}, (1, 16, 12, 12)),
    ],
)  # fmt: skip
def test_results_follow_from_the_shapes(layer, shape):
    graph = layer_graph(listed(layer)).graph
    assert graph.spec("n0").shape == shape
    assert operations(
        CONV, layer | {"inputs": ["n0" if n == "data" else n for n in layer.get("inputs", ["n0"])]}
    )


def test_a_split_has_several_results():
    graph = layer_graph(
        listed({"op": "split", "sizes": [4, 12]}, CONV | {"inputs": ["n0.1"]})
    ).graph
    assert [graph.spec(f"n0.{i}").shape[1] for i in (0, 1)] == [4, 12]


def test_several_inputs_have_names():
    data = listed({"op": "add", "inputs": ["a", "b"]})
    data["input"] = {"a": [1, 8, 4, 4], "b": [1, 8, 4, 4]}
    assert layer_graph(data).graph.inputs == ("a", "b")


def test_an_activation_behind_a_sum_is_a_layer_unless_the_sum_does_it():
    both = {"op": "add", "inputs": ["data", "data"], "act": "relu"}
    assert operations(both) == ["SH:ADD", "TP:ACTIVATION"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"op": "convolve"}, "'convolve' does not exist"),
        ({"op": "reduce_mean"}, "lacks 'axes'"),
        ({"op": "reduce_mean", "axes": "two"}, "axes = 'two'"),
        ({"op": "relu", "axes": [1]}, r"unknown fields \['axes'\]"),
        ({"op": "slice", "start": 4}, "lacks 'stop'"),
        ({"op": "conv", "kernel": 3}, "lacks 'channels'"),
        ({"op": "conv", "channels": 4, "out": [1, 5, 12, 12]}, "channels = 4"),
        ({"op": "split", "sizes": [4, 4]}, "do not add up"),
        (
            {"op": "maxpool", "kernel": 2, "stride": 2, "out": [1, 16, 5, 5]},
            r"out is \[1, 16, 5, 5\], its inputs give \[1, 16, 6, 6\]",
        ),
        ({"op": "add"}, "has 1 operands"),
    ],
)
def test_errors_name_the_layer(layer, message):
    with pytest.raises(ModelImportError, match=message) as error:
        layer_graph(listed(layer), "net.json")
    assert "net.json, layer 0 (n0)" in str(error.value)
