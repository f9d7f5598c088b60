"""Convolutions, transposed convolutions and fully connected layers as engine operations.

Source: the driver's operation lists (measured) where nothing else is said.
"""

from dataclasses import replace
from math import prod

from npusim.ir.attrs import Conv2dAttrs, Deconv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.perfmodel.context import Context, attrs_of
from npusim.perfmodel.network import Layer
from npusim.perfmodel.workload import NnWork, TpWork, Work

# Largest number of non-zero taps per input channel for which a strided convolution is run at full
# resolution with first-pixel pooling. Source: measured (3.06 is, 3.55 is not).
FULL_RESOLUTION_TAPS = 3.3


def first_pixel(layer: Layer, attrs: Conv2dAttrs, context: Context) -> bool:
    """Tell whether a stride-2 convolution runs at full resolution, keeping one pixel in four."""
    dtype = context.dtype(layer.inputs[0])
    width = context.shape(layer.inputs[0])[3]
    if attrs.stride != (2, 2) or dtype.bits != 8 or width % 2 or attrs.dilation != (1, 1):
        return False
    depthwise = attrs.group > 1
    density = (1 - layer.zero_fraction) / (attrs.group if depthwise else 1)
    return density * prod(layer.weight_shape[2:]) <= FULL_RESOLUTION_TAPS


def convolution(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """One NN operation; most strides need a reshuffle (space to depth) before it."""
    attrs = attrs_of(layer, Conv2dAttrs)
    _, in_c, in_h, in_w = context.shape(layer.inputs[0])
    _, out_c, out_h, out_w = context.shape(layer.outputs[0])
    kernel_h, kernel_w = layer.weight_shape[2:]
    dtype = context.dtype(layer.inputs[0])
    # A dilated kernel runs as a larger kernel with zeros between the taps.
    # Source: assumption; the driver's own form is not known.
    reach_h = (kernel_h - 1) * attrs.dilation[0] + 1
    reach_w = (kernel_w - 1) * attrs.dilation[1] + 1
    zeros = 1 - (1 - layer.zero_fraction) * kernel_h * kernel_w / (reach_h * reach_w)
    grouped = attrs.group > 1
    depthwise = grouped and attrs.group == in_c
    if grouped and not depthwise:
        # Source: assumption, a grouped convolution is stored dense with zeros, as depthwise is.
        zeros = 1 - (1 - zeros) / attrs.group
    stride = max(attrs.stride)
    halved = 2 if pool is not None else 1
    work = NnWork(
        in_w=in_w,
        in_h=in_h,
        in_c=in_c,
        out_w=out_w,
        out_h=out_h,
        out_c=out_c,
        final_w=out_w // halved,
        final_h=out_h // halved,
        kernel_w=reach_w,
        kernel_h=reach_h,
        pool=halved,
        dtype=dtype,
        zero_fraction=zeros,
        depthwise=depthwise,
        macs=layer.macs,
    )
    if stride == 1:
        return [work]
    if first_pixel(layer, attrs, context):
        # A map that is padded at its far end only is read one row and one column further.
        return [
            replace(
                work,
                in_w=in_w + (attrs.pad[2] < attrs.pad[3]),
                in_h=in_h + (attrs.pad[0] < attrs.pad[1]),
                out_w=2 * out_w,
                out_h=2 * out_h,
                pool=2,
            )
        ]
    small_h, small_w = -(-reach_h // attrs.stride[0]), -(-reach_w // attrs.stride[1])
    map_h, map_w = out_h - 1 + small_h, out_w - 1 + small_w
    phases = attrs.stride[0] * attrs.stride[1]
    point = reach_h == reach_w == 1
    return [
        TpWork(
            operation="RESHUFFLE",
            in_bytes=in_w * in_h * in_c * dtype.itemsize,
            out_bytes=map_w * map_h * in_c * phases * dtype.itemsize,
            channels=in_c,
            pixels=in_w * in_h,
        ),
        replace(
            work,
            in_w=map_w,
            in_h=map_h,
            in_c=in_c if point else in_c * phases,
            kernel_w=small_w,
            kernel_h=small_h,
            tap_ratio=0.0 if point else reach_h * reach_w / (small_h * small_w * phases),
        ),
    ]


def deconvolution(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """Convolution to one channel per phase, then depth to space. Source: assumption."""
    attrs = attrs_of(layer, Deconv2dAttrs)
    _, in_c, in_h, in_w = context.shape(layer.inputs[0])
    _, out_c, out_h, out_w = context.shape(layer.outputs[0])
    dtype = context.dtype(layer.inputs[0])
    step_h, step_w = attrs.stride
    kernel_h, kernel_w = (
        -(-k // s) for k, s in zip(layer.weight_shape[2:], attrs.stride, strict=True)
    )
    depthwise = attrs.group > 1
    phases = step_h * step_w
    map_h, map_w = -(-out_h // step_h), -(-out_w // step_w)
    taps = prod(layer.weight_shape[2:]) / (kernel_h * kernel_w * phases)
    work = NnWork(
        in_w=in_w,
        in_h=in_h,
        in_c=in_c,
        out_w=map_w,
        out_h=map_h,
        out_c=out_c * phases,
        final_w=map_w,
        final_h=map_h,
        kernel_w=kernel_w,
        kernel_h=kernel_h,
        dtype=dtype,
        zero_fraction=1 - (1 - layer.zero_fraction) * taps,
        depthwise=depthwise and attrs.group == in_c,
        macs=layer.macs,
    )
    if phases == 1:
        return [work]
    size = out_c * out_h * out_w * dtype.itemsize
    return [
        work,
        TpWork(
            operation="REORG2",
            in_bytes=size,
            out_bytes=size,
            channels=out_c * phases,
            pixels=map_w * map_h,
        ),
    ]


def fully_connected(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """8-bit asymmetric: NN, the vector seen as an image; other types: TP."""
    dtype = context.dtype(layer.inputs[0])
    out_c, in_c = layer.weight_shape
    rows = prod(context.network.shapes[layer.outputs[0]][1:-1])
    if dtype is not DType.U8 and layer.engine is not Engine.NN:
        works: list[Work] = [
            TpWork(
                operation="FULLYCONNECTED",
                in_bytes=in_c * rows * dtype.itemsize,
                out_bytes=out_c * rows * dtype.itemsize,
                channels=in_c,
                pixels=rows,
                kernel_bytes=in_c * out_c * dtype.itemsize,
                macs=layer.macs,
            )
        ]
        return works
    width, height, channels = fc_image(in_c) if rows == 1 else (1, 1, in_c)
    return [
        NnWork(
            in_w=width if rows == 1 else rows,
            in_h=height,
            in_c=channels,
            out_w=1 if rows == 1 else rows,
            out_h=1,
            out_c=out_c,
            final_w=1 if rows == 1 else rows,
            final_h=1,
            kernel_w=width,
            kernel_h=height,
            dtype=dtype,
            zero_fraction=layer.zero_fraction,
            macs=layer.macs,
        )
    ]


def fc_image(length: int, largest: int = 11) -> tuple[int, int, int]:
    """Return the (width, height, channels) image a vector is seen as: the largest that divides.

    Source: measured on twelve lengths.
    """
    shapes = [
        (width * height, width, height)
        for width in range(1, largest + 1)
        for height in range(1, width + 1)
        if length % (width * height) == 0
    ]
    area, width, height = max(shapes)
    return width, height, length // area
