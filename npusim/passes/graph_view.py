"""A graph with its neighbourhoods looked up once, for rewrites and for engine rules."""

from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import TensorSpec


class GraphView:
    """What a pass may ask around a node.

    Attributes
    ----------
    graph : Graph
    producers : dict
        Tensor -> node that writes it; graph inputs and constants have none.
    consumers : dict
        Tensor -> nodes that read it, in execution order.
    placed : dict
        Layer name -> node with the engine and form decided so far. Nodes are decided in execution
        order, so every producer of a node's inputs is already known.
    """

    __slots__ = ("_exposed", "consumers", "graph", "placed", "producers")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = graph.producers()
        self.consumers = graph.consumers()
        self.placed: dict[str, Node] = {}
        self._exposed = frozenset((*graph.inputs, *graph.outputs))

    def ifm(self, node: Node, index: int = 0) -> TensorSpec:
        """Return the spec of an input."""
        return self.graph.spec(node.inputs[index])

    def ofm(self, node: Node, index: int = 0) -> TensorSpec:
        """Return the spec of an output."""
        return self.graph.spec(node.outputs[index])

    def producer_of(self, name: str, *ops: str) -> Node | None:
        """Return the node that writes a tensor when its operator is one of ``ops``."""
        node = self.producers.get(name)
        return node if node is not None and node.op in ops else None

    def exposed(self, name: str) -> bool:
        """Tell whether a tensor is an input or output of the graph."""
        return name in self._exposed

    def only_user(self, name: str) -> Node | None:
        """Return the single reader of a tensor that the graph does not expose, else None."""
        users = self.consumers[name]
        return users[0] if len(users) == 1 and not self.exposed(name) else None

    def is_private(self, name: str) -> bool:
        """Tell whether exactly one node reads a tensor and the graph does not expose it."""
        return self.only_user(name) is not None

    def aliases(self, name: str) -> tuple[str, ...]:
        """Return the tensors that share a tensor's memory through reshapes, itself included."""
        while (node := self.producers.get(name)) is not None and node.op == "reshape":
            name = node.inputs[0]
        found = [name]
        for alias in found:
            found += [node.outputs[0] for node in self.consumers[alias] if node.op == "reshape"]
        return tuple(found)
