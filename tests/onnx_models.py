"""Tiny ONNX models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import helper, numpy_helper

Shapes = Mapping[str, Sequence[Any] | None]


def onnx_model(
    nodes: Iterable[onnx.NodeProto],
    inputs: Shapes,
    outputs: Shapes | Sequence[str],
    constants: Mapping[str, Any] | None = None,
    *,
    types: Mapping[str, DTypeLike] | None = None,
    opset: int = 13,
    domains: Mapping[str, int] | None = None,
    listed: bool = False,
    name: str = "tiny",
) -> onnx.ModelProto:
    """Return a model of IR version 8, which every opset here knows.

    Parameters
    ----------
    nodes : iterable of NodeProto
    inputs, outputs : mapping of str to shape
        Outputs may be names only; their shapes are then unknown.
    constants : mapping of str to array, optional
    types : mapping of str to numpy type, optional
        Of inputs and outputs that are not float32.
    opset : int
    domains : mapping of str to int, optional
        Other operator sets.
    listed : bool
        Also name the constants as inputs, as files before IR version 4 do.
    """
    types = types or {}

    def info(key: str, shape: Sequence[Any] | None) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(types.get(key, np.float32)))
        return helper.make_tensor_value_info(key, kind, None if shape is None else list(shape))

    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    starts = [info(key, shape) for key, shape in inputs.items()]
    if listed:
        starts += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    ends = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs)
    graph = helper.make_graph(
        list(nodes), name, starts, [info(key, shape) for key, shape in ends.items()], tensors
    )
    sets = {"": opset, **(domains or {})}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*s) for s in sets.items()])
    model.ir_version = 3 if listed else 8
    return model
