"""Conv and ConvTranspose."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.onnx.context import Context, OnnxNode, converter
from npusim.importers.onnx.ops_volume import VOLUME, conv_volume
from npusim.importers.onnx.window import (
    check_auto_pad,
    explicit_pad,
    pair,
    part_2d,
    spatial_rank,
    split_pad,
    to_1d,
    to_2d,
    window,
)
from npusim.ir.attrs import Conv2dAttrs, Deconv2dAttrs


def _weights(node: OnnxNode, context: Context, rank: int) -> Array:
    value = context.fixed(node, 1, "the weights")
    if value is None or value.ndim != rank + 2:
        raise ModelImportError(
            f"weights {None if value is None else value.shape} do not fit the input "
            f"{context.shape(node.inputs[0])}",
            where=node.where,
            rule="as many axes as the input",
        )
    kernel = node.integers("kernel_shape")
    if kernel is not None and kernel != value.shape[2:]:
        raise ModelImportError(
            f"kernel_shape is {list(kernel)}, the weights are {value.shape}", where=node.where
        )
    return value


def _bias(node: OnnxNode, context: Context, channels: int) -> str:
    name = node.input(2)
    if name:
        context.fixed(node, 2, "the bias")
        return name
    return context.constant(f"{node.outputs[0]}/bias", np.zeros(channels, np.float32))


def _two_spatial(weights: Array) -> tuple[Array, tuple[int, int]]:
    """Return weights with (kh, kw), and (kh, kw)."""
    wide = weights[:, :, None] if weights.ndim == 3 else weights
    return wide, (int(wide.shape[2]), int(wide.shape[3]))


@converter("Conv")
def conv(node: OnnxNode, context: Context) -> None:
    """Convolution with constant weights (O, C/group, [[kd,] kh,] kw)."""
    shape = context.shape(node.inputs[0])
    if len(shape) == VOLUME:
        conv_volume(node, context, _weights(node, context, 3))
        return
    weights = _weights(node, context, spatial_rank(node, shape))
    wide, kernel = _two_spatial(weights)
    win = window(node, shape, kernel)
    weights_name = node.inputs[1]
    if wide is not weights:
        weights_name = context.constant(f"{weights_name}/2d", wide, of=weights_name)
    attrs = Conv2dAttrs(
        stride=win.stride, pad=win.pad, dilation=win.dilation, group=node.integer("group", 1)
    )
    operands = (
        to_2d(node, context, node.inputs[0]),
        weights_name,
        _bias(node, context, int(wide.shape[0])),
    )
    out = context.emit(node, "conv2d", operands, attrs, part=part_2d(shape))
    if len(shape) == 3:
        to_1d(node, context, out)


@converter("ConvTranspose")
def conv_transpose(node: OnnxNode, context: Context) -> None:
    """Transposed convolution; weights (C, O/group, [kh,] kw) become (O, C/group, kh, kw)."""
    shape = context.shape(node.inputs[0])
    rank = spatial_rank(node, shape)
    wide, kernel = _two_spatial(_weights(node, context, rank))
    group = node.integer("group", 1)
    in_c, out_per_group = int(wide.shape[0]), int(wide.shape[1])
    if group < 1 or in_c % group or in_c != shape[1]:
        raise ModelImportError(
            f"input {shape}, weights {wide.shape} and group {group} do not fit",
            where=node.where,
            rule="weights[0] = channels of the input, a multiple of group",
        )
    grouped = wide.reshape(group, in_c // group, out_per_group, *kernel)
    ours = grouped.swapaxes(1, 2).reshape(group * out_per_group, in_c // group, *kernel)
    attrs = _deconv_attrs(node, (shape[2:] if rank == 2 else (1, shape[2])), kernel, rank, group)
    operands = (
        to_2d(node, context, node.inputs[0]),
        context.constant(f"{node.inputs[1]}/out_first", ours, of=node.inputs[1]),
        _bias(node, context, group * out_per_group),
    )
    out = context.emit(node, "deconv2d", operands, attrs, part=part_2d(shape))
    if len(shape) == 3:
        to_1d(node, context, out)


def _deconv_attrs(
    node: OnnxNode, sizes: tuple[int, ...], kernel: tuple[int, int], rank: int, group: int
) -> Deconv2dAttrs:
    stride = pair(node, "strides", rank, 1)
    dilation = pair(node, "dilations", rank, 1)
    extra = pair(node, "output_padding", rank, 0, missing=0)
    mode = node.text("auto_pad", "NOTSET")
    wanted = node.integers("output_shape")
    if mode == "VALID":
        pad = (0, 0, 0, 0)
    elif mode == "NOTSET" and wanted is None:
        pad = explicit_pad(node, rank)
    else:
        if wanted is not None:
            wanted = wanted[-rank:]  # some exporters include batch and channels
            targets = (1, wanted[0]) if rank == 1 else wanted
        else:
            check_auto_pad(node, mode)
            targets = tuple(n * s for n, s in zip(sizes, stride, strict=True))
        # ONNX puts the odd element last for SAME_UPPER and first otherwise
        side = "SAME_UPPER" if mode == "SAME_UPPER" else "SAME_LOWER"
        pads: list[int] = []
        outputs = []
        for n, s, k, d, e, target in zip(
            sizes, stride, kernel, dilation, extra, targets, strict=True
        ):
            full = (n - 1) * s + (k - 1) * d + 1
            total = full + e - target
            outputs.append(e + max(-total, 0))
            pads += split_pad(max(total, 0), side)
        pad = (pads[0], pads[1], pads[2], pads[3])
        extra = (outputs[0], outputs[1])
    return Deconv2dAttrs(stride=stride, pad=pad, output_pad=extra, dilation=dilation, group=group)
