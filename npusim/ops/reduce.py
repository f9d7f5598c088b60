"""Reductions, argmax and softmax."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from npusim.ir.attrs import ArgAttrs, AxisAttrs, ReduceAttrs
from npusim.ir.tensor import Shape
from npusim.ops.checks import require_axes
from npusim.ops.registry import register
from npusim.ops.traits import Traits, always, hides_high, hides_low


def reduced(attrs: ReduceAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Reduced axes become 1 or vanish."""
    (ifm,) = ins
    require_axes(ifm, attrs.axes)
    if attrs.keepdims:
        return (tuple(1 if i in attrs.axes else n for i, n in enumerate(ifm)),)
    return (tuple(n for i, n in enumerate(ifm) if i not in attrs.axes),)


_REDUCE = Traits(keeps_sign=True, keeps_channels=True, toolkit="REDUCE")
_EXTREME = replace(_REDUCE, keeps_codes=always)
_REDUCTIONS = {
    "reduce_mean": replace(
        _REDUCE, averages=always, tensorflow="Mean", onnx="ReduceMean", tflite="MEAN"
    ),
    "reduce_sum": replace(_REDUCE, tensorflow="Sum", onnx="ReduceSum", tflite="SUM"),
    "reduce_max": replace(
        _EXTREME, hides=hides_low, tensorflow="Max", onnx="ReduceMax", tflite="REDUCE_MAX"
    ),
    "reduce_min": replace(
        _EXTREME, hides=hides_high, tensorflow="Min", onnx="ReduceMin", tflite="REDUCE_MIN"
    ),
    "reduce_prod": replace(_REDUCE, tensorflow="Prod", onnx="ReduceProd", tflite="REDUCE_PROD"),
}
for _name, _traits in _REDUCTIONS.items():
    register(_name, ReduceAttrs, f"{_name.removeprefix('reduce_')} over axes", _traits)(reduced)


def arg_extreme(attrs: ArgAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Make the axis 1, or drop it."""
    return reduced(ReduceAttrs(axes=(attrs.axis,), keepdims=attrs.keepdims), ins)


_INDEX = Traits(on_codes=True, keeps_sign=True)
register("argmax", ArgAttrs, "index of the first maximum", replace(_INDEX, hides=hides_low))(
    arg_extreme
)
register("argmin", ArgAttrs, "index of the first minimum", replace(_INDEX, hides=hides_high))(
    arg_extreme
)


def along_axis(attrs: AxisAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept."""
    require_axes(ins[0], (attrs.axis,))
    return (ins[0],)


register(
    "softmax",
    AxisAttrs,
    "exp(x) over its sum along an axis",
    Traits(
        f16_results=True,
        keeps_sign=True,
        keeps_channels=True,
        hides=hides_low,
        bounds=(0.0, 1.0),
        layer_class="SoftmaxLayer2",
        kernel="softmaxlayer2.layer",
    ),
)(along_axis)
register(
    "log_softmax",
    AxisAttrs,
    "logarithm of softmax",
    Traits(f16_results=True, keeps_channels=True, bounds=(-inf, 0.0), golden="logsoftmax"),
)(along_axis)
