"""Convolutions bound to the kernels that multiply pairs of 16-bit numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.pack import geometry
from npusim.kernels.pack.depthwise import in_lanes
from npusim.kernels.pack.pairs import pack_depthwise_pairs, pack_pairs
from npusim.kernels.windows import i16_conv_pairs, i16_depthwise_vnni, int8_conv_avx2
from npusim.runtime.calls import Scratch
from npusim.runtime.convolution.layout import (
    Run,
    bias_of_48_bits,
    centred_weights,
    channel_scales,
    direct_layout,
    fits_bands,
    flip_of,
    groups_in,
    lay_out,
    lay_out_bands,
    limits,
    rows_in_bands,
    store_fits,
    store_options,
    wrapped,
    zero_in,
)
from npusim.runtime.convolution.phases import Convolution, Phase

Array = NDArray[Any]
_LARGEST_SCALE = 1  # below it the engine stores in a way of its own
_WRAPPING = 2**62  # sums that wrap need no carries
_LARGEST_SUM = 2.0**46  # of bias and absolute products: the upper accumulators hold 2**31 of 2**16


def fitting_words(conv: Convolution) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return weights and bias of an i16 convolution, or None when its numbers do not fit."""
    weights = conv.weights.astype(np.int64)
    bias = bias_of_48_bits(conv)
    largest = np.abs(bias) + np.abs(weights).sum(axis=(1, 2, 3)) * 2.0**15
    if largest.max() > _LARGEST_SUM or channel_scales(conv).max() > _LARGEST_SCALE:
        return None
    return None if conv.scales is not None else (weights, bias)


def bind_i16(conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of an i16 phase, or None when the kernel does not fit."""
    words = fitting_words(conv)
    if words is None:
        return None
    weights, bias = words
    layout = lay_out(conv, phase, np.int16, weights)
    wide = direct_layout(conv, phase, layout, 2)
    direct, layout = wide is not None, wide or layout
    chunks = pack_pairs(layout.weights, groups_in(phase, layout, 2))
    constants = (
        layout.geometry,
        direct,
        *geometry.block_places(layout.plan),
        chunks.offsets,
        chunks.chunks,
        chunks.ends,
        chunks.weights,
        geometry.pack_columns((bias & 0xFFFF).astype(np.int32), groups=layout.groups),
        geometry.pack_columns((bias >> 16).astype(np.int32), groups=layout.groups),
        geometry.pack_columns(channel_scales(conv), groups=layout.groups),
        *(float(limit) for limit in limits(conv)),
    )
    window_size = 0 if direct else geometry.window_size(layout.plan)
    return layout.run(
        i16_conv_pairs.conv2d_i16_avx512, constants, Scratch("words", window_size, np.int16)
    )


def bind_8bit(conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of a phase with 8 bits in and out by AVX2, or None when it does not fit."""
    if not store_fits(conv):
        return None
    layout = lay_out(conv, phase, np.int16, centred_weights(conv))
    chunks = pack_pairs(layout.weights, groups_in(phase, layout, 2), largest=_WRAPPING)
    constants = (
        layout.geometry,
        np.array([flip_of(conv.ifm.dtype), zero_in(conv), *store_options(conv)]),
        *geometry.block_places(layout.plan),
        chunks.offsets,
        chunks.chunks,
        chunks.ends,
        chunks.weights,
        geometry.pack_columns(wrapped(conv.bias.astype(np.int64)), groups=layout.groups),
        geometry.pack_columns(channel_scales(conv).astype(np.float32), groups=layout.groups),
    )
    window_size = geometry.window_size(layout.plan)
    return layout.run(
        int8_conv_avx2.conv2d_8bit, constants, Scratch("words", window_size, np.int16)
    )


def bind_depthwise_i16(conv: Convolution, phase: Phase) -> Run | None:
    """Return the run of a depthwise i16 phase, or None when the kernel does not fit."""
    words = fitting_words(conv)
    if words is None or not fits_bands(phase, len(conv.weights)):
        return None
    weights, bias = words
    band = i16_depthwise_vnni.BAND
    layout = rows_in_bands(lay_out(conv, phase, np.int32, weights), band)
    plan = layout.plan
    passes = pack_depthwise_pairs(layout.weights[0], phase.places, conv.stride[0], band)
    bands = lay_out_bands(conv, phase, plan, passes, band=band, rows=2)
    constants = (
        layout.geometry,
        bands.groups,
        bands.line_size,
        bands.offsets,
        passes.chunks,
        passes.weights,
        in_lanes((bias & 0xFFFF).astype(np.int32)),
        in_lanes((bias >> 16).astype(np.int32)),
        in_lanes(channel_scales(conv)),
        *(float(limit) for limit in limits(conv)),
        np.zeros(conv.ifm.shape[3] * plan.in_c, np.int16),
    )
    return layout.run(
        i16_depthwise_vnni.depthwise_i16, constants, Scratch("pairs", bands.size, np.int32)
    )


BINDS = {
    int8_conv_avx2.conv2d_8bit: bind_8bit,
    i16_conv_pairs.conv2d_i16_avx512: bind_i16,
    i16_depthwise_vnni.depthwise_i16: bind_depthwise_i16,
}
