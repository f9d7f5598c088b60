"""A quantized graph in float32: what its codes mean, without the chip's rounding."""

from dataclasses import replace
from typing import Any

import numpy as np

from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import AffinePerChannel, Float
from npusim.ir.tensor import TensorSpec


def on_real_numbers(graph: Graph) -> Graph:
    """Return a quantized graph on the real numbers that its codes stand for, in float32.

    What only changes their format does nothing. Nothing is rounded or cut between layers.
    """
    tensors = {name: _real_spec(spec) for name, spec in graph.tensors.items()}
    constants = {
        name: _real_constant(value, graph.spec(name)) for name, value in graph.constants.items()
    }
    nodes = tuple(
        replace(node, op="identity")
        if node.op == "convert" and tensors[node.inputs[0]].dtype is tensors[node.outputs[0]].dtype
        else node
        for node in graph.nodes
    )
    return graph.copy(nodes=nodes, tensors=tensors, constants=constants)


def _real_spec(spec: TensorSpec) -> TensorSpec:
    if isinstance(spec.quant, Float) and not spec.dtype.is_float:
        return spec
    return replace(spec, dtype=DType.F32, quant=Float())


def _real_constant(value: Any, spec: TensorSpec) -> Any:
    match spec.quant:
        case AffinePerChannel(scales=scales, zero_points=zeros, axis=axis):
            along = [1] * value.ndim
            along[axis] = -1
            steps = value.astype(np.int64) - np.reshape(zeros, along)
            return (steps * np.reshape(np.asarray(scales, np.float64), along)).astype(np.float32)
        case Float():
            return value.astype(np.float32) if value.dtype == np.float16 else value
        case _:
            return dequantize(value, spec.quant)
