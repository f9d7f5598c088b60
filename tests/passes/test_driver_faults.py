"""Which concats and views the driver gets wrong: a small network for each sentence."""

import logging
from dataclasses import replace

import pytest

from npusim.ir.attrs import (
    AxisAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.passes.assign_engine import assign_engine
from npusim.passes.driver_faults import FaultKind, driver_faults, placed_in
from npusim.passes.warn_driver_faults import warn_driver_faults
from npusim.testing import GraphBuilder

DISPLACED, UNORDERED = FaultKind.DISPLACED, FaultKind.UNORDERED
NESTED, READ_AS_VIEW = FaultKind.NESTED, FaultKind.READ_AS_VIEW


class Net(GraphBuilder):
    """Networks of moves; ``hidden`` makes results of layers."""

    def hidden(self, *shape):
        return self.node("abs", [self.input(f"x{len(self.graph.inputs)}", *shape)])

    def made(self, *shape):
        return self.conv(self.input(f"x{len(self.graph.inputs)}", *shape), shape[1], 1)

    def cut(self, x, begin, end, step=None):
        step = step or (1,) * len(begin)
        return self.node("slice", [x], attrs=SliceAttrs(begin=begin, end=end, step=step))

    def channels(self, x, first, last):
        return self.cut(x, (0, first, 0, 0), (1, last, *self.shape(x)[2:]))

    def rows(self, x):
        n, c, h, w = self.shape(x)
        return self.cut(x, (0, 0, 1, 0), (n, c, 1 + h // 2, w))

    def split(self, x, *sizes, axis=1):
        names = [f"{x}_{i}" for i in range(len(sizes))]
        self.node("split", [x], names[0], SplitAttrs(axis=axis, sizes=sizes), names[1:])
        return names

    def reshape(self, x, *shape):
        return self.node("reshape", [x], attrs=ReshapeAttrs(shape=shape))

    def permute(self, x, *perm):
        return self.node("transpose", [x], attrs=TransposeAttrs(perm=perm))

    def join(self, *parts, axis=1, **changes):
        return self.node("concat", parts, attrs=AxisAttrs(axis=axis), **changes)

    def act(self, x):
        return self.node("sigmoid", [x])


def kinds(graph):
    return [fault.kind for fault in driver_faults(assign_engine(graph))]


def part_of(maker, first, read):
    """Return a network in which one part of a concat is what ``maker`` makes of a network."""
    net = Net(DType.U8)
    special = maker(net)
    plain = net.hidden(*net.shape(special))
    j = net.join(*((special, plain) if first else (plain, special)))
    return net.done(net.act(j) if read else j)


COPIED_BY_SLICES = {
    "rows": lambda n: n.rows(n.hidden(1, 3, 8, 4)),
    "every second": lambda n: n.cut(n.hidden(1, 3, 8, 8), (0,) * 4, (1, 3, 8, 8), (1, 1, 2, 2)),
    "lines": lambda n: n.split(n.hidden(1, 3, 8, 4), 4, 4, axis=2)[1],
    "same sizes": lambda n: n.reshape(n.hidden(1, 3, 4, 4), 1, 3, 4, 4),
    "new axis": lambda n: n.reshape(n.hidden(3, 4, 4), 1, 3, 4, 4),
    "nothing moves": lambda n: n.permute(n.hidden(1, 3, 1, 4), 0, 1, 2, 3),
}


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("name", COPIED_BY_SLICES)
def test_parts_that_keep_their_sizes_are_right_only_at_the_beginning(name, read):
    assert kinds(part_of(COPIED_BY_SLICES[name], True, read)) == []
    assert kinds(part_of(COPIED_BY_SLICES[name], False, read)) == [DISPLACED]


RESHAPED = {
    "larger": lambda n: n.reshape(n.hidden(1, 12, 4), 1, 3, 16),
    "flat": lambda n: n.reshape(n.hidden(1, 3, 4, 4), 1, 48),
    "five axes": lambda n: n.reshape(n.hidden(1, 1, 3, 4, 4), 1, 3, 4, 4),
    "boxes": lambda n: n.reshape(n.permute(n.made(1, 6, 4, 4), 0, 2, 3, 1), 1, 32, 3),
}


def overwriting(*, reads_second=False):
    """Return a network whose strided slice lands on the first part, which has another reader."""
    net = Net(DType.U8)
    first, second = net.made(1, 2, 6, 2), net.made(1, 9, 6, 2)
    small = net.cut(net.made(1, 3, 12, 4), (0,) * 4, (1, 3, 12, 4), (1, 1, 2, 2))
    joined = net.join(first, small, second)
    return net.done(joined, net.act(net.permute(second if reads_second else first, 0, 2, 3, 1)))


def test_other_readers_of_an_overwritten_part_are_named():
    faults = driver_faults(assign_engine(overwriting()))
    assert [fault.kind for fault in faults] == [DISPLACED, FaultKind.OVERWRITTEN]
    assert faults[1].layers == ("n_t5",)  # the transpose
    assert kinds(overwriting(reads_second=True)) == [DISPLACED]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", RESHAPED)
def test_reshaped_parts_are_right_until_something_reads_the_result(name, first):
    assert kinds(part_of(RESHAPED[name], first, False)) == []
    assert kinds(part_of(RESHAPED[name], first, True)) == [UNORDERED]


@pytest.mark.parametrize("first", [False, True])
def test_a_reshape_whose_old_sizes_fit_is_wrong_even_at_the_beginning(first):
    fits = lambda n: n.reshape(n.hidden(1, 6, 2, 4), 1, 3, 4, 4)  # noqa: E731
    assert kinds(part_of(fits, first, False)) == [DISPLACED]
    assert kinds(part_of(fits, first, True)) == [UNORDERED]


RIGHT = {
    "layer": lambda n: n.made(1, 3, 4, 4),
    "table": lambda n: n.act(n.hidden(1, 3, 4, 4)),
    "channels": lambda n: n.channels(n.hidden(1, 6, 4, 4), 2, 5),
    "half": lambda n: n.split(n.hidden(1, 6, 4, 4), 3, 3)[1],
    "permuted": lambda n: n.permute(n.hidden(1, 4, 4, 3), 0, 3, 1, 2),
    "layer on a slice": lambda n: n.act(n.rows(n.hidden(1, 3, 8, 4))),
    "layer on a reshape": lambda n: n.act(n.reshape(n.hidden(1, 6, 8), 1, 3, 4, 4)),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("first", [False, True])
def test_other_parts_are_right(name, first):
    assert kinds(part_of(RIGHT[name], first, True)) == []


@pytest.mark.parametrize("name", COPIED_BY_SLICES | RESHAPED)
@pytest.mark.parametrize(
    "quant", [Affine(scale=0.0501, zero_point=128), Affine(scale=0.05, zero_point=127)]
)
def test_unequal_parameters_make_the_driver_copy(name, quant):
    graph = part_of((COPIED_BY_SLICES | RESHAPED)[name], False, True)
    (joined,) = (node.outputs[0] for node in graph.nodes if node.op == "concat")
    graph.tensors[joined] = replace(graph.spec(joined), quant=quant)
    assert kinds(graph) == []


@pytest.mark.parametrize("name", COPIED_BY_SLICES | RESHAPED)
def test_a_part_that_is_an_output_makes_the_driver_copy(name):
    graph = part_of((COPIED_BY_SLICES | RESHAPED)[name], False, True)
    (parts,) = (node.inputs for node in graph.nodes if node.op == "concat")
    assert kinds(graph.copy(outputs=(*graph.outputs, parts[0]))) == []


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16, DType.F16])
def test_the_type_plays_no_part(dtype):
    net = Net(dtype)
    net.act(net.join(net.hidden(1, 3, 4, 4), net.rows(net.hidden(1, 3, 8, 4))))
    assert kinds(net.done()) == [DISPLACED]


# ---- concats of concats ------------------------------------------------------------------------
def nest(reader=None, *, begins=True, shown=False, again=False):
    net = Net(DType.U8)
    inner = net.join(net.hidden(1, 2, 4, 4), net.hidden(1, 3, 4, 4))
    other = inner if again else net.hidden(1, 2, 4, 4)
    last = net.join(*((inner, other) if begins else (other, inner)))
    outputs = [last if shown else net.act(last)]
    if reader:
        outputs.append(reader(net, inner))
    return net.done(*outputs)


def test_a_concat_in_a_concat_is_wrong_when_it_has_other_readers():
    assert kinds(nest()) == []
    assert kinds(nest(Net.act)) == [NESTED]
    assert kinds(nest(Net.act, begins=False)) == [NESTED]
    assert kinds(nest(again=True)) == [NESTED]


def test_an_outer_concat_that_is_shown_is_right_when_the_inner_one_begins_it():
    assert kinds(nest(Net.act, shown=True)) == []
    assert kinds(nest(Net.act, shown=True, begins=False)) == [NESTED]


def test_dense_blocks_are_named_at_every_outer_concat():
    net = Net(DType.U8)
    x = net.made(1, 4, 4, 4)
    for _ in range(3):
        x = net.join(x, net.conv(x, 2))
    faults = driver_faults(assign_engine(net.done(net.act(x))))
    outer = [node.name for node in net.graph.nodes if node.op == "concat"][1:]
    assert [(f.layer, f.kind) for f in faults] == [(name, NESTED) for name in outer]


def test_a_dense_block_that_lists_its_layers_is_right():
    net = Net(DType.U8)
    parts = [net.made(1, 4, 4, 4)]
    for _ in range(3):
        parts.append(net.conv(net.join(*parts) if len(parts) > 1 else parts[0], 2))
    assert kinds(net.done(net.act(net.join(*parts)))) == []


# ---- readers -----------------------------------------------------------------------------------
def read(*readers, shown=False):
    net = Net(DType.U8)
    j = net.join(net.hidden(1, 4, 4, 4), net.hidden(1, 2, 4, 4))
    outputs = [name for reader in readers for name in [reader(net, j)]]
    return net.done(*outputs, *([j] if shown else []))


WRONG_READERS = {
    "reshape": lambda n, j: n.act(n.reshape(j, 1, 6, 16)),
    "reshape, two readers": lambda n, j: n.act(n.reshape(n.reshape(j, 1, 6, 16), 1, 3, 32)),
    "across": lambda n, j: n.act(n.channels(j, 2, 5)),
    "across, shown": lambda n, j: n.channels(j, 2, 5),
    "split across": lambda n, j: n.act(n.split(j, 3, 3)[0]),
}
RIGHT_READERS = {
    "layer": Net.act,
    "reshape, shown": lambda n, j: n.reshape(j, 1, 6, 16),
    "same sizes": lambda n, j: n.act(n.reshape(j, 1, 6, 4, 4)),
    "first part": lambda n, j: n.act(n.channels(j, 0, 4)),
    "second part": lambda n, j: n.act(n.channels(j, 4, 6)),
    "both parts": lambda n, j: n.act(n.split(j, 4, 2)[1]),
    "rows": lambda n, j: n.act(n.rows(j)),
    "permuted": lambda n, j: n.act(n.permute(j, 0, 2, 3, 1)),
}


@pytest.mark.parametrize("name", WRONG_READERS)
def test_a_result_is_not_read_through_views(name):
    found = kinds(read(WRONG_READERS[name]))
    assert found == [READ_AS_VIEW]


@pytest.mark.parametrize("name", RIGHT_READERS)
def test_other_readers_are_right(name):
    assert kinds(read(RIGHT_READERS[name])) == []


def test_a_shown_reshape_is_right_only_alone():
    shown = RIGHT_READERS["reshape, shown"]
    assert kinds(read(shown, Net.act)) == [READ_AS_VIEW]
    assert kinds(read(shown, shown=True)) == [READ_AS_VIEW]


@pytest.mark.parametrize(
    ("view", "wrong"),
    [
        (lambda n, x: n.reshape(x, 1, 3, 16), True),
        (lambda n, x: n.channels(x, 1, 3), True),
        (lambda n, x: n.split(x, 1, 2)[1], True),
        (lambda n, x: n.reshape(x, 1, 3, 4, 4), False),
        (lambda n, x: n.rows(x), False),
        (lambda n, x: x, False),
    ],
)
def test_a_part_is_not_read_through_views(view, wrong):
    net = Net(DType.U8)
    part = net.hidden(1, 3, 4, 4)
    j = net.act(net.join(net.hidden(1, 3, 4, 4), part))
    assert kinds(net.done(j, net.act(view(net, part)))) == [READ_AS_VIEW] * wrong


# ---- the rest ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("op", "quant", "other", "read", "wrong"),
    [
        ("relu", Affine(scale=0.05, zero_point=0), False, False, True),
        ("relu6", Affine(scale=0.02, zero_point=0), False, False, True),
        ("relu6", Affine(scale=0.05, zero_point=0), False, False, False),
        ("relu", Affine(scale=0.05, zero_point=9), False, False, False),
        ("relu", Affine(scale=0.05, zero_point=0), True, False, False),
        ("relu", Affine(scale=0.05, zero_point=0), False, True, False),
        ("sigmoid", Affine(scale=0.05, zero_point=0), False, False, False),
    ],
)
def test_a_rectifier_that_changes_nothing_takes_a_part_along(op, quant, other, read, wrong):
    net = Net(DType.U8, quant)
    part = net.act(net.input("x", 1, 3, 4, 4))
    j = net.join(net.hidden(1, 3, 4, 4), part)
    outputs = [net.act(j) if read else j, net.node(op, [part])]
    if other:
        outputs.append(net.act(part))
    assert kinds(net.done(*outputs)) == [FaultKind.SKIPPED] * wrong


@pytest.mark.parametrize("op", ["tanh", "square"])
def test_tanh_and_square_run_too_early_beside_other_readers(op):
    early = FaultKind.TOO_EARLY

    def found(*readers, of_part=False):
        net = Net(DType.U8)
        part = net.made(1, 3, 4, 4)
        j = net.join(part, net.made(1, 2, 4, 4))
        names = [net.node(reader, [part if of_part else j]) for reader in readers]
        return kinds(net.done(*names, *([net.node("abs", [j])] if of_part else [])))

    assert found(op, "abs") == [early]
    assert found(op) == found(op, op) == found("abs", "sigmoid") == []
    assert found(op, of_part=True) == [early]
    assert found("sigmoid", of_part=True) == []
    for hidden in (False, True):
        net = Net(DType.U8)
        source = net.made(1, 3, 4, 4) if hidden else net.input("x", 1, 3, 4, 4)
        part = net.node(op, [source])
        j = net.join(part, net.made(1, 2, 4, 4))
        assert kinds(net.done(net.node("abs", [j]), net.node("abs", [part]))) == [early] * (
            not hidden
        )


def test_more_than_four_axes_are_right_when_nothing_reads_them():
    for read, found in ((True, [FaultKind.MANY_AXES]), (False, [])):
        net = Net(DType.U8)
        j = net.join(net.hidden(1, 2, 3, 2, 2), net.hidden(1, 1, 3, 2, 2))
        assert kinds(net.done(net.act(j) if read else j)) == found


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min", "reduce_sum", "reduce_mean"])
def test_reductions_as_parts_do_not_compile(op):
    net = Net(DType.U8)
    part = net.node(op, [net.hidden(1, 3, 4, 4)], attrs=ReduceAttrs(axes=(3,), keepdims=True))
    net.act(net.join(part, net.hidden(*net.shape(part))))
    assert kinds(net.done()) == [FaultKind.REFUSED] * (op != "reduce_mean")


def test_a_shader_program_that_begins_the_network_is_lost():
    for begins in (True, False):
        net = Net(DType.U8)
        if not begins:
            net.hidden(1, 3, 4, 4)
        part = net.node("floor", [net.input("x", 1, 3, 4, 4)])
        net.act(net.join(part, net.hidden(1, 3, 4, 4)))
        assert kinds(net.done()) == [FaultKind.SHADER_FIRST] * begins


VIEWS_OF_VIEWS = [
    (lambda n: n.channels(n.reshape(n.hidden(1, 8, 2, 4), 1, 4, 4, 4), 2, 4), "part"),
    (lambda n: n.split(n.reshape(n.hidden(1, 8, 2, 4), 1, 4, 4, 4), 2, 2)[0], "part"),
    (lambda n: n.reshape(n.channels(n.hidden(1, 8, 4, 4), 4, 8), 1, 4, 16), "reshape"),
    (lambda n: n.reshape(n.channels(n.hidden(1, 8, 4, 4), 4, 8), 1, 4, 4, 4), "reshape"),
    (lambda n: n.reshape(n.channels(n.hidden(1, 8, 4, 4), 0, 4), 1, 4, 16), "reshape"),
    (lambda n: n.reshape(n.channels(n.hidden(1, 8, 4, 4), 0, 4), 1, 4, 4, 4), ""),
    (lambda n: n.channels(n.reshape(n.hidden(1, 4, 4, 4), 1, 4, 4, 4), 2, 4), ""),
    (lambda n: n.rows(n.reshape(n.hidden(1, 8, 2, 4), 1, 4, 4, 4)), ""),
    (lambda n: n.reshape(n.rows(n.hidden(1, 4, 8, 4)), 1, 4, 16), ""),
    (lambda n: n.channels(n.channels(n.hidden(1, 8, 4, 4), 2, 6), 1, 3), ""),
    (lambda n: n.reshape(n.reshape(n.hidden(1, 8, 4, 4), 1, 4, 32), 1, 2, 64), ""),
    (lambda n: n.channels(n.reshape(n.input("i", 1, 8, 2, 4), 1, 4, 4, 4), 2, 4), ""),
    (lambda n: n.reshape(n.channels(n.input("i", 1, 8, 4, 4), 4, 8), 1, 4, 16), ""),
    (lambda n: n.reshape(n.split(n.input("i", 1, 8, 4, 4), 4, 4)[1], 1, 4, 16), "reshape"),
]


@pytest.mark.parametrize(("build", "kind"), VIEWS_OF_VIEWS)
def test_a_view_of_a_view(build, kind):
    net = Net(DType.U8)
    found = kinds(net.done(net.act(build(net))))
    expected = {"part": FaultKind.PART_OF_RESHAPE, "reshape": FaultKind.RESHAPE_OF_PART}
    assert found == ([expected[kind]] if kind else [])


def test_a_shown_reshape_of_a_part_is_right():
    net = Net(DType.U8)
    assert kinds(net.done(net.reshape(net.channels(net.hidden(1, 8, 4, 4), 4, 8), 1, 4, 16))) == []


@pytest.mark.parametrize(
    ("shape", "whole", "corner"),
    [
        ((1, 3, 4, 4), (1, 6, 4, 4), (1, 3, 4, 4)),
        ((3, 4, 4), (1, 6, 4, 4), (1, 3, 4, 4)),
        ((1, 1, 3, 4), (1, 6, 4), (1, 3, 4)),
        ((1, 2, 3, 4), (1, 6, 4), None),
        ((2, 1, 3, 4), (1, 6, 4), (1, 3, 4)),
        ((1, 8, 1, 1), (1, 16), (1, 1)),
        ((1, 3, 4, 8), (1, 6, 4), None),
        ((1, 6, 16), (1, 6, 4, 4), None),
        ((1, 1, 3, 2, 2), (1, 6, 4, 4), None),
        ((1, 1, 1, 2, 2), (1, 6, 4, 4), (1, 1, 1, 4)),
    ],
)
def test_where_a_part_of_other_sizes_is_stored(shape, whole, corner):
    assert placed_in(shape, whole) == corner


# ---- the words ---------------------------------------------------------------------------------
def test_one_warning_names_the_concat_the_layers_and_the_way_out(caplog):
    net = Net(DType.U8)
    rows = net.rows(net.hidden(1, 3, 8, 4))
    net.act(net.join(net.hidden(1, 3, 4, 4), rows))
    placed = assign_engine(net.done())
    with caplog.at_level(logging.WARNING):
        assert warn_driver_faults(placed) is placed
    (record,) = caplog.records
    text = record.getMessage()
    concat, cut = (next(n.name for n in placed.nodes if n.op == op) for op in ("concat", "slice"))
    assert text.startswith(f"layer {concat!r} (concat, u8): in this concat in place")
    assert repr(cut) in text
    assert "avoid_driver_faults=True" in text
    assert text.endswith("(npusim explain concat-of-views)")


def test_float16_has_no_parameters_to_change(caplog):
    net = Net(DType.F16)
    net.act(net.join(net.hidden(1, 3, 4, 4), net.rows(net.hidden(1, 3, 8, 4))))
    warn_driver_faults(assign_engine(net.done()))
    assert "avoid_driver_faults" not in caplog.text
    assert "make one part an output" in caplog.text


def test_a_view_of_a_view_has_words_of_its_own(caplog):
    net = Net(DType.U8)
    net.act(net.channels(net.reshape(net.hidden(1, 8, 2, 4), 1, 4, 4, 4), 2, 4))
    warn_driver_faults(assign_engine(net.done()))
    assert "(npusim explain view-of-view)" in caplog.text


def test_known_blocks_without_faults():
    net = Net(DType.I8, DynamicFixedPoint(fl=4))
    x = net.made(1, 4, 4, 4)
    first, second = net.split(net.conv(x, 8, 1), 4, 4)  # C2f
    c2f = net.conv(net.join(first, second, net.conv(second, 4)), 4, 1)
    chain = [net.conv(c2f, 4, 1)]  # ELAN
    for _ in range(3):
        chain.append(net.conv(chain[-1], 4))
    assert kinds(net.done(net.act(net.join(*chain[::-1])))) == []
