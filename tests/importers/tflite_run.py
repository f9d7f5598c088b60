"""Runs tiny TensorFlow Lite models in LiteRT and in npusim's float evaluator."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

import npusim
from npusim.errors import UnsupportedOpError
from npusim.importers.tflite.importer import load_tflite
from npusim.reference.evaluate import evaluate
from tests.importers.tflite_build import Model

Array = NDArray[Any]


def litert(content: bytes, feeds: list[Array] | None) -> list[Array] | None:
    """Return what LiteRT computes for a model file; None when it does not take the model.

    Without feeds it is fed ones, and only the shapes of the results mean anything.
    """
    try:
        found = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        found.allocate_tensors()
        inputs = found.get_input_details()
        for i, entry in enumerate(inputs):
            value = np.ones(entry["shape"], entry["dtype"]) if feeds is None else feeds[i]
            found.set_tensor(entry["index"], value)
        found.invoke()
    except (RuntimeError, ValueError):
        return None
    return [found.get_tensor(entry["index"]) for entry in found.get_output_details()]


def complete(model: Model) -> Model | None:
    """Give the results the shapes that LiteRT finds; None when it does not take the model."""
    values = None
    for version in range(1, 6):
        for code in model.proto.operatorCodes:
            code.version = version
        values = litert(model.bytes(), None)
        if values is not None:
            break
    if values is None:
        return None
    (graph,) = model.proto.subgraphs
    for index, value in zip(graph.outputs, values, strict=True):
        graph.tensors[index].shape = list(value.shape)
    return model


def graph_order(value: Array) -> Array:
    """Return an input as the graph takes it."""
    return np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if value.ndim == 4 else value


def check(model: Model, *, quantized: bool = False, seed: int = 0, tolerance: float = 2e-5) -> str:
    """Return what happens to a model: ``ok``, ``refused``, ``litert`` or what is wrong.

    Parameters
    ----------
    quantized : bool
        The model's tensors are int8: codes at most one step from LiteRT's are right. Else float32,
        where all values of LiteRT are met as the graph is loaded and after the float passes.
    """
    if complete(model) is None:
        return "litert"
    r = np.random.default_rng(seed)
    (proto,) = model.proto.subgraphs
    shapes = [tuple(proto.tensors[i].shape) for i in proto.inputs]
    if quantized:
        feeds = [r.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    else:
        feeds = [r.uniform(0.1, 2, shape).astype(np.float32) for shape in shapes]
    want = litert(model.bytes(), feeds)
    assert want is not None
    with tempfile.TemporaryDirectory() as folder:
        path = model.save(Path(folder) / "tiny.tflite")
        try:
            graph = load_tflite(path)
        except UnsupportedOpError as error:
            return "refused: " + error.what.splitlines()[-1].strip()
        except Exception as error:  # what a test then shows
            return f"error: {type(error).__name__} {error}"
    values = {n: graph_order(f) for n, f in zip(graph.inputs, feeds, strict=True)}
    try:
        if quantized:
            runs = [npusim.compile(npusim.float16(graph)).run_stored(values)]
        else:
            runs = [evaluate(made, values) for made in (graph, npusim.optimize(graph))]
    except Exception as error:
        return f"run: {type(error).__name__} {error}"
    allowed = 1 if quantized else tolerance
    for got in runs:
        for name, right in zip(graph.outputs, want, strict=True):
            ours = got[name]
            if ours.shape != right.shape:
                return f"shape {ours.shape} for {right.shape}"
            with np.errstate(invalid="ignore"):  # equal infinities
                away = np.where(ours == right, 0.0, np.abs(ours.astype(np.float64) - right))
            if np.any(away > allowed + (0 if quantized else tolerance * np.abs(right))):
                return f"values differ by {away.max():.3g}"
    return "ok"
