"""Element-wise functions of one tensor."""

from collections.abc import Sequence

from npusim.errors import GraphError
from npusim.ir.attrs import AlphaAttrs, Attrs, ClipAttrs, HardSigmoidAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register


def same(attrs: Attrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Output shape is the input's."""
    return (ins[0],)


UNARY_OPS: dict[str, tuple[type[Attrs], str]] = {
    "relu": (Attrs, "max(x, 0)"),
    "relu1": (Attrs, "clip(x, -1, 1)"),
    "relu6": (Attrs, "clip(x, 0, 6)"),
    "leaky_relu": (AlphaAttrs, "x for x >= 0, alpha * x below"),
    "sigmoid": (Attrs, "1 / (1 + exp(-x))"),
    "tanh": (Attrs, "hyperbolic tangent"),
    "hard_sigmoid": (HardSigmoidAttrs, "clip(alpha * x + beta, 0, 1)"),
    "hard_swish": (Attrs, "x * clip(x + 3, 0, 6) / 6"),
    "swish": (Attrs, "x * sigmoid(x)"),
    "mish": (Attrs, "x * tanh(log(1 + exp(x)))"),
    "elu": (AlphaAttrs, "x for x >= 0, alpha * (exp(x) - 1) below"),
    "clip": (ClipAttrs, "clip(x, minimum, maximum)"),
    "softplus": (Attrs, "log(1 + exp(x))"),
    "gelu": (Attrs, "x * (1 + erf(x / sqrt(2))) / 2"),
    "erf": (Attrs, "error function (measured inside gelu only, not on its own)"),
    "abs": (Attrs, "absolute value"),
    "neg": (Attrs, "-x"),
    "exp": (Attrs, "exponential"),
    "log": (Attrs, "natural logarithm"),
    "sqrt": (Attrs, "square root"),
    "rsqrt": (Attrs, "1 / sqrt(x)"),
    "square": (Attrs, "x * x"),
    "reciprocal": (Attrs, "1 / x"),
    "floor": (Attrs, "largest integer not above x"),
    "convert": (Attrs, "change of element type or quantization, same real values"),
}
for _name, (_attrs, _summary) in UNARY_OPS.items():
    register(_name, _attrs, _summary)(same)


@register(
    "prelu",
    Attrs,
    "x for x >= 0, slope * x below, slope per channel (measured for u8 and f16 only)",
    inputs=2,
)
def prelu(attrs: Attrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Slope must broadcast to the input without growing it."""
    ifm, slope = ins
    padded = (1,) * (len(ifm) - len(slope)) + tuple(slope)
    if len(slope) > len(ifm) or any(s not in (1, n) for s, n in zip(padded, ifm, strict=True)):
        raise GraphError(f"slope {slope} does not broadcast to the input {ifm}")
    return (ifm,)
