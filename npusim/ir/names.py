"""Names that nothing has yet."""

from collections.abc import Container, Sequence

from npusim.ir.graph import Graph, Node


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


def by_name(graph: Graph) -> dict[str, Node]:
    """Return layer name -> node: for many names, each of which ``Graph.node`` would search."""
    return {node.name: node for node in graph.nodes}


def distinct(names: Sequence[str], stem: str) -> tuple[str, ...]:
    """Return a name of its own for each of several; the first of equal ones keeps it.

    Parameters
    ----------
    names : sequence of str
        Any, also equal or empty ones.
    stem : str
        Begin of the names of those without one.
    """
    taken, seen = set(names), set()
    found = []
    for index, name in enumerate(names):
        if not name or name in seen:
            name = fresh_among(taken, f"{name}@{index}" if name else f"{stem}_{index}")
            taken.add(name)
        seen.add(name)
        found.append(name)
    return tuple(found)
