"""Weights, biases and other known values on their way into the chip's types."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from npusim.errors import QuantizationError
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import LARGEST_F16
from npusim.ir.names import fresh
from npusim.ir.quant import Float, Quant
from npusim.ops import op_def
from npusim.quantization.clamp import Clamp


def stored_constant(graph: Graph, name: str, value: NDArray[np.generic], quant: Quant) -> str:
    """Store a converted constant under a name of its own; the float one goes when unused."""
    array = np.asarray(value, order="C")
    dtype = DType.of(array.dtype)
    new = fresh(graph, f"{name}.{dtype.value}")
    graph.tensors[new] = replace(graph.spec(name), name=new, dtype=dtype, quant=quant)
    graph.constants[new] = array
    return new


def float16_constants(graph: Graph, node: Node, clamp: Clamp) -> Node:
    """Return the node with float16 constants; biases stay float32.

    Raises
    ------
    QuantizationError
        When a constant exceeds the largest float16; it names the layer.
    """
    inputs = list(node.inputs)
    for position, name in enumerate(node.inputs):
        is_bias = op_def(node.op).weighted and position == 2
        if graph.is_constant(name) and graph.spec(name).dtype is DType.F32 and not is_bias:
            value = clamp.constant(graph, node, position)
            inputs[position] = stored_half(graph, node, name, value)
    return replace(node, inputs=tuple(inputs))


def stored_half(graph: Graph, node: Node, name: str, real: NDArray[np.generic]) -> str:
    """Store the real value of a node's constant in float16; return its new name.

    Raises
    ------
    QuantizationError
        When it exceeds the largest float16.
    """
    value = quantize(real, DType.F16, Float())
    if not np.isfinite(value).all():
        raise QuantizationError(
            f"constant {name!r} of layer {node.name!r} exceeds {LARGEST_F16:g}, the largest "
            "float16",
            where=f"layer {node.name!r}",
            remedy="rescale the layer, or give it an integer format",
        )
    return stored_constant(graph, name, value, Float())
