"""Normalisations and activation layers."""

from collections.abc import Sequence
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.layers import Step, clipped, leaky, plus, times
from npusim.importers.common.ordered_math import along, batch_norm, greater, reduce
from npusim.importers.keras.activations import activate, rectified
from npusim.importers.keras.context import KerasContext, KerasNode, converter, one_input
from npusim.ir.attrs import AlphaAttrs, EltwiseAttrs


def axes_of(node: KerasNode, context: KerasContext, source: str, default: int = -1) -> list[int]:
    """Return the setting ``axis`` as non-negative axes."""
    value = node.config.get("axis", default)
    value = default if value is None else value
    listed = value if isinstance(value, list | tuple) else [value]
    try:
        return [context.axis(node, source, int(axis)) for axis in listed]
    except (TypeError, ValueError):
        raise node.wrong("axis", "whole numbers") from None


@converter("BatchNormalization")
def batch_normalization(node: KerasNode, context: KerasContext) -> None:
    """Use stored statistics; epsilon .001 by default, scale and centre may be missing."""
    source = one_input(node)
    axes = axes_of(node, context, source)
    if len(axes) != 1:
        raise UnsupportedForm(f"axes {axes}", "normalise one axis")
    channels = context.shape(source)[axes[0]]
    shapes: dict[str, Sequence[int]] = {}
    if node.flag("scale", True):
        shapes["gamma"] = (channels,)
    if node.flag("center", True):
        shapes["beta"] = (channels,)
    shapes |= {"moving_mean": (channels,), "moving_variance": (channels,)}
    found = dict(zip(shapes, context.learned(node, shapes), strict=True))
    gamma = found.get("gamma", np.ones(channels, np.float32))
    beta = found.get("beta", np.zeros(channels, np.float32))
    parameters = (gamma, beta, found["moving_mean"], found["moving_variance"])
    batch_norm(context, node, source, parameters, node.number("epsilon", 1e-3), axis=axes[0])


def centred(
    node: KerasNode, context: KerasContext, source: str, axes: Sequence[int], *, part: str = ""
) -> tuple[str, str]:
    """Return x - mean and the mean of its square over axes."""
    mean = reduce(context, node, "reduce_mean", source, axes, keep=True, part=f"{part}mean")
    apart = context.binary(node, "sub", source, mean, part=f"{part}apart")
    squares = context.unary(node, "square", apart, part=f"{part}squares")
    variance = reduce(
        context, node, "reduce_mean", squares, axes, keep=True, part=f"{part}variance"
    )
    return apart, variance


def _affine(
    node: KerasNode, context: KerasContext, shape: Sequence[int], wide: Sequence[int]
) -> list[Step]:
    """Return the steps of gamma and beta, as far as the layer has them."""
    shapes: dict[str, Sequence[int]] = {}
    if node.flag("scale", True):
        shapes["gamma"] = shape
    if node.flag("center", True):
        shapes["beta"] = shape
    found = dict(zip(shapes, context.learned(node, shapes), strict=True))
    steps = []
    if "gamma" in found:
        steps += times(found["gamma"].reshape(wide), "gamma")
    if "beta" in found:
        steps += plus(found["beta"].reshape(wide), "beta")
    return steps


@converter("LayerNormalization")
def layer_normalization(node: KerasNode, context: KerasContext) -> None:
    """Over the listed axes, with epsilon .001 by default."""
    source = one_input(node)
    axes = sorted(axes_of(node, context, source))
    shape = context.shape(source)
    sizes = [shape[axis] for axis in axes]
    wide = [n if axis in axes else 1 for axis, n in enumerate(shape)]
    if node.flag("rms_scaling", False):
        raise UnsupportedForm("rms_scaling", "use RMSNormalization")
    apart, variance = centred(node, context, source, axes)
    scale = [*plus(node.number("epsilon", 1e-3), "safe"), Step("scale", "rsqrt")]
    by = context.chain(node, variance, scale, part="scale")
    steps = [Step("normed", "mul", EltwiseAttrs(), by), *_affine(node, context, sizes, wide)]
    context.chain(node, apart, steps)


@converter("RMSNormalization")
def rms_normalization(node: KerasNode, context: KerasContext) -> None:
    """Divide by the root of the mean square of an axis and multiply by a learned scale."""
    source = one_input(node)
    (axis,) = axes_of(node, context, source)[-1:]
    size = context.shape(source)[axis]
    (gamma,) = context.learned(node, {"scale": (size,)})
    squares = context.unary(node, "square", source, part="squares")
    mean = reduce(context, node, "reduce_mean", squares, [axis], keep=True, part="mean")
    scale = [*plus(node.number("epsilon", 1e-6), "safe"), Step("scale", "rsqrt")]
    by = context.chain(node, mean, scale, part="scale")
    wide = [size if i == axis else 1 for i in range(context.rank(source))]
    steps = [Step("normed", "mul", EltwiseAttrs(), by), *times(gamma.reshape(wide), "gamma")]
    context.chain(node, source, steps)


@converter("GroupNormalization")
def group_normalization(node: KerasNode, context: KerasContext) -> None:
    """Over groups of channels and all positions; -1 groups are one per channel."""
    source = one_input(node)
    (axis,) = axes_of(node, context, source)[:1]
    shape = context.shape(source)
    channels, groups = shape[axis], node.whole("groups", 32)
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise ModelImportError(
            f"{groups} groups of {channels} channels", where=node.where, rule="whole groups"
        )
    split = (*shape[:axis], groups, channels // groups, *shape[axis + 1 :])
    rows = context.reshape(node, source, split, part="groups")
    axes = [i for i in range(1, len(split)) if i != axis]
    apart, variance = centred(node, context, rows, axes)
    scale = [*plus(node.number("epsilon", 1e-3), "safe"), Step("scale", "rsqrt")]
    by = context.chain(node, variance, scale, part="scale")
    normed = context.binary(node, "mul", apart, by, part="normed")
    whole = context.reshape(node, normed, shape, part="joined")
    wide = [n if i == axis else 1 for i, n in enumerate(shape)]
    context.chain(node, whole, _affine(node, context, (channels,), wide))


@converter("UnitNormalization")
def unit_normalization(node: KerasNode, context: KerasContext) -> None:
    """Divide by the length along axes."""
    source = one_input(node)
    axes = axes_of(node, context, source)
    if len(axes) == 1:
        along(context, node, "l2norm", source, axes[0])
        return
    squares = context.unary(node, "square", source, part="squares")
    total = reduce(context, node, "reduce_sum", squares, axes, keep=True, part="total")
    by = context.chain(node, total, [*plus(1e-12, "safe"), Step("scale", "rsqrt")], part="scale")
    context.binary(node, "mul", source, by)


@converter("Normalization")
def normalization(node: KerasNode, context: KerasContext) -> None:
    """Subtract a known mean and divide by the root of a known variance."""
    source = one_input(node)
    rank = context.rank(source)
    value = node.config.get("axis", -1)
    listed = [] if value is None else value if isinstance(value, list) else [value]
    axes = [context.axis(node, source, int(axis)) for axis in listed]
    shape = context.shape(source)
    wide = [n if i in axes else 1 for i, n in enumerate(shape)]
    sizes = [shape[axis] for axis in sorted(axes)]
    mean, variance = node.config.get("mean"), node.config.get("variance")
    if mean is None or variance is None:
        assert context.weights is not None
        found = context.weights.of(node.source.place)
        have = [v for v in found if v.size == prod(sizes)][:2]
        if len(have) != 2:
            raise ModelImportError(
                f"its stored statistics are {[v.shape for v in found]}",
                where=node.where,
                rule=f"a mean and a variance of shape {tuple(sizes)}",
                remedy="call adapt before saving",
            )
        mean, variance = have
    middle, spread = (_statistic(node, v, wide) for v in (mean, variance))
    if node.flag("invert", False):
        root = np.maximum(np.sqrt(spread), 1e-7)
        context.chain(node, source, [*times(root, "root"), *plus(middle, "mean")])
        return
    root = np.maximum(np.sqrt(spread), np.float32(1e-7))
    steps = [*plus(-middle, "mean"), Step("scaled", "div", EltwiseAttrs(), root)]
    context.chain(node, source, steps)
    assert rank >= 0


def _statistic(node: KerasNode, value: object, wide: Sequence[int]) -> Array:
    array = np.asarray(value, np.float32)
    if array.size not in (1, prod(wide)):
        raise ModelImportError(
            f"a statistic of shape {array.shape}", where=node.where, rule=f"shape {tuple(wide)}"
        )
    return array.reshape(wide) if array.size == prod(wide) else np.float32(array.reshape(-1)[0])  # type: ignore[return-value]


@converter("Rescaling")
def rescaling(node: KerasNode, context: KerasContext) -> None:
    """Multiply and add, one number each or one per channel."""
    source = one_input(node)
    values = []
    for word, default in (("scale", 1.0), ("offset", 0.0)):
        value = node.config.get(word, default)
        if isinstance(value, dict):
            value = (
                value.get("config", {}).get("value", value)
                if isinstance(value.get("config"), dict)
                else value.get("value")
            )
        values.append(np.asarray(default if value is None else value, np.float32))
    context.chain(node, source, [*times(values[0]), *plus(values[1])])


# ---- activations as layers
@converter("Activation")
def activation(node: KerasNode, context: KerasContext) -> None:
    """Append a function by name."""
    activate(node, context, one_input(node), node.config.get("activation"))


@converter("ReLU")
def relu(node: KerasNode, context: KerasContext) -> None:
    """Maximum, slope below and where below begins."""
    most = node.config.get("max_value")
    rectified(
        node,
        context,
        one_input(node),
        None if most is None else node.number("max_value"),
        node.number("negative_slope"),
        node.number("threshold"),
    )


@converter("LeakyReLU")
def leaky_relu(node: KerasNode, context: KerasContext) -> None:
    """Slope below zero, .3 by default."""
    old = "alpha" if "alpha" in node.config else "negative_slope"
    context.chain(node, one_input(node), [leaky(node.number(old, 0.3))])


@converter("PReLU")
def prelu(node: KerasNode, context: KerasContext) -> None:
    """Learned slopes below zero; axes may share them."""
    source = one_input(node)
    shape = context.shape(source)
    shared = node.config.get("shared_axes") or []
    wide = [1 if i in shared else n for i, n in enumerate(shape)][1:]
    (slope,) = context.learned(node, {"alpha": wide})
    name = context.constant(f"{node.name}/alpha", slope.reshape(1, *wide))
    context.binary(node, "prelu", source, name)


@converter("ELU")
def elu(node: KerasNode, context: KerasContext) -> None:
    """Compute alpha * (exp(x) - 1) below zero."""
    attrs = AlphaAttrs(alpha=node.number("alpha", 1.0))
    context.unary(node, "elu", one_input(node), attrs)


@converter("ThresholdedReLU")
def thresholded(node: KerasNode, context: KerasContext) -> None:
    """Keep what is above theta."""
    source = one_input(node)
    edge = context.constant(f"{node.name}/theta", node.number("theta", 1.0))
    above = greater(context, node, source, edge, part="above")
    context.binary(node, "mul", source, above)


@converter("Softmax")
def softmax(node: KerasNode, context: KerasContext) -> None:
    """Along an axis."""
    source = node.inputs[0]
    axes = axes_of(node, context, source)
    if len(axes) != 1 or len(node.inputs) != 1:
        raise UnsupportedForm("several axes or a mask", "use one axis")
    along(context, node, "softmax", source, axes[0])


def clip_steps(low: float, high: float) -> list[Step]:
    """Return the step of two limits."""
    return [clipped(low, high)]
