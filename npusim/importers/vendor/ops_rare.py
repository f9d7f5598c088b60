"""Layers of vendor files that no file was seen with.

Names and parameters are those of the public headers of the operator library that the toolkit's
files name (ovxlib); what the headers leave open is refused. A note names every such layer.
"""

from math import prod

from npusim.errors import ContainerError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.vendor.context import VendorContext, axis_of, converter
from npusim.importers.vendor.network import Stored, VendorLayer
from npusim.ir.attrs import (
    AxisAttrs,
    ClipAttrs,
    Conv2dAttrs,
    EltwiseAttrs,
    NormAttrs,
    ReshapeAttrs,
    SliceAttrs,
    TileAttrs,
)
from npusim.ir.tensor import Shape
from npusim.ops import op_names


def _unseen(layer: VendorLayer, context: VendorContext) -> None:
    context.notes.append(
        f"{layer.where}: no file was seen with this operator; it is read as the public headers "
        "of the operator library describe it"
    )


@converter("CAST", "SYNC_HOST")
def same_numbers(layer: VendorLayer, context: VendorContext) -> None:
    """Give numbers another format, or wait for the host: nothing changes."""
    _unseen(layer, context)
    context.need(layer, 1)
    context.emit(layer, "convert" if layer.type == "CAST" else "identity", layer.inputs)


@converter("ADDN", "ELTWISEMAX")
def of_several(layer: VendorLayer, context: VendorContext) -> None:
    """Sum or largest of two tensors."""
    _unseen(layer, context)
    if len(layer.inputs) != 2:
        raise UnsupportedForm(
            f"it has {len(layer.inputs)} inputs", "the format of sums in between is not in the file"
        )
    context.need(layer, 2)
    context.emit(layer, "add" if layer.type == "ADDN" else "max", layer.inputs, EltwiseAttrs())


@converter("RELUN", "RELU_KERAS")
def limited_relu(layer: VendorLayer, context: VendorContext) -> None:
    """Cut at 0 and at a limit."""
    _unseen(layer, context)
    context.need(layer, 1)
    if layer.type == "RELUN":
        limit = layer.real("relu_n")
    else:
        limit = layer.real("max_value")
        if layer.real("alpha", 0.0) or layer.real("threshold", 0.0):
            raise UnsupportedForm("it has a slope or a threshold", "a cut at 0 is known")
    if limit == 6.0:
        context.emit(layer, "relu6", layer.inputs)
    else:
        context.emit(layer, "clip", layer.inputs, ClipAttrs(minimum=0.0, maximum=limit))


@converter("BATCHNORM_SINGLE")
def batch_norm(layer: VendorLayer, context: VendorContext) -> None:
    """(x, mean, variance, gamma, beta)."""
    _unseen(layer, context)
    context.need(layer, 5)
    data, mean, variance, gamma, beta = layer.inputs
    attrs = NormAttrs(epsilon=layer.real("eps", 1e-5))
    context.emit(layer, "batch_norm", (data, gamma, beta, mean, variance), attrs)


@converter("RELATIONAL_OPS", "LOGICAL_OPS")
def relation(layer: VendorLayer, context: VendorContext) -> None:
    """Compare two tensors, or combine truth values."""
    _unseen(layer, context)
    context.need(layer, 2)
    word = str(layer.get("op"))
    if layer.type == "LOGICAL_OPS":
        op = "logical_" + word.removeprefix("VSI_NN_LOGICAL_").lower()
    else:
        op = word.removeprefix("VSI_NN_RELATIONAL_OPS_").lower().replace("great", "greater")
    if op not in op_names():
        raise UnsupportedForm(f"its kind is {word}", f"no operator is called {op}")
    context.emit(layer, op, layer.inputs)


@converter("LOGICAL_NOT")
def logical_not(layer: VendorLayer, context: VendorContext) -> None:
    """Turn truth values round."""
    _unseen(layer, context)
    context.need(layer, 1)
    context.emit(layer, "logical_not", layer.inputs)


@converter("SELECT")
def select(layer: VendorLayer, context: VendorContext) -> None:
    """(condition, where true, where false)."""
    _unseen(layer, context)
    context.need(layer, 3)
    context.emit(layer, "select", layer.inputs)


@converter("REVERSE")
def reverse(layer: VendorLayer, context: VendorContext) -> None:
    """Read axes backwards."""
    _unseen(layer, context)
    context.need(layer, 1)
    shape = context.shape(layer.inputs[0])
    turned = {axis_of(layer, a, len(shape)) for a in layer.wholes("axis")}
    attrs = SliceAttrs(
        begin=tuple(n - 1 if i in turned else 0 for i, n in enumerate(shape)),
        end=tuple(-1 if i in turned else n for i, n in enumerate(shape)),
        step=tuple(-1 if i in turned else 1 for i in range(len(shape))),
    )
    context.emit(layer, "slice", layer.inputs, attrs)


@converter("STACK")
def stack(layer: VendorLayer, context: VendorContext) -> None:
    """Join along a new axis."""
    _unseen(layer, context)
    context.need(layer, (1, 4096))
    shape = context.shape(layer.inputs[0])
    axis = axis_of(layer, layer.whole("axis"), len(shape) + 1)
    longer = (*shape[:axis], 1, *shape[axis:])
    parts = [
        context.reshaped(layer, name, longer, f"part{i}") for i, name in enumerate(layer.inputs)
    ]
    context.emit(layer, "concat", parts, AxisAttrs(axis=axis))


@converter("UNSTACK")
def unstack(layer: VendorLayer, context: VendorContext) -> None:
    """Cut along an axis and leave it out."""
    _unseen(layer, context)
    context.need(layer, 1, len(layer.outputs))
    shape, count = context.shape(layer.inputs[0]), len(layer.outputs)
    axis = axis_of(layer, layer.whole("axis"), len(shape))
    if shape[axis] != count:
        raise ContainerError(f"it makes {count} of {shape}", where=layer.where, rule=f"axis {axis}")
    shorter = ReshapeAttrs(shape=(*shape[:axis], *shape[axis + 1 :]))
    if count != 1:
        raise UnsupportedForm(f"it makes {count} tensors", "files have SPLIT and RESHAPE for it")
    context.emit(layer, "reshape", layer.inputs, shorter)


@converter("EXPAND_BROADCAST")
def broadcast(layer: VendorLayer, context: VendorContext) -> None:
    """Repeat along axes of size one."""
    _unseen(layer, context)
    context.need(layer, 1)
    shape, target = context.shape(layer.inputs[0]), layer.wholes("shape")[::-1]
    padded = (1,) * (len(target) - len(shape)) + shape
    if len(padded) != len(target) or any(
        n not in (1, t) or t < 1 for n, t in zip(padded, target, strict=True)
    ):
        raise ContainerError(f"{shape} does not spread to {target}", where=layer.where)
    data = context.reshaped(layer, layer.inputs[0], padded, "rank")
    repeats = tuple(t // n for n, t in zip(padded, target, strict=True))
    context.emit(layer, "tile", (data,), TileAttrs(repeats=repeats))


def _one(layer: VendorLayer, key: str, default: int) -> int:
    value = layer.get(key, default)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int) or value < 1:
        raise ContainerError(f"{key} is {value!r}", where=layer.where, rule="a whole number from 1")
    return value


@converter("CONV1D", "GROUPED_CONV1D")
def convolution(layer: VendorLayer, context: VendorContext) -> None:
    """(N, C, W) with weights (O, C, columns): a convolution of one row."""
    _unseen(layer, context)
    context.need(layer, (2, 3))
    data, weights = layer.inputs[:2]
    shape, value = context.shape(data), context.value(weights)
    pad = layer.wholes("pad", (0, 0))
    if len(shape) != 3 or value is None or value.ndim != 3 or len(pad) != 2 or min(pad) < 0:
        raise ContainerError(
            f"input {shape}, weights {() if value is None else value.shape}, pad {list(pad)}",
            where=layer.where,
            rule="(N, C, W), constant (O, C, columns), left and right",
        )
    if layer.whole("multiplier", 0):
        raise UnsupportedForm("it is depthwise", "no file was seen with it")
    row = (value.shape[0], value.shape[1], 1, value.shape[2])
    attrs = Conv2dAttrs(
        stride=(1, _one(layer, "stride", 1)),
        pad=(0, 0, *pad),
        dilation=(1, _one(layer, "dilation", 1)),
        group=max(layer.whole("group", 1), 1),
    )
    map_of = context.reshaped(layer, data, (shape[0], shape[1], 1, shape[2]), "row")
    filters = context.reshaped(layer, weights, row, "")
    bias = context.bias(layer, weights, value.shape[0])
    form: Stored = layer.formats[0]
    done = context.emit(
        layer, "conv2d", (map_of, filters, bias), attrs, part="convolution", form=form
    )
    result: Shape = context.shape(done)
    _flattened(layer, context, done, (*result[:2], prod(result[2:])))


def _flattened(layer: VendorLayer, context: VendorContext, tensor: str, shape: Shape) -> None:
    context.emit(layer, "reshape", (tensor,), ReshapeAttrs(shape=shape))
