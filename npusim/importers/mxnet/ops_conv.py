"""Convolutions and products with learned weights."""

from math import prod

import numpy as np

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.mxnet.context import MxContext, converter, needs, refuse_layout
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, Deconv2dAttrs, FcAttrs, PadAttrs, SliceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.tensor import Shape

Sizes = tuple[int, ...]


def sizes_of(node: MxNode, name: str, count: int, default: int, lowest: int = 1) -> Sizes:
    """Return one number per spatial axis."""
    found = node.attributes.wholes(name) or (default,) * count
    if len(found) != count or min(found) < lowest:
        raise ModelImportError(
            f"{name} is {found}",
            where=node.where,
            rule=f"a number, at least {lowest}, for each of the input's {count} spatial axes",
            remedy=f"{words.say('input_shapes')} must hold the channels as well",
        )
    return found


def spatial(node: MxNode, context: MxContext, *, most: int = 3) -> Shape:
    """Return the shape of the first input, which must have one to three spatial axes."""
    shape = context.shape(node.inputs[0])
    if not 3 <= len(shape) <= 2 + most:
        raise UnsupportedForm(
            f"input {shape} has {len(shape)} axes", "reshape it to (N, C, H, W) in front"
        )
    return shape


def kernel_of(node: MxNode, shape: Shape) -> Sizes:
    """Return the kernel, which must be given."""
    if not node.attributes.has("kernel"):
        raise node.attributes.missing("kernel")
    return sizes_of(node, "kernel", len(shape) - 2, 1)


def _groups(node: MxNode, channels: int) -> tuple[int, int]:
    """Return filters and groups."""
    filters, group = node.attributes.whole("num_filter"), node.attributes.whole("num_group", 1)
    if group < 1 or filters < 1 or channels % group or filters % group:
        raise ModelImportError(
            f"{channels} channels, num_filter {filters} and num_group {group} do not fit",
            where=node.where,
            rule="channels and num_filter are multiples of num_group",
        )
    return filters, group


def _bias(node: MxNode, context: MxContext, filters: int) -> Array:
    if node.attributes.flag("no_bias", node.type == "Deconvolution"):
        return np.zeros(filters, np.float32)
    return context.parameter(node, 2, (filters,), 0.0)


def _wide(sizes: Sizes, fill: int) -> tuple[int, int]:
    """Return two sizes: of one spatial axis the second."""
    return (fill, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _pads(pad: Sizes) -> tuple[int, int, int, int]:
    tall, wide = _wide(pad, 0)
    return (tall, tall, wide, wide)


@converter("Convolution", "Convolution_v1")
def convolution(node: MxNode, context: MxContext) -> None:
    """Convolve one, two or three spatial axes."""
    refuse_layout(node)
    shape = spatial(node, context)
    kernel, rank = kernel_of(node, shape), len(shape) - 2
    stride, dilate = sizes_of(node, "stride", rank, 1), sizes_of(node, "dilate", rank, 1)
    pad = sizes_of(node, "pad", rank, 0, lowest=0)
    filters, group = _groups(node, shape[1])
    needs(node, 2 if node.attributes.flag("no_bias") else 3)
    weights = context.parameter(node, 1, (filters, shape[1] // group, *kernel))
    bias = _bias(node, context, filters)
    if rank == 3:
        _three_axes(node, context, weights, bias, (stride, dilate, pad), group)
        return
    operands = (
        context.reshape(node, node.inputs[0], (*shape[:2], 1, shape[2]), part="tall")
        if rank == 1
        else node.inputs[0],
        context.constant(
            f"{node.name}/weights", weights.reshape(*weights.shape[:2], *_wide(kernel, 1))
        ),
        context.constant(f"{node.name}/bias", bias),
    )
    attrs = Conv2dAttrs(
        stride=_wide(stride, 1), pad=_pads(pad), dilation=_wide(dilate, 1), group=group
    )
    out = context.emit(node, "conv2d", operands, attrs, part="in_2d" if rank == 1 else "")
    if rank == 1:
        n, channels, _, width = context.shape(out)
        context.reshape(node, out, (n, channels, width))


def _three_axes(
    node: MxNode,
    context: MxContext,
    weights: Array,
    bias: Array,
    windows: tuple[Sizes, Sizes, Sizes],
    group: int,
) -> None:
    """Convolve images whose channels are the slices of a depth window, one image per depth."""
    (n, channels, depth, height, width) = context.shape(node.inputs[0])
    stride, dilate, pad = windows
    filters, own, deep = weights.shape[:3]
    count = (depth + 2 * pad[0] - dilate[0] * (deep - 1) - 1) // stride[0] + 1
    if count < 1:
        raise ModelImportError(
            f"depth {depth} is too small", where=node.where, rule=f"kernel {weights.shape[2:]}"
        )
    x = context.transposed(node, node.inputs[0], (0, 2, 1, 3, 4), part="by_depth")
    if pad[0]:
        ends = (0, pad[0], 0, 0, 0)
        x = context.emit(node, "pad", (x,), PadAttrs(front=ends, back=ends), part="padded")
    whole = context.shape(x)
    parts = []
    for k in range(deep):
        begin = k * dilate[0]
        cut = SliceAttrs(
            begin=(0, begin, 0, 0, 0),
            end=(n, begin + (count - 1) * stride[0] + 1, *whole[2:]),
            step=(1, stride[0], 1, 1, 1),
        )
        part = context.emit(node, "slice", (x,), cut, part=f"depth_{k}")
        grouped = (n * count, group, own, height, width)
        parts.append(context.reshape(node, part, grouped, part=f"groups_{k}"))
    joined = context.joined(node, parts, axis=2, part="window")
    joined = context.reshape(node, joined, (n * count, channels * deep, height, width), part="flat")
    kernel = weights.transpose(0, 2, 1, 3, 4).reshape(filters, deep * own, *weights.shape[3:])
    operands = (
        joined,
        context.constant(f"{node.name}/weights", np.ascontiguousarray(kernel)),
        context.constant(f"{node.name}/bias", bias),
    )
    attrs = Conv2dAttrs(
        stride=_wide(stride[1:], 1),
        pad=_pads(pad[1:]),
        dilation=_wide(dilate[1:], 1),
        group=group,
    )
    out = context.emit(node, "conv2d", operands, attrs, part="in_2d")
    maps = (n, count, filters, *context.shape(out)[2:])
    out = context.reshape(node, out, maps, part="maps")
    context.transposed(node, out, (0, 2, 1, 3, 4))


@converter("Deconvolution")
def deconvolution(node: MxNode, context: MxContext) -> None:
    """Convolve transposed; ``target_shape`` gives the padding when it is there."""
    refuse_layout(node)
    shape = spatial(node, context, most=2)
    kernel, rank = kernel_of(node, shape), len(shape) - 2
    stride, dilate = sizes_of(node, "stride", rank, 1), sizes_of(node, "dilate", rank, 1)
    pad, adj = sizes_of(node, "pad", rank, 0, 0), sizes_of(node, "adj", rank, 0, 0)
    if node.attributes.wholes("target_shape"):
        target = sizes_of(node, "target_shape", rank, 0)
        reach = zip(shape[2:], kernel, stride, dilate, target, strict=True)
        total = [s * (n - 1) + d * (k - 1) + 1 - t for n, k, s, d, t in reach]
        if min(total) < 0:
            raise ModelImportError(
                f"target_shape {target} is too large",
                where=node.where,
                rule="at most stride * (input - 1) + kernel",
            )
        pad = tuple((n + 1) // 2 for n in total)
        adj = tuple(n % 2 for n in total)
    elif any(a >= s for a, s in zip(adj, stride, strict=True)):
        raise ModelImportError(f"adj is {adj}", where=node.where, rule=f"below the stride {stride}")
    filters, group = _groups(node, shape[1])
    needs(node, 2 if node.attributes.flag("no_bias", True) else 3)
    weights = context.parameter(node, 1, (shape[1], filters // group, *kernel))
    grouped = weights.reshape(group, shape[1] // group, filters // group, *_wide(kernel, 1))
    weights = grouped.swapaxes(1, 2).reshape(filters, shape[1] // group, *_wide(kernel, 1))
    source = node.inputs[0]
    operands = (
        context.reshape(node, source, (*shape[:2], 1, shape[2]), part="tall")
        if rank == 1
        else source,
        context.constant(f"{node.name}/weights", np.ascontiguousarray(weights)),
        context.constant(f"{node.name}/bias", _bias(node, context, filters)),
    )
    attrs = Deconv2dAttrs(
        stride=_wide(stride, 1),
        pad=_pads(pad),
        output_pad=_wide(adj, 0),
        dilation=_wide(dilate, 1),
        group=group,
    )
    out = context.emit(node, "deconv2d", operands, attrs, part="in_2d" if rank == 1 else "")
    if rank == 1:
        n, channels, _, width = context.shape(out)
        context.reshape(node, out, (n, channels, width))


@converter("FullyConnected")
def fully_connected(node: MxNode, context: MxContext) -> None:
    """Multiply rows by weights (num_hidden, inputs); axes but the first become one by default."""
    shape = context.shape(node.inputs[0])
    filters = node.attributes.whole("num_hidden")
    if filters < 1 or not shape:
        raise ModelImportError(
            f"num_hidden is {filters}, the input {shape}", where=node.where, rule="positive"
        )
    needs(node, 2 if node.attributes.flag("no_bias") else 3)
    source = node.inputs[0]
    if node.attributes.flag("flatten", True):
        source = context.reshape(node, source, (shape[0], prod(shape[1:])), part="rows")
    inner = context.shape(source)[-1]
    weights = context.parameter(node, 1, (filters, inner))
    operands = (
        source,
        context.constant(f"{node.name}/weights", weights),
        context.constant(f"{node.name}/bias", _bias(node, context, filters)),
    )
    context.emit(node, "fc", operands, FcAttrs())


@converter("Embedding", "_contrib_SparseEmbedding")
def embedding(node: MxNode, context: MxContext) -> None:
    """Rows of a table by whole numbers, which must be an input of the network or known."""
    needs(node, 2)
    entries, size = node.attributes.whole("input_dim"), node.attributes.whole("output_dim")
    table = context.parameter(node, 1, (entries, size))
    name = context.constant(f"{node.name}/weights", table)
    rows(node, context, name, node.inputs[0], 0, entries)


def rows(
    node: MxNode, context: MxContext, table: str, source: str, axis: int, entries: int
) -> None:
    """Pick entries of an axis by an input of indices or by known ones, which are kept in range."""
    if source in context.values:
        known = np.nan_to_num(context.values[source]).astype(np.int64)
        source = context.unused(f"{node.outputs[0]}/indices")
        if node.attributes.text("mode", "clip") == "wrap":
            known = known % entries
        context.values[source] = np.clip(known, 0, entries - 1)
    elif context.builder.tensors[context.operand(source)].dtype is not DType.I32:
        raise UnsupportedForm("its indices are computed", "indices are an input of the network")
    attrs = AxisAttrs(axis=axis)
    context.emit(node, "gather", (table, source), attrs, dtype=DType.F32)
