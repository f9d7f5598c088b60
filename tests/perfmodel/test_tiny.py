"""Read this first: one small network, end to end."""

import pytest

from npusim.ir.graph import Engine, Form
from npusim.perfmodel.estimate import estimate
from tests.perfmodel.graphs import mobile_block, pooled_conv


def test_layers_add_up_to_the_total():
    result = estimate(mobile_block())
    assert [layer.op for layer in result.layers] == ["conv2d", "conv2d", "conv2d", "global_pool"]
    assert sum(layer.time_us for layer in result.layers) == pytest.approx(result.total_time_us)
    assert sum(layer.share for layer in result.layers) == pytest.approx(1.0)
    assert result.frames_per_s == pytest.approx(1e6 / result.total_time_us)
    for layer in result.layers:
        assert sum(c for _, c in layer.cost.bound_cycles) == pytest.approx(layer.cost.cycles)


def test_stem_is_reshuffled_then_convolved():
    stem = estimate(mobile_block()).layers[0]
    assert [o.engine for o in stem.operations] == [Engine.TP, Engine.NN]
    assert stem.macs == 32 * 27 * 112 * 112


def test_max_pool_runs_inside_the_convolution_before_it():
    layer, pool = estimate(pooled_conv()).layers
    assert layer.fused == ("n_pool",)
    assert layer.operations[0].work.final_w == 16
    assert (pool.engine, pool.form, pool.note) == (Engine.NN, Form.FUSED, "fused into n_t0")
    assert not pool.operations


def test_batch_multiplies():
    one, four = estimate(mobile_block(), sram=False), estimate(mobile_block(batch=4), sram=False)
    assert four.total_time_us == pytest.approx(4 * one.total_time_us)
    assert four.macs == 4 * one.macs
