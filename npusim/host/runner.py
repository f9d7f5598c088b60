"""Run the host layers of a network."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ContainerError, InputError
from npusim.host.custom import Function, functions, operators
from npusim.host.tail import DOMAIN
from npusim.ir.graph import Graph, Tail

Array = NDArray[Any]


def network_results(
    graph: Graph, outputs: Mapping[str, Array], inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the results of a network for real outputs of its NPU part and real inputs."""
    if graph.tail is None:
        return {name: outputs[name] for name in graph.outputs}
    return run_tail(graph.tail, {**inputs, **outputs})


def run_tail(tail: Tail, values: Mapping[str, Array]) -> dict[str, Array]:
    """Return the results of a network in order.

    Parameters
    ----------
    tail : Tail
    values : mapping
        Real values of the NPU part's outputs and of the graph inputs that the tail reads.

    Returns
    -------
    dict
        Result -> array; how many rows a box layer gives depends on the values.

    Raises
    ------
    ContainerError
        When the stored model cannot be read.
    InputError
        When a host layer stops; names the layers.
    """
    session, types, names = _session(tail.model, functions())
    feeds = {n: np.asarray(values[n]).astype(types[n], copy=False) for n in tail.inputs}
    try:
        found = dict(zip(names, session.run(None, feeds), strict=True))
    except Exception as error:  # of ONNX's evaluator: kinds of their own, also plain RuntimeError
        layers = ", ".join(f"{layer.name!r} ({layer.op})" for layer in tail.layers)
        raise InputError(
            f"the CPU part stops: {error}",
            where=f"host layers {layers}",
            rule="they run in float on the outputs of the NPU part",
            remedy="end the network in front of them",
        ) from error
    return {n: np.asarray(found[n] if n in found else values[n]) for n in tail.results}


@lru_cache(maxsize=8)
def _session(
    model: bytes, custom: tuple[tuple[str, Function], ...]
) -> tuple[Any, dict[str, Any], list[str]]:
    """Return the evaluator of a model, the types of its inputs and the names of its outputs."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    from npusim.host.operators import OPERATORS

    try:
        proto = onnx.load_from_string(model)
        _refuse_unknown(proto, {name for name, _ in custom})
        session = ReferenceEvaluator(proto, new_ops=[*OPERATORS, *operators(custom)])
    except ContainerError:
        raise
    except Exception as error:  # protobuf's and ONNX's kinds have no common base
        raise ContainerError(f"the host layers cannot be read: {error}") from error
    types = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in proto.graph.input
    }
    return session, types, [value.name for value in proto.graph.output]


def _refuse_unknown(model: Any, custom: set[str]) -> None:
    """Refuse operators whose function is not here: files do not hold Python functions."""
    from npusim.host.operators import OPERATORS

    known = custom | {each.__name__ for each in OPERATORS}
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type not in known:
            raise ContainerError(
                f"the function of operator {node.op_type!r} is not known here",
                where=f"host layer {node.name!r}",
                rule="model files do not hold Python functions",
                remedy=f"register_op({node.op_type!r}, function) of the RKNN class comes before",
            )
