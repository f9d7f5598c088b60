"""The operators npusim knows: attributes, shape rule, cost in MACs, traits and documentation.

One ``OpDef`` per operator, registered by the module of its family; ``npusim.ops`` imports them all.
A list of operators anywhere else is a question to this registry: ``op_def(node.op).weighted``, or
``ops_where(lambda d: d.moves)``.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, fields

from npusim.errors import GraphError
from npusim.ir.attrs import Attrs
from npusim.ir.graph import Node
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ops.checks import require_settings
from npusim.ops.traits import NO_TRAITS, Traits

# (attributes, input shapes) -> output shapes
ShapeRule = Callable[[object, Sequence[Shape]], tuple[Shape, ...]]
# (attributes, input shapes, output shape) -> multiply-accumulates
MacRule = Callable[[object, Sequence[Shape], Shape], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpDef(Traits):
    """What an operator means, and its traits."""

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
    traits: Traits = NO_TRAITS,
    *,
    inputs: int | tuple[int, int] = 1,
    macs: MacRule | None = None,
) -> Callable[[Callable[..., tuple[Shape, ...]]], Callable[..., tuple[Shape, ...]]]:
    """Register the decorated shape rule as an operator; a duplicate name raises."""

    def add(infer: Callable[..., tuple[Shape, ...]]) -> Callable[..., tuple[Shape, ...]]:
        if name in _OPS:
            raise GraphError(f"operator {name!r} is registered twice")
        count = (inputs, inputs) if isinstance(inputs, int) else inputs
        facts = {field.name: getattr(traits, field.name) for field in fields(Traits)}
        facts["golden"] = traits.golden or name
        facts["toolkit"] = traits.toolkit or name.upper()
        facts["layer_class"] = traits.layer_class or f"{name.title().replace('_', '')}Layer"
        facts["kernel"] = traits.kernel or f"{name.replace('_', '.')}.layer"
        _OPS[name] = OpDef(
            name=name,
            attrs=attrs,
            infer=infer,
            inputs=count,
            summary=summary,
            macs=macs,
            **facts,
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


def ops_where(condition: Callable[[OpDef], bool]) -> tuple[str, ...]:
    """Return the names of the operators of which something is true, in order."""
    return tuple(name for name in op_names() if condition(_OPS[name]))


def ops_named_in(vocabulary: str, condition: Callable[[OpDef], bool]) -> dict[str, str]:
    """Return name elsewhere -> operator, of the operators of which something is true.

    ``vocabulary`` is a field of ``Traits`` that holds names: ``onnx``, ``tflite``, ``golden``.
    """
    named = {name: str(getattr(_OPS[name], vocabulary)) for name in ops_where(condition)}
    return {theirs: ours for ours, theirs in named.items() if theirs}


def is_function(definition: OpDef) -> bool:
    """Tell whether an operator is a function of one tensor, element by element, with no setting."""
    plain = definition.elementwise and definition.inputs == (1, 1) and definition.attrs is Attrs
    return plain and not definition.of_truth


def keeps_codes(node: Node) -> bool:
    """Tell whether a node's results are elements of its first input, codes and parameters alike."""
    return op_def(node.op).keeps_codes(node.attrs)


def averages(node: Node) -> bool:
    """Tell whether a node's results are means of elements of its input."""
    return op_def(node.op).averages(node.attrs)


def infer_shapes(node: Node, specs: Sequence[TensorSpec]) -> tuple[Shape, ...]:
    """Return the output shapes of a node for the given inputs.

    Raises
    ------
    GraphError
        When the number or the shapes of the inputs do not fit, the settings are another operator's
        or absurd; it names the layer.
    """
    definition = op_def(node.op)
    low, high = definition.inputs
    if not low <= len(specs) <= high:
        raise GraphError(
            f"{node.op} has {len(specs)} inputs",
            where=f"layer {node.name!r}",
            rule=f"{low} to {high} inputs",
        )
    if type(node.attrs) is not definition.attrs:
        raise GraphError(
            f"{node.op} has the settings {type(node.attrs).__name__}",
            where=f"layer {node.name!r}",
            rule=definition.attrs.__name__,
        )
    try:
        require_settings(node.attrs)
        return definition.infer(node.attrs, [spec.shape for spec in specs])
    except GraphError as error:
        raise GraphError(
            error.what,
            where=f"layer {node.name!r} ({node.op})",
            rule=error.rule,
            remedy=error.remedy,
        ) from None


def require_parameters(node: Node, known: Container[str]) -> None:
    """Check that everything besides the first operand of a layer with parameters is known.

    Parameters
    ----------
    node : Node
    known : container of str
        Names of the constants.

    Raises
    ------
    GraphError
        Naming the layer and the parameter that the network computes.
    """
    definition = op_def(node.op)
    if not (definition.weighted or definition.real_parameters):
        return
    for name in node.inputs[1:]:
        if name not in known:
            raise GraphError(
                f"parameter {name!r} is computed by the network",
                where=f"layer {node.name!r} ({node.op})",
                rule="weights, biases and parameters of a normalisation are constants",
                remedy="store the computed values in the model (an exporter's constant folding "
                "does), or write the layer as matmul, mul and add of computed tensors",
            )


def node_macs(node: Node, inputs: Sequence[Shape], output: Shape) -> int:
    """Return the multiply-accumulates of a node; 0 for operators without products."""
    rule = op_def(node.op).macs
    return rule(node.attrs, inputs, output) if rule else 0
