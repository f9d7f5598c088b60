"""TensorFlow for frozen graphs; runs in a process of its own."""

from typing import Any

import numpy as np

from npusim.foreign.side import Refused, imported, in_a_line
from npusim.foreign.wire import Array, holds

TO_NHWC = (0, 2, 3, 1)


def version() -> str:
    """Return the runtime's version."""
    return str(imported("tensorflow").__version__)


def ran(content: bytes, feeds: dict[str, Array], wanted: list[str]) -> dict[str, Array]:
    """Return those of some tensors that the frozen graph has.

    Parameters
    ----------
    content : bytes
        Of the file.
    feeds : dict
        Input -> value, N, C, H, W with four axes.
    wanted : list of str
        Names like ``node:0``; without a colon the first output is meant.

    Raises
    ------
    Refused
        When TensorFlow does not take it or stops.
    """
    tf = imported("tensorflow")
    try:
        record = tf.compat.v1.GraphDef.FromString(content)
        with tf.Graph().as_default() as known:
            tf.import_graph_def(record, name="")
            places = {name: found for name in wanted if (found := _tensor(known, name)) is not None}
            given = {}
            for name, value in feeds.items():
                place = _tensor(known, name)
                if place is not None:
                    turned = _in_file_order(value, place.shape)
                    given[place] = turned.astype(place.dtype.as_numpy_dtype)
            with tf.compat.v1.Session(graph=known) as session:
                results = session.run(places, given)
    except Exception as error:  # protobuf's and TensorFlow's own kinds have no common base
        raise Refused(in_a_line(error)) from error
    values = {name: np.asarray(value) for name, value in results.items()}
    return {name: value for name, value in values.items() if holds(value)}


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
