"""Maps in the SRAM: what fits stays, bytes only change their bus, nothing gets slower."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.lowering import lower
from npusim.perfmodel.memory import live_ranges
from npusim.perfmodel.residence import Residence
from tests.report.estimates import layer_list

NETWORK = parse_layer_list(layer_list())


@given(st.integers(0, 60_000))
def test_what_stays_never_exceeds_the_capacity(capacity):
    lowered = lower(NETWORK)
    names = Residence(NETWORK, lowered, capacity).names
    inside = [b for b in live_ranges(NETWORK, lowered) if b.name in names]
    for position in range(len(lowered)):
        alive = sum(b.size_bytes for b in inside if b.first <= position <= b.last)
        assert alive <= capacity
    assert not names & {"data", "prob"}  # the host's


def test_nothing_stays_without_sram_and_everything_with_enough():
    lowered = lower(NETWORK)
    assert Residence(NETWORK, lowered, 0).names == set()
    names = Residence(NETWORK, lowered, 1 << 21).names
    assert names == {b.name for b in live_ranges(NETWORK, lowered)} - {"data", "prob"}
    assert "stem:scratch" in names


def test_shares_of_the_operations_of_a_strided_convolution():
    lowered = lower(NETWORK)
    residence = Residence(NETWORK, lowered, 1 << 21)
    reshuffle, convolution = residence.kept(lowered[0])
    assert (reshuffle.image, reshuffle.write) == (0, 1)  # from the host, to scratch
    assert (convolution.image, convolution.write) == (1, 1)


@pytest.mark.parametrize("profile", ["board", "vendor"])
@pytest.mark.parametrize("ddr_gbps", [2, 7, 12])  # the SRAM bus is wider than that
def test_no_layer_gets_slower_and_bytes_only_move(profile, ddr_gbps):
    rates = {"profile": profile, "ddr_gbps": ddr_gbps}
    plain, kept = (estimate(NETWORK, sram=sram, **rates) for sram in (False, True))
    assert kept.setting.maps_kept_bytes > plain.setting.maps_kept_bytes == 0
    for a, b in zip(plain.layers, kept.layers, strict=True):
        assert b.cost.cycles <= a.cost.cycles + 1e-6
        assert sum(c for _, c in b.cost.bound_cycles) == pytest.approx(b.cost.cycles)
        before, after = a.cost.traffic, b.cost.traffic
        for kind in ("image", "write"):
            moved = [getattr(t, f"ddr_{kind}_bytes") + getattr(t, f"sram_{kind}_bytes")
                     for t in (before, after)]  # fmt: skip
            assert moved[1] == pytest.approx(moved[0])
        assert after.ddr_kernel_bytes == before.ddr_kernel_bytes
    assert kept.cost.traffic.ddr_bytes < plain.cost.traffic.ddr_bytes


def test_boards_keep_maps_in_half_of_it_and_the_vendors_estimator_nothing():
    large = replace(NETWORK, batch=80)  # some maps fit all of it but not half
    moved = [estimate(large, sram=sram).cost.traffic.ddr_bytes for sram in (True, None, False)]
    assert moved[0] < moved[1] < moved[2]
    board = estimate(large).setting
    assert board.maps_kept_bytes * 2 == board.machine.memory.axi_sram_bytes
    vendor = {"profile": "vendor"}
    assert estimate(large, **vendor).to_dict() == estimate(large, sram=False, **vendor).to_dict()


def test_chips_without_sram_do_not_change():
    plain, kept = (estimate(NETWORK, "rv1126", sram=sram) for sram in (None, True))
    assert kept.total_time_us == plain.total_time_us
    assert not kept.to_dict()["sram"]


def test_a_batch_needs_more_room():
    lowered = lower(NETWORK)
    capacity = 12_000
    one = Residence(NETWORK, lowered, capacity).names
    many = Residence(replace(NETWORK, batch=8), lowered, capacity).names
    assert many < one
