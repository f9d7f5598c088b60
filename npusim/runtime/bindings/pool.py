"""Pooling: maximum on TP, averages as constant-weight convolutions (NN, TP) or exact (shader)."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import GlobalPoolAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.shader import dequantize
from npusim.kernels.engines.shader_average import LARGEST_IN_HALVES, average, global_average
from npusim.kernels.windows.pool import AVERAGED, MOST_PIXELS, averaged_rows
from npusim.ops.pool import PIXELS_SUMMED, leaves_pixels_out
from npusim.passes.requant import average_weight
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.convert import tp_copy
from npusim.runtime.bindings.fc import own_channel_sums
from npusim.runtime.bindings.nn_layer import nn_layer
from npusim.runtime.calls import Calls, KernelFunction, KernelStep, Scratch, composed, step_of
from npusim.runtime.convolution.phases import Array, Convolution, nn_store, plain_phase
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.memory_order import CHANNELS_LAST, channels_last, from_channels_last
from npusim.runtime.tables import scaling_of

LARGEST_F32 = float(np.finfo(np.float32).max)
LOWEST_F16_KEY = -0x7C00  # key of -65504, the lowest float16 the engines know


@dataclass(frozen=True, slots=True)
class Window:
    """A pooling window in the terms of both operators."""

    kind: PoolKind
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    counts_padding: bool


def window_of(node: Node, ifm: TensorSpec) -> Window:
    """Return the window of a pool2d or global_pool node."""
    attrs = node.attrs
    if isinstance(attrs, GlobalPoolAttrs):
        return Window(attrs.kind, (ifm.shape[2], ifm.shape[3]), (1, 1), (0, 0, 0, 0), True)
    assert isinstance(attrs, Pool2dAttrs)  # by the operators' definitions
    return Window(attrs.kind, attrs.kernel, attrs.stride, attrs.pad, attrs.count_include_pad)


@binding("pool2d", "global_pool", engine=Engine.NN)
def bind_nn_pool(node: Node, graph: Graph) -> Step:
    """Run an average as a depthwise convolution; a fused maximum as on TP (same bits)."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    window = window_of(node, ifm)
    if window.kind is PoolKind.MAX:
        return max_step(window, ifm, ofm)
    return average_on_nn(node, window, ifm, ofm)


def average_on_nn(node: Node, window: Window, ifm: TensorSpec, ofm: TensorSpec) -> Step:
    """Return the step of an average as a depthwise convolution with one constant weight.

    Source: measured, docs/arithmetic/nn.md section 3.
    """
    weight = average_weight(ifm.dtype, window.kernel[0] * window.kernel[1])
    channels = ifm.shape[1]
    phase = plain_phase(
        window.kernel,
        window.stride,
        (1, 1),
        (window.pad[0], window.pad[2]),
        (ofm.shape[2], ofm.shape[3]),
    )
    return nn_layer(
        Convolution(
            where=f"layer {node.name!r}",
            ifm=ifm,
            ofm=ofm,
            weights=np.full((channels, 1, *window.kernel), weight.value, ifm.dtype.numpy),
            weights_quant=weight.quant,
            bias=np.zeros(channels, np.int64),
            requant=nn_store(node, ofm),
            phases=(phase,),
            stride=window.stride,
            groups=channels,
        )
    )


@binding("pool2d", engine=Engine.TP)
def bind_tp_pool(node: Node, graph: Graph) -> Step:
    """Run a maximum, or an average with one output pixel as a fully connected layer."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    window = window_of(node, ifm)
    if window.kind is PoolKind.MAX:
        return max_step(window, ifm, ofm)
    weight = average_weight(ifm.dtype, window.kernel[0] * window.kernel[1])
    weights = np.full((ifm.shape[1], 1, *window.kernel), weight.value, np.float32)
    return own_channel_sums(node, graph, weights, np.zeros(ifm.shape[1], np.float32))


@binding("pool2d", "global_pool", engine=Engine.SHADER)
def bind_shader_pool(node: Node, graph: Graph) -> Step:
    """Run a maximum, or an average rounded once to nearest."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    window = window_of(node, ifm)
    if window.kind is PoolKind.MAX:
        return max_step(window, ifm, ofm)
    is_global = node.op == "global_pool"
    if is_global and ifm.dtype is ofm.dtype is DType.U8 and (step := _map_averages(ifm, ofm)):
        return step
    return mean_step(window, ifm, ofm, is_global=is_global)


def max_step(window: Window, ifm: TensorSpec, ofm: TensorSpec) -> Step:
    """Return the step of a max pool; another quantization or type is a TP conversion behind it."""
    out_n, out_c, out_h, out_w = ofm.shape
    in_dtype = ifm.dtype.numpy
    bits = np.uint8 if in_dtype.itemsize == 1 else np.int16
    keys = {
        DType.U8: (0, 0),
        DType.I8: (128, 0),
        DType.I16: (0, -32768),
        DType.F16: (0x7FFF, LOWEST_F16_KEY),
    }
    if ifm.dtype not in keys:
        raise GraphError(
            f"max pool of {ifm.dtype.value}",
            where=f"tensor {ifm.name!r}",
            rule=f"types {', '.join(dtype.value for dtype in keys)}",
            remedy="quantize the graph, or convert it to float16",
        )
    mask, lowest = keys[ifm.dtype]
    kernel = choose(Work.MAX_POOL, ifm.dtype, ifm.dtype)
    store = tp_copy(ifm, ofm)
    geometry = (*window.kernel, *window.stride, window.pad[0], window.pad[2])
    work = ofm.elements * window.kernel[0] * window.kernel[1]

    def lay(calls: Calls, value: Array) -> Array:
        source = calls.in_order(value, CHANNELS_LAST).view(bits)
        result = calls.empty((out_n, out_h, out_w, out_c), in_dtype)
        arguments = source, mask, lowest, *geometry, result.view(bits)
        calls.add(kernel, arguments, out_n * out_h, work)
        return from_channels_last(result)

    return step_of(composed(KernelFunction(lay), store))


def _map_averages(ifm: TensorSpec, ofm: TensorSpec) -> Step | None:
    """Return the compiled average of whole u8 maps, if its numbers fit."""
    (images, channels, *_), pixels = ifm.shape, ifm.shape[2] * ifm.shape[3]
    (scale, zero), (out_scale, zero_out) = scaling_of(ifm), scaling_of(ofm)
    scalars = pixels * zero, scale, 1 / (out_scale * pixels), zero_out
    if pixels > MOST_PIXELS or not all(abs(number) < LARGEST_F32 for number in scalars):
        return None
    kernel = choose(Work.MAP_AVERAGE, ifm.dtype, ofm.dtype)
    numbers = zero, *(float(number) for number in scalars)

    def lay(calls: Calls, value: Array) -> tuple[Array, ...]:
        source = calls.in_order(value, CHANNELS_LAST).reshape(images, pixels, channels)
        result = calls.empty((images, channels), np.uint8)
        sums = Scratch("sums", AVERAGED, np.int32)
        rows = averaged_rows(images, channels)
        calls.add(kernel, (source, *numbers, sums, result), rows, source.size)
        return (result.reshape(images, channels, 1, 1),)

    return KernelStep(lay)


def mean_step(window: Window, ifm: TensorSpec, ofm: TensorSpec, *, is_global: bool = False) -> Step:
    """Return the step of the shader's average: exact sums, stored by ``shader_average``.

    Where the divisor is the number of pixels there are, and not everywhere the whole window, the
    driver has a program of its own. The one for small whole maps of float16 leaves pixels out.
    """
    out_n, out_c, out_h, out_w = ofm.shape
    zero_in = scaling_of(ifm)[1]
    rows = [_valid(window, ifm.shape[2], out_h, 0, tap) for tap in range(window.kernel[0])]
    columns = [_valid(window, ifm.shape[3], out_w, 1, tap) for tap in range(window.kernel[1])]
    counts = _counts(window, ifm, ofm)[None, :, :, None]
    pixels = window.kernel[0] * window.kernel[1]
    cuts = not window.counts_padding and (any(window.pad) or bool((counts < pixels).any()))
    whole = ofm.shape[2:] == (1, 1) and window.kernel == ifm.shape[2:] and not any(window.pad)
    halves = ifm.dtype is ofm.dtype is DType.F16
    short = whole and halves and leaves_pixels_out(window.kernel)
    taps = list(product(rows, columns))[: PIXELS_SUMMED if short else None]
    in_halves = ifm.dtype is DType.I8 and max(window.kernel) <= LARGEST_IN_HALVES
    types = ifm.dtype.numpy, scaling_of(ifm), ofm.dtype.numpy, scaling_of(ofm)

    def step(value: Array) -> tuple[Array, ...]:
        source = channels_last(value)
        total: Array
        if whole and ifm.dtype is not DType.F16:
            sums = np.empty((out_n, out_c), np.int64)
            add_pixels = choose(Work.PIXEL_SUM, ifm.dtype, DType.I64)
            add_pixels(source.reshape(out_n, -1, out_c), sums)
            total = sums.reshape(out_n, 1, 1, out_c) - float(zero_in) * counts
        else:
            real = ifm.dtype is DType.F16
            values = dequantize(source, (1.0, 0)) if real else source.astype(np.float64) - zero_in
            total = np.zeros((out_n, out_h, out_w, out_c), values.dtype)
            for (to_y, from_y), (to_x, from_x) in taps:
                total[:, to_y, to_x] += values[:, from_y, from_x]
        if is_global:
            stored = global_average(total, pixels, *types, in_halves=in_halves)
        else:
            stored = average(total, counts, *types, cuts=cuts)
        return (from_channels_last(stored),)

    return step


def _valid(window: Window, size: int, out_size: int, axis: int, tap: int) -> tuple[slice, slice]:
    """Return the outputs whose window has an input at ``tap``, and those inputs, on one axis."""
    stride, shift = window.stride[axis], tap - window.pad[2 * axis]
    first = max(0, -(shift // stride)) if shift < 0 else 0
    count = max(0, min(out_size, (size - 1 - shift) // stride + 1) - first)
    begin = first * stride + shift
    end = begin + (count - 1) * stride + 1 if count else begin
    return slice(first, first + count), slice(begin, end, stride)


def _counts(window: Window, ifm: TensorSpec, ofm: TensorSpec) -> Array:
    """Return the divisor of every output pixel: the window, or its inputs only."""
    divisors = []
    for axis in range(2):
        size, out_size, pad = ifm.shape[2 + axis], ofm.shape[2 + axis], window.pad[2 * axis]
        start = np.arange(out_size) * window.stride[axis] - pad
        stop = start + window.kernel[axis]
        if not window.counts_padding:
            start, stop = np.maximum(start, 0), np.minimum(stop, size)
        divisors.append(np.maximum(stop - start, 1))
    heights, widths = (divisor.astype(np.float64) for divisor in divisors)
    counts: Array = heights[:, None] * widths[None, :]
    return counts
