"""Invariants of a graph, checked between passes."""

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph


def verify(graph: Graph) -> None:
    """Check names, order, single assignment, constants and types.

    Shapes are checked by ``npusim.passes.driver``, which may look at operator definitions.

    Raises
    ------
    GraphError
        Naming the layer or tensor.
    """
    known = set(graph.inputs) | set(graph.constants)
    for name in known | set(graph.outputs):
        graph.spec(name)
    for name, value in graph.constants.items():
        spec = graph.tensors[name]
        if tuple(value.shape) != spec.shape or value.dtype != spec.dtype.numpy:
            raise GraphError(
                f"constant {name!r} is {value.dtype}{value.shape}, its spec says "
                f"{spec.dtype.value}{spec.shape}",
                where=graph.name,
            )
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise GraphError(f"two layers are called {node.name!r}", where=graph.name)
        names.add(node.name)
        for name in node.inputs:
            if name not in known:
                raise GraphError(f"{name!r} is read before it is written", where=node.name)
        for name in node.outputs:
            graph.spec(name)
            if name in known:
                raise GraphError(f"{name!r} is written twice", where=node.name)
            known.add(name)
    missing = [name for name in graph.outputs if name not in known]
    if missing:
        raise GraphError(f"outputs {missing} are written by nothing", where=graph.name)
    for name, spec in graph.tensors.items():
        if spec.name != name:
            raise GraphError(f"tensor {name!r} has a spec called {spec.name!r}", where=graph.name)
        if spec.dtype in (DType.F16, DType.F32) and type(spec.quant).__name__ != "Float":
            raise GraphError(f"tensor {name!r} is {spec.dtype.value} and quantized")
