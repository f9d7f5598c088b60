"""Planned buffers: nothing overlaps while it lives, and what never exists takes no room."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.memory import ALIGNMENT_BYTES, Buffer, place
from tests.perfmodel.graphs import mobile_block, pooled_conv
from tests.report.estimates import layer_list


def memory(*layers, size=(1, 8, 16, 16), outputs=None, dtype=DType.U8, batch=1):
    data = {"name": "m", "input": list(size), "outputs": outputs or [layers[-1]["name"]]}
    network = parse_layer_list(data | {"layers": list(layers)}, dtype)
    return estimate(replace(network, batch=batch)).memory


def conv(name, source, channels=8, **more):
    out = [1, channels, 16, 16]
    return {"name": name, "op": "conv", "inputs": [source], "out": out} | more


@st.composite
def live_ranges(draw):
    positions = draw(st.integers(1, 12))
    ranges = []
    for number in range(draw(st.integers(1, 14))):
        first = draw(st.integers(0, positions - 1))
        last = draw(st.integers(first, positions - 1))
        size = draw(st.integers(1, 5000))
        ranges.append(
            Buffer(name=f"t{number}", size_bytes=size, offset_bytes=0, first=first, last=last)
        )
    return positions, ranges


@given(live_ranges())
def test_buffers_that_live_together_do_not_overlap(drawn):
    positions, ranges = drawn
    placed = place(ranges, positions)
    assert sorted(b.name for b in placed) == sorted(r.name for r in ranges)
    for buffer in placed:
        assert buffer.offset_bytes % ALIGNMENT_BYTES == 0
    for i, one in enumerate(placed):
        for other in placed[:i]:
            together = one.first <= other.last and other.first <= one.last
            apart = (
                one.offset_bytes + one.size_bytes <= other.offset_bytes
                or other.offset_bytes + other.size_bytes <= one.offset_bytes
            )
            assert apart or not together
    peak = max(b.offset_bytes + b.size_bytes for b in placed)
    alive = [sum(r.size_bytes for r in ranges if r.first <= p <= r.last) for p in range(positions)]
    assert peak >= max(alive)
    assert peak <= sum(-(-r.size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for r in ranges)


def test_a_chain_needs_two_buffers():
    use = memory(conv("a", "data"), conv("b", "a"), conv("c", "b"))
    assert use.activation_bytes == 4 * 2048
    assert use.activation_peak_bytes == use.activation_live_bytes == 2 * 2048
    assert use.input_bytes == use.output_bytes == 2048


def test_a_skip_keeps_its_tensor():
    use = memory(
        conv("a", "data"),
        conv("b", "a"),
        conv("c", "b"),
        {"name": "s", "op": "add", "inputs": ["a", "c"], "out": [1, 8, 16, 16]},
    )
    assert use.activation_live_bytes == 3 * 2048
    assert use.peak_layer == "c"


def test_parts_of_a_concat_lie_in_its_output_and_views_in_their_input():
    joined = memory(
        conv("a", "data"),
        conv("b", "data"),
        {"name": "j", "op": "concat", "inputs": ["a", "b"], "out": [1, 16, 16, 16]},
        {"name": "r", "op": "reshape", "inputs": ["j"], "out": [1, 4096]},
    )
    assert joined.activation_bytes == 2048 + 4096
    assert [b.name for b in joined.buffers] == ["j", "data"]
    copied = memory(
        conv("a", "data"),
        {"name": "j", "op": "concat", "inputs": ["data", "a"], "out": [1, 16, 16, 16]},
    )
    assert copied.activation_bytes == 2 * 2048 + 4096  # one part is an input: both are copied


def test_what_a_fused_pool_hides_takes_no_room():
    use = estimate(pooled_conv()).memory
    assert use.activation_bytes == 8 * 32 * 32 + 16 * 16 * 16


def test_a_reshuffle_needs_scratch_memory():
    graph = mobile_block(size=16, channels=8)
    use = estimate(graph).memory
    scratch = [b for b in use.buffers if b.name.endswith(":scratch")]
    (stem,) = scratch
    assert stem.size_bytes == 12 * 17 * 17  # 3 channels, four phases
    assert stem.first == stem.last == 0


def test_batch_and_width_multiply_activations_and_not_weights():
    one = memory(conv("a", "data"), conv("b", "a"))
    four = memory(conv("a", "data"), conv("b", "a"), batch=4)
    wide = memory(conv("a", "data"), conv("b", "a"), dtype=DType.I16)
    assert four.activation_bytes == 4 * one.activation_bytes
    assert four.stored_weight_bytes == one.stored_weight_bytes
    assert wide.activation_peak_bytes == 2 * one.activation_peak_bytes


def test_stored_weights_follow_the_zeros_and_the_total_adds_up():
    layer = {"channels": 512, "kernel": 3, "pad": [1, 1, 1, 1]}
    dense = memory(conv("a", "data", **layer))
    sparse = memory(conv("a", "data", **layer, zero_fraction=0.8))
    assert dense.weight_bytes == sparse.weight_bytes == 512 * 8 * 9 + 4 * 512
    assert sparse.stored_weight_bytes < 0.6 * dense.stored_weight_bytes
    assert dense.npu_bytes == dense.stored_weight_bytes + dense.activation_peak_bytes


def test_to_dict_has_the_plan_on_demand():
    use = estimate(parse_layer_list(layer_list())).memory
    assert "buffers" not in use.to_dict()
    plan = use.to_dict(buffers=True)["buffers"]
    assert {"data", "stem", "stem:scratch"} <= {b["name"] for b in plan}
    assert max(b["offset_bytes"] + b["size_bytes"] for b in plan) == use.activation_peak_bytes
    assert sum(b["size_bytes"] for b in plan) == use.activation_bytes


def test_an_empty_network_needs_nothing():
    use = memory(
        {"name": "r", "op": "reshape", "inputs": ["data"], "out": [1, 2048]}, outputs=["r"]
    )
    assert use.stored_weight_bytes == 0
    assert use.activation_peak_bytes == pytest.approx(2048)
