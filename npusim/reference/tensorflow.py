"""What TensorFlow computes for a frozen graph, in the terms of the graph made from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError
from npusim.extras import require
from npusim.ir.graph import Graph

Array = NDArray[Any]
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def tensorflow_version() -> str:
    """Return the runtime's name and version.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    found = require("tensorflow", extra="tensorflow", purpose="running TensorFlow graphs")
    return f"TensorFlow {found.__version__}"


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
    ModelImportError
        When it does not take the file or stops.
    """
    tf = require("tensorflow", extra="tensorflow", purpose="running TensorFlow graphs")
    where = graph.source.path
    tensors = [name for node in graph.nodes for name in node.outputs]
    try:
        record = tf.compat.v1.GraphDef.FromString(Path(where).read_bytes())
        with tf.Graph().as_default() as known:
            tf.import_graph_def(record, name="")
            wanted = {
                name: found for name in tensors if (found := _tensor(known, name)) is not None
            }
            given = {}
            for name in graph.inputs:
                place = _tensor(known, name)
                if place is not None:
                    value = _in_file_order(np.asarray(feeds[name]), place.shape)
                    given[place] = value.astype(place.dtype.as_numpy_dtype)
            with tf.compat.v1.Session(graph=known) as session:
                results = session.run(wanted, given)
    except OSError as error:
        raise ModelImportError(
            f"cannot be read: {error.strerror}", where=where, rule="TensorFlow runs the model file"
        ) from error
    except Exception as error:  # protobuf's and TensorFlow's own kinds have no common base
        text = " ".join(str(error).split())
        raise ModelImportError(
            f"TensorFlow: {text}",
            where=where,
            rule="the model must run in TensorFlow to be compared with it",
            remedy="compare with npusim's evaluator",
        ) from error
    shown = ((name, _in_graph_order(graph, name, value)) for name, value in results.items())
    return {name: value for name, value in shown if value is not None}


def _tensor(known: Any, name: str) -> Any:
    """Return a tensor of a TensorFlow graph; None when it has none of the name."""
    try:
        return known.get_tensor_by_name(name if ":" in name else f"{name}:0")
    except (KeyError, ValueError):
        return None


def _in_file_order(value: Array, shape: Any) -> Array:
    """Return an input as the placeholder takes it: N, H, W, C unless its sizes say otherwise."""
    turned = value.transpose(TO_NHWC) if value.ndim == 4 else value
    return turned if shape.is_compatible_with(turned.shape) else value


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
