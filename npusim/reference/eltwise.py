"""Reference of the element-wise operators of two tensors."""

from collections.abc import Callable

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Activation, EltwiseAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.reference.conv import LIMITS
from npusim.reference.table import Array, Step, Workers, attributes, contiguous, reference

# defined for integers too
_EXACT: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
_FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    **_EXACT,
    "div": np.divide,
    "pow": np.power,
}


@reference(*_FUNCTIONS, integers=True)
def prepare_binary(node: Node, graph: Graph, workers: Workers) -> Step:
    """Broadcast, compute, clamp."""
    attrs = attributes(node, EltwiseAttrs)
    dtypes = [graph.spec(name).dtype for name in node.inputs]
    floats = all(dtype is DType.F32 for dtype in dtypes)
    if not floats and (dtypes[0] is not dtypes[1] or node.op not in _EXACT):
        raise GraphError(
            f"{node.op} of {dtypes[0].value} and {dtypes[1].value}",
            rule=f"both inputs float32, or the same integer type for {', '.join(_EXACT)}",
            remedy="insert a Cast to float32 into the model",
        )
    function = _FUNCTIONS[node.op]
    low, high = LIMITS[attrs.activation]

    def step(first: Array, second: Array) -> tuple[Array, ...]:
        if node.op == "pow":
            first, second = contiguous(first), contiguous(second)
        ofm = np.asarray(function(first, second))
        if attrs.activation is not Activation.NONE:
            ofm = np.clip(ofm, low, high)
        return (ofm,)

    return step
