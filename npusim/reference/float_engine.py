"""The two float engines: ONNX Runtime when it is installed, npusim's own evaluator otherwise.

Both run the same graph, after the same rewrites, tensor for tensor, in float32. Their results agree
up to rounding, so calibrated ranges may differ in their last bits: whoever stores such a range
stores the engine's ``name`` beside it. Either gives the same bits for any number of threads.
"""

import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.environment import ENGINE, thread_count
from npusim.errors import ConfigError, InputError, MissingExtraError, NpusimError
from npusim.explain import see
from npusim.foreign.child import Child, running, version_of
from npusim.foreign.runtimes import ONNX_RUNTIME
from npusim.foreign.side import Refused
from npusim.ir.graph import Graph
from npusim.reference.evaluate import Evaluator, checked_feeds

log = logging.getLogger("npusim")

Array = NDArray[Any]
Observer = Callable[[str, Array], None]

ENGINES = ("auto", "onnxruntime", "npusim")


class FloatEngine(Protocol):
    """Runs a float graph.

    Attributes
    ----------
    name : str
        Engine and version.
    jobs : int
        How many samples should run at the same time.
    """

    name: str
    jobs: int

    def run(
        self, feeds: Mapping[str, Array], *, observe: Observer | None = None
    ) -> dict[str, Array]:
        """Return the graph outputs; ``observe`` gets every activation, as in ``Evaluator``."""


class OwnEngine:
    """npusim's evaluator; a layer uses all cores, unless its thread was told to stay alone."""

    name = "npusim"

    def __init__(self, graph: Graph) -> None:
        self.jobs = thread_count()
        self._evaluator = Evaluator(graph)

    def run(
        self, feeds: Mapping[str, Array], *, observe: Observer | None = None
    ) -> dict[str, Array]:
        """Return the graph outputs."""
        return self._evaluator.run(feeds, observe=observe)


class OnnxRuntimeEngine:
    """ONNX Runtime without graph rewrites, one thread per sample.

    One thread, because the order of its sums may depend on how it shares out a layer; several
    samples run side by side instead.

    Raises
    ------
    MissingExtraError
        When ONNX Runtime is not installed.
    NpusimError
        When the graph has no ONNX form or ONNX Runtime refuses it.
    """

    def __init__(self, graph: Graph, *, observed: bool = True) -> None:
        self._graph = graph
        self.jobs = thread_count()
        computed = [out for node in graph.nodes for out in node.outputs]
        self._wanted = [name for name in computed if observed or name in graph.outputs]
        self._how = {
            "where": graph.source.path or f"graph {graph.name!r}",
            "remedy": f"use npusim's own evaluator: {words.say('own_engine')}",
        }
        self._session = self._opened(running(ONNX_RUNTIME))
        self.name = f"onnxruntime {version_of(ONNX_RUNTIME)}"

    def run(
        self, feeds: Mapping[str, Array], *, observe: Observer | None = None
    ) -> dict[str, Array]:
        """Return the graph outputs."""
        feeds = checked_feeds(self._graph, feeds)
        session = self._session_of(running(ONNX_RUNTIME))
        try:
            results = session.child.ask("ran", session.number, self._wanted, feeds, **self._how)
        except Refused as error:
            raise InputError(
                f"ONNX Runtime stops: {error}",
                where=f"graph {self._graph.name!r}",
                rule="the float model must run on every sample",
            ) from error
        values: dict[str, Array] = dict(zip(self._wanted, results, strict=True))
        if observe:
            for name in (*self._graph.inputs, *self._wanted):
                observe(name, feeds[name] if name in feeds else values[name])
        known = {**self._graph.constants, **feeds, **values}
        # copies: what a caller keeps is to keep no more than itself
        return {name: np.array(known[name], order="C") for name in self._graph.outputs}

    def _session_of(self, child: Child) -> "_Session":
        """Return the session; opened again when its process has ended or is a fork's parent's."""
        session = self._session
        if session.child is not child:  # by two threads at once: one session is freed again
            session = self._session = self._opened(child)
        return session

    def _opened(self, child: Child) -> "_Session":
        from npusim.exporters.onnx import to_onnx

        model = to_onnx(self._graph, expose=self._wanted).SerializeToString()
        try:
            return _Session(child, child.ask("opened", model, True, **self._how))
        except Refused as error:
            raise NpusimError(
                f"ONNX Runtime does not take the graph: {error}",
                where=f"graph {self._graph.name!r}",
            ) from error


class _Session:
    """A session in ONNX Runtime's process; freed with this object."""

    def __init__(self, child: Child, number: int) -> None:
        self.child, self.number = child, number
        weakref.finalize(self, child.tell, "closed", number).atexit = False


def checked_engine(name: str) -> str:
    """Return the name of a float engine.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    if name not in ENGINES:
        raise ConfigError(f"float engine {name!r}", rule=f"one of {', '.join(ENGINES)}")
    return name


def float_engine(graph: Graph, engine: str = "auto", *, observed: bool = True) -> FloatEngine:
    """Return a float engine for a graph.

    Parameters
    ----------
    graph : Graph
        Float graph, before or after the float passes.
    engine : {"auto", "onnxruntime", "npusim"}
        ``auto``: ONNX Runtime when it is installed and takes the graph; a warning says when it does
        not take it.
    observed : bool
        Make every activation available to ``observe``.

    Raises
    ------
    ConfigError
        When there is no such engine.
    MissingExtraError
        When ONNX Runtime is asked for and not installed.
    """
    engine = checked_engine((ENGINE.read() or engine) if engine == "auto" else engine)
    if engine == "npusim":
        return OwnEngine(graph)
    try:
        return OnnxRuntimeEngine(graph, observed=observed)
    except MissingExtraError:
        if engine == "onnxruntime":
            raise
    except NpusimError as error:
        if engine == "onnxruntime":
            raise
        log.warning(
            "%s%s; npusim's own evaluator runs it instead, the last bits of ranges may differ: "
            "choose it for all runs that are compared, with %s %s",
            f"{error.where}: " if error.where else "",
            error.what,
            words.say("own_engine"),
            see("float-engine"),
        )
    return OwnEngine(graph)
