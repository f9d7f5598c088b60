"""How a phase of a convolution is cut into units, and its numbers as the kernels want them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.environment import thread_count
from npusim.ir.dtypes import DType
from npusim.ir.quant import AffinePerChannel, Quant, zero_point_of
from npusim.kernels._jit import Kernel
from npusim.kernels.pack import geometry
from npusim.kernels.pack.depthwise import BLOCK, LARGEST_PERIOD, Passes, period_of
from npusim.kernels.pack.fours import Groups, groups_of
from npusim.kernels.pack.pairs import PairPasses
from npusim.kernels.tiles.store_avx512 import fits
from npusim.runtime.calls import Calls, Scratch
from npusim.runtime.convolution.phases import Convolution, Phase
from npusim.runtime.memory_order import CHANNELS_LAST

Array = NDArray[Any]
Run = Callable[[Calls, Array, Array], None]  # lays out codes (N, C, H, W) -> codes (N, OH, OW, O)
SIGN_BIT = 128
_SLACK = BLOCK  # elements that whole blocks write or read behind a line


@dataclass(frozen=True, slots=True)
class Layout:
    """How a phase is cut into units, and its weights (groups, O/group, k) in order of addition."""

    plan: geometry.Geometry
    offsets: NDArray[np.int64]
    weights: Array
    groups: int
    images: int
    repeats: int

    @property
    def geometry(self) -> NDArray[np.int64]:
        """The plan as kernels take it."""
        return np.array(self.plan, np.int64)

    def run(
        self,
        kernel: Kernel,
        constants: tuple[Any, ...],
        *scratches: Scratch,
        rate: int = 1,
        as_is: bool = False,
    ) -> Run:
        """Return the run of all units: the call of a kernel on (N, H, W, C).

        Parameters
        ----------
        kernel : Kernel
            Takes the input, the constants, the scratch arrays, the output and a range of units.
        constants, scratches
        rate : int
            Multiply-adds in the time of one, for the choice how many threads are worth it.
        as_is : bool
            The kernel takes the input's memory as it is.
        """
        units = self.images * self.plan.blocks * self.plan.shares
        work = self.images * self.plan.out_h * self.plan.out_w * self.weights.size // rate

        def run(calls: Calls, ifm: Array, ofm: Array) -> None:
            if not as_is:
                ifm = calls.in_order(ifm, CHANNELS_LAST)
            if self.repeats > 1:
                ifm = _repeated(calls, ifm, self.repeats)
            calls.add(kernel, (ifm, *constants, *scratches, ofm), units, work)

        return run


def _repeated(calls: Calls, pixels: Array, times: int) -> Array:
    """Return (N, H, W, C) with every channel as often one after the other."""
    result = calls.empty((*pixels.shape[:3], pixels.shape[3] * times), pixels.dtype)
    copies = result.reshape(*pixels.shape, times)
    for number in range(times):
        calls.copy(pixels, copies[..., number])
    return result


def lay_out(
    conv: Convolution, phase: Phase, real: DTypeLike, weights: Array | None = None
) -> Layout:
    """Cut a phase into units whose scratch window holds numbers of type ``real``.

    ``weights`` (O, C/group, kh, kw) replace the stored codes.
    """
    weights = conv.weights if weights is None else weights
    out_c, images = weights.shape[0], conv.ifm.shape[0]
    groups = 1 if conv.own_channels else conv.groups
    outermost = conv.ifm.dtype is DType.F16
    shape = geometry.ConvShape(
        in_c=out_c if conv.own_channels else conv.ifm.shape[1],
        out_c=out_c,
        out_size=phase.out_size,
        ofm_size=(conv.ofm.shape[2], conv.ofm.shape[3]),
        reach=(reach(phase, 0), reach(phase, 1)),
        stride=conv.stride,
        pad_before=phase.pad_before,
        groups=groups,
        own_channels=conv.own_channels,
        out_step=phase.out_step,
        out_start=phase.out_start,
    )
    real_bytes = np.dtype(real).itemsize
    plan = geometry.plan(shape, real_bytes=real_bytes, images=images, workers=thread_count())
    return Layout(
        plan,
        geometry.tap_offsets(phase.places, plan, channels_outermost=outermost),
        geometry.flat_weights(weights, phase.taps, groups=groups, channels_outermost=outermost),
        groups,
        images,
        out_c // conv.groups if conv.own_channels else 1,
    )


def rows_in_bands(layout: Layout, band: int) -> Layout:
    """Return the layout with one unit of whole bands of output rows per thread."""
    workers = max(1, thread_count() // layout.images)
    block_h = -(-layout.plan.out_h // (workers * band)) * band
    blocks = -(-layout.plan.out_h // block_h)
    return replace(layout, plan=layout.plan._replace(block_h=block_h, blocks=blocks, shares=1))


def fits_bands(phase: Phase, channels: int) -> bool:
    """Tell whether depthwise kernels can compute the phase in bands of whole output rows."""
    whole_rows = phase.out_step == (1, 1) and bool(phase.places)
    return whole_rows and period_of(channels) <= LARGEST_PERIOD


class Bands(NamedTuple):
    """The input rows under a band of output rows, written out in groups of a few rows.

    Attributes
    ----------
    groups : int
        Of input rows under a band.
    line_size : int
        Elements of one phase of the columns of a group.
    offsets : int64 (passes,)
        Where each pass's inputs begin.
    size : int
        Elements of all.
    """

    groups: int
    line_size: int
    offsets: NDArray[np.int64]
    size: int


def lay_out_bands(
    conv: Convolution,
    phase: Phase,
    plan: geometry.Geometry,
    passes: Passes | PairPasses,
    *,
    band: int,
    rows: int,
) -> Bands:
    """Return how a depthwise kernel writes out ``band`` output rows' inputs, ``rows`` together."""
    stride_h, stride_w = conv.stride
    groups = -(-(reach(phase, 0) + (band - 1) * stride_h) // rows)
    line_size = -(-plan.window_w // stride_w) * plan.in_c + _SLACK
    lines = passes.groups * stride_w + passes.columns % stride_w
    offsets = lines * line_size + passes.columns // stride_w * plan.in_c
    return Bands(groups, line_size, offsets, groups * stride_w * line_size)


def direct_layout(conv: Convolution, phase: Phase, layout: Layout, size: int) -> Layout | None:
    """Return the layout of a phase that reads its input where it lies, in groups of ``size``.

    None when a window needs padding or more inputs than there are.
    """
    if not reads_inside(conv, phase):
        return None
    wide = replace(layout, plan=layout.plan._replace(window_w=conv.ifm.shape[3]))
    return wide if groups_in(phase, wide, size).whole else None


def groups_in(phase: Phase, layout: Layout, size: int) -> Groups:
    """Return the groups of ``size`` inputs of a phase that lie side by side."""
    offsets = geometry.tap_offsets(phase.places, layout.plan, channels_outermost=False)
    return groups_of(offsets, size)


def reach(phase: Phase, axis: int) -> int:
    """Return the extent of a phase's window in input pixels."""
    return max((place[axis] for place in phase.places), default=0) + 1


def reads_inside(conv: Convolution, phase: Phase) -> bool:
    """Tell whether no window of the phase touches padding, and the first begins at 0."""
    return phase.pad_before == (0, 0) and all(
        (phase.out_size[axis] - 1) * conv.stride[axis] + reach(phase, axis)
        <= conv.ifm.shape[2 + axis]
        for axis in range(2)
    )


def bias_of_48_bits(conv: Convolution) -> NDArray[np.int64]:
    """Return the bias of an i16 convolution as the engine keeps it."""
    return (conv.bias.astype(np.int64) << 16) >> 16


def wrapped(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return integers modulo 2**32 as int32."""
    return values.astype(np.int32)


def flip_of(dtype: DType) -> int:
    """Return what turns the bit pattern of a code into code - smallest code."""
    return SIGN_BIT if dtype is DType.I8 else 0


def channel_zero_points(conv: Convolution) -> NDArray[np.int64]:
    """Return the zero point of every output channel's weights."""
    quant: Quant = conv.weights_quant
    if isinstance(quant, AffinePerChannel):
        return np.array(quant.zero_points, np.int64)
    return np.full(conv.bias.size, zero_point_of(quant), np.int64)


def channel_scales(conv: Convolution) -> NDArray[np.float64]:
    """Return the factor with which every output channel is stored."""
    if conv.scales is not None:
        return conv.scales
    return np.full(conv.bias.size, conv.requant.multiplier * 2.0**-conv.requant.shift)


def limits(conv: Convolution) -> tuple[int, int]:
    """Return the clamp of stored codes; a fused relu raises the lower end to the zero point."""
    low, high = conv.ofm.dtype.min, conv.ofm.dtype.max
    return max(low, conv.requant.zero_point) if conv.relu else low, high


def centred_weights(conv: Convolution) -> NDArray[np.int64]:
    """Return the weights (O, C/group, kh, kw) less their zero points."""
    return conv.weights.astype(np.int64) - channel_zero_points(conv)[:, None, None, None]


def zero_in(conv: Convolution) -> int:
    """Return the input's zero point in terms of u8 codes."""
    return zero_point_of(conv.ifm.quant) + flip_of(conv.ifm.dtype)


def store_options(conv: Convolution) -> tuple[int, int, int]:
    """Return (zero_out, low, flip_out) of an 8-bit store in terms of u8 codes."""
    flip_out = flip_of(conv.ofm.dtype)
    return conv.requant.zero_point + flip_out, limits(conv)[0] + flip_out, flip_out


def store_fits(conv: Convolution) -> bool:
    """Tell whether the fused float32 store of 8-bit codes is exact, see ``store_avx512.fits``.

    It has the NN engine's rounding; the shader's differs where the zero point is odd.
    """
    if conv.scales is not None and conv.requant.zero_point % 2:
        return False
    zero = zero_in(conv)
    sums = np.abs(centred_weights(conv)).sum(axis=(1, 2, 3)) * float(max(zero, 255 - zero))
    return fits(channel_scales(conv), sums + np.abs(conv.bias.astype(np.float64)))
