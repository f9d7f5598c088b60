"""What boards do otherwise than the estimator: each rule moves the board's times and no others."""

from dataclasses import replace

import pytest

from npusim.ir.dtypes import DType
from npusim.perfmodel.engines import silicon
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.workload import NnWork, ShaderWork, TpWork


def layer(name, op, inputs, **keys):
    return {"name": name, "op": op, "inputs": inputs, **keys}


def conv(name, source, channels, **keys):
    keys = {"kernel": 1, "stride": 1, "pad": [0] * 4} | keys
    return layer(name, "conv", [source], channels=channels, **keys)


def listed(*layers, size=(1, 64, 28, 28)):
    data = {"name": "n", "input": list(size), "outputs": [layers[-1]["name"]]}
    return parse_layer_list(data | {"layers": list(layers)})


def price(network, chip="rk1808", profile="board", **board):
    machine = load_machine(chip)
    found = estimate(
        network, replace(machine, board=replace(machine.board, **board)), profile=profile
    )
    return {x.name: x for x in found.layers}


SUM = listed(conv("a", "data", 1024), conv("b", "data", 1024), layer("s", "add", ["a", "b"]))
LEAKY = listed(conv("a", "data", 64), layer("l", "act", ["a"], kind="leaky"))
TABLE = listed(conv("a", "data", 64), layer("l", "act", ["a"], kind="sigmoid"))
GROWN = listed(layer("d", "deconv", ["data"], channels=64, kernel=2, stride=2, pad=[0] * 4))
SCALE = listed(layer("c", "scale", ["data"]))
STRIDED = listed(conv("c", "data", 64, kernel=3, stride=2, pad=[1] * 4))


@pytest.mark.parametrize("chip", ["rk1808", "rv1126"])
def test_sums_wait_for_memory(chip):
    charged = price(SUM, chip, sums_streamed_count=0)
    found = price(SUM, chip)
    rate = load_machine(chip).board
    bus = rate.ddr_bytes_per_s / rate.clock_hz
    cycles, traffic = found["s"].cost.cycles, found["s"].cost.traffic
    assert cycles < charged["s"].cost.cycles / 2
    assert cycles >= traffic.ddr_bytes / bus
    assert traffic.ddr_bytes == charged["s"].cost.traffic.ddr_bytes
    assert found["a"].cost.cycles == charged["a"].cost.cycles


def test_a_leaky_activation_is_a_pass_and_a_half():
    found, table = price(LEAKY, operation_cycles=0.0), price(TABLE, operation_cycles=0.0)
    assert found["l"].cost.cycles == pytest.approx(1.5 * table["l"].cost.cycles)


def test_a_reshuffle_runs_beside_the_convolution():
    hidden = price(STRIDED, operation_cycles=0.0)["c"].operations
    counted = price(STRIDED, operation_cycles=0.0, reshuffle_time_ratio=1.0)["c"].operations
    assert [o.operation for o in hidden] == ["RESHUFFLE", "CONVOLUTION"]
    assert hidden[0].cost.cycles == 0.0 < counted[0].cost.cycles
    assert hidden[1].cost == counted[1].cost


@pytest.mark.parametrize(("network", "operation", "values"), [
    (GROWN, "UPSAMPLE", 64 * 56 * 56), (SCALE, "CONVOLUTION", 64 * 28 * 28),
])  # fmt: skip
def test_what_runs_as_a_program_takes_the_shaders_time(network, operation, values):
    for pace in (1.65, 5.0):
        (found,) = price(network, operation_cycles=0.0, shader_cycles_per_value=pace).values()
        (spent,) = (o.cost.cycles for o in found.operations if o.operation == operation)
        assert spent == pytest.approx(pace * values + load_machine("rk1808").shader.launch_cycles)


def test_programs_read_all_their_operands():
    parts = [layer("p", "slice", ["data"], axis=1, start=0, stop=32)]
    parts.append(layer("q", "slice", ["data"], axis=1, start=32, stop=64))
    found = price(listed(*parts, layer("s", "add", ["p", "q"])), operation_cycles=0.0)
    (work,) = (o.work for o in found["s"].operations)
    assert isinstance(work, ShaderWork)
    assert work.in_values == 2 * work.out_values
    assert found["s"].cost.cycles == pytest.approx(1.85 * 1.5 * work.out_values + 500)


@pytest.mark.parametrize("network", [SUM, LEAKY, GROWN, SCALE, STRIDED], ids=str)
def test_the_estimator_knows_none_of_it(network):
    plain = price(network, profile="vendor")
    changes = {"sums_streamed_count": 0, "leaky_time_ratio": 9.0, "reshuffle_time_ratio": 9.0}
    changed = price(network, profile="vendor", shader_cycles_per_value=9.0, **changes)
    assert {n: x.cost for n, x in plain.items()} == {n: x.cost for n, x in changed.items()}


def test_pointwise_convolutions_are_no_sums():
    board = load_machine("rk1808").board
    sizes = {f"{side}_{axis}": 8 for side in ("in", "out", "final") for axis in "wh"}
    work = NnWork(in_c=64, out_c=64, kernel_w=1, kernel_h=1, dtype=DType.U8, **sizes)
    assert not silicon.streams(replace(work, zero_fraction=0.6), board)
    assert silicon.streams(replace(work, zero_fraction=0.99), board)
    move = TpWork(operation="REORG2", in_bytes=64, out_bytes=64, channels=1, pixels=64)
    assert not silicon.streams(move, board)
    assert silicon.pass_ratio(move, board) == board.tp_time_ratio
