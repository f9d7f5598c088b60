"""Pools, sums, moves, activations and shader operations as engine operations.

Source: the driver's operation lists (measured) where nothing else is said.
"""

from math import prod

from npusim.ir.attrs import (
    Conv2dAttrs,
    Pool2dAttrs,
    PoolKind,
    ResizeAttrs,
    ResizeMode,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.perfmodel.context import Context, attrs_of, hidden, size_bytes
from npusim.perfmodel.lower_convolution import convolution
from npusim.perfmodel.network import Layer
from npusim.perfmodel.workload import NnWork, ShaderWork, TpWork, Work


def pooling(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """Max pools up to 3x3 on TP, larger on the shader; average pools as depthwise convolutions."""
    attrs = attrs_of(layer, Pool2dAttrs)
    channels = context.shape(layer.inputs[0])[1]
    if attrs.kind is PoolKind.MAX:
        if max(attrs.kernel) > 3 and layer.engine is not Engine.TP:
            return shader(layer, pool, context)
        return [_move("POOLING", layer, context)]
    conv = Layer(
        name=layer.name,
        uid=layer.uid,
        op="conv2d",
        inputs=layer.inputs,
        outputs=layer.outputs,
        attrs=Conv2dAttrs(stride=attrs.stride, pad=attrs.pad, group=channels),
        weight_shape=(channels, 1, *attrs.kernel),
    )
    return convolution(conv, None, context)


def add(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """Pointwise convolution over both inputs where both are hidden results, else shader."""
    summable = (
        len(set(layer.inputs)) == 2
        and len({context.network.shapes[name] for name in layer.inputs}) == 1
        and context.dtype(layer.outputs[0]) in (DType.U8, DType.F16)
        and all(hidden(context, name) for name in layer.inputs)
    )
    if not (layer.engine is Engine.NN or (layer.engine is None and summable)):
        return shader(layer, pool, context)
    _, channels, height, width = context.shape(layer.outputs[0])
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
            dtype=context.dtype(layer.outputs[0]),
            zero_fraction=1 - 1 / channels,
        )
    ]


def _move(operation: str, layer: Layer, context: Context) -> TpWork:
    _, channels, height, width = context.shape(layer.inputs[0])
    return TpWork(
        operation=operation,
        in_bytes=size_bytes(context, layer.inputs[:1]),
        out_bytes=size_bytes(context, layer.outputs[:1]),
        channels=channels,
        pixels=height * width,
    )


def _copy(operation: str, name: str, context: Context) -> TpWork:
    _, channels, height, width = context.shape(name)
    size = size_bytes(context, (name,))
    return TpWork(
        operation=operation,
        in_bytes=size,
        out_bytes=size,
        channels=channels,
        pixels=height * width,
    )


def activation(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """One table pass."""
    return [_move("ACTIVATION", layer, context)]


def resize(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """Nearest doubling: convolution to four phases, then reordering; all else on the shader."""
    attrs = attrs_of(layer, ResizeAttrs)
    _, channels, in_h, in_w = context.shape(layer.inputs[0])
    dtype = context.dtype(layer.inputs[0])
    doubled = attrs.mode is ResizeMode.NEAREST and attrs.size == (2 * in_h, 2 * in_w)
    if not doubled or dtype not in (DType.U8, DType.I16):
        return shader(layer, pool, context)
    size = 4 * channels * in_h * in_w * dtype.itemsize
    return [
        NnWork(
            in_w=in_w,
            in_h=in_h,
            in_c=channels,
            out_w=in_w,
            out_h=in_h,
            out_c=4 * channels,
            final_w=in_w,
            final_h=in_h,
            kernel_w=2,
            kernel_h=2,
            dtype=dtype,
            zero_fraction=1 - 1 / (4 * channels),
        ),
        TpWork(
            operation="REORG2",
            in_bytes=size,
            out_bytes=size,
            channels=4 * channels,
            pixels=in_w * in_h,
        ),
    ]


def concat(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """Free where a layer wrote its part in place; otherwise a copy of the input."""
    works: list[Work] = []
    for name in layer.inputs:
        if layer.in_place and hidden(context, name):
            continue
        works.append(_copy("CONCAT_INDEFINITE", name, context))
    return works


def copies(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """One copy per output. Source: measured for slices that feed convolutions."""
    return [_copy("TENSOR_COPY", name, context) for name in layer.outputs]


def transpose(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """Nothing when no axis with more than one element changes place."""
    attrs = attrs_of(layer, TransposeAttrs)
    shape = context.network.shapes[layer.inputs[0]]
    moved = [axis for axis in attrs.perm if shape[axis] > 1]
    if moved == sorted(moved):
        return []
    return [_move("TENSOR_TRANS", layer, context)]


def reorganise(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """One pass between channels and pixels."""
    return [_move("REORG2", layer, context)]


def shader(layer: Layer, pool: Layer | None, context: Context) -> list[Work]:
    """One shader operation over all inputs and outputs."""
    taps = 0
    out_values = sum(prod(context.shape(name)[1:]) for name in layer.outputs)
    if isinstance(layer.attrs, Pool2dAttrs):
        taps = out_values * prod(layer.attrs.kernel)
    return [
        ShaderWork(
            operation=layer.op.upper(),
            in_bytes=size_bytes(context, layer.inputs[:1]),
            out_bytes=size_bytes(context, layer.outputs),
            in_values=prod(context.shape(layer.inputs[0])[1:]),
            out_values=out_values,
            taps=taps,
            macs=layer.macs,
        )
    ]
