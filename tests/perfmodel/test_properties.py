"""What must hold for every network: costs add up, and nothing gets faster with less."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npusim.ir.dtypes import DType
from npusim.perfmodel.cost import Cost, total
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.machine import load_machine

RK1808 = load_machine("rk1808")
QUICK = settings(max_examples=40, deadline=None)
SLACK = 1 + 1e-9


def conv(name, source, out, kernel=3, op="conv", stride=1):
    before = kernel // 2
    return {
        "name": name, "op": op, "inputs": [source], "out": list(out), "kernel": kernel,
        "stride": stride, "pad": [before] * 4, "act": "relu",
    }  # fmt: skip


def network(in_c, out_c, height, width, kernel, depth=1, dtype=DType.U8):
    """Return a stem, ``depth`` convolutions of one size, and a sigmoid."""
    layers = [conv("stem", "data", (1, in_c, height, width))]
    for i in range(depth):
        layers.append(conv(f"conv{i}", layers[-1]["name"], (1, out_c, height, width), kernel))
    layers.append(
        {"name": "act", "op": "act", "kind": "sigmoid", "inputs": [layers[-1]["name"]],
         "out": [1, out_c, height, width]}
    )  # fmt: skip
    data = {"name": "n", "input": [1, 8, height, width], "outputs": ["act"], "layers": layers}
    return parse_layer_list(data, dtype)


sizes = st.integers(4, 96)
channels = st.integers(1, 200)
kernels = st.sampled_from((1, 3, 5, 7))
networks = st.builds(
    network, channels, channels, sizes, sizes, kernels, st.integers(1, 3),
    st.sampled_from((DType.U8, DType.I8, DType.I16, DType.F16)),
)  # fmt: skip
targets = st.sampled_from(("rk1808", "rk3399pro", "rv1126", "rv1109"))


@QUICK
@given(networks, targets, st.sampled_from(("board", "vendor")))
def test_layers_operations_and_reasons_add_up(net, target, profile):
    result = estimate(net, target, profile=profile)
    layers = total([layer.cost for layer in result.layers])
    assert layers.cycles == pytest.approx(result.cost.cycles)
    assert layers.traffic.ddr_bytes == pytest.approx(result.cost.traffic.ddr_bytes)
    for layer in result.layers:
        operations = total([o.cost for o in layer.operations])
        assert operations.cycles == pytest.approx(layer.cost.cycles)
        assert sum(c for _, c in layer.cost.bound_cycles) == pytest.approx(layer.cost.cycles)
    assert sum(result.by_engine().values()) == pytest.approx(result.total_time_us)
    assert sum(result.by_op().values()) == pytest.approx(result.total_time_us)


@QUICK
@given(networks, targets)
def test_equal_networks_cost_the_same(net, target):
    assert estimate(net, target).to_dict() == estimate(replace(net), target).to_dict()


@QUICK
@given(networks, targets, st.floats(50, 900), st.floats(1.0, 3.0))
def test_a_slower_clock_is_never_faster(net, target, clock, factor):
    slow = estimate(net, target, clock_mhz=clock).total_time_us
    assert estimate(net, target, clock_mhz=clock * factor).total_time_us <= slow * SLACK


@QUICK
@given(networks, targets, st.floats(0.5, 12), st.floats(1.0, 3.0))
def test_less_bandwidth_is_never_faster(net, target, rate, factor):
    slow = estimate(net, target, ddr_gbps=rate).total_time_us
    assert estimate(net, target, ddr_gbps=rate * factor).total_time_us <= slow * SLACK


@QUICK
@given(networks, st.integers(1, 9))
def test_fewer_16bit_cores_are_never_faster(net, cores):
    def with_cores(count):
        board = replace(RK1808.board, cores_16bit_count=count)
        return estimate(net, replace(RK1808, board=board)).total_time_us

    assert with_cores(cores + 1) <= with_cores(cores) * SLACK


@QUICK
@given(networks, targets, st.integers(1, 8))
def test_a_larger_batch_is_never_faster(net, target, batch):
    one = estimate(net, target)
    many = estimate(replace(net, batch=batch), target)
    assert many.cost.cycles >= batch * one.cost.cycles * (1 - 1e-9)  # fewer maps stay on the chip
    apart = [estimate(replace(net, batch=n), target, sram=False).cost.cycles for n in (1, batch)]
    assert apart[1] == pytest.approx(batch * apart[0])
    assert many.macs == batch * one.macs


@QUICK
@given(channels, channels, sizes, sizes, kernels, st.integers(1, 4), targets)
def test_another_layer_never_saves_time(in_c, out_c, height, width, kernel, depth, target):
    few = estimate(network(in_c, out_c, height, width, kernel, depth), target)
    more = estimate(network(in_c, out_c, height, width, kernel, depth + 1), target)
    assert more.macs > few.macs
    assert more.total_time_us > few.total_time_us


@QUICK
@given(channels, channels, st.sampled_from([16, 32, 64]), kernels, targets)
def test_a_map_of_four_times_the_pixels_never_saves_time(in_c, out_c, size, kernel, target):
    # widths without waste: a map 8 wide reads more bytes than one 16 wide, on the chip as well
    small = estimate(network(in_c, out_c, size, size, kernel), target)
    large = estimate(network(in_c, out_c, 2 * size, 2 * size, kernel), target)
    assert large.total_time_us >= small.total_time_us * SLACK


def test_costs_add_and_multiply():
    one = estimate(network(8, 16, 20, 20, 3)).cost
    assert (one + one).cycles == (2 * one).cycles
    assert (one + Cost()).bound_cycles == one.bound_cycles
