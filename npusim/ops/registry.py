"""The operators npusim knows: attributes, shape rule, cost in MACs and a line of documentation.

One ``OpDef`` per operator, registered by the module of its family; ``npusim.ops`` imports them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npusim.errors import GraphError
from npusim.ir.attrs import Attrs
from npusim.ir.graph import Node
from npusim.ir.tensor import Shape, TensorSpec

# (attributes, input shapes) -> output shapes
ShapeRule = Callable[[object, Sequence[Shape]], tuple[Shape, ...]]
# (attributes, input shapes, output shape) -> multiply-accumulates
MacRule = Callable[[object, Sequence[Shape], Shape], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpDef:
    """What an operator means, independent of any engine."""

    name: str
    attrs: type[Attrs]
    infer: ShapeRule
    inputs: tuple[int, int]
    summary: str
    macs: MacRule | None = None


_OPS: dict[str, OpDef] = {}


def register(
    name: str,
    attrs: type[Attrs],
    summary: str,
    *,
    inputs: int | tuple[int, int] = 1,
    macs: MacRule | None = None,
) -> Callable[[Callable[..., tuple[Shape, ...]]], Callable[..., tuple[Shape, ...]]]:
    """Register the decorated shape rule as an operator; a duplicate name raises."""

    def add(infer: Callable[..., tuple[Shape, ...]]) -> Callable[..., tuple[Shape, ...]]:
        if name in _OPS:
            raise GraphError(f"operator {name!r} is registered twice")
        count = (inputs, inputs) if isinstance(inputs, int) else inputs
        _OPS[name] = OpDef(
            name=name, attrs=attrs, infer=infer, inputs=count, summary=summary, macs=macs
        )
        return infer

    return add


def op_def(name: str) -> OpDef:
    """Return the definition of an operator."""
    try:
        return _OPS[name]
    except KeyError:
        raise GraphError(
            f"operator {name!r} does not exist", rule=f"known operators: {', '.join(sorted(_OPS))}"
        ) from None


def op_names() -> tuple[str, ...]:
    """Return all operator names in order."""
    return tuple(sorted(_OPS))


def infer_shapes(node: Node, specs: Sequence[TensorSpec]) -> tuple[Shape, ...]:
    """Return the output shapes of a node for the given inputs.

    Raises
    ------
    GraphError
        When the number or the shapes of the inputs do not fit; it names the layer.
    """
    definition = op_def(node.op)
    low, high = definition.inputs
    if not low <= len(specs) <= high:
        raise GraphError(
            f"{node.op} has {len(specs)} inputs",
            where=f"layer {node.name!r}",
            rule=f"{low} to {high} inputs",
        )
    try:
        return definition.infer(node.attrs, [spec.shape for spec in specs])
    except GraphError as error:
        raise GraphError(
            error.what, where=f"layer {node.name!r} ({node.op})", rule=error.rule
        ) from None


def node_macs(node: Node, inputs: Sequence[Shape], output: Shape) -> int:
    """Return the multiply-accumulates of a node; 0 for operators without products."""
    rule = op_def(node.op).macs
    return rule(node.attrs, inputs, output) if rule else 0
