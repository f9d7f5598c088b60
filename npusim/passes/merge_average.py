"""An average of 3x3 vanishes in the pointwise convolution behind it, as the driver does it.

The taps get a ninth of the weight each, and weights of another scale: the bits differ from those of
two layers.
"""

from dataclasses import dataclass, replace
from math import floor, log2

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Conv2dAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant, scale_of
from npusim.passes.draft import Draft
from npusim.passes.engine_predicates import average_without_padding
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import merged_origin

TAPS = 9
FINEST = 12  # fraction bits that the driver gives such weights at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Weights (O, C, 3, 3) and bias of a merged convolution; the bias' scale is input * weights."""

    weights: NDArray[np.generic]
    quant: Quant
    bias: NDArray[np.generic]


def merge_average(graph: Graph) -> Graph:
    """Return the stored graph with such pairs as one convolution.

    An average of 3x3 that counts its padding, of any stride, read by one ungrouped or depthwise
    convolution of one pixel, stride 1 and no padding. An average that is an output is computed as
    well. Source: measured, docs/arithmetic/nn.md rule 3.3.
    """
    draft = Draft(graph)
    for conv in [node for node in graph.nodes if node.op == "conv2d"]:
        pool = draft.producer_of(conv.inputs[0], "pool2d")
        if pool is not None and _merges(pool, conv, draft):
            _merge(draft, pool, conv)
    return draft.done()


def _merges(pool: Node, conv: Node, view: GraphView) -> bool:
    attrs, window = conv.attrs, pool.attrs
    assert isinstance(attrs, Conv2dAttrs)
    assert isinstance(window, Pool2dAttrs)  # by the operators' definitions
    specs = [view.ifm(pool), view.ifm(conv), view.ifm(conv, 1)]
    ifm, _, weights = specs
    return (
        window.kind is PoolKind.AVG
        and window.kernel == (3, 3)
        and not window.ceil_mode
        and not average_without_padding(pool, view)
        and weights.shape[2:] == (1, 1)
        and attrs.stride == (1, 1)
        and not any(attrs.pad)
        and attrs.group in (1, ifm.shape[1])
        and len(view.consumers[conv.inputs[0]]) == 1
        and len({spec.dtype for spec in specs}) == 1
        and all(name in view.graph.constants for name in conv.inputs[1:])
        and len({type(spec.quant) for spec in specs}) == 1
        and type(ifm.quant) in _FORMS.get(ifm.dtype, ())
    )


_FORMS: dict[DType, tuple[type, ...]] = {
    DType.U8: (Affine,),
    DType.I8: (DynamicFixedPoint,),
    DType.I16: (DynamicFixedPoint,),
    DType.F16: (Float,),
}


def merged_values(
    weights: NDArray[np.generic],
    weights_quant: Quant,
    bias: NDArray[np.generic],
    averaged: Quant,
    ifm: Quant,
) -> Merged:
    """Return the weights and bias of the merged convolution.

    Parameters
    ----------
    weights : ndarray
        (O, C, 1, 1), u8, i8, i16 or float16.
    weights_quant : Quant
        Theirs.
    bias : ndarray
        (O), in steps of ``averaged`` times weights; float32 for float16.
    averaged, ifm : Quant
        Of the average's result, and of what it averages.

    Notes
    -----
    u8: the real weights over nine take 255 steps from the least to the largest, 0 included. Dynamic
    fixed point: as many fraction bits, up to 12, as let them fit 8 bits, in i16 too.
    """
    if isinstance(weights_quant, Float):
        value = (weights.astype(np.float32) / np.float32(TAPS)).astype(np.float16)
        return Merged(weights=_taps(value), quant=weights_quant, bias=bias)
    quant: Quant
    if isinstance(weights_quant, Affine):
        real = (weights.astype(np.float64) - weights_quant.zero_point) * weights_quant.scale / TAPS
        low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
        scale = np.float32((high - low) / 255 or weights_quant.scale / TAPS)
        zero_point = int(np.rint(-low / float(scale)))
        quant = Affine(scale=float(scale), zero_point=zero_point)
        codes = np.rint(real / float(scale)) + zero_point
    else:
        real = weights.astype(np.float64) * scale_of(weights_quant) / TAPS
        largest = float(np.abs(real).max())
        bits = FINEST if largest == 0 else min(FINEST, floor(log2(127.5 / largest)))
        quant = DynamicFixedPoint(fl=bits)
        codes = np.rint(real * 2.0**bits)
    limits = np.iinfo(weights.dtype)  # type: ignore[type-var]
    stored = np.clip(codes, limits.min, limits.max).astype(weights.dtype)
    step = np.float32(scale_of(ifm)) * np.float32(scale_of(quant))
    total = bias.astype(np.float64) * scale_of(averaged) * scale_of(weights_quant) / float(step)
    ends = np.iinfo(bias.dtype)  # type: ignore[type-var]
    return Merged(
        weights=_taps(stored),
        quant=quant,
        bias=np.clip(np.rint(total), ends.min, ends.max).astype(bias.dtype),
    )


def _bias_quant(graph: Graph, ifm: str, bias: str, weights: Quant) -> Quant:
    """Return the steps of the merged sums, where a bias has any."""
    if isinstance(graph.spec(bias).quant, Float):
        return Float()
    data = graph.spec(ifm).quant
    if isinstance(data, DynamicFixedPoint) and isinstance(weights, DynamicFixedPoint):
        return DynamicFixedPoint(fl=data.fl + weights.fl)
    scale = np.float32(scale_of(data)) * np.float32(scale_of(weights))
    return Affine(scale=float(scale), zero_point=0)


def _taps(value: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.asarray(np.broadcast_to(value, (*value.shape[:2], 3, 3)), order="C")


def _merge(draft: Draft, pool: Node, conv: Node) -> None:
    graph = draft.graph
    assert isinstance(pool.attrs, Pool2dAttrs)
    weights, bias = conv.inputs[1:]
    values = merged_values(
        graph.constants[weights],
        graph.spec(weights).quant,
        graph.constants[bias],
        graph.spec(conv.inputs[0]).quant,
        graph.spec(pool.inputs[0]).quant,
    )
    names = []
    for name, value, quant in (
        (weights, values.weights, values.quant),
        (bias, values.bias, _bias_quant(graph, pool.inputs[0], bias, values.quant)),
    ):
        shared = len(draft.consumers[name]) != 1
        own = fresh(graph, f"{conv.name}.{name}") if shared else name
        graph.constants[own] = value
        graph.tensors[own] = replace(graph.spec(name), name=own, shape=value.shape, quant=quant)
        names.append(own)
    attrs = replace(conv.attrs, stride=pool.attrs.stride, pad=pool.attrs.pad)  # type: ignore[call-arg]
    merged = replace(
        conv,
        inputs=(pool.inputs[0], *names),
        attrs=attrs,
        origin=merged_origin(pool, conv),
    )
    draft.replace([conv], merged)
