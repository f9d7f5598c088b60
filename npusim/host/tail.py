"""From operators that no engine has to a ``Tail``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError
from npusim.ir.dtypes import DType
from npusim.ir.graph import HostLayer, Tail
from npusim.ir.tensor import TensorSpec

DOMAIN = "npusim.host"
OPSET = 20
IR_VERSION = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNode:
    """An operator of the CPU.

    Attributes
    ----------
    domain : str
        ``DOMAIN`` for those in ``npusim.host.operators``; empty for ONNX's own.
    attrs : mapping
        Attributes as ``onnx.helper.make_node`` takes them, or ONNX's own records.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    domain: str = DOMAIN


def type_at_host(spec: TensorSpec) -> np.dtype[Any]:
    """Return the type in which the CPU reads a tensor: codes and halves become float32."""
    if spec.dtype.is_float or not _is_plain(spec):
        return np.dtype(np.float32)
    return np.dtype(spec.dtype.numpy)


def _is_plain(spec: TensorSpec) -> bool:
    return type(spec.quant).__name__ == "Float" and spec.dtype in (
        DType.I32,
        DType.I64,
        DType.BOOL,
    )


def tail_of(
    nodes: Sequence[HostNode],
    specs: Mapping[str, TensorSpec],
    constants: Mapping[str, NDArray[Any]],
    results: Sequence[str],
    *,
    name: str,
    opset: int = OPSET,
) -> Tail:
    """Return the tail that gives ``results`` from what the NPU part and the file know.

    Parameters
    ----------
    nodes : sequence of HostNode
        In execution order; those that no result needs are left out.
    specs : mapping
        Of every tensor of the NPU part.
    constants : mapping
        Known values.
    results : sequence of str
        Results of the network in order.
    opset : int
        ONNX operator set of the nodes without a domain.
    """
    from onnx import TensorProto, helper, numpy_helper  # late: onnx loads slowly

    kept = _needed(nodes, results)
    made = {out for node in kept for out in node.outputs if out}
    read = dict.fromkeys(n for node in kept for n in node.inputs if n and n not in made)
    inputs = tuple(name for name in read if name not in constants)
    for missing in (name for name in inputs if name not in specs):
        raise ModelImportError(f"the host layers read {missing!r}, which nothing gives", where=name)
    unknown = TensorProto.UNDEFINED
    graph = helper.make_graph(
        [_proto(node) for node in kept],
        name,
        [
            helper.make_tensor_value_info(
                n, helper.np_dtype_to_tensor_dtype(type_at_host(specs[n])), specs[n].shape
            )
            for n in inputs
        ],
        [helper.make_tensor_value_info(n, unknown, None) for n in results if n in made],
        [numpy_helper.from_array(np.asarray(constants[n]), n) for n in read if n in constants],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)],
        ir_version=IR_VERSION,
    )
    return Tail(
        model=model.SerializeToString(),
        inputs=inputs,
        results=tuple(results),
        layers=tuple(
            HostLayer(name=n.name, op=n.op, inputs=tuple(filter(None, n.inputs)), outputs=n.outputs)
            for n in kept
        ),
    )


def _proto(node: HostNode) -> Any:
    from onnx import AttributeProto, helper

    ready = [a for a in node.attrs.values() if isinstance(a, AttributeProto)]
    plain = {k: v for k, v in node.attrs.items() if not isinstance(v, AttributeProto)}
    try:
        proto = helper.make_node(
            node.op, node.inputs, node.outputs, name=node.name, domain=node.domain, **plain
        )
    except (TypeError, ValueError) as error:
        raise ModelImportError(
            f"a setting cannot be stored: {error}",
            where=f"layer {node.name!r} ({node.op})",
            rule="numbers of 64 bits",
        ) from error
    proto.attribute.extend(ready)
    return proto


def _needed(nodes: Sequence[HostNode], results: Sequence[str]) -> list[HostNode]:
    wanted, kept = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]
