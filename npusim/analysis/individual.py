"""Run each quantized layer alone, fed with the float results of the layers before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.codes import quantize
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Float
from npusim.runtime.program import Program

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """One layer run alone.

    Attributes
    ----------
    inputs : tuple of ndarray
        Stored activations that the layer read, in the order of ``feeds``.
    outputs : tuple of ndarray
        Stored results.
    """

    node: Node
    feeds: tuple[str, ...]
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


def run_individually(program: Program, reference: Mapping[str, Array]) -> Iterator[LayerRun]:
    """Yield every layer of a program, run on float values quantized to what the layer reads.

    Parameters
    ----------
    program : Program
        For one sample a run.
    reference : mapping
        Real values by tensor name, graph inputs (after preprocessing) included; see
        ``recording.values_by_tensor``. A tensor without one, inside of what became of one source
        node, is what the layer before it gave.
    """
    graph = program.graph
    inner: dict[str, Array] = {}
    for bound in program.layers:
        inputs = tuple(
            _stored(graph, name, reference[name]) if name in reference else inner[name]
            for name in bound.feeds
        )
        outputs = bound.step(*inputs)
        inner.update(
            (name, value)
            for name, value in zip(bound.node.outputs, outputs, strict=True)
            if name not in reference
        )
        yield LayerRun(node=bound.node, feeds=bound.feeds, inputs=inputs, outputs=outputs)


def _stored(graph: Graph, tensor: str, real: Array) -> Array:
    spec = graph.spec(tensor)
    if isinstance(spec.quant, Float) and not spec.dtype.is_float:
        return real.astype(spec.dtype.numpy)
    return np.asarray(quantize(real, spec.dtype, spec.quant))
