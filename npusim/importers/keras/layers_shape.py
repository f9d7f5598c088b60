"""Layers that move elements, join tensors, or do nothing at inference."""

from math import prod

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import times
from npusim.importers.common.ordered_conv import matmul
from npusim.importers.common.ordered_math import along
from npusim.importers.common.ordered_moves import broadcast, concat
from npusim.importers.keras.context import KerasContext, KerasNode, converter, one_input
from npusim.importers.keras.layers_norm import axes_of


@converter(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise",
    "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity", "RandomFlip",
    "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness",
)  # fmt: skip
def nothing(node: KerasNode, context: KerasContext) -> None:
    """Give the input on: it belongs to training."""
    context.alias(node.outputs[0], one_input(node))


@converter("Flatten")
def flatten(node: KerasNode, context: KerasContext) -> None:
    """Make one row of each sample."""
    source = one_input(node)
    shape = context.shape(source)
    if not context.channels_last(node, source) and len(shape) > 2:
        turned = context.unused(f"{node.outputs[0]}/turned")
        context.alias(turned, source, (0, *range(2, len(shape)), 1))
        source = turned
    context.reshape(node, source, (shape[0], prod(shape[1:])))


@converter("Reshape")
def reshape(node: KerasNode, context: KerasContext) -> None:
    """Target shape without the batch; one size may be -1."""
    source = one_input(node)
    shape = context.shape(source)
    listed = node.config.get("target_shape")
    try:
        sizes = [int(n) for n in listed]  # type: ignore[union-attr]
    except TypeError:
        raise node.wrong("target_shape", "a list of sizes") from None
    if sizes.count(-1) > 1 or any(n < -1 for n in sizes):
        raise node.wrong("target_shape", "sizes, at most one -1")
    if -1 in sizes:
        rest = -prod(sizes)
        sizes[sizes.index(-1)] = prod(shape[1:]) // rest if rest else 0
    context.reshape(node, source, (shape[0], *sizes))


@converter("Permute")
def permute(node: KerasNode, context: KerasContext) -> None:
    """Axes behind the batch, counted from 1."""
    source = one_input(node)
    dims = node.config.get("dims")
    order = [0, *dims] if isinstance(dims, list | tuple) else []
    if sorted(order) != list(range(context.rank(source))):
        raise node.wrong("dims", f"a permutation of the axes of {context.shape(source)}")
    context.alias(node.outputs[0], source, order)


@converter("RepeatVector")
def repeat_vector(node: KerasNode, context: KerasContext) -> None:
    """Repeat a row."""
    source = one_input(node)
    batch, *rest = context.shape(source)
    wide = context.reshape(node, source, (batch, 1, *rest), part="wide")
    broadcast(context, node, wide, (batch, node.whole("n", 1), *rest))


_MERGES = {"Add": "add", "Multiply": "mul", "Maximum": "max"}
_MERGES["Minimum"] = "min"


@converter("Add", "Multiply", "Maximum", "Minimum", "Average", "Subtract")
def merge(node: KerasNode, context: KerasContext) -> None:
    """One operator behind the other, of two tensors or more."""
    if node.type == "Subtract":
        first, second = _several(node, 2)
        context.binary(node, "sub", *_ranked(node, context, first, second))
        return
    first, *rest = _several(node)
    op = _MERGES.get(node.type, "add")
    mean = node.type == "Average"
    for index, name in enumerate(rest):
        last = index == len(rest) - 1 and not mean
        pair = _ranked(node, context, first, name)
        first = context.binary(node, op, *pair, part="" if last else f"step{index}")
    if mean:
        context.chain(node, first, times(1.0 / len(node.inputs)))


def _several(node: KerasNode, count: int = 0) -> tuple[str, ...]:
    if len(node.inputs) < 2 or (count and len(node.inputs) != count):
        raise ModelImportError(
            f"it reads {len(node.inputs)} tensors",
            where=node.where,
            rule=f"{count}" if count else "two or more",
        )
    return node.inputs


def _ranked(node: KerasNode, context: KerasContext, first: str, second: str) -> tuple[str, str]:
    """Return two tensors with as many axes: Keras adds them behind the batch."""
    ranks = context.rank(first), context.rank(second)
    names = []
    for name, rank in zip((first, second), ranks, strict=True):
        shape = context.shape(name)
        missing = max(ranks) - rank
        wide = (*shape[:1], *(1,) * missing, *shape[1:])
        names.append(context.reshape(node, name, wide, part="wide") if missing else name)
    return names[0], names[1]


@converter("Concatenate")
def concatenate(node: KerasNode, context: KerasContext) -> None:
    """Join along an axis."""
    (axis,) = axes_of(node, context, node.inputs[0])
    shapes = [context.shape(name) for name in node.inputs]
    first = shapes[0]
    for shape in shapes:
        if len(shape) != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != axis
        ):
            raise ModelImportError(
                f"inputs {first} and {shape}", where=node.where, rule=f"equal but for axis {axis}"
            )
    concat(context, node, node.inputs, axis)


@converter("Dot")
def dot(node: KerasNode, context: KerasContext) -> None:
    """Sum products along one axis of each, by sample."""
    first, second = _several(node, 2)
    value = node.config.get("axes", -1)
    listed = value if isinstance(value, list | tuple) else (value, value)
    axes = [
        context.axis(node, name, int(a)) for name, a in zip((first, second), listed, strict=True)
    ]
    ranks = context.rank(first), context.rank(second)
    if max(ranks) > 3 or min(ranks) < 2 or 0 in axes:
        raise UnsupportedForm(f"axes {listed} of {ranks[0]} and {ranks[1]} axes", "use Dense")
    names = []
    for name, axis, last in ((first, axes[0], True), (second, axes[1], False)):
        if node.flag("normalize", False):
            name = along(context, node, "l2norm", name, axis, part=f"unit{last:d}")
        names.append(_matrix(node, context, name, axis, last))
    product = matmul(context, node, names[0], names[1], part="product")
    rows = context.shape(first)[1:] if ranks[0] == 3 else ()
    columns = context.shape(second)[1:] if ranks[1] == 3 else ()
    shape = [context.shape(first)[0]]
    shape += [n for i, n in enumerate(rows, 1) if i != axes[0]]
    shape += [n for i, n in enumerate(columns, 1) if i != axes[1]]
    context.reshape(node, product, shape if len(shape) > 1 else [*shape, 1])


def _matrix(node: KerasNode, context: KerasContext, name: str, axis: int, last: bool) -> str:
    """Return (batch, rows, sums) or (batch, sums, columns)."""
    shape = context.shape(name)
    if len(shape) == 2:
        wide = (shape[0], 1, shape[1]) if last else (shape[0], shape[1], 1)
        return context.reshape(node, name, wide, part="matrix")
    if (axis == 2) == last:
        return name
    turned = context.unused(f"{node.outputs[0]}/turned")
    context.alias(turned, name, (0, 2, 1))
    return turned


@converter("Lambda")
def python_code(node: KerasNode, context: KerasContext) -> None:
    """Refused by name: it holds Python code, which is never run."""
    raise UnsupportedForm(
        "it holds Python code, which is never run",
        "write it with layers or keras.ops and save again",
    )
