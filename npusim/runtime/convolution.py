"""Convolutions ready to run: packed once, then called with feature maps.

Everything that accumulates products on the NN engine (convolution, fully connected, transposed
convolution, average pool, add of two results) is one or several ``Phase`` of this module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import (
    AffinePerChannel,
    Quant,
    Requant,
    Rounding,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec
from npusim.kernels import conv as kernels
from npusim.kernels import pack
from npusim.kernels.fma_tile import PANEL
from npusim.ops.requant import requant_of
from npusim.runtime.layout import channels_last, from_channels_last
from npusim.runtime.threads import run_rows, scratch, thread_count

Array = NDArray[Any]
EIGHT_BIT = (DType.U8, DType.I8)
SIGN_BIT = 128
CODES = {DType.U8: np.uint8, DType.I8: np.uint8, DType.I16: np.int16, DType.F16: np.uint16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One plain convolution over the input, writing a regular grid of output positions.

    Attributes
    ----------
    taps : tuple of (row, column)
        Kernel positions in the order of addition.
    places : tuple of (row, column)
        The input pixel each tap reads, from the start of the window.
    pad_before : (int, int)
        Rows above and columns left of the input; negative values crop.
    out_size : (int, int)
    out_step, out_start : (int, int)
        Where the outputs go: position * step + start.
    """

    taps: tuple[tuple[int, int], ...]
    places: tuple[tuple[int, int], ...]
    pad_before: tuple[int, int]
    out_size: tuple[int, int]
    out_step: tuple[int, int] = (1, 1)
    out_start: tuple[int, int] = (0, 0)


def plain_phase(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad_before: tuple[int, int],
    out_size: tuple[int, int],
) -> Phase:
    """Return the one phase of an ordinary convolution, in the NN engine's order of taps."""
    taps = tuple(pack.accumulation_order(kernel, stride, dilation))
    return Phase(
        taps=taps,
        places=tuple((i * dilation[0], j * dilation[1]) for i, j in taps),
        pad_before=pad_before,
        out_size=out_size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution with stored weights.

    Attributes
    ----------
    where : str
        For messages: the layer.
    ifm, ofm : TensorSpec
        Element type and quantization count; the shapes are (N, C, H, W).
    weights : array (O, C/group, kh, kw)
        Codes.
    weights_quant : Quant
    bias : array (O,)
        Accumulator steps, float32 for float16.
    requant : Requant
        The store.
    scales : float64 (O,), optional
        Replaces the store's multiplier by one factor per output channel.
    """

    where: str
    ifm: TensorSpec
    ofm: TensorSpec
    weights: Array
    weights_quant: Quant
    bias: Array
    requant: Requant
    phases: tuple[Phase, ...]
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False
    scales: NDArray[np.float64] | None = field(default=None)

    @property
    def own_channels(self) -> bool:
        """Tell whether every output channel reads one input channel of its own."""
        return self.groups > 1 and self.weights.shape[1] == 1


# scratch: window, chunk of weights, accumulators
Scratch = tuple[Array, Array, Array]


class ConvolutionStep:
    """A convolution bound to its kernel.

    Raises
    ------
    GraphError
        When no kernel stores this pair of element types.
    """

    def __init__(self, conv: Convolution) -> None:
        self._repeats = conv.weights.shape[0] // conv.groups if conv.own_channels else 1
        self._in_codes = CODES[conv.ifm.dtype]
        self._out_codes = CODES[conv.ofm.dtype]
        self._out_dtype = conv.ofm.dtype.numpy
        out_n, out_c, out_h, out_w = conv.ofm.shape
        self._out_shape = (out_n, out_h, out_w, out_c)
        self._phases = [_PackedPhase(conv, phase) for phase in conv.phases]

    def __call__(self, ifm: Array) -> tuple[Array, ...]:
        """Run on (N, C, H, W) and return (N, O, OH, OW), stored with channels innermost."""
        memory = channels_last(ifm)
        if self._repeats > 1:
            memory = np.repeat(memory, self._repeats, axis=3)
        ofm = np.empty(self._out_shape, self._out_dtype)
        for phase in self._phases:
            phase.run(memory.view(self._in_codes), ofm.view(self._out_codes))
        return (from_channels_last(ofm),)


class _PackedPhase:
    """Offsets, packed weights, sizes and the kernel of one phase."""

    def __init__(self, conv: Convolution, phase: Phase) -> None:
        out_c, images = conv.weights.shape[0], conv.ifm.shape[0]
        groups = 1 if conv.own_channels else conv.groups
        outermost = conv.ifm.dtype is DType.F16
        self.real = np.dtype(np.float64 if conv.ifm.dtype is DType.I16 else np.float32)
        self.acc = np.dtype(np.int32) if conv.ifm.dtype in EIGHT_BIT else self.real
        shape = pack.ConvShape(
            in_c=out_c if conv.own_channels else conv.ifm.shape[1],
            out_c=out_c,
            out_size=phase.out_size,
            ofm_size=(conv.ofm.shape[2], conv.ofm.shape[3]),
            reach=(_reach(phase.places, 0), _reach(phase.places, 1)),
            stride=conv.stride,
            pad_before=phase.pad_before,
            groups=groups,
            own_channels=conv.own_channels,
            out_step=phase.out_step,
            out_start=phase.out_start,
        )
        self.plan = pack.plan(
            shape, real_bytes=self.real.itemsize, images=images, workers=thread_count()
        )
        self.geometry = np.array(self.plan, np.int64)
        self.offsets = pack.tap_offsets(phase.places, self.plan, channels_outermost=outermost)
        weights = pack.pack_weights(
            conv.weights,
            phase.taps,
            groups=groups,
            own_channels=conv.own_channels,
            channels_outermost=outermost,
        )
        self.weights = weights.view(CODES[DType.of(weights.dtype)])
        self._units = images * self.plan.blocks * self.plan.shares
        self._work = images * phase.out_size[0] * phase.out_size[1] * self.weights.size
        self._call = _kernel_call(conv, groups)

    def run(self, ifm: Array, ofm: Array) -> None:
        """Convolve (N, H, W, C) codes into (N, OH, OW, O) codes."""

        def part(start: int, stop: int) -> None:
            numbers = (
                scratch("window", pack.window_size(self.plan), self.real),
                scratch("chunk", pack.CHUNK * PANEL, self.real),
                scratch("acc", pack.sums_size(self.plan), self.acc),
            )
            self._call(self, ifm, numbers, ofm, start, stop)

        run_rows(part, self._units, self._work)


KernelCall = Callable[[_PackedPhase, Array, Scratch, Array, int, int], None]


def _kernel_call(conv: Convolution, groups: int) -> KernelCall:
    pair = (conv.ifm.dtype, conv.ofm.dtype)
    if pair[0] in EIGHT_BIT and pair[1] in (*EIGHT_BIT, DType.F16):
        return _eight_bit_call(conv, groups)
    if pair == (DType.F16, DType.F16):
        return _f16_call(conv, groups)
    if pair == (DType.I16, DType.I16):
        return _i16_call(conv, groups)
    raise GraphError(
        f"{pair[0].value} in and {pair[1].value} out",
        where=conv.where,
        rule="8 bit to 8 bit, i8 to f16, i16 to i16 or f16 to f16",
    )


def _eight_bit_call(conv: Convolution, groups: int) -> KernelCall:
    flip_in, zero_in = _flip(conv.ifm.dtype), _unsigned_zero(conv.ifm.dtype, conv.ifm.quant)
    weights_type = DType.of(conv.weights.dtype)
    flip_weights = _flip(weights_type)
    zeros = _zero_points(conv.weights_quant, conv.bias.size) + np.float32(flip_weights)
    zero_weights = pack.pack_columns(zeros, groups=groups, fill=flip_weights)
    bias = pack.pack_columns(conv.bias.astype(np.int64).astype(np.int32), groups=groups)
    scale = pack.pack_columns(_scales(conv), groups=groups)
    zero_out = float(conv.requant.zero_point)

    if conv.ofm.dtype is DType.F16:

        def call_half(
            packed: _PackedPhase, ifm: Array, numbers: Scratch, ofm: Array, start: int, stop: int
        ) -> None:
            kernels.conv2d_8bit_to_half(
                ifm, packed.geometry, flip_in, zero_in, packed.offsets, packed.weights,
                flip_weights, zero_weights, bias, scale, *numbers, ofm, start, stop,
            )  # fmt: skip

        return call_half

    low, high = _limits(conv)

    def call(
        packed: _PackedPhase, ifm: Array, numbers: Scratch, ofm: Array, start: int, stop: int
    ) -> None:
        kernels.conv2d_8bit(
            ifm, packed.geometry, flip_in, zero_in, packed.offsets, packed.weights, flip_weights,
            zero_weights, bias, scale, zero_out, low, high, *numbers, ofm, start, stop,
        )  # fmt: skip

    return call


def _f16_call(conv: Convolution, groups: int) -> KernelCall:
    bias = pack.pack_columns(conv.bias.astype(np.float32), groups=groups)
    relu, nearest = conv.relu, conv.requant.rounding is Rounding.NEAREST_F16

    def call(
        packed: _PackedPhase, ifm: Array, numbers: Scratch, ofm: Array, start: int, stop: int
    ) -> None:
        kernels.conv2d_f16(
            ifm, packed.geometry, packed.offsets, packed.weights, bias, nearest, relu, *numbers,
            ofm, start, stop,
        )  # fmt: skip

    return call


def _i16_call(conv: Convolution, groups: int) -> KernelCall:
    wrapped = (conv.bias.astype(np.int64) << 16) >> 16  # the engine keeps 48 bits
    bias = pack.pack_columns(wrapped.astype(np.float64), groups=groups)
    scale = pack.pack_columns(_scales(conv), groups=groups)
    low, high = _limits(conv)

    def call(
        packed: _PackedPhase, ifm: Array, numbers: Scratch, ofm: Array, start: int, stop: int
    ) -> None:
        kernels.conv2d_i16(
            ifm, packed.geometry, packed.offsets, packed.weights, bias, scale, low, high, *numbers,
            ofm, start, stop,
        )  # fmt: skip

    return call


def _reach(places: tuple[tuple[int, int], ...], axis: int) -> int:
    return max((place[axis] for place in places), default=0) + 1


def _flip(dtype: DType) -> int:
    """Return what turns the bit pattern of a code into code - smallest code."""
    return SIGN_BIT if dtype is DType.I8 else 0


def _unsigned_zero(dtype: DType, quant: Quant) -> float:
    return float(zero_point_of(quant) + _flip(dtype))


def _zero_points(quant: Quant, channels: int) -> NDArray[np.float32]:
    if isinstance(quant, AffinePerChannel):
        return np.array(quant.zero_points, np.float32)
    return np.full(channels, zero_point_of(quant), np.float32)


def _scales(conv: Convolution) -> NDArray[np.float64]:
    if conv.scales is not None:
        return conv.scales
    return np.full(conv.bias.size, conv.requant.multiplier * 2.0**-conv.requant.shift)


def _limits(conv: Convolution) -> tuple[float, float]:
    """Return the clamp of stored codes; a fused relu raises the lower end to the zero point."""
    low, high = conv.ofm.dtype.min, conv.ofm.dtype.max
    return float(max(low, conv.requant.zero_point) if conv.relu else low), float(high)


def store_of(node: Node, graph: Graph) -> tuple[Requant, NDArray[np.float64] | None]:
    """Return how a node with weights stores its sums: requantization and the shader's scales.

    The shader multiplies by ``scale_in * scale_weights[o] / scale_out`` in double precision and
    rounds float16 to nearest. Source: ARITHMETIC_NN 1.1 and own measurements of 15x15 kernels.
    """
    requant = requant_of(node, graph)
    if requant is not None:
        return requant, None
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    weights = graph.spec(node.inputs[1])
    if ofm.dtype.is_float:
        return Requant(rounding=Rounding.NEAREST_F16), None
    quant = weights.quant
    steps = quant.scales if isinstance(quant, AffinePerChannel) else (scale_of(quant),)
    factors = scale_of(ifm.quant) * np.array(steps, np.float64) / scale_of(ofm.quant)
    factors = np.broadcast_to(factors, (graph.constants[node.inputs[1]].shape[0],)).copy()
    return Requant(zero_point=zero_point_of(ofm.quant)), factors


def constant(node: Node, graph: Graph, position: int) -> Array:
    """Return the value of a constant input.

    Raises
    ------
    GraphError
        When the input is computed at run time.
    """
    name = node.inputs[position]
    if name not in graph.constants:
        raise GraphError(
            f"input {position} ({name!r}) of {node.op} is not a constant",
            where=f"layer {node.name!r}",
            rule="weights and bias are known when the network is loaded",
        )
    return graph.constants[name]
