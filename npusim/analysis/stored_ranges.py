"""Quantize a float model with the ranges that a finished model of the same network stores."""

from collections import Counter
from dataclasses import replace

from npusim import words
from npusim.analysis.parameter_match import counterparts
from npusim.analysis.parameter_reasons import ends_of
from npusim.errors import QuantizationError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import Affine, DynamicFixedPoint, Quant, scale_of
from npusim.ir.tensor import TensorSpec
from npusim.ir.vendor_file import VENDORS_TOOLKIT
from npusim.quantization.apply import float_ending
from npusim.quantization.eras import DEFAULT_ERA, ERAS, Era
from npusim.quantization.float16 import to_float16
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Measured, Plan
from npusim.quantization.schemes import Range, Scheme

SCHEMES = {scheme.dtype: scheme for scheme in Scheme}


def scheme_of_maps(graph: Graph) -> Scheme:
    """Return the number format of most feature maps of a quantized graph."""
    counts = Counter(
        graph.spec(name).dtype
        for node in graph.nodes
        for name in node.outputs
        if graph.spec(name).dtype in SCHEMES
    )
    return SCHEMES[counts.most_common(1)[0][0]] if counts else Scheme.U8


def era_of_file(graph: Graph) -> Era:
    """Return the rules of the release that a vendor file names; the common ones elsewhere."""
    if graph.source.framework != VENDORS_TOOLKIT:
        return DEFAULT_ERA
    return ERAS.get(graph.source.detail, DEFAULT_ERA)


def quantize_like(graph: Graph, like: Graph, *, era: Era = DEFAULT_ERA) -> Graph:
    """Return a float graph in the formats, and with the feature maps' parameters, of another model.

    Weights and biases are quantized anew. So no pictures are needed to see whether npusim makes the
    same codes, and both models then compute on equal scales.

    Parameters
    ----------
    graph : Graph
        Float graph.
    like : Graph
        Quantized graph of the same network, such as a file of the vendor's toolkit.
    era : Era
        Rules for what ``like`` does not say.

    Raises
    ------
    QuantizationError
        When feature maps have no counterpart; they are named.
    """
    scheme = scheme_of_maps(like)
    plan = Plan(scheme=scheme, dataset=None, measured=Measured(ranges={}), toolkit=era)
    if scheme is Scheme.F16:
        return to_float16(Quantization(graph, plan).graph)
    job = Quantization(graph, plan)
    makers = job.graph.producers()
    ranges: dict[str, Range] = {}
    quants: dict[str, Quant] = {}
    layers: dict[str, Scheme] = {}
    for theirs, ours in counterparts(like, job.graph).tensors.items():
        spec = like.spec(theirs)
        own = SCHEMES.get(spec.dtype)
        if own is None or job.graph.spec(ours).dtype is not DType.F32:
            continue
        if own is not scheme and ours in makers:
            layers[makers[ours].name] = own
        if isinstance(spec.quant, Affine | DynamicFixedPoint):
            ranges[ours], quants[ours] = _range(spec), spec.quant
    endings = float_ending(job.graph)
    missing = [
        name
        for name in (*job.graph.inputs, *makers)
        if name not in ranges
        and name not in endings
        and job.graph.spec(name).dtype is DType.F32
        and not (name in makers and layers.get(makers[name].name) is Scheme.F16)
    ]
    if missing:
        raise QuantizationError(
            f"feature maps without a counterpart in {like.name!r}: {', '.join(missing)}",
            where=graph.source.path or graph.name,
            rule="every feature map takes its range from the layer that has its name or place",
            remedy=f"calibrate instead: give {words.say('dataset')}",
        )
    given = replace(job.formats, layers=layers, quants=quants, given=frozenset(ranges))
    made = job.quantized(ranges, given)
    return made.copy(notes=(*made.notes, f"ranges of feature maps from {like.name}"))


def _range(spec: TensorSpec) -> Range:
    """Return the real values that a tensor's codes reach."""
    if isinstance(spec.quant, Affine):
        return ends_of(spec)
    step = scale_of(spec.quant)
    return spec.dtype.min * step, spec.dtype.max * step
