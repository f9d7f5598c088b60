"""Normalisations."""

from collections.abc import Sequence

from npusim.errors import GraphError
from npusim.ir.attrs import AxisAttrs, LrnAttrs, NormAttrs
from npusim.ir.tensor import Shape
from npusim.ops.checks import require_axes, require_per_channel
from npusim.ops.registry import register
from npusim.ops.traits import Traits


@register(
    "batch_norm",
    NormAttrs,
    "(x - mean) / sqrt(var + epsilon) * gamma + beta",
    Traits(real_parameters=True, keeps_channels=True, golden="batchnorm"),
    inputs=5,
)
def batch_norm(attrs: NormAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """ifm, gamma, beta, mean, var (one value per channel, axis 1)."""
    require_per_channel(ins[0], ins[1:])
    return (ins[0],)


@register(
    "instance_norm",
    NormAttrs,
    "normalises each channel of each sample",
    Traits(real_parameters=True, keeps_channels=True, golden="instancenorm"),
    inputs=3,
)
def instance_norm(attrs: NormAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """ifm, gamma, beta (one value per channel, axis 1); three axes or more."""
    require_per_channel(ins[0], ins[1:])
    if len(ins[0]) < 3:
        raise GraphError(
            f"a tensor of shape {ins[0]}", rule="axes to normalise over, behind N and C"
        )
    return (ins[0],)


@register(
    "layer_norm",
    NormAttrs,
    "normalises over the axes from ``axis`` on (i8: the chip's kernel leaves rows 0, not modelled)",
    Traits(real_parameters=True, keeps_channels=True, golden="layernorm"),
    inputs=3,
)
def layer_norm(attrs: NormAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """ifm, gamma, beta (of the normalised axes)."""
    ifm, rank = ins[0], len(ins[0])
    require_axes(ifm, (attrs.axis % rank if attrs.axis < 0 < rank else attrs.axis,))
    normalised = ifm[attrs.axis % rank :]
    if any(tuple(shape) != normalised for shape in ins[1:]):
        raise GraphError(f"parameters {ins[1:]} must have the normalised axes {normalised}")
    return (ifm,)


@register(
    "l2norm",
    AxisAttrs,
    "x / sqrt(sum of squares along an axis)",
    Traits(keeps_sign=True, keeps_channels=True, bounds=(-1.0, 1.0), toolkit="L2_NORMALIZE"),
)
def l2norm(attrs: AxisAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept."""
    require_axes(ins[0], (attrs.axis,))
    return (ins[0],)


@register(
    "lrn",
    LrnAttrs,
    "local response normalisation across channels",
    Traits(keeps_sign=True, keeps_channels=True),
)
def lrn(attrs: LrnAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept; channels are axis 1."""
    require_axes(ins[0], (1,))
    return (ins[0],)
