"""An import with holes fails; its error keeps what could be converted, so that it can be priced."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from npusim.errors import UnsupportedOpError
from npusim.importers.common.builder import GraphBuilder
from npusim.ir.graph import Graph, prune
from npusim.ir.holes import Hole, Rest


def leaving(
    error: UnsupportedOpError,
    builder: GraphBuilder,
    holes: Sequence[Hole],
    unknown: Sequence[str] = (),
    rewrite: Callable[[Graph], Graph] = lambda graph: graph,
) -> UnsupportedOpError:
    """Return the error with what could be converted (``UnsupportedOpError.rest``)."""

    def rest() -> Rest | None:
        graph = _graph_of(builder)
        if graph is None:
            return None
        return Rest(
            graph=numbered(rewrite(graph)),
            holes=tuple(holes),
            unknown=tuple(dict.fromkeys(unknown)),
        )

    error.find_rest = rest
    return error


def _graph_of(builder: GraphBuilder) -> Graph | None:
    """Return the layers of an unfinished import as a graph; None without any."""
    if not builder.nodes:
        return None
    written = {name for node in builder.nodes for name in node.outputs}
    read = dict.fromkeys(name for node in builder.nodes for name in node.inputs)
    inputs = [name for name in read if name not in written and name not in builder.constants]
    outputs = [name for node in builder.nodes for name in node.outputs if name not in read]
    return prune(
        Graph(
            name=builder.where,
            nodes=tuple(builder.nodes),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            tensors=dict(builder.tensors),
            constants=dict(builder.constants),
        )
    )


def numbered(graph: Graph) -> Graph:
    """Return the graph with its layers numbered from the end, as finished imports are."""
    last = len(graph.nodes) - 1
    return graph.copy(nodes=tuple(replace(n, uid=last - i) for i, n in enumerate(graph.nodes)))
