"""Fully connected layers: 1x1 convolutions on NN and shader, float32 sums on TP."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Activation, Conv2dAttrs, FcAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, Rounding, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.tp import nearest_f16, saturate, store_affine
from npusim.kernels.pack.geometry import pack_columns, pack_weights
from npusim.kernels.tiles.fma import PANEL
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.nn_layer import nn_layer
from npusim.runtime.calls import Calls, KernelStep
from npusim.runtime.convolution.phases import (
    Array,
    Convolution,
    constant,
    plain_phase,
    store_of,
)
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.stored_requant import stored_requant
from npusim.runtime.tables import unsigned


@binding("fc", engine=Engine.NN)
@binding("fc", engine=Engine.SHADER)
def bind_fc(node: Node, graph: Graph) -> Step:
    """Run (.., K) x (O, K) as a 1x1 convolution whose pixels are the leading axes."""
    attrs = node.attrs
    assert isinstance(attrs, FcAttrs)  # by the operator's definition
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    weights = constant(node, graph, 1)
    requant, scales = store_of(node, graph)
    rows = ifm.elements // weights.shape[1]
    conv = nn_layer(
        Convolution(
            where=f"layer {node.name!r}",
            ifm=replace(ifm, shape=(1, weights.shape[1], 1, rows)),
            ofm=replace(ofm, shape=(1, weights.shape[0], 1, rows)),
            weights=weights[:, :, None, None],
            weights_quant=graph.spec(node.inputs[1]).quant,
            bias=constant(node, graph, 2),
            requant=requant,
            scales=scales,
            phases=(plain_phase((1, 1), (1, 1), (1, 1), (0, 0), (1, rows)),),
            relu=attrs.activation is not Activation.NONE,
        )
    )

    if isinstance(conv, KernelStep):
        convolve = conv.lay

        def lay(calls: Calls, ifm: Array) -> tuple[Array, ...]:
            pixels = calls.in_order(ifm, range(ifm.ndim)).reshape(1, 1, rows, -1)
            (result,) = convolve(calls, pixels.transpose(0, 3, 1, 2))
            return (result.transpose(0, 2, 3, 1).reshape(ofm.shape),)

        return KernelStep(lay)

    def step(ifm: Array) -> tuple[Array, ...]:
        pixels = np.asarray(ifm, order="C").reshape(1, 1, rows, -1)
        (result,) = conv(pixels.transpose(0, 3, 1, 2))
        return (np.asarray(result.transpose(0, 2, 3, 1), order="C").reshape(ofm.shape),)

    return step


@binding("fc", "conv2d", engine=Engine.TP)
def bind_fully_connected(node: Node, graph: Graph) -> Step:
    """Run a fully connected layer, or a convolution with one output pixel, on the TP engine."""
    attrs = node.attrs
    assert isinstance(attrs, FcAttrs | Conv2dAttrs)  # by the operators' definitions
    relu = attrs.activation is not Activation.NONE
    if isinstance(attrs, Conv2dAttrs) and attrs.group > 1:
        weights = _centred(node, graph)
        return own_channel_sums(node, graph, weights, constant(node, graph, 2), relu=relu)
    ofm = graph.spec(node.outputs[0])
    outputs = graph.spec(node.inputs[1]).shape[0]
    bias = pack_columns(tp_bias(constant(node, graph, 2)), groups=1)
    add = _panel_sums(node, graph)
    store = _compiled_store(node, graph, relu=relu)
    if store is None or graph.spec(node.inputs[0]).dtype.bits != 8:
        plain = _store(node, graph, relu=relu)
        work = graph.spec(node.inputs[1]).elements

        def step(ifm: Array) -> tuple[Array, ...]:
            acc, calls = bias.copy(), Calls()
            add(calls, ifm.reshape(-1).astype(np.float32), acc, work)
            calls.run()
            return (plain(acc[:outputs]).reshape(ofm.shape),)

        return step
    work = graph.spec(node.inputs[1]).elements
    read = choose(Work.DEQUANTIZE, DType.U8, DType.F32)
    numbers = np.arange(256, dtype=np.uint8).view(graph.spec(node.inputs[0]).dtype.numpy)
    numbers = numbers.astype(np.float32)

    def lay(calls: Calls, ifm: Array) -> tuple[Array, ...]:
        codes = calls.in_order(ifm, range(ifm.ndim))
        values = calls.empty((codes.size,), np.float32)
        calls.add(read, (unsigned(codes), numbers, values), codes.size, codes.size)
        acc = calls.empty(bias.shape, np.float32)
        calls.copy(bias, acc)
        add(calls, values, acc, work)
        return (store(calls, acc[:outputs]).reshape(ofm.shape),)

    return KernelStep(lay)


def _panel_sums(node: Node, graph: Graph) -> Callable[[Calls, Array, Array, int], None]:
    """Return what adds the products of all panels, with its packed weights."""
    codes = constant(node, graph, 1)
    flat = codes.reshape(1, len(codes), -1)
    if codes.dtype.itemsize == 1 and graph.spec(node.inputs[0]).dtype.bits == 8:
        flip = 0 if codes.dtype == np.uint8 else 128
        zero = float(zero_point_of(graph.spec(node.inputs[1]).quant) + flip)
        packed = pack_weights(flat.view(np.uint8) ^ np.uint8(flip)).reshape(-1)
        kernel, more = choose(Work.FULLY_CONNECTED, DType.U8, DType.U8), [zero]
    else:
        halves = codes.dtype == np.float16
        packed = pack_weights(
            flat.view(np.uint16) if halves else _centred(node, graph).reshape(flat.shape)
        )
        dtype = DType.F16 if halves else DType.I16
        kernel, more = choose(Work.FULLY_CONNECTED, dtype, dtype), []

    def add(calls: Calls, values: Array, acc: Array, work: int) -> None:
        calls.add(kernel, (values, packed, *more, acc), acc.size // PANEL, work)

    return add


def _centred(node: Node, graph: Graph) -> Array:
    """Return the weights, integers without their zero point."""
    weights = constant(node, graph, 1)
    zero_point = zero_point_of(graph.spec(node.inputs[1]).quant)
    return weights if weights.dtype == np.float16 else weights.astype(np.int16) - zero_point


def own_channel_sums(
    node: Node, graph: Graph, weights: Array, bias: Array, *, relu: bool = False
) -> Step:
    """Return the step of a depthwise window over the whole input, one output pixel, on TP.

    Parameters
    ----------
    weights : array (O, 1, H, W)
        O is a multiple of the input's channels.
    """
    ofm = graph.spec(node.outputs[0])
    columns = np.asarray(weights.reshape(len(weights), -1).T, order="C").astype(np.float32)
    start = tp_bias(bias)
    store = _store(node, graph, relu=relu)

    def step(ifm: Array) -> tuple[Array, ...]:
        values = ifm.reshape(ifm.shape[1], -1).T.astype(np.float32)
        values = np.repeat(values, len(weights) // ifm.shape[1], axis=1)
        acc = start
        for value, column in zip(values, columns, strict=True):
            acc = acc + value * column
        return (store(acc).reshape(ofm.shape),)

    return step


def tp_bias(bias: Array) -> Array:
    """Return a bias as the TP engine starts its sums: cut toward zero to 24 significant bits."""
    if bias.dtype.kind == "f":
        return bias.astype(np.float32)
    mantissa, exponent = np.frexp(bias.astype(np.float64))
    cut: Array = np.ldexp(np.trunc(mantissa * 2.0**24), exponent - 24)
    return cut.astype(np.float32)


def _store(node: Node, graph: Graph, *, relu: bool) -> Callable[[Array], Array]:
    """Return float32 sums -> stored codes."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    if zero_point_of(ifm.quant) or ifm.dtype is not ofm.dtype:
        raise GraphError(
            f"{ifm.dtype.value} with zero point {zero_point_of(ifm.quant)} -> {ofm.dtype.value}",
            where=f"layer {node.name!r} ({node.op} on TP)",
            rule="the TP engine's fully connected layer keeps the type and has no input zero point",
        )
    requant = stored_requant(node, ofm, tp_rounding(ofm))
    scale = requant.multiplier * 2.0**-requant.shift

    def store(acc: Array) -> Array:
        acc = np.maximum(acc, np.float32(0)) if relu else acc
        if ofm.dtype is DType.F16:
            return nearest_f16(acc.astype(np.float64))
        if isinstance(ofm.quant, Affine):
            affine = requant.multiplier, requant.shift, requant.zero_point
            return store_affine(acc, *affine, ofm.dtype.numpy)
        return saturate(acc.astype(np.float64) * scale, ofm.dtype.numpy)

    return store


def _compiled_store(
    node: Node, graph: Graph, *, relu: bool
) -> Callable[[Calls, Array], Array] | None:
    """Return ``_store`` as a kernel call, if the results are integers."""
    ofm = graph.spec(node.outputs[0])
    _store(node, graph, relu=relu)  # checks the types
    if ofm.dtype is DType.F16:
        return None
    requant = stored_requant(node, ofm, tp_rounding(ofm))
    scale, is_affine = requant.multiplier * 2.0**-requant.shift, isinstance(ofm.quant, Affine)
    limits = float(ofm.dtype.min), float(ofm.dtype.max)
    numbers = scale, float(requant.zero_point), is_affine, relu, *limits
    kernel = choose(Work.STORE_SUMS, DType.F32, ofm.dtype)

    def store(calls: Calls, acc: Array) -> Array:
        codes = calls.empty(acc.shape, ofm.dtype.numpy)
        calls.add(kernel, (acc, *numbers, codes), acc.size, acc.size)
        return codes

    return store


def tp_rounding(ofm: TensorSpec) -> Rounding:
    """Return how the TP engine rounds sums to a type."""
    if ofm.dtype is DType.F16:
        return Rounding.NEAREST_F16
    if isinstance(ofm.quant, Affine):
        return Rounding.HALF_EVEN_AFTER_ZERO_POINT
    return Rounding.HALF_EVEN_BEFORE_ZERO_POINT
