"""A graph under change whose neighbourhoods stay right: one search for any number of rewrites."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from npusim.ir.graph import Graph, Node, rename_inputs
from npusim.ir.names import by_name
from npusim.passes.graph_view import GraphView


class Draft(GraphView):
    """A view of a copy of a graph, in which nodes are replaced.

    What a pass asks of a view stays true after each change, in the time that the change takes and
    not in that of a look at the whole network.

    Attributes
    ----------
    graph : Graph
        The copy, to add tensors and constants to; its ``nodes`` are those of the beginning.
    named : dict
        Name -> node, of those that are there.
    """

    __slots__ = ("_before", "_changed", "_places", "_slots", "named")

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.copy())
        self._before, self._changed = graph, False
        self.named = by_name(graph)
        self._slots: list[list[Node]] = [[node] for node in graph.nodes]
        self._places = {node.name: place for place, node in enumerate(graph.nodes)}

    def order(self, node: Node) -> tuple[int, int]:
        """Return where a node stands, to compare with others."""
        place = self._places[node.name]
        names = [other.name for other in self._slots[place]]
        return place, names.index(node.name)

    def replace(self, old: Sequence[Node], *new: Node) -> None:
        """Put nodes in the place of the last of others; they may have the others' names.

        Their inputs are tensors of ``graph``, and every tensor that the others alone gave is given
        by one of them or read by nobody.
        """
        old = sorted(old, key=self.order)
        place = self._places[old[-1].name]
        behind = self._slots[place][self.order(old[-1])[1] + 1 :]
        for node in old:
            self._drop(node)
        slot = self._slots[place]
        at = len(slot) - len(behind)
        slot[at:at] = new
        for node in new:
            self.named[node.name] = node
            self._places[node.name] = place
            self.producers.update(dict.fromkeys(node.outputs, node))
        for node in new:
            for name in dict.fromkeys(node.inputs):
                insort(self.consumers.setdefault(name, []), node, key=self.order)
            for name in node.outputs:
                self.consumers.setdefault(name, [])
        self._changed = True

    def rename(self, old: str, new: str) -> None:
        """Let the readers of a tensor read another one."""
        for user in list(self.consumers[old]):
            self.replace([user], rename_inputs(user, {old: new}))

    def remove(self, node: Node) -> None:
        """Take a node away whose results nobody reads."""
        self._drop(node)
        self._changed = True

    def done(self) -> Graph:
        """Return the changed graph, or the one of the beginning where nothing was changed."""
        if not self._changed:
            return self._before
        self.graph.nodes = tuple(node for slot in self._slots for node in slot)
        return self.graph

    def _drop(self, node: Node) -> None:
        order = self.order(node)
        for name in dict.fromkeys(node.inputs):
            users = self.consumers[name]
            users.pop(bisect_left(users, order, key=self.order))
        slot = self._slots[self._places.pop(node.name)]
        slot[:] = [other for other in slot if other.name != node.name]
        del self.named[node.name]
        for name in node.outputs:
            if self.producers.get(name) is node:
                del self.producers[name]
