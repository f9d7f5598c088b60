"""Each rule speaks where it applies, and only there."""

from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim import assets
from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report.eval_perf import executed
from npusim.report.perf_advice import advise, advise_network
from tests.report.estimates import tiny


def price(*layers, size=(1, 16, 32, 32), dtype=DType.U8, **options):
    data = {"name": "n", "input": list(size), "outputs": [layers[-1]["name"]]}
    return estimate(parse_layer_list(data | {"layers": list(layers)}, dtype), **options)


def conv(name, out, source="data", kernel=3, **more):
    kernel = [kernel, kernel] if isinstance(kernel, int) else kernel
    dilation = more.get("dilation", 1)
    step = dilation if isinstance(dilation, list) else [dilation] * 2
    pad_h, pad_w = ((k - 1) * d // 2 for k, d in zip(kernel, step, strict=True))
    layer = {"name": name, "op": "conv", "inputs": [source], "out": out, "kernel": kernel}
    return layer | {"pad": [pad_h, pad_h, pad_w, pad_w]} | more


def pool(out, kernel, stride, source="c", pad=0):
    return {"name": "p", "op": "maxpool", "inputs": [source], "out": out, "kernel": kernel,
            "stride": stride, "pad": [pad] * 4}  # fmt: skip


def rules(estimate):
    return {name: advice.rule for name, advice in advise(estimate).items()}


SHAPES = {assets.INPUT_NAME: assets.INPUT_SHAPE}
C = [1, 16, 32, 32]
ODD = [1, 16, 33, 33]


@pytest.mark.parametrize(
    ("layers", "options", "name", "rule", "words"),
    [
        ([conv("c", C, kernel=13)], {}, "c", "kernel-limit", "13x13 pixels is beyond"),
        ([conv("c", C, dilation=[2, 3])], {}, "c", "dilation-pair", "2x3 is not supported"),
        (
            [conv("c", [1, 128, 32, 32], dilation=2)],
            {"size": (1, 128, 32, 32)}, "c", "dilation", "5x5 kernel with zeros",
        ),
        ([pool(C, 9, 1, "data", 4)], {}, "p", "large-pool", "4 3x3 stride-1 pools"),
        ([pool([1, 16, 6, 6], 5, 5, "data")], {}, "p", "large-pool", "up to 3x3 run on TP"),
        ([conv("c", C, act="silu")], {}, "c", "activation-pass", "swish is a pass of its own"),
        ([pool([1, 16, 16, 16], 2, 2, "data")], {}, "p", "pool-fusion", "directly behind a conv"),
        (
            [conv("c", ODD), pool([1, 16, 16, 16], 2, 2)],
            {"size": (1, 16, 33, 33)}, "p", "pool-fusion", "this map is 33x33",
        ),
        (
            [conv("c", C), pool([1, 16, 15, 15], 3, 2)],
            {}, "p", "pool-fusion", "this map is 32x32; 2x2 fuses for even maps",
        ),
        ([conv("c", C), pool(C, 3, 1, pad=1)], {}, "p", "pool-fusion", "stride 2 can fuse"),
        (
            [{"name": "j", "op": "concat", "inputs": ["data", "data"], "out": [1, 32, 32, 32]}],
            {}, "j", "copy", "concat copies",
        ),
        (
            [{"name": "s", "op": "add", "inputs": ["data", "data"], "out": C}],
            {}, "s", "shader", "two different operands",
        ),
        (
            [{"name": "g", "op": "gap", "inputs": ["data"], "out": [1, 16, 1, 1]}],
            {"size": (1, 16, 7, 7)}, "g", "shader", "average pool 7x7",
        ),
        (
            [{"name": "g", "op": "gap", "inputs": ["data"], "out": [1, 16, 1, 1]}],
            {}, "g", "shader", "shrink the map below 11x11",
        ),
        (
            [{"name": "r", "op": "resize", "inputs": ["data"], "out": [1, 16, 64, 64],
              "mode": "bilinear"}],
            {}, "r", "shader", "bilinear resize",
        ),
        (
            [{"name": "r", "op": "resize", "inputs": ["data"], "out": [1, 16, 48, 48]}],
            {}, "r", "shader", "only nearest by whole factors",
        ),
        (
            [{"name": "f", "op": "fc", "inputs": ["data"], "out": [1, 1000]}],
            {"dtype": DType.I8}, "f", "fc-type", "in u8 on the NN cores",
        ),
        (
            [{"name": "f", "op": "fc", "inputs": ["data"], "out": [1, 1000]}],
            {}, "f", "weights", "weights for one pixel bounds it",
        ),
        ([conv("c", [1, 8, 1, 1], kernel=1)], {"size": (1, 8, 1, 1)}, "c", "launch", "one-pixel"),
        (
            [{"name": "d", "op": "dwconv", "inputs": ["data"], "out": [1, 256, 32, 32],
              "kernel": 3, "pad": [1, 1, 1, 1]}],
            {"size": (1, 256, 32, 32), "ddr_gbps": 100}, "d", "depthwise", "dense with zeros",
        ),
        (
            [{"name": "d", "op": "dwconv", "inputs": ["data"], "out": [1, 256, 17, 17],
              "kernel": 3, "stride": 2, "pad": [1, 1, 1, 1]}],
            {"size": (1, 256, 33, 33)}, "d", "depthwise", "reshuffle on TP unless",
        ),
        (
            [conv("c", [1, 64, 32, 32], group=4)],
            {"size": (1, 64, 32, 32)}, "c", "groups", "4 groups run one after the other",
        ),
        (
            [conv("c", [1, 16, 112, 112], stride=2)],
            {"size": (1, 3, 224, 224), "profile": "vendor"}, "c", "reshuffle",
            "stride needs a reshuffle",
        ),
        (
            [conv("c", [1, 66, 64, 64])],
            {"size": (1, 64, 64, 64), "ddr_gbps": 100}, "c", "", "",
        ),
        (
            [conv("c", [1, 61, 64, 64])],
            {"size": (1, 64, 64, 64), "ddr_gbps": 100}, "c", "idle-cores",
            "61 output channels leave 13% of 10 cores idle: 70 cost the same, 60 cost less",
        ),
        (
            [conv("c", [1, 512, 14, 14], kernel=1)],
            {"size": (1, 512, 14, 14)}, "c", "short-rows", "rows of 14 bytes",
        ),
        (
            [conv("c", [1, 60, 32, 32], kernel=[3, 5])],
            {"size": (1, 60, 32, 32)}, "c", "oblong-kernel", "3x5 kernel",
        ),
    ],
)  # fmt: skip
def test_rule(layers, options, name, rule, words):
    found = advise(price(*layers, **options))
    advice = found.get(name)
    assert (advice.rule if advice else "") == rule
    assert words in (advice.text if advice else "")


def test_a_good_layer_gets_no_advice():
    estimate = price(conv("c", [1, 640, 28, 28]), size=(1, 64, 28, 28))
    assert rules(estimate) == {}


def test_every_layer_on_the_shader_has_advice():
    estimate = tiny()
    found = rules(estimate)
    shader = [x.name for x in executed(estimate) if x.engine and x.engine.value == "SH"]
    assert len(shader) >= 2
    assert set(shader) <= set(found)
    for advice in advise(estimate).values():
        assert "\n" not in advice.text
        assert len(advice.text) < 160


def test_sixteen_bits_are_no_advice_where_they_cost_the_nn_cores_nothing():
    """A softmax in float16 behind 8-bit layers, as in every classifier."""
    graph = npusim.load_model(assets.model_path(), input_shapes=SHAPES)
    feeds = {assets.INPUT_NAME: np.zeros(assets.INPUT_SHAPE, np.float32)}
    u8 = npusim.estimate(npusim.quantize(graph, [("s", feeds)]))
    assert DType.F16 in set(u8.source.dtypes.values())
    assert not any(advice.rule == "sixteen-bit" for advice in advise_network(u8))


def test_advice_about_the_network():
    assert advise_network(tiny()) == ()
    (half,) = advise_network(tiny(DType.F16))
    assert half.rule == "sixteen-bit"
    assert "NN cores in float16 take" in half.text
    assert "they run on 2 of 10 cores" in half.text
    (int16,) = advise_network(tiny(DType.I16))
    assert "int16" in int16.text
    (batch,) = advise_network(replace(tiny(), batch=32))
    assert batch.rule == "batch"
