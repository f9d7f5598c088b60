"""Resize: shader interpolation, and the copies that the driver puts on NN and TP."""

from typing import cast

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Coordinates, ResizeAttrs, ResizeMode
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import DynamicFixedPoint
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.shader_resize import bilinear, nearest_indices, whole_steps
from npusim.ops.resize_positions import takes_first_rows
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.convert import shader_copy, tp_copy
from npusim.runtime.calls import Calls, KernelFunction, composed, step_of
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.memory_order import CHANNELS_LAST, channels_last, from_channels_last
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of


def _nearest(node: Node, ifm: TensorSpec, *, first_rows: bool = False) -> KernelFunction:
    """Return the nearest-neighbour resize of codes, an exact copy.

    ``first_rows``: of several rows that become one, the first is taken, whatever the coordinates.
    """
    attrs = cast(ResizeAttrs, node.attrs)
    images, channels, in_h, in_w = ifm.shape
    pixel_bytes = channels * ifm.dtype.numpy.itemsize
    coordinates = attrs.coordinates.value
    by_rows = Coordinates.ASYMMETRIC.value if first_rows else coordinates
    in_rows = nearest_indices(in_h, attrs.size[0], by_rows)
    rows = (np.arange(images)[:, None] * in_h + in_rows).reshape(-1) * (in_w * pixel_bytes)
    columns = nearest_indices(in_w, attrs.size[1], coordinates) * pixel_bytes
    shape = (images, *attrs.size, channels)

    gather_pixels = choose(Work.GATHER, DType.U8, DType.U8)  # bytes of whatever type

    def lay(calls: Calls, value: Array) -> Array:
        source = calls.in_order(value, CHANNELS_LAST)
        resized = calls.empty(shape, source.dtype)
        read, written = (array.reshape(-1).view(np.uint8) for array in (source, resized))
        arguments = read, rows, columns, written, pixel_bytes
        calls.add(gather_pixels, arguments, rows.size, resized.nbytes)
        return from_channels_last(resized)

    return KernelFunction(lay)


@binding("resize", engine=Engine.SHADER)
def bind_on_shader(node: Node, graph: Graph) -> Step:
    """Bind bilinear and nearest resizes of any quantization."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    attrs = cast(ResizeAttrs, node.attrs)
    if attrs.mode is ResizeMode.NEAREST:
        return step_of(composed(_nearest(node, ifm), shader_copy(ifm, ofm)))

    def step(value: Array) -> tuple[Array, ...]:
        pixels = bilinear(
            channels_last(value),
            attrs.size,
            attrs.coordinates.value,
            scaling_of(ifm),
            ofm.dtype.numpy,
            scaling_of(ofm),
        )
        return (from_channels_last(pixels),)

    return step


@binding("resize", engine=Engine.NN)
def bind_on_nn(node: Node, graph: Graph) -> Step:
    """Bind nearest-neighbour doubling: a convolution that copies, and a TP rearrangement."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    if (ifm.dtype, ifm.quant) != (ofm.dtype, ofm.quant):
        raise GraphError(
            "input and output are quantized differently",
            where=f"layer {node.name!r} (resize on NN)",
            rule="the NN engine doubles pixels without requantizing them",
        )
    _require_nearest(node)
    return step_of(_nearest(node, ifm))


@binding("resize", engine=Engine.TP)
def bind_on_tp(node: Node, graph: Graph) -> Step:
    """Bind nearest-neighbour shrinking by a whole factor: two TP copies.

    The driver gives the i16 tensor between the copies no fraction bits, so values are rounded to
    whole numbers: kept, because the chip's results show it (docs/arithmetic/tp.md rule 2.5).
    """
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    _require_nearest(node)
    first_rows = takes_first_rows(cast(ResizeAttrs, node.attrs), ifm.shape)
    copy, resize = tp_copy(ifm, ofm), _nearest(node, ifm, first_rows=first_rows)
    if ifm.dtype is DType.I16 and isinstance(ifm.quant, DynamicFixedPoint):
        fl = ifm.quant.fl
        return lambda value: (copy(whole_steps(resize(value), fl)),)
    return step_of(composed(resize, copy))


def _require_nearest(node: Node) -> None:
    engine = node.engine.value if node.engine else "no engine"
    if cast(ResizeAttrs, node.attrs).mode is not ResizeMode.NEAREST:
        raise GraphError(
            "bilinear resize",
            where=f"layer {node.name!r} (resize on {engine})",
            rule="only the shader interpolates",
        )
