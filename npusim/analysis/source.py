"""The source model as a recording: run by its own framework where that is installed, else npusim.

``RUNTIMES`` is the table of the frameworks' runtimes; a new importer adds a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.float_runner import file_inputs, run_source_float
from npusim.analysis.recording import LayerOutput, Recording, record_float, record_values
from npusim.errors import ConfigError, InputError, MissingExtraError, NpusimError
from npusim.foreign.child import version_of
from npusim.foreign.runtimes import ONNX_RUNTIME
from npusim.ir.attrs import TransposeAttrs
from npusim.ir.graph import Graph
from npusim.reference.litert import litert_version, run_litert
from npusim.reference.opencv import opencv_version, run_opencv
from npusim.reference.tensorflow import run_tensorflow, tensorflow_version
from npusim.runtime.ends import as_declared

Array = NDArray[Any]
CHOICES = ("auto", "framework", "npusim")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the models of a framework besides npusim.

    Attributes
    ----------
    version : callable
        Name and version; raises MissingExtraError when it is not installed.
    run : callable
        (graph, feeds) -> graph tensors as the graph stores them. Raises an error of npusim for
        models and feeds that it does not take.
    """

    version: Callable[[], str]
    run: Callable[[Graph, Mapping[str, Array]], dict[str, Array]]


def _onnx_version() -> str:
    return f"ONNX Runtime {version_of(ONNX_RUNTIME)}"


def _run_onnx(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    tensors = [name for node in graph.nodes for name in node.outputs]
    given = _in_file_order(graph, as_declared(graph, feeds))
    return run_source_float(graph.source.path, given, tensors=tensors)


def _in_file_order(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return feeds with pictures as the file takes them, where the import turned its input."""
    given = dict(feeds)
    for node in graph.nodes:
        entry = node.inputs[0]
        if isinstance(node.attrs, TransposeAttrs) and entry in given and node.origin == (entry,):
            given[entry] = np.ascontiguousarray(np.transpose(feeds[entry], node.attrs.perm))
    return given


RUNTIMES: Mapping[str, Runtime] = {
    "onnx": Runtime(_onnx_version, _run_onnx),
    "tflite": Runtime(litert_version, run_litert),
    "caffe": Runtime(opencv_version, run_opencv),
    "darknet": Runtime(opencv_version, run_opencv),
    "tensorflow": Runtime(tensorflow_version, run_tensorflow),
}
"""``Source.framework`` -> the framework's own runtime."""


def record_source(
    graph: Graph, feeds: Mapping[str, Array], *, reference: str = "auto"
) -> Recording:
    """Run the source model and keep what every layer of ``graph`` gave.

    The framework's own runtime is the reference that shows an importer's faults: ONNX Runtime,
    without graph rewrites; LiteRT, without delegates; OpenCV for Caffe and Darknet;
    TensorFlow for frozen graphs. Quantized
    models run with their own numbers. The label says what ran; where npusim's own evaluator did, a
    note says so and why.

    Parameters
    ----------
    graph : Graph
        From ``npusim.load_model``.
    feeds : mapping
        What the framework is fed: after reorder, mean and std, in the graph's axis order.
    reference : {"auto", "framework", "npusim"}
        ``auto``: the framework where it is installed and takes the model.

    Raises
    ------
    ConfigError
        For another word, and where the framework is asked for and there is no runtime of it.
    ModelImportError, InputError, MissingExtraError
        From the runtime, where the framework is asked for or nothing else can run the model.
    """
    if reference not in CHOICES:
        raise ConfigError(f"reference {reference!r}", rule=f"one of {', '.join(CHOICES)}")
    framework = graph.source.framework
    runtime = RUNTIMES.get(framework)
    if framework == "onnx" and reference != "npusim":
        if set(graph.inputs) <= set(file_inputs(graph.source.path)):
            return _recorded(graph, feeds, RUNTIMES[framework])
        return record_float(graph, feeds)  # cut out of the file's model
    if reference == "npusim":
        return _evaluated(graph, feeds, "it was asked for")
    if runtime is None:
        why = f"npusim knows no runtime of {framework or 'this'} models"
        if reference == "framework":
            raise ConfigError(why, where=graph.source.path, remedy="leave the reference out")
        return _evaluated(graph, feeds, why)
    try:
        return _recorded(graph, feeds, runtime)
    except NpusimError as error:
        if reference == "framework" or graph.is_quantized:
            raise
        why = error.what
        if isinstance(error, MissingExtraError):
            why = f"{why} ({error.remedy})"
        return _evaluated(graph, feeds, why)


def record_every_layer(graph: Graph, feeds: Mapping[str, Array]) -> Recording:
    """Return float values of every layer of a float graph.

    The framework's runtime gives those of the file's tensors where it can (TensorFlow Lite, Caffe,
    Darknet); what lies inside of one source node, and everything else, comes from the float engine.
    The label says which runtimes these are.

    Parameters
    ----------
    graph, feeds
        As for ``record_source``.

    Raises
    ------
    InputError
        When an input is missing or has another shape.
    """
    made = record_float(graph, feeds)
    runtime = RUNTIMES.get(graph.source.framework)
    if runtime is None or graph.source.framework == "onnx":
        return made
    try:
        values, version = runtime.run(graph, feeds), runtime.version()
    except NpusimError as error:
        return replace(made, notes=(*made.notes, _blind(error.what)))
    layers = tuple(
        replace(row, stored=values[row.tensor]) if _fits(row, values) else row
        for row in made.layers
    )
    inner = sum(row.tensor not in values for row in made.layers)
    label = f"float ({version}" + (f"; {inner} inner steps by {made.label})" if inner else ")")
    return replace(made, label=label, layers=layers)


def _fits(row: LayerOutput, values: Mapping[str, Array]) -> bool:
    """Tell whether the framework has a layer's tensor; another shape is the import's fault."""
    if row.tensor in values and values[row.tensor].shape != row.stored.shape:
        raise InputError(
            f"the framework gives shape {values[row.tensor].shape}, npusim {row.stored.shape}",
            where=f"tensor {row.tensor!r} of layer {row.layer!r}",
            rule="both compute the same model",
            remedy="report it with the model: the import is wrong",
        )
    return row.tensor in values


def _blind(why: str) -> str:
    return (
        "the reference is npusim's own evaluator of the imported model, which cannot show a fault "
        f"of the import: {why}"
    )


def _recorded(graph: Graph, feeds: Mapping[str, Array], runtime: Runtime) -> Recording:
    kind = "quantized" if graph.is_quantized else "float"
    label = f"{kind} ({runtime.version()})"
    return record_values(graph, runtime.run(graph, feeds), label=label, feeds=feeds)


def _evaluated(graph: Graph, feeds: Mapping[str, Array], why: str) -> Recording:
    made = record_float(graph, feeds, engine="npusim", label="float (npusim's own evaluator)")
    return replace(made, notes=(*made.notes, _blind(why)))
