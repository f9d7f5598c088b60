"""Element-wise functions of one tensor."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from npusim.errors import GraphError
from npusim.ir.attrs import AlphaAttrs, Attrs, ClipAttrs, HardSigmoidAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register
from npusim.ops.traits import TpTable, Traits


def same(attrs: Attrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Output shape is the input's."""
    return (ins[0],)


_FUNCTION = Traits(elementwise=True)
_ON_TP = replace(_FUNCTION, tp_table=TpTable.ACTIVATION)
_LOOKUP = replace(_FUNCTION, tp_table=TpTable.LOOKUP)
_CURVE = replace(_ON_TP, activation=True)
_LOOKUP_CURVE = replace(_LOOKUP, activation=True)
_BENT = replace(_CURVE, kink=True)
_LOOKUP_BENT = replace(_LOOKUP_CURVE, kink=True)
_RECTIFIER = replace(_BENT, rectifier=True)
_POSITIVE, _UNIT, _PLUS_MINUS_ONE = (0.0, inf), (0.0, 1.0), (-1.0, 1.0)

UNARY: dict[str, tuple[type[Attrs], str, Traits]] = {
    "relu": (
        Attrs,
        "max(x, 0)",
        replace(
            _RECTIFIER,
            homogeneous=True,
            bounds=_POSITIVE,
            tensorflow="Relu",
            onnx="Relu",
            mxnet="relu",
            tflite="RELU",
        ),
    ),
    "relu1": (
        Attrs,
        "clip(x, -1, 1)",
        replace(_RECTIFIER, keeps_sign=True, bounds=_PLUS_MINUS_ONE, tflite="RELU_N1_TO_1"),
    ),
    "relu6": (
        Attrs,
        "clip(x, 0, 6)",
        replace(_RECTIFIER, bounds=(0.0, 6.0), tensorflow="Relu6", tflite="RELU6"),
    ),
    "leaky_relu": (
        AlphaAttrs,
        "x for x >= 0, alpha * x below",
        replace(_RECTIFIER, homogeneous=True, keeps_sign=True),
    ),
    "sigmoid": (
        Attrs,
        "1 / (1 + exp(-x))",
        replace(
            _CURVE,
            bounds=_UNIT,
            f16_results=True,
            tensorflow="Sigmoid",
            onnx="Sigmoid",
            mxnet="sigmoid",
            tflite="LOGISTIC",
            caffe="Sigmoid",
        ),
    ),
    "tanh": (
        Attrs,
        "hyperbolic tangent",
        replace(
            _CURVE,
            keeps_sign=True,
            bounds=_PLUS_MINUS_ONE,
            f16_results=True,
            tensorflow="Tanh",
            onnx="Tanh",
            mxnet="tanh",
            tflite="TANH",
            caffe="TanH",
        ),
    ),
    "hard_sigmoid": (
        HardSigmoidAttrs,
        "clip(alpha * x + beta, 0, 1)",
        replace(_LOOKUP_BENT, bounds=_UNIT, golden="hardsigmoid"),
    ),
    "hard_swish": (
        Attrs,
        "x * clip(x + 3, 0, 6) / 6",
        replace(
            _BENT,
            keeps_sign=True,
            bounds=(-0.375, inf),
            keras="hard_silu",
            onnx="HardSwish",
            tflite="HARD_SWISH",
            golden="hardswish",
            toolkit="SWISH",
        ),
    ),
    "swish": (
        Attrs,
        "x * sigmoid(x)",
        replace(_CURVE, keras="silu", keeps_sign=True, bounds=(-0.2785, inf)),
    ),
    "mish": (
        Attrs,
        "x * tanh(log(1 + exp(x)))",
        replace(
            _LOOKUP_CURVE,
            keeps_sign=True,
            bounds=(-0.3089, inf),
            onnx="Mish",
            mxnet="mish",
            caffe="Mish",
        ),
    ),
    "elu": (
        AlphaAttrs,
        "x for x >= 0, alpha * (exp(x) - 1) below",
        replace(_LOOKUP_BENT, keeps_sign=True),
    ),
    "clip": (
        ClipAttrs,
        "clip(x, minimum, maximum)",
        replace(_LOOKUP_BENT, rectifier=True),
    ),
    "softplus": (
        Attrs,
        "log(1 + exp(x))",
        replace(
            _FUNCTION,
            activation=True,
            bounds=_POSITIVE,
            tensorflow="Softplus",
            onnx="Softplus",
            mxnet="softrelu",
            caffe="BNLL",
            toolkit="SOFTRELU",
        ),
    ),
    "softsign": (
        Attrs,
        "x / (1 + abs(x))",
        replace(
            _LOOKUP_CURVE,
            keeps_sign=True,
            bounds=_PLUS_MINUS_ONE,
            tensorflow="Softsign",
            onnx="Softsign",
            mxnet="softsign",
        ),
    ),
    "gelu": (
        Attrs,
        "x * (1 + erf(x / sqrt(2))) / 2",
        replace(_LOOKUP_CURVE, keeps_sign=True, bounds=(-0.17, inf)),
    ),
    "erf": (
        Attrs,
        "error function (measured inside gelu only, not on its own)",
        replace(
            _FUNCTION,
            keeps_sign=True,
            bounds=_PLUS_MINUS_ONE,
            tensorflow="Erf",
            onnx="Erf",
            mxnet="erf",
        ),
    ),
    "abs": (
        Attrs,
        "absolute value",
        replace(
            _ON_TP,
            kink=True,
            bounds=_POSITIVE,
            tensorflow="Abs",
            keras="absolute",
            onnx="Abs",
            mxnet="abs",
            tflite="ABS",
            caffe="AbsVal",
        ),
    ),
    "neg": (
        Attrs,
        "-x",
        replace(
            _LOOKUP, tensorflow="Neg", keras="negative", onnx="Neg", mxnet="negative", tflite="NEG"
        ),
    ),
    "exp": (
        Attrs,
        "exponential",
        replace(
            _FUNCTION,
            bounds=_POSITIVE,
            tensorflow="Exp",
            keras="exponential",
            onnx="Exp",
            mxnet="exp",
            tflite="EXP",
        ),
    ),
    "log": (
        Attrs,
        "natural logarithm",
        replace(_LOOKUP, tensorflow="Log", onnx="Log", mxnet="log", tflite="LOG"),
    ),
    "sqrt": (
        Attrs,
        "square root",
        replace(
            _FUNCTION,
            bounds=_POSITIVE,
            tensorflow="Sqrt",
            onnx="Sqrt",
            mxnet="sqrt",
            tflite="SQRT",
            power=0.5,
        ),
    ),
    "rsqrt": (
        Attrs,
        "1 / sqrt(x)",
        replace(
            _FUNCTION,
            mxnet="rsqrt",
            bounds=_POSITIVE,
            tensorflow="Rsqrt",
            tflite="RSQRT",
            power=-0.5,
        ),
    ),
    "square": (
        Attrs,
        "x * x",
        replace(
            _ON_TP,
            mxnet="square",
            bounds=_POSITIVE,
            tensorflow="Square",
            tflite="SQUARE",
            power=2.0,
        ),
    ),
    "reciprocal": (
        Attrs,
        "1 / x",
        replace(
            _LOOKUP,
            keeps_sign=True,
            tensorflow="Reciprocal",
            onnx="Reciprocal",
            mxnet="reciprocal",
            power=-1.0,
            golden="rcp",
        ),
    ),
    "ceil": (
        Attrs,
        "smallest integer not below x",
        replace(_FUNCTION, keeps_sign=True, onnx="Ceil", tflite="CEIL"),
    ),
    "round": (
        Attrs,
        "nearest integer, halves to even",
        replace(_FUNCTION, keeps_sign=True, onnx="Round", tflite="ROUND"),
    ),
    "sign": (
        Attrs,
        "-1, 0 or 1",
        replace(_FUNCTION, keeps_sign=True, bounds=_PLUS_MINUS_ONE, onnx="Sign", tflite="SIGN"),
    ),
    "floor": (
        Attrs,
        "largest integer not above x",
        replace(
            _FUNCTION,
            keeps_sign=True,
            tensorflow="Floor",
            onnx="Floor",
            mxnet="floor",
            tflite="FLOOR",
        ),
    ),
    "convert": (
        Attrs,
        "change of element type or quantization, same real values",
        replace(_FUNCTION, keeps_sign=True, golden="dataconvert", toolkit="DATACONVERT"),
    ),
}
for _name, (_attrs, _summary, _traits) in UNARY.items():
    register(_name, _attrs, _summary, _traits)(same)


def slope_per_channel(ifm: Shape, slope: Shape) -> bool:
    """Tell whether slopes of three axes or more are one per channel, the third axis from behind.

    The driver has a program of its own for them. Source: measured, docs/arithmetic/placement.md
    rule 7.3.
    """
    leading = slope[:-3]
    return len(slope) >= 3 and set(leading) <= {1} and slope[-3:] == (ifm[-3], 1, 1)


@register(
    "prelu",
    Attrs,
    "x for x >= 0, slope * x below, slope per channel or element",
    replace(
        _FUNCTION, activation=True, kink=True, homogeneous=True, half_operand=True, onnx="PRelu"
    ),
    inputs=2,
)
def prelu(attrs: Attrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Slope must broadcast to the input without growing it."""
    ifm, slope = ins
    padded = (1,) * (len(ifm) - len(slope)) + tuple(slope)
    if len(slope) > len(ifm) or any(s not in (1, n) for s, n in zip(padded, ifm, strict=True)):
        raise GraphError(f"slope {slope} does not broadcast to the input {ifm}")
    return (ifm,)
