"""Tiny ONNX models, and their comparison with ONNX Runtime."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from npusim.importers.onnx.importer import load_onnx
from npusim.ir.graph import Graph
from npusim.reference.evaluate import evaluate
from tests.onnx_models import onnx_model

Array = NDArray[Any]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a model (arguments of ``onnx_model``) and gives its path."""

    def write(*args: Any, name: str = "tiny.onnx", **kwargs: Any) -> Path:
        model = args[0] if isinstance(args[0], onnx.ModelProto) else onnx_model(*args, **kwargs)
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


def agree(
    path: Path, feeds: Mapping[str, Array] | None = None, rtol: float = 1e-5, atol: float = 2e-6
) -> Graph:
    """Import a file, compare its results with ONNX Runtime, and return the graph."""
    graph = load_onnx(path)
    random = np.random.default_rng(7)
    values = dict(feeds or {})
    for name in graph.inputs:
        values.setdefault(name, random.standard_normal(graph.spec(name).shape).astype(np.float32))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.run(list(graph.outputs), values)
    ours = evaluate(graph, {n: v.astype(graph.spec(n).dtype.numpy) for n, v in values.items()})
    for name, want in zip(graph.outputs, wanted, strict=True):
        assert ours[name].shape == want.shape == graph.spec(name).shape
        np.testing.assert_allclose(ours[name], want, rtol=rtol, atol=atol)
    return graph


@pytest.fixture
def agrees(save: Callable[..., Path]) -> Callable[..., Graph]:
    """Return a function that imports a model and compares its results with ONNX Runtime."""

    def check(
        *args: Any, feeds: Mapping[str, Array] | None = None, rtol: float = 1e-5, **kwargs: Any
    ) -> Graph:
        return agree(save(*args, **kwargs), feeds, rtol)

    return check
