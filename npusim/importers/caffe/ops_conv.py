"""Convolutions, inner products and layers that are convolutions in disguise."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.caffe.blobs import Wanted
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.caffe.schema import Record
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.layers import plus
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, Deconv2dAttrs, FcAttrs
from npusim.ir.dtypes import DType
from npusim.ir.tensor import Shape

Pair = tuple[int, int]


def pair(layer: CaffeLayer, record: Record, name: str, default: int) -> Pair:
    """Return height and width of a parameter given once, twice, or as ``<name>_h`` and ``_w``."""
    short = name.removesuffix("_size")
    tall, wide = f"{short}_h", f"{short}_w"
    given = record.wholes(name)
    if record.has(tall) or record.has(wide):
        if given or not (record.has(tall) and record.has(wide)):
            if given:
                raise ModelImportError(
                    f"both {name} and {tall} or {wide} are given",
                    where=layer.where,
                    rule="one form of the two",
                )
            if default < 0:
                raise _no_kernel(layer)
        sizes = (record.whole(tall, max(default, 0)), record.whole(wide, max(default, 0)))
    elif len(given) > 2:
        raise ModelImportError(
            f"{name} is {list(given)}", where=layer.where, rule="once, or once per spatial axis"
        )
    elif not given:
        if default < 0:
            raise _no_kernel(layer)
        sizes = (default, default)
    else:
        sizes = (given[0], given[-1])
    if min(sizes) < (0 if name == "pad" else 1):
        raise ModelImportError(f"{name} is {sizes}", where=layer.where, rule="positive sizes")
    return sizes


def _no_kernel(layer: CaffeLayer) -> ModelImportError:
    return ModelImportError(
        "the kernel has no size",
        where=layer.where,
        rule="kernel_size, or kernel_h and kernel_w",
        remedy="write kernel_size into the layer's parameters",
    )


def image_shape(layer: CaffeLayer, context: CaffeContext, name: str) -> Shape:
    """Return the shape of an input that must have four axes."""
    shape = context.shape(name)
    if len(shape) != 4:
        raise UnsupportedForm(
            f"input {shape} has {len(shape)} axes", "reshape it to (N, C, H, W) in front"
        )
    return shape


def _groups(layer: CaffeLayer, record: Record, channels: int, filters: int) -> int:
    group = record.whole("group", 1)
    if group < 1 or channels % group or filters % group or filters < 1:
        raise ModelImportError(
            f"{channels} channels, {filters} outputs and {group} groups do not fit",
            where=layer.where,
            rule="channels and num_output are multiples of group",
        )
    return group


def _filters(layer: CaffeLayer, record: Record) -> int:
    if record.whole("num_output") < 1:
        raise ModelImportError(
            f"num_output is {record.whole('num_output')}", where=layer.where, rule="positive"
        )
    return record.whole("num_output")


@converter("Convolution", "DepthwiseConvolution", "ConvolutionDepthwise", "Deconvolution")
def convolution(layer: CaffeLayer, context: CaffeContext) -> None:
    """Emit one convolution per bottom, all with the same filters."""
    needs(layer, (1, 4096), len(layer.inputs))
    record = layer.parameters("convolution_param")
    if record.whole("axis", 1) != 1:
        raise UnsupportedForm("axis is not 1", "channels are axis 1")
    shape = image_shape(layer, context, layer.inputs[0])
    kernel = pair(layer, record, "kernel_size", -1)
    stride, pad = pair(layer, record, "stride", 1), pair(layer, record, "pad", 0)
    dilation = pair(layer, record, "dilation", 1)
    filters = _filters(layer, record)
    if "Depthwise" in layer.type and not record.has("group") and _is_depthwise(layer, context):
        group = shape[1]
    else:
        group = _groups(layer, record, shape[1], filters)
    transposed = layer.type == "Deconvolution"
    sizes = (shape[1], filters // group) if transposed else (filters, shape[1] // group)
    wanted = [Wanted("weights", (*sizes, *kernel), record.record("weight_filler"), learned=True)]
    if record.flag("bias_term", True):
        wanted.append(Wanted("bias", (filters,), record.record("bias_filler")))
    weights, *rest = context.blobs.of(layer, wanted)
    bias = rest[0] if rest else np.zeros(filters, np.float32)
    if transposed:
        grouped = weights.reshape(group, shape[1] // group, filters // group, *kernel)
        weights = grouped.swapaxes(1, 2).reshape(filters, shape[1] // group, *kernel)
    names = (
        context.constant(f"{layer.name}/weights", np.asarray(weights, order="C")),
        context.constant(f"{layer.name}/bias", bias),
    )
    common = {"stride": stride, "dilation": dilation, "group": group}
    pads = (pad[0], pad[0], pad[1], pad[1])
    attrs = (
        Deconv2dAttrs(pad=pads, **common)  # type: ignore[arg-type]
        if transposed
        else Conv2dAttrs(pad=pads, **common)  # type: ignore[arg-type]
    )
    for source, output in zip(layer.inputs, layer.outputs, strict=True):
        if context.shape(source)[1:2] != shape[1:2]:
            raise ModelImportError(
                f"inputs {shape} and {context.shape(source)} differ in channels", where=layer.where
            )
        op = "deconv2d" if transposed else "conv2d"
        context.emit(layer, op, (source, *names), attrs, output=output)


def _is_depthwise(layer: CaffeLayer, context: CaffeContext) -> bool:
    """Tell whether the filters have one channel, as those of a layer without ``group``."""
    stored = context.blobs.stored(layer)
    return not stored or (len(stored[0].dims) == 4 and stored[0].dims[1] == 1)


@converter("Im2col")
def im2col(layer: CaffeLayer, context: CaffeContext) -> None:
    """Windows as channels: a convolution with ones, channel by channel."""
    needs(layer, 1)
    record = layer.parameters("convolution_param")
    shape = image_shape(layer, context, layer.inputs[0])
    kernel, pad = pair(layer, record, "kernel_size", -1), pair(layer, record, "pad", 0)
    attrs = Conv2dAttrs(
        stride=pair(layer, record, "stride", 1),
        pad=(pad[0], pad[0], pad[1], pad[1]),
        dilation=pair(layer, record, "dilation", 1),
        group=shape[1],
    )
    context.windows(layer, layer.inputs[0], attrs, kernel)


@converter("InnerProduct")
def inner_product(layer: CaffeLayer, context: CaffeContext) -> None:
    """All axes from ``axis`` on are one; leading ones stay."""
    needs(layer, 1)
    record = layer.parameters("inner_product_param")
    source = layer.inputs[0]
    shape = context.shape(source)
    axis = context.axis(layer, record.whole("axis", 1), len(shape))
    inner, filters = prod(shape[axis:]), _filters(layer, record)
    transposed = record.flag("transpose")
    sizes = (inner, filters) if transposed else (filters, inner)
    wanted = [Wanted("weights", sizes, record.record("weight_filler"), learned=True)]
    if record.flag("bias_term", True):
        wanted.append(Wanted("bias", (filters,), record.record("bias_filler")))
    weights, *rest = context.blobs.of(layer, wanted)
    fully_connected(
        layer,
        context,
        context.reshape(layer, source, (*(shape[:axis] or (1,)), inner), part="rows"),
        weights.T if transposed else weights,
        rest[0] if rest else np.zeros(filters, np.float32),
        flat=axis == 0,
    )


def fully_connected(
    layer: CaffeLayer,
    context: CaffeContext,
    source: str,
    weights: Array,
    bias: Array,
    *,
    flat: bool,
) -> None:
    """Emit (.., K) x (O, K); ``flat`` drops the leading axis of size one."""
    operands = (
        source,
        context.constant(f"{layer.name}/weights", np.asarray(weights, order="C")),
        context.constant(f"{layer.name}/bias", bias),
    )
    out = context.emit(layer, "fc", operands, FcAttrs(), part="row" if flat else "")
    if flat:
        context.reshape(layer, out, context.shape(out)[1:])


@converter("Embed")
def embed(layer: CaffeLayer, context: CaffeContext) -> None:
    """Rows of a table by whole numbers, which must be an input of the network."""
    needs(layer, 1)
    record = layer.parameters("embed_param")
    filters, entries = _filters(layer, record), record.whole("input_dim")
    source = layer.inputs[0]
    spec = context.builder.tensors[context.operand(source)]
    if spec.dtype is not DType.I32:
        raise UnsupportedForm("its numbers are computed", "indices are an input of the network")
    wanted = [Wanted("weights", (entries, filters), record.record("weight_filler"), learned=True)]
    if record.flag("bias_term", True):
        wanted.append(Wanted("bias", (filters,), record.record("bias_filler")))
    weights, *rest = context.blobs.of(layer, wanted)
    table = context.constant(f"{layer.name}/weights", weights)
    part = "rows" if rest else ""
    out = context.emit(
        layer, "gather", (table, source), AxisAttrs(axis=0), part=part, dtype=DType.F32
    )
    if rest:
        context.chain(layer, out, plus(rest[0], "bias"))
