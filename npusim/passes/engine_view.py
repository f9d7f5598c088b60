"""What the engine rules may look at: a node, its tensors, its neighbours."""

from dataclasses import dataclass, field

from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.tensor import TensorSpec


@dataclass(slots=True)
class GraphView:
    """A graph with producers, consumers and the engines decided so far.

    Nodes are decided in execution order, so every producer of a node's inputs is already known.
    """

    graph: Graph
    producers: dict[str, Node] = field(init=False)
    consumers: dict[str, list[Node]] = field(init=False)
    engines: dict[str, Engine] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.producers = self.graph.producers()
        self.consumers = self.graph.consumers()

    def ifm(self, node: Node, index: int = 0) -> TensorSpec:
        """Return the spec of an input."""
        return self.graph.spec(node.inputs[index])

    def ofm(self, node: Node, index: int = 0) -> TensorSpec:
        """Return the spec of an output."""
        return self.graph.spec(node.outputs[index])

    def engine_of(self, name: str) -> Engine | None:
        """Return the engine that writes a tensor; None for graph inputs and constants."""
        node = self.producers.get(name)
        return self.engines[node.name] if node else None

    def exposed(self, name: str) -> bool:
        """Tell whether a tensor is an input or output of the graph."""
        return name in self.graph.inputs or name in self.graph.outputs

    def only_consumer(self, name: str) -> bool:
        """Tell whether exactly one node reads a tensor and the graph does not expose it."""
        return len(self.consumers[name]) == 1 and not self.exposed(name)

    def aliases(self, name: str) -> tuple[str, ...]:
        """Return the tensors that share a tensor's memory through reshapes, itself included."""
        while (node := self.producers.get(name)) is not None and node.op == "reshape":
            name = node.inputs[0]
        found = [name]
        for alias in found:
            found += [node.outputs[0] for node in self.consumers[alias] if node.op == "reshape"]
        return tuple(found)
