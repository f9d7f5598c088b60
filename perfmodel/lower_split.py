"""Convolutions that the driver cuts into several: by groups, and by the phases of wide dilations.

Source: measured, docs/arithmetic/placement.md section 2 (operation lists).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.tensor import Shape
from npusim.perfmodel.network import Layer, Network, attrs_of
from npusim.perfmodel.workload import NnWork, TpWork, Work

FURTHEST_OF_REORG = 16  # rows or columns behind a map that the cut into phases adds by itself

Plan = Callable[[DType, Shape, Shape, Shape, Conv2dAttrs, float, int], list[Work]]


def in_groups(layer: Layer, network: Network, plan: Plan) -> Sequence[Work]:
    """Plan one convolution a group, and its relu as a pass over the whole."""
    attrs = attrs_of(layer, Conv2dAttrs)
    groups, dtype = attrs.group, network.dtypes[layer.inputs[0]]
    (n, in_c, *in_map), (_, out_c, *out_map) = (
        network.maps(name) for name in (layer.inputs[0], layer.outputs[0])
    )
    works = plan(
        dtype,
        (n, in_c // groups, *in_map),
        (n, out_c // groups, *out_map),
        (out_c // groups, *layer.weight_shape[1:]),
        replace(attrs, group=1),
        layer.zero_fraction,
        layer.macs // groups,
    )
    relu = [activation_pass(layer, network)] if attrs.activation is not Activation.NONE else []
    return [*works * groups, *relu]


def activation_pass(layer: Layer, network: Network) -> TpWork:
    """Return the pass of a relu that does not run inside the layer before it."""
    _, channels, height, width = network.maps(layer.outputs[0])
    size = network.image_bytes(layer.outputs[0])
    return TpWork(
        operation="ACTIVATION",
        in_bytes=size,
        out_bytes=size,
        channels=channels,
        pixels=height * width,
    )


def in_phases(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one small convolution for every phase of a dilation, between two rearrangements.

    A map that reaches beyond what the rearrangement adds is padded before; one that is not a
    multiple of the dilation is cut after.
    """
    attrs = attrs_of(layer, Conv2dAttrs)
    _, in_c, in_h, in_w = network.maps(layer.inputs[0])
    _, out_c, out_h, out_w = network.maps(layer.outputs[0])
    dtype = network.dtypes[layer.inputs[0]]
    depthwise = 1 < attrs.group == in_c
    rows, columns = attrs.dilation
    kernel_h, kernel_w = square(*layer.weight_shape[2:])
    map_h = -(-(in_h + sum(attrs.pad[:2])) // rows)
    map_w = -(-(in_w + sum(attrs.pad[2:])) // columns)
    done_h, done_w = map_h - kernel_h + 1, map_w - kernel_w + 1
    behind = max(map_h * rows - in_h - attrs.pad[0], map_w * columns - in_w - attrs.pad[2])
    names = ("DILATION_RESHUFFLE", "DILATION_UPSAMPLE") if depthwise else ("REORG2", "REORG2")
    cut = "DILATION_UPSAMPLE2" if depthwise else "TENSOR_COPY"
    size = dtype.itemsize

    def move(operation: str, before: int, after: int, channels: int) -> TpWork:
        return TpWork(
            operation=operation,
            in_bytes=before * channels * size,
            out_bytes=after * channels * size,
            channels=channels,
            pixels=before,
        )

    works: list[Work] = []
    start, grown = in_h * in_w, map_h * rows * map_w * columns
    if behind > FURTHEST_OF_REORG and not depthwise:
        works.append(move("TENSOR_PAD", start, grown, in_c))
        start = grown
    works.append(move(names[0], start, map_h * map_w, in_c))
    part = NnWork(
        in_w=map_w,
        in_h=map_h,
        in_c=in_c,
        out_w=done_w,
        out_h=done_h,
        out_c=out_c,
        final_w=done_w,
        final_h=done_h,
        kernel_w=kernel_w,
        kernel_h=kernel_h,
        dtype=dtype,
        zero_fraction=layer.zero_fraction,
        depthwise=depthwise,
        macs=layer.macs // (rows * columns),
        count=rows * columns,
    )
    whole = done_h * rows * done_w * columns
    works += [part, move(names[1], done_h * done_w, whole, out_c)]
    if whole != out_h * out_w:
        works.append(move(cut, whole if depthwise else out_h * out_w, out_h * out_w, out_c))
    if attrs.activation is not Activation.NONE:
        works.append(activation_pass(layer, network))
    return works


def square(height: int, width: int) -> tuple[int, int]:
    """Return the size that a kernel is stored in: square, filled with zeros, unless one column."""
    return (height, width) if width == 1 else (max(height, width),) * 2
