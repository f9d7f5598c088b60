"""What the parts of a convolution take: figures that the vendor's estimator prints of each."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.ir.dtypes import DType
from npusim.perfmodel.cost import Bound
from npusim.perfmodel.engines.nn import price_tile, tile_bytes
from npusim.perfmodel.engines.nn_plan import planned_cycles
from npusim.perfmodel.engines.nn_steps import coded_ratio, kernel_time, worked_ratio
from npusim.perfmodel.engines.nn_time import (
    core_cycles,
    feed_cycles,
    leaving_cycles,
    superblock_waits,
    time_tile,
    weighs_cache,
)
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.lowering import lower
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.tiling import legal_tiles, make_tile
from npusim.perfmodel.workload import NnWork

RK1808 = load_machine("rk1808")


def layer(in_c, out_c, width, height, kernel, zeros=0.0, dtype=DType.U8, **changes):
    sizes = {"in_w": width, "in_h": height, "in_c": in_c, "out_w": width, "out_h": height}
    sizes |= {"out_c": out_c, "final_w": width, "final_h": height}
    sizes |= {"kernel_w": kernel, "kernel_h": kernel}
    return NnWork(**sizes, dtype=dtype, zero_fraction=zeros, **changes)


@pytest.mark.parametrize(
    ("groups", "coded", "worked"),
    [
        *[(3, 0.9692, 0.97015), (3, 0.8686, 0.88361), (3, 0.4771, 0.60754), (3, 0.1409, 0.2449)],
        *[(2, 0.9168, 0.99308), (2, 0.7518, 0.93840), (2, 0.5102, 0.76010)],
        *[(10, 0.8057, 0.8057), (10, 0.2228, 0.2458), (21, 0.7423, 0.7423), (9, 0.0980, 0.1410)],
        *[(1, 0.5052, 1.0104)],
    ],
)
def test_a_single_group_that_is_left_costs_as_two(groups, coded, worked):
    assert worked_ratio(coded, groups) == pytest.approx(worked, rel=1e-3)


@given(st.integers(1, 121), st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_more_zeros_never_cost_more(groups, coded):
    ratios = [worked_ratio(share, groups) for share in sorted(coded)]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(ratios))


@pytest.mark.parametrize(
    ("kernel", "dtype", "zeros", "changes", "printed"),
    [
        # Taps in rows of three, three, one; of three and two; in one go.
        *[(7, DType.U8, 0.508, {}, 0.7423), (5, DType.U8, 0.508, {}, 0.8057)],
        *[(3, DType.I16, 0.5, {}, 0.875), (3, DType.F16, 0.5, {}, 0.5)],
        # Three taps went to two by two of four phases, seven to four by four.
        *[(2, DType.U8, 0.0, {"tap_ratio": 9 / 16}, 0.75), (4, DType.U8, 0.0, None, 0.65625)],
        *[(2, DType.F16, 0.0, {"tap_ratio": 9 / 16}, 0.5625)],
        # The runs of zeros that a code can say end: three groups, two or one of 31.
        *[(3, DType.U8, 0.98, {}, 3 / 31), (2, DType.U8, 0.99, {}, 2 / 31)],
        *[(3, DType.F16, 0.98, {}, 1 / 31), (1, DType.I16, 0.98, {}, 3 / 31)],
        (3, DType.U8, 0.0, {"depthwise": True}, 3 / 31),
    ],
)
def test_share_of_groups_that_are_coded(kernel, dtype, zeros, changes, printed):
    changes = {"tap_ratio": 49 / 64} if changes is None else changes
    work = layer(64, 64, 28, 28, kernel, zeros, dtype, **changes)
    assert coded_ratio(work, RK1808) == pytest.approx(printed, abs=1e-3)


@given(
    st.integers(1, 11),
    st.integers(1, 11),
    st.sampled_from([DType.U8, DType.I16, DType.F16]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
def test_a_share_is_a_share(width, height, dtype, zeros, real, depthwise):
    work = layer(24, 24, 28, 28, 3, zeros, dtype, depthwise=depthwise, tap_ratio=real)
    work = replace(work, kernel_w=width, kernel_h=height)
    coded = coded_ratio(work, RK1808)
    assert 1 / 31 - 1e-12 <= coded <= 1
    assert 0 < worked_ratio(coded, width * height) <= 2
    short = replace(RK1808, nn=replace(RK1808.nn, zero_run_bits=1))
    assert coded <= coded_ratio(work, short) <= 1


@pytest.mark.parametrize(
    ("sizes", "dtype", "coded", "tile", "products", "decode"),
    [
        ((128, 64, 56, 56, 3), DType.U8, 1.0, 8, 150528.0, 51609.6),
        ((128, 64, 56, 56, 3), DType.U8, 0.477075, 8, 91447.7, 24620.4),
        ((128, 64, 56, 56, 3), DType.U8, 0.02, 8, 26451.4, 4994.5),
        ((64, 64, 32, 32, 5), DType.U8, 0.8057, 18, 46565.2, 16501.5),
        ((64, 64, 32, 32, 5), DType.U8, 0.2228, 18, 14206.1, 4562.0),
        ((32, 40, 28, 28, 7), DType.U8, 0.7423, 16, 17671.8, 9310.9),
        ((64, 40, 28, 28, 3), DType.I16, 0.8768, 8, 19141.3, 8080.8),
        ((64, 40, 28, 28, 3), DType.F16, 0.4998, 10, 26203.0, 3454.5),
        ((96, 40, 16, 16, 1), DType.I16, 0.5052, 1, 5567.8, 3104.0),
        # 8-bit pointwise products know no zeros; six channels are gone through at once.
        ((128, 64, 56, 56, 1), DType.U8, 0.5, 1, 20697.6, 45875.2),
        ((1024, 1, 64, 12, 1), DType.U8, 1.0, 12, 4924.8, 102.4),
        ((1024, 1, 64, 12, 1), DType.U8, 1.0, 1, 14774.4, 1228.8),
    ],
)
def test_products_and_decoding(monkeypatch, sizes, dtype, coded, tile, products, decode):
    """The share of coded groups is the printed one: weights are drawn at random there."""
    from npusim.perfmodel.engines import nn_steps

    least = 1 if dtype is DType.F16 else 3
    monkeypatch.setattr(nn_steps, "coded_ratio", lambda work, machine: max(coded, least / 31))
    nn_steps.kernel_time.cache_clear()
    work = layer(*sizes, dtype=dtype)
    found = core_cycles(work, make_tile(work, RK1808, sizes[2], tile), RK1808)
    nn_steps.kernel_time.cache_clear()
    assert found == (pytest.approx(products, rel=5e-4), pytest.approx(decode, rel=5e-4))


@pytest.mark.parametrize(
    ("height", "width", "dtype", "cycles"),
    [
        *[(1, 3, DType.I16, 1.444), (1, 5, DType.I16, 2.722), (2, 3, DType.I16, 2.222)],
        *[(3, 5, DType.I16, 7.202), (1, 7, DType.I16, 3.137), (1, 3, DType.F16, 3.117)],
        *[(1, 5, DType.F16, 5.426), (3, 5, DType.F16, 16.2), (2, 3, DType.F16, 6.001)],
    ],
)
def test_oblong_kernels_are_squares_with_rows_of_zeros(height, width, dtype, cycles):
    layer = {"name": "conv", "op": "conv", "inputs": ["data"], "out": [1, 10, 32, 32]}
    layer |= {"kernel": [height, width], "stride": 1}
    layer |= {"pad": [(height - 1) // 2, height // 2, (width - 1) // 2, width // 2]}
    listed = {"name": "n", "input": [1, 32, 32, 32], "outputs": ["conv"], "layers": [layer]}
    (lowered,) = lower(parse_layer_list(listed, dtype))
    (work,) = lowered.works
    assert kernel_time(work, RK1808).full == pytest.approx(cycles, rel=2e-3)


@pytest.mark.parametrize(
    ("height", "dtype", "groups", "cycles"),
    [
        *[(2, DType.I16, 1, 2.4), (3, DType.I16, 8, 32), (4, DType.I16, 8, 32)],
        *[(3, DType.I16, 1, 10), (9, DType.I16, 1, 34), (5, DType.F16, 8, 48)],
        *[(3, DType.U8, 1, 8), (3, DType.U8, 4, 16), (11, DType.U8, 1, 32), (7, DType.U8, 8, 64)],
    ],
)
def test_upright_kernels_are_done_in_pairs_of_taps(height, dtype, groups, cycles):
    work = replace(layer(32, 10, 32, 16, 1, dtype=dtype), kernel_h=height)
    found = kernel_time(work, RK1808).products(groups, lower=False)
    assert found == pytest.approx(cycles)


@pytest.mark.parametrize(
    ("sizes", "dtype", "tile", "cycles"),
    [
        # Lower and narrower tiles take as long as full ones; 45 cycles a tile and superblock.
        ((256, 32, 26, 26, 3), DType.I8, (26, 16), 3674),
        ((64, 112, 56, 56, 4), DType.U8, (14, 32), 50896),
        ((48, 320, 56, 56, 3), DType.U8, (56, 10), 136020),
        # 16 bits: twice as long, 180 cycles.
        ((24, 4, 56, 56, 3), DType.F16, (28, 4), 8624),
        ((40, 320, 13, 20, 1), DType.I16, (13, 2), 44800),  # rows in whole lines take longer
    ],
)
def test_outputs_leave(sizes, dtype, tile, cycles):
    work = layer(*sizes, dtype=dtype)
    assert leaving_cycles(work, make_tile(work, RK1808, *tile), RK1808) == cycles


@pytest.mark.parametrize(
    ("sizes", "dtype", "tile", "cycles"),
    [
        ((64, 128, 56, 56, 1), DType.U8, (56, 8), 654),
        ((40, 320, 28, 14, 5), DType.F16, (28, 8), 766),  # full accumulators: four times ten more
    ],
)
def test_wait_between_tiles_of_several_superblocks(sizes, dtype, tile, cycles):
    work = layer(*sizes, dtype=dtype)
    found = make_tile(work, RK1808, *tile)
    assert superblock_waits(work, found, RK1808) == cycles * found.number


@pytest.mark.parametrize(
    ("tile", "stream", "cycles"), [(12, 1728, 49260), (6, 1728, 49368), (4, 1728, 49476)]
)
def test_coefficients_are_fed_again_for_every_tile(tile, stream, cycles):
    work = layer(1024, 1, 64, 12, 1)
    tile = make_tile(work, RK1808, 64, tile)
    image, once, channels = feed_cycles(work, tile, stream, RK1808)
    assert (image + once * tile.number, channels) == (cycles, 0)


@given(
    st.sampled_from([(24, 128, 56, 56, 1), (64, 320, 28, 20, 3), (16, 40, 100, 33, 5)]),
    st.sampled_from([DType.U8, DType.I16, DType.F16]),
    st.floats(0.5, 64),
    st.integers(0, 200),
)
def test_the_parts_hold_all_work_and_all_bytes_but_the_last_output(sizes, dtype, rate, pick):
    work = layer(*sizes, dtype=dtype)
    tiles = list(legal_tiles(work, RK1808))
    tile = tiles[pick % len(tiles)]
    moved = tile_bytes(work, tile, RK1808, kernel_stream_bytes(work, tile, RK1808))
    cycles, clockwork = time_tile(work, tile, moved, RK1808, rate)
    assert cycles == pytest.approx(sum(clockwork.by_bound.values()))
    launch = clockwork.by_bound[Bound.LAUNCH]
    bus = min(rate, RK1808.nn.sram_bytes_per_cycle)
    products, decode = core_cycles(work, tile, RK1808)
    image, stream, _ = feed_cycles(work, tile, moved.stream, RK1808)
    for least in (products, decode, image + stream * tile.number):
        assert cycles - launch >= least * (1 - 1e-9)
    machine = replace(RK1808, nn=replace(RK1808.nn, planned_handover_ratio=1.0))
    assert time_tile(work, tile, moved, machine, rate, planned=True)[0] == pytest.approx(cycles)
    planned = planned_cycles(work, tile, moved, machine, rate)
    assert planned >= cycles * (1 - 1e-9)
    if weighs_cache(work, RK1808):
        assert planned - launch >= moved.total / bus * (1 - 1e-9)


@pytest.mark.parametrize(
    ("sizes", "dtype", "tile", "cycles"),
    [
        # Printed by the vendor's estimator without a DDR limit; each is limited by what arrives in
        # on-chip memory, in the shares in which outputs leave.
        ((192, 384, 7, 7, 1), DType.U8, (7, 7), 16839),
        ((768, 64, 13, 13, 1), DType.U8, (13, 2), 59579),
        ((112, 3, 75, 38, 3), DType.U8, (38, 10), 68320),
        ((112, 3, 80, 38, 3), DType.U8, (40, 10), 63693),
        ((256, 112, 8, 8, 3), DType.I16, (8, 8), 53760),
        ((320, 64, 7, 7, 1), DType.I16, (7, 4), 18693),
    ],
)
def test_what_is_read_arrives_in_on_chip_memory_first(sizes, dtype, tile, cycles):
    work = layer(*sizes, dtype=dtype)
    cost = price_tile(work, make_tile(work, RK1808, *tile), RK1808, 100.0)
    assert cost.cycles == pytest.approx(cycles, rel=2e-3)
