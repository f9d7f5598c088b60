"""Placeholders that say whether a network is being trained."""

import re

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.tensorflow.context import TfNode

_BOOL = 10
_KEEP = re.compile(r"keep_?prob", re.IGNORECASE)
_INFERENCE = re.compile(r"infer|test|eval|predict|deploy", re.IGNORECASE)
_TRAINING = re.compile(r"train|phase|learning", re.IGNORECASE)


def phase_value(node: TfNode, notes: list[str], *, needed: bool) -> Array | None:
    """Return the value of a placeholder that belongs to training; None for a real input.

    Truth values: no training, by the words in the name (``is_training`` 0, ``inference`` 1).
    ``keep_prob`` is 1.

    Parameters
    ----------
    needed : bool
        The inputs are listed and this is not among them.
    """
    if node.type_number("dtype") == _BOOL:
        inference = _INFERENCE.search(node.name) and not _TRAINING.search(node.name)
        notes.append(
            f"placeholder {node.name!r} is {bool(inference)}: the network as it is at inference"
        )
        return np.array(bool(inference))
    scalar = node.sizes("shape") in (None, ())
    if _KEEP.search(node.name) and scalar:
        notes.append(f"placeholder {node.name!r} is 1: nothing is dropped at inference")
        return np.float32(1.0)  # type: ignore[return-value]
    return None
