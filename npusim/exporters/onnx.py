"""A float graph as an ONNX model, opset 12: the newest one that RKNN-Toolkit 1.7 reads.

Every tensor of the graph keeps its name, so the values of both can be laid side by side. Operators
that opset 12 lacks are written as several nodes; so are fused activations.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from npusim.errors import UnsupportedOpError
from npusim.explain import see
from npusim.exporters.onnx_ops import OPS
from npusim.exporters.onnx_writer import OPSET, Writer
from npusim.ir.atomic import atomic_write
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import Float

log = logging.getLogger("npusim")

IR_VERSION = 7
_TYPES = {
    DType.F32: TensorProto.FLOAT,
    DType.I32: TensorProto.INT32,
    DType.I64: TensorProto.INT64,
    DType.BOOL: TensorProto.BOOL,
    DType.U8: TensorProto.UINT8,
    DType.I8: TensorProto.INT8,
    DType.I16: TensorProto.INT16,
}


def to_onnx(graph: Graph, *, expose: Sequence[str] = ()) -> onnx.ModelProto:
    """Return the ONNX model of a float graph.

    Parameters
    ----------
    graph : Graph
        Float graph, before or after the float passes.
    expose : sequence of str
        Tensors that become outputs besides the graph's own.

    Raises
    ------
    UnsupportedOpError
        When the graph is quantized or has operators without an ONNX form; all are listed.
    """
    _require_float(graph)
    writer = Writer(graph)
    missing = []
    for node in graph.nodes:
        write: Callable[..., None] | None = OPS.get(node.op)
        if write is None:
            missing.append(f"{node.name!r} ({node.op})")
            continue
        writer.begin(node)
        write(writer, node)
    if missing:
        raise UnsupportedOpError(
            f"layers without an ONNX form: {', '.join(missing)}", where=f"graph {graph.name!r}"
        )
    names = [*graph.outputs, *(name for name in expose if name not in graph.outputs)]
    aliased = {name: writer.passed_on(name) for name in graph.outputs if writer.is_given(name)}
    proto = helper.make_graph(
        writer.nodes,
        graph.name or "graph",
        [_value(graph, name, name) for name in graph.inputs],
        [_value(graph, name, aliased.get(name, name)) for name in names],
        [
            numpy_helper.from_array(np.asarray(value, order="C"), name)
            for name, value in writer.initializers().items()
        ],
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="npusim"
    )
    model.ir_version = IR_VERSION
    return model


def save_onnx(graph: Graph, path: str | Path) -> None:
    """Write the ONNX model of a float graph, completely or not at all.

    It ends where the NPU part ends: a warning names host layers, which it does not hold.
    """
    write_onnx(to_onnx(graph), graph, path)


def write_onnx(model: onnx.ModelProto, graph: Graph, path: str | Path) -> None:
    """Write the ONNX model that was made of a graph, completely or not at all."""
    if graph.tail is not None:
        log.warning(
            "%s: host layers %s are left out, the file ends in %s %s",
            path,
            ", ".join(layer.name for layer in graph.tail.layers),
            ", ".join(graph.outputs),
            see("host-layers"),
        )
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def _value(graph: Graph, name: str, as_name: str) -> Any:
    spec = graph.spec(name)
    return helper.make_tensor_value_info(as_name, _TYPES[spec.dtype], list(spec.shape))


def _require_float(graph: Graph) -> None:
    for name, spec in graph.tensors.items():
        if not isinstance(spec.quant, Float) or spec.dtype is DType.F16:
            raise UnsupportedOpError(
                f"tensor {name!r} is {spec.dtype.value} and not float32",
                where=f"graph {graph.name!r}",
                rule="only float graphs are written as ONNX",
                remedy="npusim.export_onnx or npusim export write a quantized graph as pairs of "
                "QuantizeLinear and DequantizeLinear",
            )
