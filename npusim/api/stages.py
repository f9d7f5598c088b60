"""At which stage a graph is."""

from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph

_OF_THE_SOURCE = (DType.F32, DType.I32, DType.I64, DType.BOOL)


def is_quantized(graph: Graph) -> bool:
    """Tell whether a model came quantized, or its inputs already have a chip's type."""
    return graph.is_quantized or any(
        graph.spec(name).dtype not in _OF_THE_SOURCE for name in graph.inputs
    )


def is_complete(graph: Graph) -> bool:
    """Tell whether every feature map has a chip's type; a quantized import has real ones left."""
    maps = (spec for name, spec in graph.tensors.items() if name not in graph.constants)
    return not any(spec.dtype is DType.F32 for spec in maps)
