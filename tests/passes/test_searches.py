"""Passes look at a network once for all layers that they leave as they are."""

import pytest

from npusim.ir.attrs import TransposeAttrs
from npusim.passes import fold_affine, fuse_activation, simplify_moves
from npusim.passes.graph_view import GraphView
from npusim.testing import GraphBuilder


@pytest.mark.parametrize(
    "run", [fold_affine.fold_affine, simplify_moves.simplify_moves], ids=["affine", "moves"]
)
def test_a_chain_that_stays_is_searched_once(run, monkeypatch) -> None:
    net = GraphBuilder()
    x = net.input("x", 1, 3, 6, 6)
    for _ in range(20):
        x = net.node("relu", [net.conv(x, 3)])
        x = net.node("transpose", [x], attrs=TransposeAttrs(perm=(0, 1, 3, 2)))
    graph, count = net.done(), []

    def counted(given):
        count.append(given)
        return GraphView(given)

    monkeypatch.setattr(f"{run.__module__}.GraphView", counted)
    assert run(graph) is graph
    assert len(count) == 1


def test_activations_are_fused_in_one_search(monkeypatch) -> None:
    net = GraphBuilder()
    x = net.input("x", 1, 3, 6, 6)
    for _ in range(20):
        x = net.node("relu", [net.conv(x, 3)])
    graph, count = net.done(), []

    def counted(given):
        count.append(given)
        return GraphView(given)

    monkeypatch.setattr(fuse_activation, "GraphView", counted)
    assert len(fuse_activation.fuse_relu(graph).nodes) == 20
    assert len(count) <= 2
