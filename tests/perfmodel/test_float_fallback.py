"""Float16 on chips without float16 cores."""

import logging

import pytest

import npusim
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.machine import load_machine
from npusim.report.perf_advice import advise_network
from tests.perfmodel.graphs import mobile_block


@pytest.mark.parametrize(
    ("chip", "published_ms"), [("rv1126", 625), ("rv1109", 1000)], ids=["rv1126", "rv1109"]
)
def test_convolutions_take_the_published_multiple(chip, published_ms):
    """PP-OCRv4 recognition, float16: 149 ms on RK1808. Source: rknn_model_zoo's tables."""
    graph = mobile_block(dtype=DType.F16)
    known, found = estimate(graph, "rk1808", sram=False), estimate(graph, chip)
    pairs = [
        pair
        for layers in zip(found.layers, known.layers, strict=True)
        for pair in zip(*(layer.operations for layer in layers), strict=True)
        if pair[0].engine is Engine.NN
    ]
    assert pairs
    for mine, theirs in pairs:
        times = mine.cost.cycles / found.clock_hz, theirs.cost.cycles / known.clock_hz
        assert times[0] / times[1] == pytest.approx(published_ms / 149, rel=0.02)
        assert mine.cost.traffic == theirs.cost.traffic
    assert chip in found.note
    assert not known.note
    (advice,) = advise_network(found)
    assert "no NN cores for float16" in advice.text


@pytest.mark.parametrize("profile", ["board", "vendor"])
@pytest.mark.parametrize("chip", ["rv1126", "rv1109"])
def test_integers_have_their_cores(chip, profile):
    times = {}
    for dtype in (DType.U8, DType.I16, DType.F16):
        found = estimate(mobile_block(dtype=dtype), chip, profile=profile)
        times[dtype] = found.total_time_us
        assert bool(found.note) == (dtype is DType.F16)
    assert times[DType.U8] <= times[DType.I16] < times[DType.F16]
    rk1808 = estimate(mobile_block(dtype=DType.F16), "rk1808", profile=profile)
    assert times[DType.F16] > 2 * rk1808.total_time_us


def test_the_typed_function_says_it(caplog):
    with caplog.at_level(logging.WARNING, "npusim"):
        npusim.estimate(mobile_block(dtype=DType.F16), target="rv1126")
    (record,) = caplog.records
    assert "npusim explain no-float-cores" in record.getMessage()


def test_the_ratio_says_that_it_is_a_guess():
    for chip in ("rv1126", "rv1109"):
        assert load_machine(chip).provenance["nn.float_fallback_ratio"].confidence == "guess"
    for chip in ("rk1806", "rk1808", "rk3399pro"):
        assert load_machine(chip).nn.float_fallback_ratio == 0
