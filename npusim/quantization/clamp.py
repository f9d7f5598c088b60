"""Constants that only a softmax or a maximum feels, stored as near as the format allows.

A sum that ends at the low end of its type for every value of the other operand does so for a
smaller constant as well: the stored results are the same. In float16 a mask ends at -61440, which
leaves room for the scores it is added to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import PadAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import LARGEST_F16, representable
from npusim.ops import op_def
from npusim.passes.hidden import FAR_HALF, HOLE, side_of_constant
from npusim.quantization.schemes import Range


@dataclass(slots=True, kw_only=True)
class Clamp:
    """Clamps the masks of a graph on its way into stored types, and remembers which.

    Parameters
    ----------
    below : mapping
        Sides of the float graph's tensors (``npusim.passes.hidden.sides``).
    ranges : mapping
        Range of every activation; empty in float16.
    """

    below: Mapping[str, int]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)

    def constant(self, graph: Graph, node: Node, position: int) -> NDArray[Any]:
        """Return a float constant of a node whose activations have their stored types."""
        name = node.inputs[position]
        value: NDArray[Any] = graph.constants[name]
        side = side_of_constant(node, position, graph, self.below)
        if not side or not value.size:
            return value
        low = self._lowest(graph, node, position, side)
        if low is None or not float((value * side).min()) < low:
            return value
        kept = np.asarray(np.maximum(value * side, low) * side, np.float32)
        furthest = float((value * side).min() * side)
        self.done[f"{name!r} of layer {node.name!r}"] = f"{furthest:.4g} as {low * side:.4g}"
        return kept

    def fill(self, graph: Graph, node: Node) -> Node:
        """Return a pad whose fill value the float16 type holds; integers saturate by themselves."""
        attrs, side = node.attrs, self.below.get(node.outputs[0], 0)
        if not isinstance(attrs, PadAttrs) or attrs.value * side >= -LARGEST_F16:
            return node  # on the other side it is a value like others
        if not side or graph.spec(node.outputs[0]).dtype is not DType.F16:
            return node
        value = float(np.copysign(LARGEST_F16, attrs.value))
        self.done[f"fill value of layer {node.name!r}"] = f"{attrs.value:.4g} as {value:.4g}"
        return replace(node, attrs=replace(attrs, value=value))

    def note(self) -> tuple[str, ...]:
        """Return the note of what was clamped, or nothing."""
        if not self.done:
            return ()
        told = ", ".join(f"{what} ({how})" for what, how in self.done.items())
        return (f"masks that only softmax and maximum read, stored smaller, same result: {told}",)

    def _lowest(self, graph: Graph, node: Node, position: int, side: int) -> float | None:
        """Return the value below which a constant changes nothing, seen from its side."""
        out = graph.spec(node.outputs[0])
        if out.dtype is DType.F16 or not _is_integer(out.dtype):
            return -LARGEST_F16 if op_def(node.op).hides(node.attrs) else -FAR_HALF
        others = [name for index, name in enumerate(node.inputs) if index != position]
        if op_def(node.op).hides(node.attrs):
            lows = [_seen(side, representable(graph.spec(name)))[0] for name in others]
            return min(lows, default=None) if all(np.isfinite(lows)) else None
        out_side = self.below[node.outputs[0]]
        low, high = _seen(out_side, representable(out))
        if node.op in ("add", "sub"):
            return low - high
        if node.op == "select":
            return low
        if node.op == "mul":
            span = self.ranges.get(others[0], (0.0, np.inf))
            largest = float(np.abs(graph.constants[node.inputs[position]]).max(initial=0.0))
            return low if span[0] >= 0 and span[1] <= 1 and largest >= HOLE else None
        return None  # moves saturate by themselves


def _is_integer(dtype: DType) -> bool:
    return dtype in (DType.U8, DType.I8, DType.I16)


def _seen(side: int, bounds: Range) -> Range:
    return bounds if side > 0 else (-bounds[1], -bounds[0])
