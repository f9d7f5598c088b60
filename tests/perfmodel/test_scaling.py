"""Variants of a layer list: channels that belong together stay together, and prices follow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npusim import assets
from npusim.errors import ConfigError, GraphError
from npusim.perfmodel.channels import Channels
from npusim.perfmodel.layer_list import layer_graph, read_layer_list
from npusim.perfmodel.scaling import Scaling, reshaped

QUICK = settings(max_examples=60, deadline=None)


def conv(name, source, channels, kernel=1, **more):
    pad = [kernel // 2] * 4
    entry = {"name": name, "op": "conv", "inputs": [source], "channels": channels}
    return entry | {"kernel": kernel, "pad": pad} | more


def design(*layers, outputs, size=(32, 32)):
    data = {"name": "design", "input": [1, 3, *size], "outputs": list(outputs), "layers": [*layers]}
    return Scaling(layer_graph(data))


def shape_of(layers, name):
    return layers.graph.spec(name).shape


def test_convolutions_scale_and_what_goes_in_and_out_stays():
    scaling = design(
        conv("stem", "data", 32, 3, stride=2),
        {"name": "depth", "op": "dwconv", "inputs": ["stem"], "kernel": 3, "pad": [1] * 4},
        conv("wide", "depth", 96, act="relu6"),
        {"name": "mean", "op": "gap", "inputs": ["wide"]},
        {"name": "classes", "op": "fc", "inputs": ["mean"], "channels": 10},
        outputs=["classes"],
    )
    half = scaling.variant(0.5, (48, 40))
    assert shape_of(half, "data") == (1, 3, 48, 40)
    assert shape_of(half, "depth") == (1, 16, 24, 20)
    assert shape_of(half, "wide") == (1, 48, 24, 20)
    assert shape_of(half, "classes") == (1, 10)
    assert half.graph.node("depth").attrs.group == 16
    assert half.graph.spec(half.graph.node("classes").inputs[1]).shape == (10, 48)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 0.5, 16), (24, 0.75, 24), (16, 0.25, 8), (320, 0.35, 112), (4, 0.5, 4), (24, 1.5, 40),
        (24, 1, 24),
    ],
)  # fmt: skip
def test_channels_are_rounded_as_mobilenet_does(channels, width, expected):
    layers = layer_graph(
        {"name": "d", "input": [1, 3, 8, 8], "outputs": ["b"],
         "layers": [conv("a", "data", channels), conv("b", "a", 5)]}
    )  # fmt: skip
    assert Channels(layers.graph).rounded("a", channels, width) == expected
    assert shape_of(Scaling(layers).variant(width), "a")[1] == expected


def test_operands_of_a_sum_keep_equal_channels_whatever_came_first():
    # the early convolution has to follow the parts of a split behind it
    scaling = design(
        conv("early", "data", 36),
        conv("two", "data", 72),
        {"name": "parts", "op": "split", "inputs": ["two"], "sizes": [36, 36]},
        {"name": "sum", "op": "add", "inputs": ["early", "parts.0"]},
        conv("head", "sum", 7),
        outputs=["head"],
    )
    for width in (0.25, 0.4, 0.6, 1.7):
        made = scaling.variant(width)
        assert shape_of(made, "early") == shape_of(made, "parts.1") == shape_of(made, "sum")
        assert shape_of(made, "head")[1] == 7


def test_a_residual_to_the_input_keeps_its_channels():
    scaling = design(
        conv("a", "data", 64, 3),
        conv("b", "a", 3),
        {"name": "sum", "op": "add", "inputs": ["data", "b"]},
        conv("c", "sum", 16),
        conv("head", "c", 4),
        outputs=["head"],
    )
    made = scaling.variant(0.5)
    assert [shape_of(made, n)[1] for n in ("a", "b", "c", "head")] == [32, 3, 8, 4]


def test_groups_stay_equal():
    scaling = design(
        conv("a", "data", 96),
        conv("grouped", "a", 96, 3, group=12),
        conv("head", "grouped", 4),
        outputs=["head"],
    )
    made = scaling.variant(0.6)
    node = made.graph.node("grouped")
    assert node.attrs.group == 12
    assert shape_of(made, "a")[1] % 12 == shape_of(made, "grouped")[1] % 12 == 0


def test_windows_over_the_whole_map_and_flattened_maps_follow_the_input():
    scaling = design(
        conv("a", "data", 16),
        {"name": "pool", "op": "avgpool", "inputs": ["a"], "kernel": 32, "stride": 1},
        {"name": "flat", "op": "reshape", "inputs": ["a"], "out": [1, 16 * 32 * 32]},
        {"name": "fc", "op": "fc", "inputs": ["flat"], "channels": 4},
        outputs=["pool", "fc"],
    )
    made = scaling.variant(1, (20, 24))
    assert shape_of(made, "pool") == (1, 16, 1, 1)
    assert shape_of(made, "flat") == (1, 16 * 20 * 24)


def test_what_does_not_fit_names_variant_and_layer():
    scaling = design(
        conv("side", "data", 16),
        conv("down", "side", 16, 3, stride=2),
        {"name": "up", "op": "resize", "inputs": ["down"], "factor": 2},
        {"name": "sum", "op": "add", "inputs": ["up", "side"]},
        outputs=["sum"],
    )
    with pytest.raises(ConfigError) as caught:
        scaling.variant(1, (31, 31))
    assert "input 31x31" in str(caught.value)
    assert "layer 'sum' (add)" in str(caught.value)
    assert caught.value.remedy


def test_a_pooled_context_goes_back_to_the_size_of_the_map_it_joins():
    scaling = design(
        conv("a", "data", 32),
        {"name": "mean", "op": "gap", "inputs": ["a"]},
        conv("context", "mean", 16),
        {"name": "spread", "op": "resize", "inputs": ["context"], "size": [32, 32]},
        conv("side", "a", 16),
        {"name": "both", "op": "concat", "inputs": ["spread", "side"]},
        conv("head", "both", 4),
        outputs=["head"],
    )
    made = scaling.variant(0.5, (20, 44))
    assert shape_of(made, "both") == (1, 16, 20, 44)
    assert shape_of(made, "head") == (1, 4, 20, 44)


def test_behind_a_transpose_axis_one_is_no_channel_count():
    scaling = design(
        conv("a", "data", 32),
        conv("head", "a", 6),
        {"name": "last", "op": "transpose", "inputs": ["head"], "perm": [0, 2, 3, 1]},
        {"name": "flat", "op": "reshape", "inputs": ["last"], "out": [1, 32 * 32, 6]},
        outputs=["flat"],
    )
    made = scaling.variant(0.5, (16, 24))
    assert shape_of(made, "a")[1] == 16
    assert shape_of(made, "flat") == (1, 16 * 24, 6)


@pytest.mark.parametrize(
    ("old", "new", "target", "expected"),
    [
        ((1, 512, 7, 7), (1, 256, 6, 6), (1, 25088), (1, 9216)),
        ((1, 512, 1, 1), (1, 256, 1, 1), (1, 512), (1, 256)),
        ((1, 255, 20, 20), (1, 255, 24, 20), (1, 3, 85, 400), (1, 3, 85, 480)),
        ((1, 64, 400), (1, 32, 400), (1, 64, 20, 20), (1, 32, 20, 20)),
        ((2, 3), (2, 5), (1, 2, 3), (1, 2, 5)),
        ((1, 20, 20, 255), (1, 24, 28, 255), (1, 1200, 85), (1, 2016, 85)),
    ],
)
def test_reshapes_follow_their_input(old, new, target, expected):
    assert reshaped(old, new, target) == expected


def test_a_reshape_that_cuts_a_changed_axis_is_refused():
    with pytest.raises(GraphError, match="cannot cut"):
        reshaped((1, 64, 400), (1, 64, 576), (1, 64, 20, 20))


@QUICK
@given(
    st.floats(0.1, 2.0), st.integers(33, 300), st.integers(33, 300),
)  # fmt: skip
def test_every_variant_of_the_bundled_list_is_a_network(width, height, columns):
    layers = read_layer_list(assets.layer_list_path())
    made = Scaling(layers).variant(width, (height, columns))
    graph = made.graph
    assert [n.name for n in graph.nodes] == [n.name for n in layers.graph.nodes]
    for name in graph.outputs:
        assert shape_of(made, name)[1] == layers.graph.spec(name).shape[1]
