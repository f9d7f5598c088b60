"""What multiplies and adds, as engine operations: convolutions, sums, averages, enlargements.

Source: the driver's operation lists (measured) where nothing else is said.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from npusim.ir.attrs import Activation, Conv2dAttrs, Deconv2dAttrs, Pool2dAttrs, ResizeAttrs
from npusim.ir.tensor import Shape, TensorSpec
from npusim.passes.convolution_predicates import (
    FURTHEST_PAD,
    front_pad,
    is_cut_into_phases,
    is_depthwise,
    is_padded_apart,
    loses_values,
    reach,
)
from npusim.passes.engine_predicates import LARGEST_NN_KERNEL
from npusim.perfmodel.lower_split import (
    Part,
    activation_pass,
    in_groups,
    in_phases,
    padded_apart,
    square,
)
from npusim.perfmodel.network import Layer, Network, attrs_of
from npusim.perfmodel.workload import FullyConnectedWork, NnWork, ShaderWork, TpWork, Work

# Largest number of non-zero taps per input channel for which a strided convolution is run at full
# resolution with first-pixel pooling. Source: measured (3.06 is, 3.55 is not).
FULL_RESOLUTION_TAPS = 3.3


def _first_pixel(part: Part) -> bool:
    """Tell whether a stride-2 convolution runs at full resolution, keeping one pixel in four."""
    attrs = part.attrs
    if attrs.stride != (2, 2) or part.dtype.bits != 8 or attrs.dilation != (1, 1):
        return False
    if part.ifm[3] % 2 or front_pad(attrs) > FURTHEST_PAD:
        return False
    density = (1 - part.zero_fraction) / attrs.group  # depthwise kernels are dense with zeros
    return density * prod(square(*part.weights[2:])) <= FULL_RESOLUTION_TAPS


def convolution(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one NN operation; most strides need a reshuffle (space to depth) before it.

    Groups and the phases of dilations that span too far are operations of their own, and so is a
    relu behind them.
    """
    attrs = attrs_of(layer, Conv2dAttrs)
    works = in_groups(layer, network, _on_nn)
    divided = 1 < attrs.group != network.maps(layer.inputs[0])[1]
    if attrs.activation is Activation.NONE or not (
        divided or is_cut_into_phases(attrs, layer.weight_shape[2:])
    ):
        return works
    return [*works, activation_pass(layer, network)]


def _on_nn(part: Part) -> list[Work]:
    if is_cut_into_phases(part.attrs, part.weights[2:]):
        return in_phases(part, _convolution)
    if is_padded_apart(part.attrs):
        pad, part = padded_apart(part)
        return [pad, *_convolution(part)]
    return _convolution(part)


def shader_convolution(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan what the shader does: patches of the map and their products, or one program.

    Depthwise convolutions are one program, but for u8 and float16 with one result per channel and
    fewer than 16 pads in front. A relu is a pass of its own. Source: measured,
    docs/arithmetic/placement.md rule 2.7.
    """
    attrs = attrs_of(layer, Conv2dAttrs)
    works = in_groups(layer, network, _on_shader)
    if attrs.activation is Activation.NONE:
        return works
    return [*works, activation_pass(layer, network)]


def _on_shader(part: Part) -> list[Work]:
    attrs, kernel = part.attrs, part.weights[2:]
    phases = is_cut_into_phases(attrs, kernel)
    if not is_depthwise(attrs, part.ifm):
        return in_phases(part, _patches) if phases else _patches(part)
    ifm = TensorSpec(name="", shape=part.ifm, dtype=part.dtype)
    if loses_values(attrs, ifm, kernel, part.ofm[1]):
        return _patches(part)
    if is_padded_apart(attrs) and not phases and max(kernel) <= LARGEST_NN_KERNEL:
        pad, part = padded_apart(part)
        return [pad, _program(part, part.ifm, part.ofm)]
    return [_program(part, part.ifm, part.ofm)]


def _patches(part: Part) -> list[Work]:
    """Plan a program that writes what every output pixel reads, and one that multiplies."""
    gathered = (*part.ofm[2:], prod(part.weights[2:]), part.ifm[1])
    first = replace(_program(part, part.ifm, gathered), operation="CONV2D_PATCHES", macs=0)
    return [first, _program(part, gathered, part.ofm)]


def _program(part: Part, before: Shape, after: Shape) -> ShaderWork:
    size, (in_values, out_values) = part.dtype.itemsize, (prod(before), prod(after))
    return ShaderWork(
        operation="CONV2D",
        in_bytes=in_values * size,
        out_bytes=out_values * size,
        in_values=in_values,
        out_values=out_values,
        macs=part.macs,
    )


def _convolution(part: Part) -> list[Work]:
    dtype, ifm, ofm, weights, attrs, zero_fraction, macs = part
    _, in_c, in_h, in_w = ifm
    _, out_c, out_h, out_w = ofm
    kernel_h, kernel_w = weights[2:]
    # A dilated kernel runs as a larger kernel with zeros between the taps, an oblong one as a
    # square. Source: measured, docs/arithmetic/placement.md rules 2.4 and 2.5.
    spans = reach(attrs, weights[2:])
    strided = max(attrs.stride) > 1
    reach_h, reach_w = spans if strided else square(*spans)
    zeros = 1 - (1 - zero_fraction) * kernel_h * kernel_w / (reach_h * reach_w)
    depthwise = 1 < attrs.group == in_c
    stride = max(attrs.stride)
    work = NnWork(
        in_w=in_w,
        in_h=in_h,
        in_c=in_c,
        out_w=out_w,
        out_h=out_h,
        out_c=out_c,
        final_w=out_w,
        final_h=out_h,
        kernel_w=reach_w,
        kernel_h=reach_h,
        dtype=dtype,
        zero_fraction=zeros,
        depthwise=depthwise,
        rows_ratio=spans[0] / reach_h,
        macs=macs,
    )
    if stride == 1:
        return [work]
    if _first_pixel(part):
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
    small_h, small_w = square(-(-reach_h // attrs.stride[0]), -(-reach_w // attrs.stride[1]))
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


def deconvolution(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan a convolution to one channel per phase, then channels to pixels and a cut to size.

    A relu is a pass of its own. Source: measured, docs/arithmetic/placement.md rule 2.3.
    """
    attrs = attrs_of(layer, Deconv2dAttrs)
    _, in_c, in_h, in_w = network.maps(layer.inputs[0])
    _, out_c, out_h, out_w = network.maps(layer.outputs[0])
    dtype = network.dtypes[layer.inputs[0]]
    step_h, step_w = attrs.stride
    kernel_h, kernel_w = (
        -(-k // s) for k, s in zip(layer.weight_shape[2:], attrs.stride, strict=True)
    )
    depthwise = attrs.group > 1
    phases = step_h * step_w
    map_h, map_w = in_h + kernel_h - 1, in_w + kernel_w - 1
    if phases == 1:
        map_h, map_w = out_h, out_w
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
    relu = [activation_pass(layer, network)] if attrs.activation is not Activation.NONE else []
    if phases == 1:
        return [work, *relu]
    grown = out_c * phases * map_h * map_w * dtype.itemsize
    enlarged = TpWork(
        operation="UPSAMPLE",
        in_bytes=grown,
        out_bytes=grown,
        channels=out_c * phases,
        pixels=map_w * map_h,
    )
    size = out_c * out_h * out_w * dtype.itemsize
    cut = replace(enlarged, out_bytes=size, channels=out_c, pixels=map_w * map_h * phases)
    return [work, enlarged, *([cut] if size != grown else []), *relu]


def vector_as_image(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan a fully connected layer on the NN cores: the vector is seen as an image.

    Several rows are the pixels of a map of one row, which needs a transposition on either side.
    """
    out_c, in_c = layer.weight_shape
    rows = prod(network.shapes[layer.outputs[0]][1:-1])
    width, height, channels = fc_image(in_c) if rows == 1 else (1, 1, in_c)
    kernel_h, kernel_w = square(height, width)
    itemsize = network.dtypes[layer.inputs[0]].itemsize
    turned = [
        TpWork(
            operation="TENSOR_TRANS",
            in_bytes=rows * length * itemsize,
            out_bytes=rows * length * itemsize,
            channels=1,
            pixels=rows * length,
        )
        for length in (in_c, out_c)
        if rows > 1
    ]
    return [
        *turned[:1],
        NnWork(
            in_w=width if rows == 1 else rows,
            in_h=height,
            in_c=channels,
            out_w=1 if rows == 1 else rows,
            out_h=1,
            out_c=out_c,
            final_w=1 if rows == 1 else rows,
            final_h=1,
            kernel_w=kernel_w,
            kernel_h=kernel_h,
            dtype=network.dtypes[layer.inputs[0]],
            zero_fraction=layer.zero_fraction,
            macs=layer.macs,
        ),
        *turned[1:],
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


def fully_connected(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one vector on TP; a convolution over its whole input is one too.

    A depthwise kernel is stored dense with zeros.
    """
    group = layer.attrs.group if isinstance(layer.attrs, Conv2dAttrs) else 1
    return [
        FullyConnectedWork(
            in_c=prod(layer.weight_shape[1:]) * group,
            out_c=layer.weight_shape[0],
            dtype=network.dtypes[layer.inputs[0]],
            zero_fraction=1 - (1 - layer.zero_fraction) / group,
            macs=layer.macs,
        )
    ]


def sum_of_two(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan a pointwise convolution over both operands, which lie side by side."""
    _, channels, height, width = network.maps(layer.outputs[0])
    return [
        NnWork(
            in_w=width,
            in_h=height,
            in_c=2 * channels,
            out_w=width,
            out_h=height,
            out_c=channels,
            final_w=width,
            final_h=height,
            kernel_w=1,
            kernel_h=1,
            dtype=network.dtypes[layer.outputs[0]],
            zero_fraction=1 - 1 / channels,
        )
    ]


def sum_of_one_pixel(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan the same for one pixel, on TP."""
    channels = network.maps(layer.outputs[0])[1]
    return [
        FullyConnectedWork(
            in_c=2 * channels,
            out_c=channels,
            dtype=network.dtypes[layer.outputs[0]],
            zero_fraction=1 - 1 / channels,
        )
    ]


def average(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan a depthwise convolution with one weight, over windows or over the whole input.

    A mean over everything is taken over the pixels in an arrangement that fits the engine.
    """
    images, channels, height, width = ifm = network.maps(layer.inputs[0])
    dtype, ofm = network.dtypes[layer.inputs[0]], network.maps(layer.outputs[0])
    if isinstance(layer.attrs, Pool2dAttrs):
        kernel, stride, pad = layer.attrs.kernel, layer.attrs.stride, layer.attrs.pad
    else:
        width, height, _ = fc_image(height * width)
        ifm, ofm = (images, channels, height, width), (images, channels, 1, 1)
        kernel, stride, pad = (height, width), (1, 1), (0, 0, 0, 0)
    attrs = Conv2dAttrs(stride=stride, pad=pad, group=channels)
    return _convolution(Part(dtype, ifm, ofm, (channels, 1, *kernel), attrs))


def average_by_channel(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one fully connected layer a channel; each reads a line for every pixel."""
    _, channels, height, width = network.maps(layer.inputs[0])
    return [
        NnWork(
            operation="FULLYCONNECTED",
            in_w=1,
            in_h=1,
            in_c=height * width,
            out_w=1,
            out_h=1,
            out_c=1,
            final_w=1,
            final_h=1,
            kernel_w=1,
            kernel_h=1,
            dtype=network.dtypes[layer.inputs[0]],
            count=channels,
        )
    ]


def average_fully_connected(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan an average of the whole input on TP: stored dense, other channels' weights zero."""
    _, channels, height, width = network.maps(layer.inputs[0])
    return [
        FullyConnectedWork(
            in_c=channels * height * width,
            out_c=channels,
            dtype=network.dtypes[layer.inputs[0]],
            zero_fraction=1 - 1 / channels,
        )
    ]


def enlargement(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan a convolution to one channel per phase, then channels to pixels."""
    _, channels, in_h, in_w = network.maps(layer.inputs[0])
    dtype = network.dtypes[layer.inputs[0]]
    factor = attrs_of(layer, ResizeAttrs).size[0] // in_h
    phases = factor * factor
    size = phases * channels * in_h * in_w * dtype.itemsize
    return [
        NnWork(
            in_w=in_w,
            in_h=in_h,
            in_c=channels,
            out_w=in_w,
            out_h=in_h,
            out_c=phases * channels,
            final_w=in_w,
            final_h=in_h,
            kernel_w=2,
            kernel_h=2,
            dtype=dtype,
            zero_fraction=1 - 1 / (phases * channels),
        ),
        TpWork(
            operation="REORG2",
            in_bytes=size,
            out_bytes=size,
            channels=phases * channels,
            pixels=in_w * in_h,
        ),
    ]
