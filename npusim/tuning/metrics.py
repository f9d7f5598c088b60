"""How good a quantized network is: one number, higher is better."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.metrics import cosine
from npusim.analysis.parts import OutputParts, Parts
from npusim.errors import ConfigError

Array = NDArray[Any]
Outputs = Mapping[str, Array]
# (float outputs, quantized outputs), one mapping per sample each
Metric = Callable[[Sequence[Outputs], Sequence[Outputs]], float]


def mean_cosine(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> float:
    """Return the mean cosine over samples and outputs."""
    return float(np.mean([cosine(a, e) for e, a in _pairs(expected, actual)]))


def lowest_cosine(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> float:
    """Return the lowest cosine over samples and outputs."""
    return min(cosine(a, e) for e, a in _pairs(expected, actual))


def sqnr_db(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> float:
    """Return signal over quantization noise in dB, all samples and outputs together."""
    signal = noise = 0.0
    for e, a in _pairs(expected, actual):
        wide = e.astype(np.float64)
        signal += float(np.square(wide).sum())
        noise += float(np.square(a - wide).sum())
    if not noise:
        return 200.0
    return float(10 * np.log10(signal / noise)) if signal else -200.0


def same_top1(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> float:
    """Return the share of positions whose largest class (last axis) is the same.

    Several classes may share the largest quantized value: any of them agrees.
    """
    agree: list[bool] = []
    for e, a in _pairs(expected, actual):
        classes = e.shape[-1] if e.ndim != 4 else e.shape[1]
        wanted = np.moveaxis(e, 1, -1) if e.ndim == 4 else e
        got = np.moveaxis(a, 1, -1) if a.ndim == 4 else a
        for w, g in zip(wanted.reshape(-1, classes), got.reshape(-1, classes), strict=True):
            agree.append(bool(g[int(w.argmax())] == g.max()))
    return float(np.mean(agree))


METRICS: dict[str, Metric] = {
    "cosine": mean_cosine,
    "lowest-cosine": lowest_cosine,
    "sqnr": sqnr_db,
    "top1": same_top1,
}


OF_VALUES: frozenset[Metric] = frozenset({mean_cosine, lowest_cosine, sqnr_db})
"""Metrics of values, which are taken of each part apart; others look at an output as a whole."""


class PartMetric:
    """A metric of every part of every output; the worst of them counts.

    Parameters
    ----------
    metric : Metric
        One of ``OF_VALUES``: any other is taken of the outputs as they are.
    parts : OutputParts
    expected : sequence of Outputs
        The float outputs of all samples: channels are grouped by what they reach in any of them.
    """

    def __init__(self, metric: Metric, parts: OutputParts, expected: Sequence[Outputs]) -> None:
        self.metric, self.expected = metric, expected
        self._parts: dict[str, Parts | None] | None = None
        if metric in OF_VALUES and expected:
            self._parts = {name: parts.of(name, _reach(expected, name)) for name in expected[0]}

    def measure(self, actual: Sequence[Outputs]) -> tuple[float, dict[str, float]]:
        """Return the metric, and that of each part where there are several."""
        if self._parts is None:
            return self.metric(self.expected, actual), {}
        found: dict[str, float] = {}
        for name, parts in self._parts.items():
            sides = [[run[name] for run in runs] for runs in (self.expected, actual)]
            for part in parts.names if parts else ("",):
                cut = [
                    [{name: parts.only(part, value) if parts else value} for value in side]
                    for side in sides
                ]
                found[f"{name} [{part}]" if part else name] = self.metric(*cut)
        return min(found.values()), found if len(found) > 1 else {}

    def way(self, part: str) -> tuple[str, ...]:
        """Return the layers that store a part named by ``measure``; nothing where nobody knows."""
        for name, parts in (self._parts or {}).items():
            for place, way in zip(parts.names, parts.ways, strict=False) if parts else ():
                if part == f"{name} [{place}]":
                    return way
        return ()


def _reach(runs: Sequence[Outputs], name: str) -> Array:
    reach: Array = np.max([np.abs(run[name]) for run in runs], axis=0)
    return reach


def metric_named(name: str) -> Metric:
    """Return a metric by name or as ``custom:module:function``.

    A custom function gets two lists with one ``{output name: array}`` per sample, float and
    quantized, and returns a number; higher is better.

    Raises
    ------
    ConfigError
        When there is no such metric, module or function.
    """
    if name in METRICS:
        return METRICS[name]
    kind, _, rest = name.partition(":")
    module_name, _, function_name = rest.rpartition(":")
    if kind != "custom" or not module_name or not function_name:
        raise ConfigError(
            f"metric {name!r}", rule=f"one of {', '.join(METRICS)} or custom:module:function"
        )
    try:
        found = getattr(import_module(module_name), function_name)
    except (Exception, SystemExit) as error:  # it is the user's code
        raise ConfigError(
            f"metric {name!r}: {error or type(error).__name__}",
            rule="module and function can be imported from the working directory",
        ) from error
    if not callable(found):
        raise ConfigError(f"metric {name!r}: {function_name} is no function")
    return checked(found, name)


def checked(function: Callable[..., Any], name: str) -> Metric:
    """Return a metric that names its own errors, and refuses what is no finite number."""

    def measure(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> float:
        try:
            value = function(expected, actual)
        except Exception as error:  # it is the user's code
            raise ConfigError(
                f"metric {name}: {type(error).__name__}: {error}",
                rule="it takes the float outputs and the quantized ones, a list each",
            ) from error
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not np.isfinite(number):
            raise ConfigError(f"metric {name} returned {value!r}", rule="a finite number")
        return number

    return measure


def _pairs(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> list[tuple[Array, Array]]:
    return [(e[name], a[name]) for e, a in zip(expected, actual, strict=True) for name in e]
