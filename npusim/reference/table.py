"""From a node to its float32 function: the table of the reference evaluator.

A *prepare* function looks at a node once (packing weights, computing indices) and returns a *step*.
Unlike the steps of ``npusim.runtime.binding``, a reference step takes **all** inputs of its node in
order, constants included, and returns the node's outputs. Steps never write to their inputs; an
output may be a view of an input. Every element of an output is computed in an order that depends
neither on the number of samples nor on the number of threads.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from npusim.environment import thread_count
from npusim.errors import GraphError
from npusim.ir.attrs import Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node

Array = NDArray[Any]
Step = Callable[..., tuple[Array, ...]]
Kind = TypeVar("Kind", bound=Attrs)


_local = threading.local()


def stay_in_this_thread() -> None:
    """Keep what this thread computes from now on in this thread: others are busy as well."""
    _local.stays = True


class Workers:
    """Splits independent work over threads.

    Parameters
    ----------
    threads : int or None
        None: as many as a run of the simulator uses.
    """

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise GraphError(f"{threads} threads", rule="threads is at least 1")
        self.threads = threads or thread_count()

    def run(self, work: Callable[[int, int], object], total: int, grain: int) -> None:
        """Call ``work(begin, end)`` for parts of ``range(total)``, each a multiple of ``grain``."""
        grains = -(-total // grain)
        parts = min(self.threads, grains)
        if parts <= 1 or getattr(_local, "stays", False):
            work(0, total)
            return
        edges = [min(total, grains * i // parts * grain) for i in range(parts + 1)]
        pending = [
            _executor(self.threads).submit(work, begin, end) for begin, end in pairwise(edges[1:])
        ]
        work(edges[0], edges[1])
        for future in pending:
            future.result()


@cache
def _executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="npusim-reference")


Prepare = Callable[[Node, Graph, Workers], Step]

_TABLE: dict[str, tuple[Prepare, bool]] = {}


def reference(*ops: str, integers: bool = False) -> Callable[[Prepare], Prepare]:
    """Register the decorated function for operators; ``integers``: defined for those as well."""

    def add(prepare: Prepare) -> Prepare:
        for op in ops:
            if op in _TABLE:
                raise GraphError(f"{op} has two reference functions")
            _TABLE[op] = (prepare, integers)
        return prepare

    return add


def reference_ops() -> tuple[str, ...]:
    """Return the operators that have a reference function, in order."""
    return tuple(sorted(_TABLE))


def prepare_step(node: Node, graph: Graph, workers: Workers) -> Step:
    """Return the step of a node.

    Raises
    ------
    GraphError
        Naming the layer, when the operator is unknown or does not work on integers.
    """
    where = f"layer {node.name!r} ({node.op})"
    found = _TABLE.get(node.op)
    if found is None:
        raise GraphError(
            "the operator has no reference function",
            where=where,
            rule=f"available: {', '.join(reference_ops())}",
        )
    prepare, integers = found
    if not integers:
        for name in node.inputs:
            if graph.spec(name).dtype is not DType.F32:
                raise GraphError(
                    f"input {name!r} is {graph.spec(name).dtype.value}",
                    where=where,
                    rule=f"{node.op} is defined for float32",
                    remedy="insert a Cast to float32 into the model",
                )
    try:
        return prepare(node, graph, workers)
    except GraphError as error:
        if error.where:
            raise
        raise GraphError(error.what, where=where, rule=error.rule, remedy=error.remedy) from None


def attributes(node: Node, kind: type[Kind]) -> Kind:
    """Return the node's attribute record, checked to be of the operator's kind."""
    if not isinstance(node.attrs, kind):
        raise GraphError(
            f"attributes are {type(node.attrs).__name__}", rule=f"{node.op} has {kind.__name__}"
        )
    return node.attrs


def contiguous(value: Array) -> Array:
    """Return the value in some dense memory order, copying only when it has gaps.

    Vectorised functions of numpy may take another path, and give another last bit, for gaps.
    """
    order = sorted(range(value.ndim), key=lambda axis: -value.strides[axis])
    return value if value.transpose(order).flags.c_contiguous else np.asarray(value, order="C")


def last_axes(value: Array, axes: tuple[int, ...]) -> Array:
    """Return a C-contiguous array (other axes .., the given axes flattened).

    Reductions run over its last axis: the order of the sum then depends on that length alone.
    """
    rest = [axis for axis in range(value.ndim) if axis not in axes]
    moved = value.transpose(*rest, *axes)
    return np.asarray(moved, order="C").reshape(*moved.shape[: len(rest)], -1)


def is_channels_last(value: Array) -> bool:
    """Tell whether an (N, C, H, W) array lies in memory as (N, H, W, C)."""
    return value.ndim == 4 and value.transpose(0, 2, 3, 1).flags.c_contiguous
