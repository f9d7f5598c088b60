"""One number format throughout, for graphs whose ranges nobody has measured.

All activations share one quantization, as in the runs behind the performance tables, so that
nothing about a layer's place hangs on ranges. Values are of no use: constants become placeholders
of the right type and shape that take no memory.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ops import op_def

# Any numbers do, as long as u8 has an input zero point (it decides between NN and TP).
_ACTIVATIONS: dict[DType, Quant] = {
    DType.U8: Affine(scale=2.0**-5, zero_point=128),
    DType.I8: DynamicFixedPoint(fl=4),
    DType.I16: DynamicFixedPoint(fl=11),
    DType.F16: Float(),
}
_WEIGHTS: dict[DType, Quant] = _ACTIVATIONS | {
    DType.U8: Affine(scale=2.0**-7, zero_point=128),
    DType.I8: DynamicFixedPoint(fl=7),
    DType.I16: DynamicFixedPoint(fl=15),
}


def uniform(graph: Graph, dtype: DType) -> Graph:
    """Return a graph with the types it would have in one number format, ready for ``place``.

    Parameters
    ----------
    graph : Graph
        Of any stage. Integers that stand for themselves (indices) keep their type.
    dtype : DType
        U8, I8, I16 or F16.
    """
    specs = {n: _stored(s, dtype, _ACTIVATIONS[dtype]) for n, s in graph.tensors.items()}
    for node in graph.nodes:
        definition = op_def(node.op)
        for position, name in enumerate(node.inputs[1:], 1):
            if name not in graph.constants:
                continue
            if definition.weighted and position == 1:
                specs[name] = _stored(graph.spec(name), dtype, _WEIGHTS[dtype])
            elif definition.weighted or definition.real_parameters:
                whole = definition.weighted and not dtype.is_float
                specs[name] = replace(
                    specs[name], dtype=DType.I32 if whole else DType.F32, quant=Float()
                )
    return graph.copy(
        tensors=specs,
        constants={
            name: _placeholder(specs[name].dtype, specs[name].shape) for name in graph.constants
        },
    )


@lru_cache(maxsize=4096)
def _placeholder(dtype: DType, shape: Shape) -> NDArray[Any]:
    """Return zeros that take no memory and cannot be written to."""
    return np.broadcast_to(dtype.numpy.type(0), shape)


def _stored(spec: TensorSpec, dtype: DType, quant: Quant) -> TensorSpec:
    if not spec.dtype.is_float and isinstance(spec.quant, Float):
        return spec
    return TensorSpec(name=spec.name, shape=spec.shape, dtype=dtype, quant=quant)
