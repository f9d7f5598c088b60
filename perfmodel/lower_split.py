"""Convolutions that the driver cuts into several: by groups, and by the phases of wide dilations.

Source: measured, docs/arithmetic/placement.md section 2 (operation lists).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from npusim.ir.attrs import Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.tensor import Shape
from npusim.perfmodel.network import Layer, Network, attrs_of
from npusim.perfmodel.workload import NnWork, TpWork, Work

PAD = "TENSOR_PAD"
FURTHEST_OF_REORG = 16  # rows or columns behind a map that the cut into phases adds by itself


class Part(NamedTuple):
    """A convolution, or one of its groups: shapes in NCHW, weights (O, C / group, kh, kw)."""

    dtype: DType
    ifm: Shape
    ofm: Shape
    weights: Shape
    attrs: Conv2dAttrs
    zero_fraction: float = 0.0
    macs: int = 0


Plan = Callable[[Part], list[Work]]


def in_groups(layer: Layer, network: Network, plan: Plan) -> list[Work]:
    """Plan every group of a convolution, or all of one that is depthwise or has no groups."""
    attrs = attrs_of(layer, Conv2dAttrs)
    ifm, ofm = network.maps(layer.inputs[0]), network.maps(layer.outputs[0])
    groups = 1 if attrs.group == ifm[1] else attrs.group
    part = Part(
        dtype=network.dtypes[layer.inputs[0]],
        ifm=(ifm[0], ifm[1] // groups, *ifm[2:]),
        ofm=(ofm[0], ofm[1] // groups, *ofm[2:]),
        weights=(layer.weight_shape[0] // groups, *layer.weight_shape[1:]),
        attrs=attrs if groups == 1 else replace(attrs, group=1),
        zero_fraction=layer.zero_fraction,
        macs=layer.macs // groups,
    )
    return plan(part) * groups


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


def padded_apart(part: Part) -> tuple[TpWork, Part]:
    """Return the pass that pads a map on every side, and what is left to do."""
    top, bottom, left, right = part.attrs.pad
    images, channels, height, width = part.ifm
    grown = (images, channels, height + top + bottom, width + left + right)
    size = part.dtype.itemsize
    pad = TpWork(
        operation=PAD,
        in_bytes=channels * height * width * size,
        out_bytes=channels * grown[2] * grown[3] * size,
        channels=channels,
        pixels=height * width,
    )
    return pad, part._replace(ifm=grown, attrs=replace(part.attrs, pad=(0, 0, 0, 0)))


def in_phases(part: Part, plan: Plan) -> list[Work]:
    """Plan one small convolution for every phase of a dilation, between two rearrangements.

    A map that reaches beyond what the rearrangement adds is padded before; one that is not a
    multiple of the dilation is cut after, and that of a depthwise convolution always.
    """
    attrs = part.attrs
    _, in_c, in_h, in_w = part.ifm
    _, out_c, out_h, out_w = part.ofm
    depthwise = 1 < attrs.group == in_c
    rows, columns = attrs.dilation
    kernel_h, kernel_w = part.weights[2:]
    map_h = -(-(in_h + sum(attrs.pad[:2])) // rows)
    map_w = -(-(in_w + sum(attrs.pad[2:])) // columns)
    done_h, done_w = map_h - kernel_h + 1, map_w - kernel_w + 1
    behind = max(map_h * rows - in_h - attrs.pad[0], map_w * columns - in_w - attrs.pad[2])
    names = ("DILATION_RESHUFFLE", "DILATION_UPSAMPLE") if depthwise else ("REORG2", "REORG2")
    cut = "DILATION_UPSAMPLE2" if depthwise else "TENSOR_COPY"
    size = part.dtype.itemsize

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
        works.append(move(PAD, start, grown, in_c))
        start = grown
    works.append(move(names[0], start, map_h * map_w, in_c))
    phase = part._replace(
        ifm=(1, in_c, map_h, map_w),
        ofm=(1, out_c, done_h, done_w),
        attrs=replace(attrs, dilation=(1, 1), pad=(0, 0, 0, 0)),
        macs=part.macs // (rows * columns),
    )
    for work in plan(phase):
        times = rows * columns
        works += [replace(work, count=times)] if isinstance(work, NnWork) else [work] * times
    whole = done_h * rows * done_w * columns
    works.append(move(names[1], done_h * done_w, whole, out_c))
    if depthwise or whole != out_h * out_w:
        works.append(move(cut, whole if depthwise else out_h * out_w, out_h * out_w, out_c))
    return works


def square(height: int, width: int) -> tuple[int, int]:
    """Return the size that a kernel is stored in: square, filled with zeros, unless one column."""
    return (height, width) if width == 1 else (max(height, width),) * 2
