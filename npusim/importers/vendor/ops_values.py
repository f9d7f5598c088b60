"""Layers of vendor files that compute: functions, pools, sums of tensors, normalisations."""

from dataclasses import dataclass

from npusim.errors import ContainerError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.vendor.context import VendorContext, axis_of, converter
from npusim.importers.vendor.network import VendorLayer
from npusim.importers.vendor.ops_weighted import padding, pair
from npusim.ir.attrs import (
    AlphaAttrs,
    ArgAttrs,
    AxisAttrs,
    ClipAttrs,
    EltwiseAttrs,
    HardSigmoidAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
)
from npusim.ops import is_function, op_def, ops_where


@dataclass(frozen=True, slots=True)
class _Names:
    """Operators that need nothing but their inputs, by the name that the file has for them."""

    functions: dict[str, str]
    pairs: dict[str, str]


def _names() -> _Names:
    functions = {op_def(name).toolkit: name for name in ops_where(is_function)}
    pairs = {op_def(n).toolkit: n for n in ops_where(lambda d: d.attrs is EltwiseAttrs)}
    spelled = {"SUBTRACT": "sub", "MULTIPLY": "mul", "DIVIDE": "div"}
    return _Names(functions, pairs | spelled)


NAMES = _names()


@converter(*NAMES.functions)
def function(layer: VendorLayer, context: VendorContext) -> None:
    """Apply a function of one tensor."""
    context.need(layer, 1)
    op = NAMES.functions[layer.type]
    if layer.type == "SWISH":
        kind = str(layer.get("type", "VSI_NN_SWISH"))
        op = "hard_swish" if kind.endswith("HSWISH") else "swish"
        if op == "swish" and layer.real("beta", 1.0) != 1.0:
            raise UnsupportedForm(f"its beta is {layer.real('beta')}", "the table has beta 1")
    context.emit(layer, op, layer.inputs)


@converter(*NAMES.pairs)
def of_two(layer: VendorLayer, context: VendorContext) -> None:
    """Combine two tensors element by element."""
    context.need(layer, 2)
    scale = layer.real("scale", 1.0)
    if scale != 1.0:
        raise UnsupportedForm(f"its scale is {scale}", "products without a factor are known")
    context.emit(layer, NAMES.pairs[layer.type], layer.inputs, EltwiseAttrs())


@converter("LEAKY_RELU")
def leaky_relu(layer: VendorLayer, context: VendorContext) -> None:
    """Slope below zero."""
    context.need(layer, 1)
    context.emit(layer, "leaky_relu", layer.inputs, AlphaAttrs(alpha=layer.real("leaky_ratio")))


@converter("ELU")
def elu(layer: VendorLayer, context: VendorContext) -> None:
    """Exponential below zero."""
    context.need(layer, 1)
    context.emit(layer, "elu", layer.inputs, AlphaAttrs(alpha=layer.real("alpha", 1.0)))


@converter("CLIP")
def clip(layer: VendorLayer, context: VendorContext) -> None:
    """Two limits."""
    context.need(layer, 1)
    low, high = layer.real("min"), layer.real("max")
    named = {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu1"}.get((low, high))
    if named:
        context.emit(layer, named, layer.inputs)
    else:
        context.emit(layer, "clip", layer.inputs, ClipAttrs(minimum=low, maximum=high))


@converter("HARD_SIGMOID")
def hard_sigmoid(layer: VendorLayer, context: VendorContext) -> None:
    """Cut a line at 0 and 1."""
    context.need(layer, 1)
    attrs = HardSigmoidAttrs(alpha=layer.real("alpha", 0.2), beta=layer.real("beta", 0.5))
    context.emit(layer, "hard_sigmoid", layer.inputs, attrs)


@converter("PRELU")
def prelu(layer: VendorLayer, context: VendorContext) -> None:
    """One slope for every channel, which the file gives without axes behind it."""
    context.need(layer, 2)
    data, slope = layer.inputs
    rank, shape = len(context.shape(data)), context.shape(slope)
    if len(shape) == 1 and rank > 2:
        slope = context.reshaped(layer, slope, (shape[0], *(1,) * (rank - 2)), "")
    context.emit(layer, "prelu", (data, slope))


@converter("POOL", "POOLWITHARGMAX")
def pool(layer: VendorLayer, context: VendorContext) -> None:
    """Largest or mean value of windows."""
    context.need(layer, 1)
    word = str(layer.get("type"))
    if not word.endswith(("_MAX", "_AVG", "_AVG_ANDROID")):
        raise UnsupportedForm(f"its kind is {word}", "largest and mean value are known")
    kind = PoolKind.MAX if word.endswith("MAX") else PoolKind.AVG
    ceil = str(layer.get("round_type", "VSI_NN_ROUND_FLOOR")).endswith("CEIL")
    context.emit(
        layer,
        "pool2d",
        layer.inputs,
        Pool2dAttrs(
            kind=kind,
            kernel=pair(layer, "ksize"),
            stride=pair(layer, "stride", (1, 1)),
            pad=padding(layer),
            ceil_mode=ceil,
            count_include_pad=not word.endswith("ANDROID"),
        ),
    )


@converter("SOFTMAX", "LOG_SOFTMAX")
def softmax(layer: VendorLayer, context: VendorContext) -> None:
    """Along an axis; where the file names none, channels of a map, else the innermost."""
    context.need(layer, 1)
    rank = len(context.shape(layer.inputs[0]))
    axis = axis_of(layer, layer.whole("axis", 2 if rank > 2 else 0), rank)
    beta = layer.real("beta", 1.0)
    if beta != 1.0:
        raise UnsupportedForm(f"its beta is {beta}", "softmax without a factor is known")
    context.emit(layer, layer.type.lower(), layer.inputs, AxisAttrs(axis=axis))


@converter("BATCH_NORM")
def batch_norm(layer: VendorLayer, context: VendorContext) -> None:
    """(x, mean, variance, gamma, beta)."""
    context.need(layer, 5)
    data, mean, variance, gamma, beta = layer.inputs
    attrs = NormAttrs(epsilon=layer.real("eps", 1e-5))
    context.emit(layer, "batch_norm", (data, gamma, beta, mean, variance), attrs)


@converter("INSTANCE_NORM", "LAYER_NORM")
def norm(layer: VendorLayer, context: VendorContext) -> None:
    """(x, beta, gamma)."""
    context.need(layer, 3)
    data, beta, gamma = layer.inputs
    rank = len(context.shape(data))
    attrs = NormAttrs(epsilon=layer.real("eps", 1e-5), axis=rank - 1)
    context.emit(layer, layer.type.lower(), (data, gamma, beta), attrs)


@converter("L2_NORMALIZE", "L2NORMALIZESCALE")
def l2_normalize(layer: VendorLayer, context: VendorContext) -> None:
    """Length one along an axis, channels where the file names none."""
    context.need(layer, (1, 2))
    if len(layer.inputs) > 1:
        raise UnsupportedForm("it has a factor for every channel", "no file was seen with it")
    rank = len(context.shape(layer.inputs[0]))
    axis = axis_of(layer, layer.whole("axis", 2 if rank > 2 else 0), rank)
    context.emit(layer, "l2norm", layer.inputs, AxisAttrs(axis=axis))


@converter("LRN", "LRN2")
def lrn(layer: VendorLayer, context: VendorContext) -> None:
    """Local response normalisation; the file's alpha multiplies the sum, ours the mean."""
    context.need(layer, 1)
    size = layer.whole("size")
    attrs = LrnAttrs(
        size=size,
        alpha=layer.real("alpha") * size,
        beta=layer.real("beta"),
        bias=layer.real("bias", 1.0),
    )
    context.emit(layer, "lrn", layer.inputs, attrs)


@converter("REDUCE")
def reduce(layer: VendorLayer, context: VendorContext) -> None:
    """Mean, sum, largest, smallest or product over axes."""
    context.need(layer, 1)
    rank = len(context.shape(layer.inputs[0]))
    op = f"reduce_{str(layer.get('type')).rpartition('_')[2].lower()}"
    if op not in ops_where(lambda d: d.attrs is ReduceAttrs):
        raise UnsupportedForm(f"its type is {layer.get('type')}")
    axes = tuple(sorted(axis_of(layer, a, rank) for a in layer.wholes("axis")))
    attrs = ReduceAttrs(axes=axes, keepdims=bool(layer.get("keep_dim", 0)))
    context.emit(layer, op, layer.inputs, attrs)


@converter("ARGMAX", "ARGMIN")
def arg_extreme(layer: VendorLayer, context: VendorContext) -> None:
    """Index of the first extreme."""
    context.need(layer, 1)
    rank = len(context.shape(layer.inputs[0]))
    attrs = ArgAttrs(axis=axis_of(layer, layer.whole("axis"), rank), keepdims=False)
    context.emit(layer, layer.type.lower(), layer.inputs, attrs)


@converter("MATRIXMUL")
def matmul(layer: VendorLayer, context: VendorContext) -> None:
    """Product of two tensors."""
    context.need(layer, 2)
    turned = layer.get("transpose", [0, 0])
    if not isinstance(turned, list) or len(turned) < 2:
        raise ContainerError(f"transpose is {turned!r}", where=layer.where, rule="two numbers")
    attrs = MatmulAttrs(transpose_a=bool(turned[0]), transpose_b=bool(turned[1]))
    context.emit(layer, "matmul", layer.inputs, attrs)
