"""Feed every layer what another runtime fed it, and compare what comes out.

Differences then cannot add up: they are the rounding rules of one layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from npusim.analysis.unsigned_weights import use_unsigned_weights
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Float
from npusim.ir.tensor import TensorSpec
from npusim.runtime.binding import bind
from npusim.runtime.bindings import load_bindings

Array = NDArray[Any]
SUFFIXES = ("/u8", "/codes", "/real", "/nhwc", "/nchw")


@dataclass(frozen=True)
class Result:
    """One layer: largest difference in steps (for floats relative to the largest value)."""

    node: Node
    steps: float
    share: float


def ort_values(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor that ONNX Runtime computes, without its optimisations."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    use_unsigned_weights(shown)
    known = {value.name for value in shown.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                shown.graph.output.append(onnx.ValueInfoProto(name=name))
                known.add(name)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return {**dict(feeds), **dict(zip(names, session.run(names, feeds), strict=True))}


def litert_values(path: Path, steps: list[Array]) -> tuple[dict[str, Array], Any]:
    """Return every tensor of the last of several steps of a TensorFlow Lite model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    found = Interpreter(
        str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found.allocate_tensors()
    (place,) = (entry["index"] for entry in found.get_input_details())
    for value in steps:
        found.set_tensor(place, value)
        found.invoke()
    values = {}
    for entry in found.get_tensor_details():
        if entry["dtype"] in (np.int8, np.uint8, np.float32, np.int32, np.int64):
            try:
                value = found.get_tensor(entry["index"])
            except ValueError:  # a tensor without memory of its own
                continue
            name = entry["name"]
            values[name] = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
            values[f"{name}/nchw"], values[f"{name}/nhwc"] = values[name], value
    return values, found


def as_stored(spec: TensorSpec, values: Mapping[str, Array]) -> Array | None:
    """Return another runtime's tensor in the number format that npusim stores it in.

    None for a tensor between the steps that one operator of the source model takes.
    """
    name = spec.name
    while name not in values:
        name = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), "")
        if not name:
            return None
    value = values[name].reshape(spec.shape)
    if isinstance(spec.quant, Float):
        return value.astype(spec.dtype.numpy)
    if value.dtype.kind == "f":
        return quantize(value, spec.dtype, spec.quant)
    if value.dtype == np.int8 and spec.dtype is DType.U8:
        return value.view(np.uint8) ^ np.uint8(128)
    assert value.dtype == spec.dtype.numpy
    return value


def compare_layers(graph: Graph, values: Mapping[str, Array]) -> list[Result]:
    """Run every layer of a lowered graph on another runtime's tensors."""
    load_bindings()
    if graph.source.framework == "tflite":  # outputs are in the file's order
        values = {**values, **{name: values[f"{name}/nhwc"] for name in graph.outputs}}
    results = []
    steps: dict[str, Array] = {}
    for node in graph.nodes:
        ins = []
        for name in graph.activations(node):
            known = as_stored(graph.spec(name), values)
            ins.append(steps[name] if known is None else known)
        for name, got in zip(node.outputs, bind(node, graph)(*ins), strict=True):
            want = as_stored(graph.spec(name), values)
            if want is None:
                assert node.op in ("reshape", "transpose", "slice"), node
                steps[name] = got
                continue
            difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
            if got.dtype.kind == "f":
                difference /= max(float(np.abs(want).max()), 1e-6)
            results.append(Result(node, float(difference.max()), float((difference > 0).mean())))
    return results


def assert_close_layers(
    results: list[Result], *, steps: Mapping[str, float] | None = None, share: float = 0.05
) -> None:
    """Check: integers at most one step off (``steps`` by operator), floats within float16."""
    for result in results:
        if result.node.op in ("convert", "div") and result.steps != round(result.steps):
            assert result.steps <= 2.0**-10, result  # float16 of the largest value
            continue
        allowed = (steps or {}).get(result.node.op, 1.0)
        assert result.steps <= allowed, result
    integer = [r.share for r in results if r.steps == round(r.steps)]
    assert np.mean(integer) <= share
