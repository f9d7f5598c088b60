"""Float evaluator: what a network means, in float32 with ONNX semantics.

It is the yardstick for quantized results and the engine of calibration. Its results do not depend
on how samples are grouped into batches, nor on the number of threads: every sum has one order.
They agree with other float32 implementations up to rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError, InputError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Float
from npusim.ir.verify import verify
from npusim.ops import infer_shapes
from npusim.reference import compare, conv, eltwise, move, norm, pool, reduce, unary
from npusim.reference.table import Workers, prepare_step

Array = NDArray[Any]
Observer = Callable[[str, Array], None]

FAMILIES = (  # importing them fills the table
    compare,
    conv,
    eltwise,
    move,
    norm,
    pool,
    reduce,
    unary,
)


class Evaluator:
    """A float graph made ready to run many times.

    Parameters
    ----------
    graph : Graph
        Without quantized or float16 tensors, as importers make it.
    threads : int, optional
        Threads used by the heavy layers; by default all that the process may use. Results are the
        same for any number.

    Raises
    ------
    GraphError
        When the graph is quantized, inconsistent or has an operator on types it is not defined for.
    """

    def __init__(self, graph: Graph, *, threads: int | None = None) -> None:
        _require_float(graph)
        verify(graph)
        self.graph = graph
        workers = Workers(threads)
        self._steps = []
        last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
        keep = set(graph.outputs) | set(graph.constants)
        for i, node in enumerate(graph.nodes):
            _check_shapes(node, graph)
            # an output that nothing reads is freed by the node that writes it
            done = [n for n in dict.fromkeys(node.inputs) if last_use[n] == i and n not in keep]
            done += [n for n in node.outputs if n not in last_use and n not in keep]
            self._steps.append((node, prepare_step(node, graph, workers), tuple(done)))

    def run(
        self, feeds: Mapping[str, Array], *, observe: Observer | None = None
    ) -> dict[str, Array]:
        """Return the graph outputs for one batch of inputs.

        Parameters
        ----------
        feeds : mapping of str to array
            One array per graph input with the spec's shape and element type. Data comes after
            preprocessing: mean, std and channel order are the caller's.
        observe : callable, optional
            Called with the name and the value of every activation, graph inputs first, as soon as
            it is computed. The value has the spec's shape in any memory order and must not be
            changed.

        Returns
        -------
        dict of str to array
            C-contiguous arrays that share no memory with the feeds.

        Raises
        ------
        InputError
            When feeds are missing, unknown, or have another shape or element type.
        """
        values: dict[str, Array] = dict(self.graph.constants)
        values.update(checked_feeds(self.graph, feeds))
        if observe:
            for name in self.graph.inputs:
                observe(name, values[name])
        with np.errstate(all="ignore"):  # infinities and NaN are results like others here
            for node, step, done in self._steps:
                results = step(*(values[name] for name in node.inputs))
                for name, value in zip(node.outputs, results, strict=True):
                    values[name] = value
                    if observe:
                        observe(name, value)
                for name in done:
                    del values[name]
        return {name: np.array(values[name], order="C") for name in self.graph.outputs}


def checked_feeds(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the feeds as arrays.

    Raises
    ------
    InputError
        When feeds are missing, unknown, or have another shape or element type.
    """
    wanted = ", ".join(repr(name) for name in graph.inputs)
    missing = [name for name in graph.inputs if name not in feeds]
    extra = [name for name in feeds if name not in graph.inputs]
    if missing or extra:
        what = [f"no data for {missing}"] if missing else []
        what += [f"{extra} are no inputs"] if extra else []
        raise InputError(
            "; ".join(what),
            where=f"graph {graph.name!r}",
            rule=f"feeds has one array for each of: {wanted}",
        )
    checked = {}
    for name in graph.inputs:
        spec, value = graph.spec(name), np.asarray(feeds[name])
        if value.dtype != spec.dtype.numpy:
            raise InputError(
                f"element type {value.dtype}",
                where=f"input {name!r}",
                rule=f"{spec.dtype.numpy} is expected",
                remedy=f"pass value.astype('{spec.dtype.numpy}')",
            )
        if value.shape != spec.shape:
            raise InputError(
                f"shape {value.shape}",
                where=f"input {name!r}",
                rule=f"{spec.shape} is expected",
                remedy="resize or transpose the data, or import the model with this shape",
            )
        checked[name] = value
    return checked


def evaluate(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the graph outputs for one batch; see `Evaluator` to run more than one."""
    return Evaluator(graph).run(feeds)


def _require_float(graph: Graph) -> None:
    for name, spec in graph.tensors.items():
        if not isinstance(spec.quant, Float) or spec.dtype is DType.F16:
            raise GraphError(
                f"tensor {name!r} is {spec.dtype.value}"
                + ("" if isinstance(spec.quant, Float) else " and quantized"),
                where=f"graph {graph.name!r}",
                rule="the float reference runs the float32 graph an importer made",
                remedy="keep the graph from before quantization and pass that",
            )


def _check_shapes(node: Node, graph: Graph) -> None:
    shapes = infer_shapes(node, [graph.spec(name) for name in node.inputs])
    specs = tuple(graph.spec(name).shape for name in node.outputs)
    if shapes != specs:
        raise GraphError(
            f"outputs have shapes {specs}, the operator gives {shapes}",
            where=f"layer {node.name!r} ({node.op})",
            rule="output specs follow the operator's shape rule",
        )
