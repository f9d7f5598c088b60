"""How convolutions are cut into units for threads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npusim.kernels.pack import geometry


def conv_shape(channels, out_size, reach):
    return geometry.ConvShape(
        in_c=channels[0],
        out_c=channels[1],
        out_size=out_size,
        ofm_size=out_size,
        reach=(reach, reach),
        stride=(1, 1),
        pad_before=(reach // 2, reach // 2),
        groups=1,
        own_channels=False,
    )


@settings(max_examples=100)
@given(
    out_size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    channels=st.tuples(st.integers(1, 70), st.integers(1, 600)),
    reach=st.integers(1, 7),
    images=st.integers(1, 5),
    workers=st.integers(1, 9),
)
def test_units_hold_every_row_and_panel(out_size, channels, reach, images, workers):
    shape = conv_shape(channels, out_size, reach)
    plan = geometry.plan(shape, real_bytes=1, images=images, workers=workers)
    assert (plan.blocks - 1) * plan.block_h < out_size[0] <= plan.blocks * plan.block_h
    assert 1 <= plan.shares <= geometry.panel_count(shape)
    assert plan.shares == 1 or workers > 1
    alone = geometry.plan(shape, real_bytes=1, images=images, workers=1)
    assert plan.block_h <= alone.block_h  # memory and cache bound it all the same


@pytest.mark.parametrize("out_h", [7, 14, 28])
@pytest.mark.parametrize("workers", [2, 4])
def test_layers_of_few_rows_divide_evenly_among_threads(out_h, workers):
    """Seven rows for two threads were four and three."""
    plan = geometry.plan(
        conv_shape((512, 512), (out_h, out_h), 3), real_bytes=1, images=1, workers=workers
    )
    rows = [min(plan.block_h, out_h - plan.block_h * n) for n in range(plan.blocks)]
    panels = [(n + 1) * 8 // plan.shares - n * 8 // plan.shares for n in range(plan.shares)]
    units = [height * count for height in rows for count in panels]
    busy = [0] * workers
    for unit in units:
        busy[busy.index(min(busy))] += unit
    assert max(busy) == out_h * 8 / workers
