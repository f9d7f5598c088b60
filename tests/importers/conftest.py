"""Tiny ONNX models, and their comparison with ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from npusim.importers.onnx.importer import load_onnx
from npusim.ir.graph import Graph
from npusim.reference.evaluate import evaluate

Array = NDArray[Any]
TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
}


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 13,
    types: Mapping[str, str] | None = None,
    listed: bool = False,
) -> onnx.ModelProto:
    """Return a model; inputs are float32 unless ``types`` says otherwise.

    ``listed`` also names the constants as inputs, as files before IR version 4 do.
    """
    types = types or {}
    infos = [
        helper.make_tensor_value_info(n, TYPES[types.get(n, "float32")], list(s))
        for n, s in inputs.items()
    ]
    initializers = [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()]
    if listed:
        infos += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in initializers]
    ends = [helper.make_tensor_value_info(n, TYPES[types.get(n, "float32")], None) for n in outputs]
    graph = helper.make_graph(list(nodes), "tiny", infos, ends, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 3 if listed else 8
    return model


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a model (arguments of ``make_model``) and gives its path."""

    def write(*args: Any, name: str = "tiny.onnx", **kwargs: Any) -> Path:
        model = args[0] if isinstance(args[0], onnx.ModelProto) else make_model(*args, **kwargs)
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def agrees(save: Callable[..., Path]) -> Callable[..., Graph]:
    """Return a function that imports a model and compares its results with ONNX Runtime."""

    def check(
        *args: Any, feeds: Mapping[str, Array] | None = None, rtol: float = 1e-5, **kwargs: Any
    ) -> Graph:
        path = save(*args, **kwargs)
        graph = load_onnx(path)
        random = np.random.default_rng(7)
        values = dict(feeds or {})
        for name in graph.inputs:
            values.setdefault(
                name, random.standard_normal(graph.spec(name).shape).astype(np.float32)
            )
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        wanted = session.run(list(graph.outputs), values)
        ours = evaluate(graph, {n: v.astype(graph.spec(n).dtype.numpy) for n, v in values.items()})
        for name, want in zip(graph.outputs, wanted, strict=True):
            assert ours[name].shape == want.shape == graph.spec(name).shape
            np.testing.assert_allclose(ours[name], want, rtol=rtol, atol=2e-6)
        return graph

    return check
