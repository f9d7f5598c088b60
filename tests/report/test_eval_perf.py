"""Exact layouts of eval_perf, line by line, with times put in by hand."""

from dataclasses import replace

import pytest

from npusim.report.eval_perf import (
    Era,
    board_result,
    board_text,
    executed,
    operator_times,
    simulator_result,
    simulator_text,
)
from tests.report.estimates import tiny

NAMES = ("stem", "body", "spp", "head", "prob")


@pytest.fixture
def three():
    """Three layers of 120, 61 and 85 microseconds at 800 MHz; the first is two operations."""
    return by_hand(800, (120, 61, 85))


def by_hand(clock_mhz, times_us):
    estimate = tiny(clock_mhz=clock_mhz)
    by_name = {layer.name: layer for layer in estimate.layers}
    chosen = [by_name[name] for name in ("stem", "spp", "head")]
    layers = []
    for uid, layer, time_us in zip((7, 3, 12), chosen, times_us, strict=True):
        factor = time_us * clock_mhz / layer.cost.cycles
        operations = tuple(replace(o, cost=o.cost * factor) for o in layer.operations)
        layers.append(
            replace(
                layer, uid=uid, cost=layer.cost * factor, operations=operations, time_us=time_us
            )
        )
    cost = layers[0].cost + layers[1].cost + layers[2].cost
    return replace(estimate, layers=tuple(layers), cost=cost)


def test_simulator_up_to_1_7_0(three):
    assert simulator_text(three, Era.UP_TO_1_7_0).splitlines() == [
        "==============================================",
        "                Performance",
        "==============================================",
        "Layer ID    Name                                Time(us)",
        "7           convolution.relu.pooling.layer2_2   120",
        "3           pooling.layer2_1                    61",
        "12          fullyconnected.relu.layer_2         85",
        "Total Time(us): 266",
        "FPS(800MHz): 3759.40",
        "==============================================",
    ]


def test_simulator_from_1_7_1(three):
    rule = "=" * 72
    slow = by_hand(600, (160, 65, 115))
    assert simulator_text(three, slow=slow).splitlines() == [
        rule,
        "                               Performance                              ",
        rule,
        "Layer ID    Name                                         Time(us)",
        "7           convolution.relu.pooling.layer2_2            120",
        "3           pooling.layer2_1                             61",
        "12          fullyconnected.relu.layer_2                  85",
        "Total Time(us): 266",
        "FPS(600MHz): 2941.18",
        "FPS(800MHz): 3759.40",
        "Note: the time of each layer is that of an NPU clock of 800MHz!",
        rule,
    ]


def test_simulator_returns_total_and_layers_by_id(three):
    assert simulator_result(three) == {
        "total_time": 266,
        "layers": {
            "7": {"name": "convolution.relu.pooling.layer2_2", "time": 120},
            "3": {"name": "pooling.layer2_1", "time": 61},
            "12": {"name": "fullyconnected.relu.layer_2", "time": 85},
        },
    }


def test_transposes_are_called_as_the_release_calls_them(three):
    layer = replace(three.layers[1], op="transpose")
    estimate = replace(three, layers=(layer,))
    name = "tensor_transpose"
    assert f"openvx.{name}_1" in simulator_text(estimate)
    assert "tensor.transpose_1" in simulator_text(estimate, Era.UP_TO_1_7_0)


def test_layers_that_share_an_id_are_all_listed(three):
    same = replace(three, layers=tuple(replace(layer, uid=7) for layer in three.layers))
    result = simulator_result(same)
    assert list(result["layers"]) == ["7", "8", "9"]
    assert result["total_time"] == 266


def test_board_without_perf_debug(three):
    rule = "=" * 72
    assert board_text(three).splitlines() == [
        rule,
        "                               Performance                              ",
        rule,
        "Average inference Time(us): 266.00",
        "FPS: 3759.40",
        rule,
    ]
    assert board_result(three, perf_debug=False) == {"total_time": 266.0}


def test_board_with_perf_debug_wraps_names_and_lists_every_operator(three):
    long = replace(three.layers[1], name="MobilenetV1/MobilenetV1/Conv2d_1_depthwise/Relu6")
    estimate = replace(three, layers=(three.layers[0], long, three.layers[2]))
    rule = "=" * 72
    lines = board_text(estimate, perf_debug=True, statistics=True).splitlines()
    assert [line.rstrip() for line in lines] == [
        rule,
        "                               Performance",
        "        #### The performance result is just for debugging, ####",
        "        #### may worse than actual performance!            ####",
        rule,
        f"Layer ID    Name{'':41}Operator            Uid       Time(us)",
        f"0           stem_7_2{'':37}RESHUFFLE           7         120",
        "                                                         CONVOLUTION",
        "1           MobilenetV1/MobilenetV1/Conv2d_1_depthwi     POOLING             3         61",
        "            se/Relu6_3_1",
        "2           head_12_2                                    FULLYCONNECTED      12        85",
        "Total Time(us): 266",
        "FPS: 3759.40",
        rule,
        *[line.rstrip() for line in lines[14:19]],
        rule,
    ]
    assert lines[14] == "OP                        Call Number   Total Time(us)    Time Ratio(%)"


def test_board_with_perf_debug_returns_operations(three):
    assert board_result(three, perf_debug=True) == {
        "total_time": 266,
        "layers": {
            "0": {"name": "stem_7_2", "operation": "RESHUFFLE CONVOLUTION", "time": 120},
            "1": {"name": "spp_3_1", "operation": "POOLING", "time": 61},
            "2": {"name": "head_12_2", "operation": "FULLYCONNECTED", "time": 85},
        },
    }


def test_second_table_has_the_five_longest_operators(three):
    rows = operator_times(tiny())
    assert len(rows) > 5
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
    text = simulator_text(tiny(), statistics=True).splitlines()
    begin = text.index("OP                        Call Number   Total Time(us)    Time Ratio(%)")
    table = [line.split() for line in text[begin + 1 : -1]]
    assert [(name, int(calls)) for name, calls, _, _ in table] == [row[:2] for row in rows[:5]]
    shares = [float(row[3]) for row in table]
    assert shares == [
        pytest.approx(100 * row[2] / tiny().total_time_us, abs=0.006) for row in rows[:5]
    ]
    every = operator_times(three)
    assert sum(spent for _, _, spent in every) == pytest.approx(266)


def test_frames_of_a_batch_count_one_by_one(three):
    batch = replace(three, batch=4)
    assert "FPS(800MHz): 15037.59" in simulator_text(batch)
    assert "FPS: 15037.59" in board_text(batch)


def test_free_layers_have_no_row():
    names = [layer.name for layer in executed(tiny())]
    assert "flat" not in names
    assert set(NAMES) <= set(names)
