"""What TensorFlow computes for a frozen graph, in the terms of the graph made from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ModelImportError
from npusim.foreign.child import asked, version_of
from npusim.foreign.runtimes import TENSORFLOW
from npusim.foreign.side import Refused
from npusim.ir.graph import Graph

Array = NDArray[Any]
TO_NCHW = (0, 3, 1, 2)


def tensorflow_version() -> str:
    """Return the runtime's name and version.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    return f"TensorFlow {version_of(TENSORFLOW)}"


def run_tensorflow(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors of a graph that the frozen graph has under the same names.

    Parameters
    ----------
    graph : Graph
        From ``npusim.load_model``; tensors are called ``node:0``.
    feeds : mapping of str to array
        One array per input, after preprocessing, in the graph's order (N, C, H, W).

    Returns
    -------
    dict of str to array
        Graph tensor -> values in its order of axes. Maps for which that order does not follow from
        the sizes are left out.

    Raises
    ------
    MissingExtraError
        When TensorFlow is not installed.
    NpusimError
        When its process dies.
    ModelImportError
        When it does not take the file or stops.
    """
    where = graph.source.path
    tensors = [name for node in graph.nodes for name in node.outputs]
    given = {name: np.asarray(feeds[name]) for name in graph.inputs}
    try:
        content = Path(where).read_bytes()
    except OSError as error:
        raise ModelImportError(
            f"cannot be read: {error.strerror}", where=where, rule="TensorFlow runs the model file"
        ) from error
    try:
        results = asked(
            TENSORFLOW, "ran", content, given, tensors,
            where=where, remedy=words.say("own_reference"),
        )  # fmt: skip
    except Refused as error:
        raise ModelImportError(
            f"TensorFlow: {error}",
            where=where,
            rule="the model must run in TensorFlow to be compared with it",
            remedy="compare with npusim's evaluator",
        ) from error
    shown = ((name, _in_graph_order(graph, name, value)) for name, value in results.items())
    return {name: value for name, value in shown if value is not None}


def _in_graph_order(graph: Graph, name: str, value: Array) -> Array | None:
    shape, value = graph.spec(name).shape, np.asarray(value)
    if value.dtype != graph.spec(name).dtype.numpy:
        return None
    if value.ndim != 4 or name in graph.outputs:
        return np.ascontiguousarray(value) if value.shape == shape else None
    turned = value.transpose(TO_NCHW)
    fitting = [v for v in (value, turned) if v.shape == shape]
    both = len(fitting) == 2 and not np.array_equal(value, turned)
    return np.ascontiguousarray(fitting[0]) if fitting and not both else None
