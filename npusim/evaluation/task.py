"""What is measured on each sample's outputs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ConfigError, InputError
from npusim.evaluation.detection import DETECTION, Detector
from npusim.evaluation.labelled import class_number
from npusim.evaluation.segmentation import SEGMENTATION, segmentation_measure
from npusim.ir.graph import Graph

CLASSIFICATION = "classification"
CUSTOM = "custom:"
TOP = 5
MANY = 30
Outputs = list[NDArray[np.float32]]
# (outputs in the model's order, label) -> numbers by name, JSON can hold them
Measure = Callable[[Outputs, str], dict[str, Any]]


def task_named(
    name: str,
    *,
    graph: Graph | None = None,
    labels: Sequence[str] = (),
    offset: int = 0,
    search: str | Path | None = None,
    detector: Detector | None = None,
) -> Measure:
    """Return what a task measures.

    Parameters
    ----------
    name : str
        ``"classification"``: the first output's five largest classes (``top``), the right class's
        value (``score``) and place (``rank``, 0 is best). ``"custom:module:function"``: a function
        of (list of outputs, label) that returns a number, or numbers by name; larger is better.
        ``"detection"`` and ``"segmentation"``: see their modules.
    graph : Graph, optional
        The network. None: the name alone is checked.
    labels : sequence of str
        Class names, when labels are names.
    offset : int
        Added to labels: 1 for networks whose class 0 is "background".
    search : path, optional
        Folder in which a custom module is looked for first.
    detector : Detector, optional
        How outputs become boxes.

    Raises
    ------
    ConfigError
        When there is no such task or the function cannot be imported.
    """
    if name == CLASSIFICATION:
        return lambda outputs, label: _classify(outputs, class_number(label, labels, offset))
    if name == DETECTION:
        found = detector or Detector(decoder="")
        return found.measure(graph) if graph is not None else _unknown
    if name == SEGMENTATION:
        return segmentation_measure(graph, offset) if graph is not None else _unknown
    if not name.startswith(CUSTOM) or name.count(":") != 2:
        raise ConfigError(
            f"task {name!r}",
            where=words.say("task"),
            rule=f"{CLASSIFICATION}, {DETECTION}, {SEGMENTATION} or custom:module:function",
        )
    function = _imported(*name.removeprefix(CUSTOM).split(":"), search=search)
    return lambda outputs, label: _numbers(function, outputs, label, name)


def _unknown(outputs: Outputs, truth: str) -> dict[str, Any]:
    raise InputError("the network of this task is not known")


def class_count(graph: Graph) -> int:
    """Return how many classes the first output scores.

    Raises
    ------
    ConfigError
        When it is no vector of class scores: maps, boxes, several rows of scores.
    """
    spec = graph.spec(graph.outputs[0])
    long = [size for size in spec.shape if size > 1]
    if len(long) == 1:
        return long[0]
    shapes = ", ".join(f"{name!r} {graph.spec(name).shape}" for name in graph.outputs)
    raise ConfigError(
        f"the first output is no vector of class scores; the outputs are {shapes}",
        where=f"{words.say('task')} {CLASSIFICATION}",
        rule="one score per class: one axis longer than 1",
        remedy=f"choose another {words.say('task')} (detection, segmentation, or a function of "
        "your own: custom:module:function), or end the model at its class scores",
    )


def at_chance(hits: int, samples: int, classes: int) -> bool:
    """Tell whether so many right answers are what guessing gives.

    That is at most the mean of guessing among all classes; of many samples (30), at most two
    standard deviations more.
    """
    guessed = samples / classes
    if samples >= MANY:
        guessed += 2 * sqrt(guessed * (1 - 1 / classes))
    return samples > 0 and hits <= guessed


def _classify(outputs: Outputs, label: int | None) -> dict[str, Any]:
    scores = outputs[0].reshape(-1)
    if label is None or not 0 <= label < scores.size:
        raise InputError(
            f"label {label}",
            rule=f"the first output has {scores.size} classes, numbered from 0",
            remedy=f"check the labels, {words.say('label_offset')}, and which output holds "
            "the classes",
        )
    order = np.argsort(-scores, kind="stable")
    return {
        "top": [int(i) for i in order[:TOP]],
        "score": float(scores[label]),
        "rank": int(np.flatnonzero(order == label)[0]),
    }


def _imported(module: str, function: str, *, search: str | Path | None) -> Callable[..., Any]:
    if search is not None and str(search) not in sys.path:
        sys.path.insert(0, str(search))
    try:
        found = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # it is the user's code
        raise ConfigError(
            f"function {function!r} of module {module!r} cannot be imported: "
            f"{error or type(error).__name__}",
            where=words.say("task"),
            rule="custom:module:function, a module of the working directory or an installed one",
        ) from error
    if not callable(found):
        raise ConfigError(f"{module}.{function} is no function", where=words.say("task"))
    return found  # type: ignore[no-any-return]


def _numbers(
    function: Callable[..., Any], outputs: Outputs, label: str, name: str
) -> dict[str, Any]:
    try:
        value = function(outputs, label)
    except Exception as error:  # it is the user's code
        raise InputError(f"{type(error).__name__}: {error}", where=name) from error
    found = value if isinstance(value, Mapping) else {"value": value}
    try:
        numbers = {str(key): float(number) for key, number in found.items()}
    except (TypeError, ValueError, OverflowError):
        numbers = {}
    if not numbers:
        raise InputError(f"it returned {value!r}", where=name, rule="a number, or numbers by name")
    return numbers
