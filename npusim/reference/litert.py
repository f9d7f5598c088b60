"""What LiteRT computes for a TensorFlow Lite model, in the terms of the graph made from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import InputError, ModelImportError, NpusimError
from npusim.foreign.child import running, version_of
from npusim.foreign.runtimes import LITERT
from npusim.foreign.side import Refused
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.names import distinct
from npusim.ir.quant import Float
from npusim.ir.tensor import TensorSpec

Array = NDArray[Any]
STATE = "state/"
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def litert_version() -> str:
    """Return the runtime's name and version.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    return f"LiteRT {version_of(LITERT)}".strip()


def run_litert(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors of a graph that the file has too, as LiteRT's own kernels compute them.

    The file runs as it is, without delegates; all its tensors are kept.

    Parameters
    ----------
    graph : Graph
        From ``npusim.load_model`` of a ``.tflite`` file.
    feeds : mapping of str to array
        One array per input of the graph, after preprocessing: real values in the graph's order
        (N, C, H, W with four axes), also for inputs that the file stores as codes.

    Returns
    -------
    dict of str to array
        Graph tensor -> values as the graph stores them: its order of axes, element type and codes.

    Raises
    ------
    MissingExtraError
        When LiteRT is not installed.
    NpusimError
        When LiteRT's process dies.
    ModelImportError
        When LiteRT does not take the file.
    InputError
        When feeds are missing, or the state of a streaming model is not that of its first step.
    """
    where = graph.source.path
    _refuse_later_steps(graph, feeds)
    how = {"where": where, "remedy": words.say("own_reference")}
    child = running(LITERT)
    try:
        number, names, inputs = child.ask("opened", Path(where).read_bytes(), **how)
        labels = distinct(names, "tensor")
        try:
            given = _given(graph, feeds, {index: labels[index] for index in inputs})
            wanted = dict(_wanted(graph, labels))
        except NpusimError:
            child.tell("closed", number)
            raise
        values = child.ask("ran", number, list(given.items()), list(wanted.values()), **how)
    except OSError as error:
        raise ModelImportError(
            f"cannot be read: {error.strerror}", where=where, rule="LiteRT runs the model file"
        ) from error
    except Refused as error:
        raise ModelImportError(
            f"LiteRT: {error}",
            where=where,
            rule="the model must run in LiteRT to be compared with it",
            remedy="python -m pip install -U ai-edge-litert, or compare with npusim's evaluator",
        ) from error
    return dict(_matched(graph, dict(zip(wanted, values, strict=True))))


def _refuse_later_steps(graph: Graph, feeds: Mapping[str, Array]) -> None:
    if any("do not begin with 0" in note for note in graph.notes):
        raise InputError(
            "the states of this model do not begin with zeros",
            where=graph.source.path,
            rule="LiteRT keeps a model's state itself, npusim feeds it",
            remedy="compare with npusim's evaluator",
        )
    changed = [n for n in graph.inputs if n.startswith(STATE) and np.any(feeds.get(n, 0))]
    if changed:
        raise InputError(
            f"the states {changed} are not zero",
            where=graph.source.path,
            rule="LiteRT keeps a model's state itself; its first step can be compared",
            remedy="leave the states zero, or compare with npusim's evaluator",
        )


def _given(graph: Graph, feeds: Mapping[str, Array], inputs: Mapping[int, str]) -> dict[int, Array]:
    """Return tensor number -> value in the file's order and element type."""
    given = {}
    for index, name in inputs.items():
        if name not in feeds:
            raise InputError("no data", where=f"input {name!r}", rule="one array for each input")
        value, spec = np.asarray(feeds[name]), graph.spec(name)
        if not isinstance(spec.quant, Float) and value.dtype.kind == "f":
            value = quantize(value.astype(np.float32), spec.dtype, spec.quant)
        turned = value.transpose(TO_NHWC) if value.ndim == 4 else value
        given[index] = np.ascontiguousarray(turned, spec.dtype.numpy)
    return given


def _wanted(graph: Graph, labels: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield the graph's tensors that are tensors of the file, and their numbers."""
    numbers = {label: index for index, label in enumerate(labels)}
    for node in graph.nodes:
        for name in node.outputs:
            label = next((n for n in _labels_of(name, node.origin) if n in numbers), None)
            if label is not None:
                yield name, numbers[label]


def _matched(graph: Graph, values: Mapping[str, Array | None]) -> Iterator[tuple[str, Array]]:
    """Yield tensors of the graph with LiteRT's values; those without memory are left out."""
    for name, value in values.items():
        if value is None:
            continue
        turned = (
            value.transpose(TO_NCHW) if value.ndim == 4 and name not in graph.outputs else value
        )
        stored = _stored(turned, graph.spec(name))
        if stored is not None:
            yield name, stored


def _labels_of(name: str, origin: tuple[str, ...]) -> Iterator[str]:
    """Yield the labels that a tensor of the graph may stand for.

    Its own name; or, of what an importer puts between an operator and the result's name (in the
    graph's order, as uint8), the operator's. Steps inside of an operator stand for none.
    """
    yield name
    label = origin[-1] if origin else ""
    for suffix in ("/nchw", "/u8", "/nchw/u8"):
        if label and name == f"{label}{suffix}":
            yield label


def _stored(value: Array, spec: TensorSpec) -> Array | None:
    """Return a value as the graph stores it; None when the file stores something else."""
    if value.dtype == np.int8 and spec.dtype is DType.U8:
        value = value.view(np.uint8) ^ np.uint8(128)
    if value.dtype == np.float16:
        value = value.astype(np.float32)
    return np.ascontiguousarray(value) if value.dtype == spec.dtype.numpy else None
