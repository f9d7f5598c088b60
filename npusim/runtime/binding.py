"""From a node to a callable: the table of bindings.

A binding looks at a node once, at load time: it checks shapes and types, prepares constants
(packed weights, tables, multipliers) and returns a *step*. A step takes the node's activations (its
inputs that are not constants, in order) and returns its outputs. It keeps no state between calls
and may be called from several threads.

Most operators compute on their first input, and the others are parameters that are known: their
bindings write a step of one array, and `bind` gives it the array when that is a constant as well.
Operators whose operands are equals (``operands=True``) look themselves at what is known.

Values are numpy arrays whose shape is the spec's shape (N, C, H, W for feature maps) in any memory
order; see ``npusim.runtime.memory_order`` for the two orders that kernels want.
"""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from npusim.errors import GraphError
from npusim.ir.graph import Engine, Graph, Node
from npusim.ops import require_parameters

Array = NDArray[Any]
Step = Callable[..., tuple[Array, ...]]
Bind = Callable[[Node, Graph], Step]

_BINDINGS: dict[tuple[str, Engine], tuple[Bind, bool]] = {}


def binding(*ops: str, engine: Engine, operands: bool = False) -> Callable[[Bind], Bind]:
    """Register the decorated function as the binding of operators on an engine.

    Parameters
    ----------
    *ops : str
    engine : Engine
    operands : bool
        The step takes all activations; otherwise the first input alone, known or not.
    """

    def add(bind: Bind) -> Bind:
        for op in ops:
            if (op, engine) in _BINDINGS:
                raise GraphError(f"{op} on {engine.value} is bound twice")
            _BINDINGS[op, engine] = bind, operands
        return bind

    return add


def has_binding(op: str, engine: Engine) -> bool:
    """Tell whether an operator can run on an engine."""
    return (op, engine) in _BINDINGS


def bind(node: Node, graph: Graph) -> Step:
    """Return the step of a node.

    Raises
    ------
    GraphError
        When the node has no engine yet or nothing is bound for it; it lists what exists. When a
        parameter is computed by the network.
    """
    if node.engine is None:
        raise GraphError(
            f"layer {node.name!r} has no engine",
            rule="a Program is made of a lowered graph",
            remedy="npusim.compile(graph) lowers it and makes the Program",
        )
    found = _BINDINGS.get((node.op, node.engine))
    if found is None:
        exist = sorted(f"{o} on {e.value}" for o, e in _BINDINGS if o == node.op)
        raise GraphError(
            f"{node.op} cannot run on {node.engine.value}",
            where=f"layer {node.name!r}",
            rule=f"available: {', '.join(exist) or 'nothing for this operator'}",
        )
    make, operands = found
    if operands:
        return make(node, graph)
    require_parameters(node, graph.constants)
    step, known = make(node, graph), graph.constants.get(node.inputs[0])
    return step if known is None else lambda: step(known)
