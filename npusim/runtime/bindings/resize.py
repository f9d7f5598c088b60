"""Resize: shader interpolation, and the copies that the driver puts on NN and TP."""

from typing import cast

from npusim.errors import GraphError
from npusim.ir.attrs import ResizeAttrs, ResizeMode
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import DynamicFixedPoint
from npusim.kernels.resize import bilinear, nearest, whole_steps
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.convert import shader_copy, tp_copy
from npusim.runtime.codes import ENGINE_TYPES, Array, require_types, scaling_of
from npusim.runtime.layout import channels_last, from_channels_last


def _nearest(node: Node, value: Array) -> Array:
    attrs = cast(ResizeAttrs, node.attrs)
    pixels = nearest(channels_last(value), attrs.size, attrs.coordinates.value)
    return from_channels_last(pixels)


@binding("resize", engine=Engine.SHADER)
def bind_on_shader(node: Node, graph: Graph) -> Step:
    """Bind bilinear and nearest resizes of any quantization."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    attrs = cast(ResizeAttrs, node.attrs)
    if attrs.mode is ResizeMode.NEAREST:
        copy = shader_copy(ifm, ofm)
        return lambda value: (copy(_nearest(node, value)),)

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
    return lambda value: (_nearest(node, value),)


@binding("resize", engine=Engine.TP)
def bind_on_tp(node: Node, graph: Graph) -> Step:
    """Bind nearest-neighbour shrinking by a whole factor: two TP copies.

    The driver gives the i16 tensor between the copies no fraction bits, so values are rounded to
    whole numbers: kept, because the chip's results show it (ARITHMETIC_OPS.md section 5).
    """
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    _require_nearest(node)
    copy = tp_copy(ifm, ofm)
    if ifm.dtype is DType.I16 and isinstance(ifm.quant, DynamicFixedPoint):
        fl = ifm.quant.fl
        return lambda value: (copy(whole_steps(_nearest(node, value), fl)),)
    return lambda value: (copy(_nearest(node, value)),)


def _require_nearest(node: Node) -> None:
    engine = node.engine.value if node.engine else "no engine"
    if cast(ResizeAttrs, node.attrs).mode is not ResizeMode.NEAREST:
        raise GraphError(
            "bilinear resize",
            where=f"layer {node.name!r} (resize on {engine})",
            rule="only the shader interpolates",
        )
