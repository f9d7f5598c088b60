"""Names that nothing has yet."""

from collections.abc import Container

from npusim.ir.graph import Graph


def fresh_among(taken: Container[str], stem: str) -> str:
    """Return ``stem``, with a number behind it when it is taken."""
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}.{count}"
    return name


def fresh(graph: Graph, stem: str) -> str:
    """Return a tensor name that the graph does not use yet."""
    return fresh_among(graph.tensors, stem)
