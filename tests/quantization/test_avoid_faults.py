"""Parameters with which the driver copies: found, small, and without another effect."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.errors import ConfigError
from npusim.ir.attrs import AxisAttrs, ReshapeAttrs, SliceAttrs, TransposeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.passes.driver_faults import driver_faults
from npusim.passes.memory_predicates import equal_for_driver
from npusim.passes.pipeline import place
from npusim.quantization.avoid_faults import apart
from npusim.testing import GraphBuilder


def cut(build, x, begin, end, step=(1, 1, 1, 1)):
    return build.node("slice", [x], attrs=SliceAttrs(begin=begin, end=end, step=step))


def join(build, *parts):
    return build.node("concat", parts, attrs=AxisAttrs(axis=1))


def focus(build):
    x = build.input("x", 1, 3, 8, 8)
    places = [(row, column) for column in (0, 1) for row in (0, 1)]
    parts = [cut(build, x, (0, 0, *place), (1, 3, 8, 8), (1, 1, 2, 2)) for place in places]
    return build.done(build.conv(join(build, *parts), 4))


def dense(build):
    x = build.conv(build.input("x", 1, 3, 8, 8), 4)
    for _ in range(3):
        x = join(build, x, build.conv(x, 3))
    return build.done(build.conv(x, 4, 1))


def ssd(build):
    x, heads = build.input("x", 1, 3, 8, 8), []
    for stride in (1, 2):
        made = build.conv(x, 6, stride=stride)
        turned = build.node("transpose", [made], attrs=TransposeAttrs(perm=(0, 2, 3, 1)))
        shape = ReshapeAttrs(shape=(1, 2 * (8 // stride) ** 2, 3))
        heads.append(build.node("reshape", [turned], attrs=shape))
    return build.done(build.node("sigmoid", [join(build, *heads)]))


def flat(build):
    x = build.input("x", 1, 3, 8, 8)
    both = join(build, build.conv(x, 2), build.conv(x, 2))
    shaped = build.node("reshape", [both], attrs=ReshapeAttrs(shape=(1, 4, 64)))
    return build.done(build.node("sigmoid", [shaped]))


def reshaped_part(build):
    x = build.conv(build.input("x", 1, 3, 8, 8), 4)
    part = cut(build, x, (0, 2, 0, 0), (1, 4, 8, 8))
    shaped = build.node("reshape", [part], attrs=ReshapeAttrs(shape=(1, 2, 64)))
    return build.done(build.node("sigmoid", [shaped]))


def samples(graph):
    rng = np.random.default_rng(1)
    shape = graph.spec("x").shape
    return [(str(i), {"x": rng.standard_normal(shape).astype(np.float32)}) for i in range(2)]


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16"])
@pytest.mark.parametrize("net", [focus, dense, ssd, flat, reshaped_part])
def test_faults_go_and_results_stay_near(net, scheme, caplog):
    graph = net(GraphBuilder(seed=2))
    data = samples(graph)
    plain, avoiding = (
        npusim.quantize(graph, data, scheme=scheme, avoid_driver_faults=choice, engine="npusim")
        for choice in (False, True)
    )
    names = {fault.layer for fault in driver_faults(place(plain))}
    assert names
    assert driver_faults(place(avoiding)) == ()
    for name in names:
        assert name in avoiding.notes[-1]
    assert "avoided" not in plain.notes[-1]
    npusim.compile(avoiding)
    assert "npusim explain" not in caplog.text
    # behind a coarser concat: its step, times what the last layer makes of it
    (before,), (after,) = (
        npusim.compile(ready).run(data[0][1], preprocessed=True).values()
        for ready in (plain, avoiding)
    )
    reach = np.abs(before).max()
    assert np.abs(after - before).max() <= reach * {"u8": 0.02, "i8": 0.05, "i16": 0.001}[scheme]


def test_a_network_without_faults_stays_as_it_is():
    build = GraphBuilder(seed=2)
    x = build.input("x", 1, 3, 8, 8)
    graph = build.done(build.conv(join(build, build.conv(x, 2), build.conv(x, 2)), 3))
    plain, avoiding = (
        npusim.quantize(graph, samples(graph), avoid_driver_faults=choice, engine="npusim")
        for choice in (False, True)
    )
    assert {n: s.quant for n, s in plain.tensors.items()} == {
        n: s.quant for n, s in avoiding.tensors.items()
    }
    assert avoiding.notes[-1].endswith("driver faults avoided at: no layer")


def test_float16_has_nothing_to_change():
    graph = focus(GraphBuilder())
    with pytest.raises(ConfigError, match="float16 has no parameters"):
        npusim.quantize(graph, scheme="f16", avoid_driver_faults=True)
    assert apart(Float()) is None


@given(
    scale=st.floats(1e-7, 100, allow_nan=False).map(lambda v: float(np.float32(v))),
    zero=st.integers(0, 255),
)
def test_the_next_u8_parameters_are_seen_and_hold_almost_the_same_range(scale, zero):
    old = Affine(scale=scale, zero_point=zero)
    new = apart(old)
    specs = [TensorSpec(name="t", shape=(1,), dtype=DType.U8, quant=q) for q in (old, new)]
    assert not equal_for_driver(*specs)
    codes = np.arange(256)
    values = (codes - zero) * scale
    again = np.clip(np.rint(values / scale_of(new)) + zero_point_of(new), 0, 255)
    back = (again - zero_point_of(new)) * scale_of(new)
    assert np.abs(back - values).max() <= 1.02 * scale


@given(fl=st.integers(-20, 30))
def test_the_next_fixed_point_has_a_bit_less(fl):
    assert apart(DynamicFixedPoint(fl=fl)) == DynamicFixedPoint(fl=fl - 1)
