"""Float graph + ranges -> quantized graph."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from npusim.errors import QuantizationError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Float, Quant
from npusim.passes.rewrite import fresh
from npusim.quantization.constrain import takes_input_range
from npusim.quantization.schemes import Range, Scheme, WeightQuantizer, parameters, quantize

WEIGHTED = ("conv2d", "deconv2d", "fc")
FLOAT_ENDINGS = ("softmax", "log_softmax")


def apply_scheme(graph: Graph, ranges: dict[str, Range], scheme: Scheme) -> Graph:
    """Return the graph with every activation, weight and bias in an integer scheme.

    A softmax that only movement separates from the outputs computes in float16, and so does that
    movement (rknn-api section 6.5).

    Raises
    ------
    QuantizationError
        When a tensor has no range.
    """
    graph = graph.copy()
    float_tensors = _float_ending(graph)
    for name in [*graph.inputs, *(out for node in graph.nodes for out in node.outputs)]:
        spec = graph.spec(name)
        if not spec.dtype.is_float:
            continue  # indices stay integers
        if name in float_tensors:
            graph.tensors[name] = replace(spec, dtype=DType.F16, quant=Float())
            continue
        if name not in ranges:
            raise QuantizationError(
                "the calibration saw no value of this tensor", where=f"tensor {name!r}"
            )
        try:
            quant = parameters(ranges[name], scheme)
        except QuantizationError as error:
            raise QuantizationError(
                error.what, where=f"tensor {name!r}", rule=error.rule, remedy=error.remedy
            ) from None
        graph.tensors[name] = replace(spec, dtype=scheme.dtype, quant=quant)
    quantizer = WeightQuantizer(scheme=scheme)
    nodes = [_quantize_constants(graph, node, quantizer) for node in graph.nodes]
    return graph.copy(nodes=tuple(nodes))


def _quantize_constants(graph: Graph, node: Node, quantizer: WeightQuantizer) -> Node:
    """Replace the float constants of a node by quantized ones."""
    inputs = list(node.inputs)
    scheme = quantizer.scheme
    if node.op in WEIGHTED and graph.is_constant(node.inputs[1]):
        data, weights, bias = node.inputs
        integers, weight_quant = quantizer.weights(graph.constants[weights])
        inputs[1] = stored_constant(graph, weights, integers, weight_quant)
        integers, bias_quant = quantizer.bias(
            graph.constants[bias], graph.spec(data).quant, weight_quant
        )
        inputs[2] = stored_constant(graph, bias, integers, bias_quant)
        return replace(node, inputs=tuple(inputs))
    in_float = all(graph.spec(name).dtype is DType.F16 for name in graph.activations(node))
    for position, name in enumerate(node.inputs):
        if not graph.is_constant(name) or graph.spec(name).dtype is not DType.F32:
            continue
        value = graph.constants[name]
        if in_float or _is_parameter(node, position):
            dtype = DType.F16 if in_float and not _is_parameter(node, position) else DType.F32
            inputs[position] = stored_constant(
                graph, name, quantize(value, dtype, Float()), Float()
            )
            continue
        if not np.isfinite(value).all():
            raise QuantizationError(
                f"constant {name!r} holds NaN or infinity", where=f"layer {node.name!r}"
            )
        quant: Quant
        if takes_input_range(node) or node.op == "concat":
            quant = graph.spec(node.outputs[0]).quant
        else:
            quant = parameters((float(value.min()), float(value.max())), scheme)
        inputs[position] = stored_constant(graph, name, quantize(value, scheme.dtype, quant), quant)
    return replace(node, inputs=tuple(inputs))


def _is_parameter(node: Node, position: int) -> bool:
    """Normalisation parameters stay float32: the shader reads them as they are."""
    return position > 0 and node.op in ("batch_norm", "instance_norm", "layer_norm")


def stored_constant(graph: Graph, name: str, value: NDArray[np.generic], quant: Quant) -> str:
    """Store a converted constant under a name of its own; the float one goes when unused."""
    array = np.ascontiguousarray(value).reshape(value.shape)
    dtype = DType.of(array.dtype)
    new = fresh(graph, f"{name}.{dtype.value}")
    graph.tensors[new] = replace(graph.spec(name), name=new, dtype=dtype, quant=quant)
    graph.constants[new] = array
    return new


def _float_ending(graph: Graph) -> set[str]:
    """Return tensors that stay float16: softmax results on their way out."""
    users = graph.consumers()
    found: set[str] = set()

    def only_moves(names: Iterable[str]) -> set[str] | None:
        seen: set[str] = set()
        for name in names:
            seen.add(name)
            for user in users[name]:
                if not takes_input_range(user):
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
