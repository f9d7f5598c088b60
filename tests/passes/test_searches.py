"""Passes look at a network once, however many layers they change or leave as they are."""

import sys
from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import (
    AxisAttrs,
    ClipAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.ir.graph import prune
from npusim.passes.draft import Draft
from npusim.passes.graph_view import GraphView
from npusim.passes.pipeline import FLOAT_PASSES, QUANTIZED_PASSES, SPLIT_DECONV
from npusim.quantization.float16 import to_float16
from npusim.testing import GraphBuilder

AROUND = {"front": (0, 0, 1, 1), "back": (0, 0, 1, 1)}
TURN = TransposeAttrs(perm=(0, 2, 1, 3))
HALF = TransposeAttrs(perm=(0, 1, 3, 2))
POOL = Pool2dAttrs(kind=PoolKind.MAX, kernel=(3, 3), pad=(1, 1, 1, 1))
AVERAGE = Pool2dAttrs(kind=PoolKind.AVG, kernel=(3, 3), pad=(1, 1, 1, 1), count_include_pad=True)


def known(net, value):
    return net.constant(f"k{len(net.graph.constants)}", np.float32(value))


def batch_norm(net, x):
    return net.node("batch_norm", [x, *(known(net, np.full(4, v)) for v in (1.1, 0.1, 0.2, 0.9))])


def addend(net, x):
    return net.node("add", [x, known(net, np.full((1, 4, 1, 1), 0.5))])


def six(net, x):
    clip = ClipAttrs(minimum=0, maximum=6)
    return net.node("clip", [net.node("add", [x, known(net, 3)])], attrs=clip)


def small(net, x):
    y = net.conv(x, 4)
    net.graph.constants[net.graph.nodes[-1].inputs[1]] *= np.float32(1e-6)
    return y


def turned(net, x):
    return net.node("transpose", [x], attrs=TURN)


def reshaped(net, x, *shape):
    return net.node("reshape", [x], attrs=ReshapeAttrs(shape=shape))


LINKS = {
    "small weights": small,
    "transposes": lambda n, x: turned(n, turned(n, x)),
    "a transpose": lambda n, x: n.node("transpose", [n.node("exp", [x])], attrs=HALF),
    "reshapes": lambda n, x: n.node("exp", [reshaped(n, reshaped(n, x, 1, 64), 1, 4, 4, 4)]),
    "batch norm": lambda n, x: batch_norm(n, n.conv(x, 4)),
    "addends": lambda n, x: n.node("exp", [addend(n, addend(n, n.conv(x, 4)))]),
    "batch norm alone": lambda n, x: addend(n, batch_norm(n, n.node("tanh", [x]))),
    "sums of constants": addend,
    "pad": lambda n, x: n.conv(n.node("pad", [x], attrs=PadAttrs(**AROUND)), 4, pad=0),
    "pad of a pool": lambda n, x: n.node(
        "pool2d",
        [n.node("pad", [x], attrs=PadAttrs(**AROUND, value=-np.inf))],
        attrs=Pool2dAttrs(kind=PoolKind.MAX, kernel=(3, 3)),
    ),
    "swish": lambda n, x: n.node("mul", [x, n.node("sigmoid", [x])]),
    "hard swish": lambda n, x: n.node("div", [n.node("mul", [x, six(n, x)]), known(n, 6)]),
    "hard sigmoid": lambda n, x: n.node("div", [six(n, x), known(n, 6)]),
    "relu": lambda n, x: n.node("relu", [n.conv(x, 4)]),
    "relu6 and pool": lambda n, x: n.node("pool2d", [n.node("relu6", [n.conv(x, 4)])], attrs=POOL),
    "average": lambda n, x: n.conv(n.node("pool2d", [x], attrs=AVERAGE), 4, 1),
    "sum and relu": lambda n, x: n.node("relu", [n.node("add", [x, n.conv(x, 4)])]),
    "concat": lambda n, x: n.conv(
        n.node("concat", [n.conv(x, 4), reshaped(n, x, 1, 4, 4, 4)], attrs=AxisAttrs(axis=1)), 4
    ),
}  # fmt: skip


def chained(link, count):
    net = GraphBuilder()
    x = net.input("x", 1, 4, 4, 4)
    for _ in range(count):
        x = LINKS[link](net, x)
    return net.done(net.node("tanh", [x]))


def starred(link, count):
    net = GraphBuilder()
    x = net.input("x", 1, 4, 4, 4)
    return net.done(*(LINKS[link](net, x) for _ in range(count)))


def work(call, *arguments):
    """Return how many instructions of Python something takes, and its result."""
    count = 0

    def entered(frame, event, argument):
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return counted

    def counted(frame, event, argument):
        nonlocal count
        count += event == "opcode"
        return counted

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        result = call(*arguments)
    finally:
        sys.settrace(before)
    return count, result


def counts(graph):
    """Return the work of each pass and of the way to float16, by place and name."""
    found, source = {}, graph
    for steps in ((*FLOAT_PASSES[:1], SPLIT_DECONV, *FLOAT_PASSES[1:]), QUANTIZED_PASSES):
        if steps is QUANTIZED_PASSES:
            found[0, "float16"], graph = work(to_float16, source)
        for place, step in enumerate(steps):
            found[place, step.name], graph = work(step.run, graph)
            graph = prune(graph)
    return found


@pytest.mark.parametrize("made", [chained, starred])
@pytest.mark.parametrize("link", LINKS)
def test_the_work_of_every_pass_grows_with_the_network_and_no_faster(link, made):
    few, more, most = (counts(made(link, count)) for count in (12, 24, 48))
    for step in few:
        first, second = more[step] - few[step], most[step] - more[step]
        assert second <= 2.3 * first + 1000, (step, first, second)


@pytest.mark.parametrize("step", FLOAT_PASSES, ids=lambda step: step.name)
def test_a_chain_that_stays_is_the_same_graph(step):
    net = GraphBuilder()
    x = net.input("x", 1, 4, 4, 4)
    for _ in range(4):
        x = net.node(
            "exp", [net.node("transpose", [net.node("tanh", [net.conv(x, 4)])], attrs=HALF)]
        )
    graph = net.done()
    assert step.run(graph) is graph


@pytest.mark.parametrize("made", [chained, starred])
@pytest.mark.parametrize("link", LINKS)
def test_a_draft_knows_its_surroundings_after_every_change(link, made, monkeypatch):
    changes = []

    class Checked(Draft):
        def replace(self, old, *new):
            super().replace(old, *new)
            self.checked()

        def remove(self, node):
            super().remove(node)
            self.checked()

        def checked(self):
            anew = GraphView(self.done())
            assert self.producers == anew.producers
            assert self.consumers == anew.consumers
            assert self.named == {node.name: node for node in anew.graph.nodes}
            assert sorted(anew.graph.nodes, key=self.order) == list(anew.graph.nodes)
            changes.append(len(anew.graph.nodes))

    for step in (*FLOAT_PASSES, *QUANTIZED_PASSES):
        module = sys.modules[step.run.__module__]
        if hasattr(module, "Draft"):
            monkeypatch.setattr(module, "Draft", Checked)
    graph = npusim.optimize(made(link, 3))
    npusim.compile(npusim.float16(made(link, 3), optimization_level=0))
    assert changes or {node.op for node in graph.nodes} <= UNCHANGED[link]


UNCHANGED = {
    "small weights": {"conv2d", "tanh"},
    "a transpose": {"exp", "transpose", "tanh"},
    "sums of constants": {"add", "tanh"},
    "relu": {"conv2d", "tanh"},  # fused in one go
    "sum and relu": {"conv2d", "add", "relu", "tanh"},
    "concat": {"conv2d", "concat", "reshape", "tanh"},
}


def test_two_nodes_in_the_place_of_two():
    net = GraphBuilder()
    x = net.input("x", 1, 4, 4, 4)
    for name in "abc":
        x = net.node("exp", [x], name)
    draft = Draft(net.done())
    a, b, c = draft.graph.nodes
    draft.graph.tensors["m"] = draft.graph.spec("a")
    one, two = replace(b, outputs=("m",)), replace(a, inputs=("m",), outputs=("b",))
    draft.replace((a, b), one, two)
    assert [node.name for node in draft.done().nodes] == [b.name, a.name, c.name]
    assert draft.only_user("m") == two
    assert draft.order(one) < draft.order(two) < draft.order(c)
