"""Float graph + ranges -> quantized graph."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from npusim.errors import QuantizationError, located
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import DynamicFixedPoint, Float, Quant
from npusim.ops import keeps_codes, op_def
from npusim.passes.hidden import sides
from npusim.passes.rewrite import same_numbers
from npusim.quantization.clamp import Clamp
from npusim.quantization.constants import float16_constants, stored_constant, stored_half
from npusim.quantization.constrain import clipped_for_sigmoid
from npusim.quantization.eras import DEFAULT_ERA, Era
from npusim.quantization.fine_sums import finer_than_sums
from npusim.quantization.fits import check_constants
from npusim.quantization.float16 import lift_small_weights
from npusim.quantization.hybrid.converters import insert_converters
from npusim.quantization.schemes import Range, Scheme, WeightQuantizer, parameters

FLOAT_ENDINGS = ("softmax", "log_softmax")


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """Number formats of a network.

    Attributes
    ----------
    default : Scheme
        Of every layer that is not listed.
    layers : dict
        Layer name -> its scheme.
    quants : dict
        Tensor name -> parameters that replace the calculated ones: activations by their name,
        weights by the name of the float constant; of the tensor's own scheme. Biases follow from
        both.
    given : frozenset of str
        Activations whose range a cfg file gives: it is not cut in front of a sigmoid.
    era : Era
        Release of the toolkit whose rules count.
    """

    default: Scheme = Scheme.U8
    layers: Mapping[str, Scheme] = field(default_factory=dict)
    quants: Mapping[str, Quant] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    era: Era = DEFAULT_ERA

    def scheme_of(self, node: Node) -> Scheme:
        """Return the scheme of a layer."""
        return self.layers.get(node.name, self.default)


def apply_scheme(graph: Graph, ranges: Mapping[str, Range], scheme: Scheme) -> Graph:
    """Return the graph with every activation, weight and bias in one integer scheme."""
    return apply_formats(graph, ranges, Formats(default=scheme))


def apply_formats(graph: Graph, ranges: Mapping[str, Range], formats: Formats) -> Graph:
    """Return the graph with every layer in its number format, converters where formats meet.

    A softmax that only movement separates from the outputs computes in float16, and so does that
    movement (docs/rknn-compat.md section 8). The u8 input of a sigmoid ends at -6.3 and 6.3 unless
    a cfg file gives its range.

    Unless the era's release is followed to the letter, i16 results get no more fraction bits than
    the sums of the NN engine that they come from (``npusim.quantization.fine_sums``).

    Raises
    ------
    QuantizationError
        When a tensor has no range, or constants do not fit; it names the layers.
    """
    below = sides(graph)
    halves = [node.name for node in graph.nodes if formats.scheme_of(node) is Scheme.F16]
    if halves:
        graph = lift_small_weights(graph, only=halves)
        lifted = {f"{name}.lifted": Scheme.F16 for name in halves}
        ranges = {**ranges, **_lifted_ranges(graph, ranges)}
        formats = replace(formats, layers={**formats.layers, **lifted})
    check_constants(graph, formats.scheme_of)
    stored = _stored(graph, ranges, formats, below)
    chosen = formats.quants
    while not formats.era.fine_sums and (coarser := finer_than_sums(graph, stored, chosen)):
        formats = replace(formats, quants={**formats.quants, **dict(coarser)})
        stored = _stored(graph, ranges, formats, below)
    return stored


def _stored(
    graph: Graph, ranges: Mapping[str, Range], formats: Formats, below: Mapping[str, int]
) -> Graph:
    """Return the graph with every tensor in its format, as the formats say."""
    float_tensors = float_ending(graph)
    graph, schemes, sources = insert_converters(
        graph, formats.default, formats.scheme_of, float_tensors
    )
    ranges = {**ranges, **{name: ranges[of] for name, of in sources.items() if of in ranges}}
    clipped = clipped_for_sigmoid(graph, ranges, formats.era)
    ranges |= {
        name: ends
        for name, ends in clipped.items()
        if schemes[name] is Scheme.U8 and sources.get(name, name) not in formats.given
    }
    for name in [*graph.inputs, *(out for node in graph.nodes for out in node.outputs)]:
        spec = graph.spec(name)
        if not spec.dtype.is_float:
            continue  # indices stay integers
        scheme = Scheme.F16 if name in float_tensors else schemes[name]
        quant = _activation_quant(name, sources.get(name, name), scheme, ranges, formats)
        graph.tensors[name] = replace(spec, dtype=scheme.dtype, quant=quant)
    clamp = Clamp(below=below, ranges=ranges)
    nodes = [
        located(
            f"layer {n.name!r}",
            _constants,
            graph,
            clamp.fill(graph, n),
            formats.scheme_of(n),
            formats,
            clamp,
        )
        for n in graph.nodes
    ]
    return graph.copy(nodes=tuple(nodes), notes=(*graph.notes, *clamp.note()))


def _lifted_ranges(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return ranges for tensors that lifting made; they are float16 and need none of their own."""
    return {out: (0.0, 0.0) for node in graph.nodes for out in node.outputs if out not in ranges}


def _activation_quant(
    name: str, source: str, scheme: Scheme, ranges: Mapping[str, Range], formats: Formats
) -> Quant:
    """Return the parameters of an activation; ``source`` is the tensor it was converted from."""
    if scheme is Scheme.F16:
        return Float()
    given = formats.quants.get(name)
    if given is not None:
        return given
    if name not in ranges:
        raise QuantizationError(
            "the calibration saw no value of this tensor", where=f"tensor {source!r}"
        )
    try:
        return parameters(ranges[name], scheme)
    except QuantizationError as error:
        raise QuantizationError(
            error.what, where=f"tensor {source!r}", rule=error.rule, remedy=error.remedy
        ) from None


def _constants(graph: Graph, node: Node, scheme: Scheme, formats: Formats, clamp: Clamp) -> Node:
    """Replace the float constants of a node by quantized ones."""
    if scheme is Scheme.F16:
        return float16_constants(graph, node, clamp)
    quantizer = WeightQuantizer(scheme=scheme)
    inputs = list(node.inputs)
    if op_def(node.op).weighted and graph.is_constant(node.inputs[1]):
        data, weights, bias = node.inputs
        if graph.is_constant(data) and graph.spec(data).dtype is DType.F32:
            value = graph.constants[data]
            own = operand_parameters(value, scheme)
            data = stored_constant(graph, data, quantize(value, scheme.dtype, own), own)
            inputs[0] = data
        integers, weight_quant = quantizer.weights(
            graph.constants[weights], formats.quants.get(weights)
        )
        inputs[1] = stored_constant(graph, weights, integers, weight_quant)
        integers, bias_quant = quantizer.bias(
            graph.constants[bias], graph.spec(data).quant, weight_quant
        )
        inputs[2] = stored_constant(graph, bias, integers, bias_quant)
        return replace(node, inputs=tuple(inputs))
    computed = [graph.spec(name).dtype for name in graph.activations(node)]
    in_float = bool(computed) and all(dtype is DType.F16 for dtype in computed)
    for position, name in enumerate(node.inputs):
        if not graph.is_constant(name) or graph.spec(name).dtype is not DType.F32:
            continue
        if _is_parameter(node, position):
            inputs[position] = stored_constant(graph, name, graph.constants[name], Float())
            continue
        value = clamp.constant(graph, node, position)
        definition = op_def(node.op)
        stays_real = definition.half_operand or (scheme is Scheme.U8 and definition.real_operand)
        if in_float or stays_real:
            inputs[position] = stored_half(graph, node, name, value)
            continue
        quant: Quant
        one = same_numbers(graph, *node.outputs)  # edited ranges may differ
        if one and (keeps_codes(node) or node.op == "concat" or op_def(node.op).joins):
            quant = graph.spec(node.outputs[0]).quant
        else:
            quant = operand_parameters(value, scheme)
        inputs[position] = stored_constant(graph, name, quantize(value, scheme.dtype, quant), quant)
    return replace(node, inputs=tuple(inputs))


def _is_parameter(node: Node, position: int) -> bool:
    """Normalisation parameters stay float32: the shader reads them as they are."""
    return position > 0 and op_def(node.op).real_parameters


def operand_parameters(value: NDArray[np.generic], scheme: Scheme) -> Quant:
    """Return the parameters of a known operand (no weights): its largest value is held exactly.

    Equation 5 gives a power of two one bit too many, and 2.0 becomes 1.99994 in i16. As an exponent
    that is no number for negative bases, so such an operand gets one fraction bit less.
    """
    low, high = float(value.min(initial=0.0)), float(value.max(initial=0.0))
    quant = parameters((low, high), scheme)
    if isinstance(quant, DynamicFixedPoint) and high * 2.0**quant.fl > scheme.dtype.max:
        return DynamicFixedPoint(fl=quant.fl - 1)
    return quant


def float_ending(graph: Graph) -> set[str]:
    """Return tensors that stay float16: softmax results on their way out."""
    users = graph.consumers()
    found: set[str] = set()

    def only_moves(names: Iterable[str]) -> set[str] | None:
        seen: set[str] = set()
        for name in names:
            seen.add(name)
            for user in users[name]:
                if not keeps_codes(user):
                    return None
                below = only_moves(user.outputs)
                if below is None:
                    return None
                seen |= below
        return seen

    for node in graph.nodes:
        if node.op in FLOAT_ENDINGS:
            found |= only_moves(node.outputs) or set()
    return found
