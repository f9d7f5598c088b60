"""Normalisations."""

from collections.abc import Sequence

from npusim.errors import GraphError
from npusim.ir.attrs import AxisAttrs, LrnAttrs, NormAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register
from npusim.ops.traits import Traits


@register(
    "batch_norm",
    NormAttrs,
    "(x - mean) / sqrt(var + epsilon) * gamma + beta",
    Traits(real_parameters=True, golden="batchnorm"),
    inputs=5,
)
def batch_norm(attrs: NormAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """ifm, gamma, beta, mean, var (one value per channel, axis 1)."""
    ifm = ins[0]
    if len(ifm) < 2 or any(shape != (ifm[1],) for shape in ins[1:]):
        raise GraphError(f"parameters {ins[1:]} must have one value per channel of {ifm}")
    return (ifm,)


@register(
    "instance_norm",
    NormAttrs,
    "normalises each channel of each sample",
    Traits(real_parameters=True, golden="instancenorm"),
    inputs=3,
)
def instance_norm(attrs: NormAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """ifm, gamma, beta."""
    return (ins[0],)


@register(
    "layer_norm",
    NormAttrs,
    "normalises over the axes from ``axis`` on (i8: the chip's kernel leaves rows 0, not modelled)",
    Traits(real_parameters=True, golden="layernorm"),
    inputs=3,
)
def layer_norm(attrs: NormAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """ifm, gamma, beta."""
    return (ins[0],)


@register(
    "l2norm",
    AxisAttrs,
    "x / sqrt(sum of squares along an axis)",
    Traits(keeps_sign=True, bounds=(-1.0, 1.0), toolkit="L2_NORMALIZE"),
)
def l2norm(attrs: AxisAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept."""
    return (ins[0],)


@register("lrn", LrnAttrs, "local response normalisation across channels", Traits(keeps_sign=True))
def lrn(attrs: LrnAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept."""
    return (ins[0],)
