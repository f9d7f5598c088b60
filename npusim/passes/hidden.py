"""Values that lie so far off that nobody sees them: masks in front of a softmax, pads of a maximum.

Attention adds -inf, -3.4e38, -1e9 or -1e4 to scores that do not count, and a softmax makes 0 of
them. The size of such numbers means nothing, as long as only a softmax or a maximum (for large
numbers: a minimum) reads what comes of them. ``sides`` says of which tensors that is true,
``masks`` finds the constants, ``carriers`` the tensors that they reach.

A side is 1 where it makes no difference how far down values lie, -1 for up, 0 where it does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Activation, PadAttrs, PadMode
from npusim.ir.codes import dequantize, quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import LARGEST_F16, representable
from npusim.ir.names import fresh
from npusim.ir.quant import AffinePerChannel, Float
from npusim.ir.tensor import TensorSpec
from npusim.ops import keeps_codes, op_def

# A hole between live scores and the mask; exp(-32) is 1e-14. Calibration decides in the end.
HOLE = 32.0
FAR = 1e36  # stands for masked values while a float graph is measured; a few sums stay finite
# Beyond everything in float16, with room to add: 2**16 - 2**12.
FAR_HALF = 61440.0
PAD_VALUE, INPUT = -1, -2  # positions of masks that are no operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A constant (or a fill value, or a graph input) some of whose values only a mask can mean.

    Attributes
    ----------
    layer : str
        Name of the node that reads it; empty for a graph input.
    position : int
        Its place among the node's inputs; ``PAD_VALUE``, ``INPUT``.
    tensor : str
        Its name; empty for a fill value.
    side : int
        1: the masked values lie below the others, -1: above.
    edge : float
        The masked value nearest to the others; 0.0 for a graph input, of which nothing is known.
    """

    layer: str
    position: int
    tensor: str
    side: int
    edge: float


def side_through(node: Node, position: int, graph: Graph, below: Mapping[str, int]) -> int:
    """Return the side on which a node hides what it reads at a position.

    ``below`` has the sides of its outputs, tensor by tensor.
    """
    definition = op_def(node.op)
    if side := definition.hides(node.attrs):
        return side
    found = {below.get(name, 0) for name in node.outputs}
    if len(found) != 1 or getattr(node.attrs, "activation", Activation.NONE) != Activation.NONE:
        return 0
    (side,) = found
    match node.op:
        case "add" | "convert":
            return side
        case "sub":
            return -side if position else side
        case "neg":
            return -side
        case "mul" | "div":
            if node.op == "div" and position:
                return 0
            factor = positive_or_negative(graph, node.inputs[1 - position])
            return side * factor
    if (node.op == "gather" and position) or (node.op == "select" and not position):
        return 0  # indices, the condition
    if node.op == "select":
        return side
    return side if definition.moves or keeps_codes(node) else 0


def positive_or_negative(graph: Graph, tensor: str) -> int:
    """Return the sign of a constant of one value; 0 for others, for 0 and for what is no number."""
    value = graph.constants.get(tensor)
    if value is None or value.size != 1 or isinstance(graph.spec(tensor).quant, AffinePerChannel):
        return 0
    number = float(dequantize(value, graph.spec(tensor).quant).reshape(-1)[0])
    return int(np.sign(number)) if np.isfinite(number) else 0


def sides(graph: Graph) -> dict[str, int]:
    """Return for every tensor on which side values are hidden from all outputs of the graph."""
    users, found = graph.consumers(), dict[str, int]()
    order = [name for node in reversed(graph.nodes) for name in node.outputs]
    for tensor in (*order, *graph.inputs):
        seen = {
            side_through(user, position, graph, found)
            for user in users[tensor]
            for position, name in enumerate(user.inputs)
            if name == tensor
        }
        hidden = len(seen) == 1 and tensor not in graph.outputs
        found[tensor] = seen.pop() if hidden else 0
    return found


def masked_from(values: NDArray[Any], side: int, *, needs_others: bool) -> float | None:
    """Return the masked value nearest to the others: the first beyond a hole; None without one.

    Parameters
    ----------
    values : ndarray
    side : int
        1: masked values lie below.
    needs_others : bool
        False: all values may be masked, when they are beyond the hole themselves.
    """
    known = np.unique(values.reshape(-1).astype(np.float64) * side)[::-1]
    if known.size == 0 or np.isnan(known).any() or known[-1] > -HOLE:
        return None
    if not needs_others and known[0] <= -HOLE:
        return float(known[0] * side)
    drop = np.flatnonzero(known[:-1] - known[1:] >= HOLE)
    return float(known[drop[0] + 1] * side) if drop.size else None


def masks(graph: Graph, below: Mapping[str, int]) -> tuple[Mask, ...]:
    """Return the masks of a float graph: constants, fill values of pads, and graph inputs."""
    found = [
        Mask(layer="", position=INPUT, tensor=name, side=below[name], edge=0.0)
        for name in graph.inputs
        if below[name] and graph.spec(name).dtype.is_float
    ]
    for node in graph.nodes:
        attrs = node.attrs
        if isinstance(attrs, PadAttrs) and attrs.mode is PadMode.CONSTANT:
            side = below[node.outputs[0]]
            edge = masked_from(np.array(attrs.value), side, needs_others=False) if side else None
            if edge is not None:
                found.append(
                    Mask(layer=node.name, position=PAD_VALUE, tensor="", side=side, edge=edge)
                )
        for position, name in enumerate(node.inputs):
            value = graph.constants.get(name)
            if value is None or not graph.spec(name).dtype.is_float:
                continue
            side = side_of_constant(node, position, graph, below)
            needs_others = node.op in ("add", "sub")
            edge = masked_from(value, side, needs_others=needs_others) if side else None
            if edge is not None:
                found.append(
                    Mask(layer=node.name, position=position, tensor=name, side=side, edge=edge)
                )
    return tuple(found)


def side_of_constant(node: Node, position: int, graph: Graph, below: Mapping[str, int]) -> int:
    """Return the side of a constant operand; that of a product with zeros and ones is a mask."""
    if node.op == "mul" and not graph.is_constant(node.inputs[1 - position]):
        return below[node.outputs[0]] if graph.constants[node.inputs[position]].size == 1 else 0
    return side_through(node, position, graph, below)


def carriers(graph: Graph, found: Iterable[Mask], below: Mapping[str, int]) -> dict[str, int]:
    """Return the tensors that hold masked values, with their sides."""
    starts = {(mask.layer, mask.position) for mask in found}
    known = {mask.tensor: mask.side for mask in found if mask.position == INPUT}
    for node in graph.nodes:
        reached = any(
            (node.name, position) in starts or name in known
            for position, name in enumerate(node.inputs)
        )
        reached |= (node.name, PAD_VALUE) in starts
        if reached and not op_def(node.op).hides(node.attrs):
            known |= {name: below[name] for name in node.outputs if below[name]}
    return known


def set_aside(graph: Graph, found: Iterable[Mask]) -> Graph:
    """Return the float graph with ``FAR`` in place of every masked value of its constants."""
    graph = graph.copy()
    nodes = {node.name: node for node in graph.nodes}
    for mask in found:
        if mask.position == INPUT:
            continue
        node = nodes[mask.layer]
        if mask.position == PAD_VALUE:
            assert isinstance(node.attrs, PadAttrs)
            attrs = replace(node.attrs, value=-FAR * mask.side)
            nodes[node.name] = replace(node, attrs=attrs)
            continue
        name = fresh(graph, f"{mask.tensor}.masked")
        value = far_from(graph.constants[mask.tensor], mask.side, mask.edge)
        graph.constants[name] = value
        graph.tensors[name] = replace(graph.spec(mask.tensor), name=name)
        inputs = list(node.inputs)
        inputs[mask.position] = name
        nodes[node.name] = replace(node, inputs=tuple(inputs))
    return graph.copy(nodes=tuple(nodes[node.name] for node in graph.nodes))


def far_from(value: NDArray[Any], side: int, edge: float) -> NDArray[np.float32]:
    """Return an array with ``FAR`` in place of the values from ``edge`` on."""
    masked = value * side <= edge * side
    return np.where(masked, np.float32(-FAR * side), value).astype(np.float32)


def hidden_tensors(graph: Graph) -> dict[str, int]:
    """Return the tensors that hold masked values, with their sides; of float and of stored graphs.

    In a stored graph a mask is an operand that makes a sum end at the end of its type whatever the
    other operand is, in float16 one beyond half the type.
    """
    below = sides(graph)
    if not any(below.values()):
        return {}
    if any(_is_stored(graph.spec(name)) for node in graph.nodes for name in node.outputs):
        return _stored_carriers(graph, below)
    return carriers(graph, [m for m in masks(graph, below) if m.position != INPUT], below)


def _is_stored(spec: TensorSpec) -> bool:
    return spec.dtype is DType.F16 or not isinstance(spec.quant, Float)


def _stored_carriers(graph: Graph, below: Mapping[str, int]) -> dict[str, int]:
    known: dict[str, int] = {}
    for node in graph.nodes:
        out = node.outputs[0]
        if not below[out] or op_def(node.op).hides(node.attrs):
            continue
        reached = any(name in known for name in node.inputs) or _fills(node, graph, below[out])
        for position, name in enumerate(node.inputs):
            side = side_of_constant(node, position, graph, below) if graph.is_constant(name) else 0
            side = side or side_through(node, position, graph, below)
            if side and _masks(graph, node, name, side, below[out]):
                reached = True
                if not graph.is_constant(name):
                    known[name] = side
        if reached:
            known |= {name: below[name] for name in node.outputs if below[name]}
    return known


def _fills(node: Node, graph: Graph, side: int) -> bool:
    if not isinstance(node.attrs, PadAttrs) or node.attrs.mode is not PadMode.CONSTANT:
        return False
    spec = graph.spec(node.outputs[0])
    low, _ = _ends(representable(spec), side)
    fill = float(
        dequantize(np.array(quantize(node.attrs.value, spec.dtype, spec.quant)), spec.quant)
    )
    return fill * side <= low if spec.dtype is not DType.F16 else fill * side <= -LARGEST_F16 / 2


def _masks(graph: Graph, node: Node, name: str, side: int, below: int) -> bool:
    """Tell whether the furthest value of an operand leaves a sum no choice."""
    spec, out = graph.spec(name), graph.spec(node.outputs[0])
    if isinstance(spec.quant, AffinePerChannel) or not spec.dtype.is_float | _is_stored(spec):
        return False
    if graph.is_constant(name):
        real = dequantize(graph.constants[name], spec.quant).astype(np.float64) * side
        furthest = float(real.min(initial=np.inf))
    else:
        furthest = _ends(representable(spec), side)[0]
    if out.dtype is DType.F16:
        return graph.is_constant(name) and furthest <= -LARGEST_F16 / 2
    low, high = _ends(representable(out), below)
    half = (high - low) / (out.dtype.max - out.dtype.min) / 2
    if node.op in ("add", "sub"):
        return furthest + high <= low + half
    return graph.is_constant(name) and node.op in ("concat", "select") and furthest <= low


def _ends(bounds: tuple[float, float], side: int) -> tuple[float, float]:
    """Return the ends of a range as seen from a side: what is hidden lies low."""
    return bounds if side > 0 else (-bounds[1], -bounds[0])
