"""A tape gives the bits of its steps, whoever takes part and whatever gets in between."""

import os
import signal
import threading
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npusim
from npusim import environment
from npusim.ir.attrs import AxisAttrs, ReduceAttrs, ReshapeAttrs, SliceAttrs, TransposeAttrs
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.kernels import _jit
from npusim.kernels import tape as compiled
from npusim.kernels.elementwise import lut
from npusim.runtime import threads
from npusim.runtime.calls import Calls, KernelStep, Scratch
from npusim.runtime.kernel_table import TABLE
from npusim.runtime.tape import play, record
from npusim.runtime.tape.memory import Region, place, stand_in
from npusim.testing import GraphBuilder, assert_bit_equal, memory_orders, random_codes

SHAPE = (1, 3, 40, 36)


@pytest.fixture(params=[1, 2, 4])
def count(request, monkeypatch):
    """So many threads."""
    monkeypatch.setenv("NPUSIM_NUM_THREADS", str(request.param))
    environment.thread_count.cache_clear()
    threads._pool.cache_clear()
    yield request.param
    environment.thread_count.cache_clear()
    threads._pool.cache_clear()


def network(dtype: DType) -> npusim.Graph:
    """Dense and depthwise convolutions, pools, sums, tables, a concat, views, a shader step."""
    b = GraphBuilder(dtype)
    x = b.input("x", *SHAPE)
    a = b.conv(x, 32, kernel=3, stride=2)
    d = b.conv(a, 32, kernel=3, group=32)
    e = b.conv(d, 32)
    total = b.node("add", [a, e])
    curved = b.node("sigmoid", [total])
    joined = b.node("concat", [curved, total, d], attrs=AxisAttrs(axis=1))
    cut = SliceAttrs(begin=(0, 8, 0, 0), end=(1, 72, 20, 18), step=(1, 1, 1, 1))
    part = b.node("slice", [joined], attrs=cut)
    turned = b.node("transpose", [part], attrs=TransposeAttrs(perm=(0, 2, 1, 3)))
    soft = b.node("softmax", [turned], attrs=AxisAttrs(axis=1))
    flat = b.node("reshape", [soft], attrs=ReshapeAttrs(shape=(1, 20 * 64 * 18)))
    return b.done(flat, b.conv(joined, 48), part)


@cache
def compiled_network(dtype: DType, threads_of_it: int) -> npusim.Program:
    return npusim.compile(network(dtype))


def codes(dtype: DType, seed: int = 0) -> np.ndarray:
    return random_codes(np.random.default_rng(seed), SHAPE, dtype)


def by_steps(program: npusim.Program, value: np.ndarray) -> dict[str, np.ndarray]:
    return program.run_stored({"x": value}, observe=lambda *_: None)


def assert_same(actual, wanted):
    for name, value in wanted.items():
        assert_bit_equal(actual[name], value, name)
        assert actual[name].strides == value.strides


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16, DType.F16])
def test_bits_and_strides_are_those_of_the_steps(count, dtype):
    program = compiled_network(dtype, count)
    assert sum(part.player is not None for part in program._parts) == 2
    for value in (*memory_orders(codes(dtype)), codes(dtype)[:, :, ::-1]):
        wanted = by_steps(program, value)
        for _ in range(3):
            assert_same(program.run_stored({"x": value}), wanted)


@pytest.mark.parametrize("dtype", [DType.U8, DType.F16])
@pytest.mark.parametrize("axis", [0, 1])
def test_views_that_run_backwards(dtype, axis):
    b = GraphBuilder(dtype)
    x = b.input("x", 5, 3)
    begin, end, step = [0, 0], [5, 3], [1, 1]
    begin[axis], end[axis], step[axis] = end[axis] - 1, -1, -1
    cut = SliceAttrs(begin=tuple(begin), end=tuple(end), step=tuple(step))
    turned = b.node("slice", [b.node("sigmoid", [x])], attrs=cut)
    program = npusim.compile(b.done(b.node("sigmoid", [b.node("tanh", [turned])])))
    value = random_codes(np.random.default_rng(2), (5, 3), dtype)
    assert_same(program.run_stored({"x": value}), by_steps(program, value))


def test_many_runs_give_the_same_bits(count):
    program = compiled_network(DType.U8, count)
    wanted = by_steps(program, codes(DType.U8))
    for _ in range(300):
        assert_same(program.run_stored({"x": codes(DType.U8)}), wanted)


@pytest.mark.slow
def test_ten_thousand_runs_give_the_same_bits(count):
    program = compiled_network(DType.U8, count)
    wanted = by_steps(program, codes(DType.U8))
    value = codes(DType.U8)
    for _ in range(10_000):
        for name, result in program.run_stored({"x": value}).items():
            assert np.array_equal(result, wanted[name])


def test_results_are_not_overwritten_by_later_runs(count):
    program = compiled_network(DType.U8, count)
    first = program.run_stored({"x": codes(DType.U8)})
    program.run_stored({"x": codes(DType.U8, seed=1)})
    assert_same(first, by_steps(program, codes(DType.U8)))


def test_two_programs_in_several_threads(count):
    programs = [npusim.compile(network(dtype)) for dtype in (DType.U8, DType.I16)]
    values = [[codes(p.graph.spec("x").dtype, seed) for seed in range(3)] for p in programs]
    wanted = [[by_steps(p, v) for v in vs] for p, vs in zip(programs, values, strict=True)]
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for i in range(40):
                which, seed = (i + number) % 2, i % 3
                got = programs[which].run_stored({"x": values[which][seed]})
                assert_same(got, wanted[which][seed])
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_an_interrupt_leaves_nothing_behind(count, monkeypatch):
    program = npusim.compile(network(DType.U8))
    wanted = by_steps(program, codes(DType.U8))
    program.run_stored({"x": codes(DType.U8)})

    def interrupted(*arguments: object) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        compiled.walk(*arguments)

    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(play, "walk", interrupted)  # the helpers go on alone
            with pytest.raises(KeyboardInterrupt):
                program.run_stored({"x": codes(DType.U8, seed=1)})
        assert_same(program.run_stored({"x": codes(DType.U8)}), wanted)


def run_for_ever(program: npusim.Program) -> None:
    while True:
        program.run_stored({"x": codes(DType.U8)})


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
def test_signals_come_through_between_calls(monkeypatch):
    monkeypatch.setattr(record, "CUT", 1)
    program = npusim.compile(network(DType.U8))
    program.run_stored({"x": codes(DType.U8)})
    (tape, _), *_ = program._parts[0].player._tapes.values()
    assert len(tape.cuts) > 5

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_for_ever(program)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert_same(program.run_stored({"x": codes(DType.U8)}), by_steps(program, codes(DType.U8)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_goes_on_with_threads_of_its_own(count):
    program = compiled_network(DType.U8, count)
    wanted = by_steps(program, codes(DType.U8))
    program.run_stored({"x": codes(DType.U8)})
    child = os.fork()
    if not child:
        status = 1
        try:
            assert_same(program.run_stored({"x": codes(DType.U8)}), wanted)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert_same(program.run_stored({"x": codes(DType.U8)}), wanted)


def test_help_that_comes_late_does_nothing(count, monkeypatch):
    program = npusim.compile(network(DType.U8))
    late = []
    monkeypatch.setattr(threads, "ask_for_help", late.extend)
    first = program.run_stored({"x": codes(DType.U8)})
    kept = {name: value.copy() for name, value in first.items()}
    assert len(late) >= (count > 1)
    other = program.run_stored({"x": codes(DType.U8, seed=1)})
    wanted = {name: value.copy() for name, value in other.items()}
    for task in late:
        task()
    for name, value in kept.items():
        assert np.array_equal(first[name], value)
        assert np.array_equal(other[name], wanted[name])


def test_helpers_alone_finish_the_work(count, monkeypatch):
    """Whoever walks computes everything: nobody waits for one who takes no share."""
    program = npusim.compile(network(DType.U8))
    wanted = by_steps(program, codes(DType.U8))

    def only_helpers(tasks: list) -> None:
        for task in tasks:
            task()

    monkeypatch.setattr(threads, "ask_for_help", only_helpers)
    assert_same(program.run_stored({"x": codes(DType.U8)}), wanted)


def _refusing(ifm, table, ofm, first, last):
    """Copy, or raise for a code of 255."""
    for i in range(first, last):
        if ifm[i] == 255:
            raise ValueError("255")
        ofm[i] = ifm[i]


refusing = _jit.Kernel(_refusing, lut.map_codes.signatures[:1])  # in no list


def test_an_error_in_a_kernel_is_that_of_the_step(count):
    table = np.zeros(256, np.uint8)

    def lay(calls: Calls, value: np.ndarray) -> tuple[np.ndarray, ...]:
        result = calls.empty(value.shape, np.uint8)
        calls.add(refusing, (value, table, result), value.size, 1 << 30)
        return (result,)

    class Layer:
        feeds, outputs, step = ("a",), ("b",), KernelStep(lay)

    player = play.Player([Layer], ("a",), ("b",))
    good, bad = np.arange(200, dtype=np.uint8), np.arange(256, dtype=np.uint8)
    for _ in range(3):
        assert player.run({"a": bad}) is None
        found = player.run({"a": good})
        assert found is not None
        assert np.array_equal(found["b"], good)
    with pytest.raises(ValueError, match="255"):
        Layer.step(bad)


def test_every_kernel_of_the_runtime_can_be_called():
    other = {entry.kernel.name for entry in TABLE} - {found.name for found in compiled.KERNELS}
    assert other == {"pool.sum_pixels"}  # has no range of rows
    for found in compiled.KERNELS:
        for text in found.signatures:
            assert compiled.form_of(compiled.arguments_of(text)) is not None


def test_laying_out_reads_no_element():
    """Twice on other memory: what is neither input nor made by the calls is a constant."""
    for dtype in (DType.U8, DType.I16, DType.F16):
        program = npusim.compile(network(dtype))
        for part in program._parts:
            if part.player is None:
                continue
            values = {
                n: np.zeros(program.graph.spec(n).shape, dtype.numpy) for n in part.player.feeds
            }
            one, other = (record.record(part.layers, values, part.player.wanted) for _ in range(2))
            assert len(one.kept) == len(other.kept)
            for a, b in zip(one.kept, other.kept, strict=True):
                assert a.ctypes.data == b.ctypes.data
            kept = np.delete(one.words, one.where)
            assert np.array_equal(kept, np.delete(other.words, other.where))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4), st.integers(0, 3000)), max_size=20)
)
def test_memory_in_use_at_the_same_time_does_not_overlap(drawn):
    regions = [Region(np.empty(size, np.uint8), first, first + more) for first, more, size in drawn]
    size = place(regions)
    assert size <= sum(-(-r.memory.nbytes // 64) * 64 for r in regions)
    for i, a in enumerate(regions):
        assert a.offset % 64 == 0
        assert a.offset + a.memory.nbytes <= size
        for b in regions[:i]:
            apart = a.last < b.first or b.last < a.first
            behind = a.offset + a.memory.nbytes <= b.offset
            before = b.offset + b.memory.nbytes <= a.offset
            assert apart or behind or before


def test_a_stand_in_has_the_strides_of_its_array():
    value = np.arange(60, dtype=np.int16).reshape(3, 4, 5)[::-1, 1:, ::2]
    region = stand_in(value)
    assert (region.array.shape, region.array.strides) == (value.shape, value.strides)
    assert stand_in(np.empty((0, 3))).array.shape == (0, 3)


def test_arguments_that_no_signature_takes_are_an_error():
    call = Calls()
    call.add(lut.map_codes, (np.zeros(3, np.float32), Scratch("a", 3, np.uint8), 0), 3, 3)
    with pytest.raises(TypeError, match="map_codes"):
        record._signature(call.calls[0])


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16", "f16"])
def test_numbers_stay_in_memory_while_a_tape_reads_them(scheme):
    """Arrays without axes: numpy makes numbers of them, whose memory is gone at once."""
    net = GraphBuilder()
    tanh = net.node("tanh", [net.input("x")])
    graph = net.done(net.node("relu", [net.node("reduce_prod", [tanh], "z", ReduceAttrs(axes=()))]))
    feeds = {"x": np.array(1.0, np.float32)}
    program = npusim.compile(npusim.quantize(graph, [("s", feeds)], scheme=scheme, engine="npusim"))
    spec = program.graph.spec("x")
    for value in np.linspace(-1, 1, 20, dtype=np.float32):
        got = program.run({"x": value}, preprocessed=True)
        steps = program.run({"x": value}, preprocessed=True, observe=lambda *_: None)
        codes = quantize(np.asarray(value), spec.dtype, spec.quant)[()]  # a number
        stored = program.run_stored({"x": codes})
        observed = program.run_stored({"x": codes}, observe=lambda *_: None)
        for name in got:
            np.testing.assert_array_equal(got[name], steps[name])
            np.testing.assert_array_equal(stored[name], observed[name])
