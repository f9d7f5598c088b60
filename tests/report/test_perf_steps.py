"""Channels that cost less although they are more: only where pricing the whole variant agrees."""

import pytest

from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report.perf_advice import advise
from npusim.report.perf_steps import channel_steps


def price(channels, *, between=(), size=7, source=448, classes=1000, **options):
    """Price a narrow pointwise convolution, what lies between, and a wide one that reads it."""
    layers = [
        {"name": "narrow", "op": "conv", "inputs": ["data"], "channels": channels},
        *between,
        {"name": "wide", "op": "conv", "inputs": [between[-1]["name"] if between else "narrow"],
         "channels": classes},
    ]  # fmt: skip
    data = {"name": "n", "input": [1, source, size, size], "outputs": ["wide"], "layers": layers}
    return estimate(parse_layer_list(data), **options)


def steps_of(channels, **more):
    return channel_steps(price(channels, **more)).get("narrow")


FOUND = [n for n in range(8, 260, 4) if steps_of(n) is not None]


def test_there_are_steps_and_most_widths_have_none():
    assert FOUND
    assert len(FOUND) < 30


@pytest.mark.parametrize("channels", FOUND)
def test_a_step_is_what_the_changed_network_costs(channels):
    before = price(channels)
    step = steps_of(channels)
    after = price(step.channels)
    assert step.instead_of == channels < step.channels <= channels + max(8, channels // 4)
    saved = before.total_time_us - after.total_time_us
    assert step.all_us == pytest.approx(saved, rel=1e-6)
    assert step.share == pytest.approx(saved / before.total_time_us, rel=1e-6)
    own = before.layers[0].time_us - after.layers[0].time_us
    assert step.own_us == pytest.approx(own, rel=1e-6)
    found = advise(before)["narrow"]
    if found.rule == "channel-step":
        assert f"{step.channels} output channels cost less than {channels} here" in found.text


@pytest.mark.parametrize(
    "between",
    [
        ({"name": "depth", "op": "dwconv", "inputs": ["narrow"], "kernel": 3, "pad": [1] * 4},),
        ({"name": "act", "op": "act", "kind": "sigmoid", "inputs": ["narrow"]},),
        ({"name": "pool", "op": "maxpool", "inputs": ["narrow"], "kernel": 3, "stride": 1,
          "pad": [1] * 4},),
    ],
    ids=["depthwise", "activation", "pool"],
)  # fmt: skip
def test_what_lies_between_is_priced_too(between):
    for channels in (36, 100, 112, 144, 200):
        step = steps_of(channels, between=between)
        if step is None:
            continue
        before, after = price(channels, between=between), price(step.channels, between=between)
        assert step.all_us == pytest.approx(before.total_time_us - after.total_time_us, rel=1e-6)


def test_nothing_is_said_of_outputs():
    for channels in FOUND:
        assert "wide" not in channel_steps(price(channels))
