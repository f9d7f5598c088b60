"""What loops write into a sequence turn by turn stays known as parts.

The converter writes an item as everything in front of it, the item, and everything behind it,
joined again. Cutting such a join where its parts meet gives the parts, so that a loop of n turns
leaves one join of n items and not n copies of the sequence.
"""

from collections.abc import Sequence

import numpy as np

from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.whole import Joined
from npusim.ir.attrs import AxisAttrs


def join(
    op: Operator, context: TfliteContext, parts: Sequence[str], axis: int, activation: int = 0
) -> None:
    """Give tensors of the graph, joined along one of its axes, as the result of an operator."""
    found = list(parts)
    plain = context.whole.depth and not activation
    if plain:
        found = [part for name in parts for part in _within(context, name, axis)]
    if plain and len(found) == 1 and _alike(context, found[0], op.outputs[0]):
        context.alias(op, found[0])
        return
    made = context.emit(op, "concat", found, AxisAttrs(axis=axis), activation=activation)
    if plain and all(_alike(context, part, op.outputs[0]) for part in found):
        context.whole.joined[made] = Joined(axis, tuple(found))


def parts_between(
    op: Operator, context: TfliteContext, name: str, axis: int, begin: int, end: int
) -> list[str]:
    """Return the parts of a join that fill a range of an axis; empty when none do.

    Parameters
    ----------
    name : str
        Tensor of the graph.
    axis : int
        As the graph counts it.
    """
    joined = context.whole.joined.get(name)
    if joined is None or joined.axis != axis:
        return []
    found, place = [], 0
    for part in joined.parts:
        size = context.builder.tensors[part].shape[axis]
        low, high = max(begin, place), min(end, place + size)
        if low < high and high - low == size:
            found.append(part)
        elif low < high:
            value = context.builder.constants.get(part)
            if value is None:
                return []
            piece = np.take(value, range(low - place, high - place), axis)
            rest = context.unused(f"{context.origin(op)}/rest")
            quant = context.builder.tensors[part].quant
            found.append(context.builder.add_constant(rest, piece, quant))
        place += size
    return found


def _within(context: TfliteContext, name: str, axis: int) -> tuple[str, ...]:
    joined = context.whole.joined.get(name)
    return (name,) if joined is None or joined.axis != axis else joined.parts


def _alike(context: TfliteContext, name: str, index: int) -> bool:
    """Tell whether a tensor has the type and the quantization of a result."""
    spec = context.builder.tensors[name]
    return (spec.dtype, spec.quant) == context.spec(index)
