"""The float source as a recording: its own framework where there is one, else npusim."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from npusim.analysis.float_runner import file_inputs, run_source_float
from npusim.analysis.recording import Recording, record_float, record_values
from npusim.ir.graph import Graph

Array = NDArray[Any]


def record_source(graph: Graph, feeds: Mapping[str, Array]) -> Recording:
    """Run the source model in its framework and keep what every layer of ``graph`` gave.

    ONNX models run in ONNX Runtime, without graph rewrites; quantized ones with their own numbers.
    Models of other frameworks are evaluated by npusim, parts of a model by the float engine, as the
    label says.

    Parameters
    ----------
    graph : Graph
        From ``npusim.load_model``.
    feeds : mapping
        What the framework is fed: after reorder, mean and std, in the model's axis order.

    Raises
    ------
    ModelImportError, InputError, MissingExtraError
        See ``run_source_float``.
    """
    if graph.source.framework != "onnx":
        return record_float(graph, feeds, engine="npusim")
    if not set(graph.inputs) <= set(file_inputs(graph.source.path)):  # cut out of the file's model
        return record_float(graph, feeds)
    tensors = [name for node in graph.nodes for name in node.outputs]
    values = run_source_float(graph.source.path, feeds, tensors=tensors)
    kind = "quantized" if graph.is_quantized else "float"
    return record_values(graph, values, label=f"{kind} (ONNX Runtime)", feeds=feeds)
