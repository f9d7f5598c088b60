"""One layer on one engine, and the ways in which its data may lie in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Quant
from npusim.ir.tensor import Shape
from npusim.passes.requant import requant_of
from npusim.runtime.binding import Step, bind
from npusim.runtime.bindings import load_bindings
from npusim.testing.graphs import GraphBuilder

Format = tuple[DType, Quant]


def bound_layer(
    op: str,
    engine: Engine,
    inputs: Sequence[tuple[Shape, Format]],
    outputs: Format | Sequence[Format],
    attrs: Attrs | None = None,
    constants: Mapping[int, Any] | None = None,
    *,
    name: str = "layer",
) -> Step:
    """Return the step of one operator on an engine, whatever the engine rules would choose.

    Parameters
    ----------
    op : str
        Name of the operator.
    engine : Engine
    inputs : sequence of (shape, (dtype, quant))
        In the operator's order; they are called ``x0``, ``x1``, ...
    outputs : (dtype, quant) or a sequence of them
        Formats of the results ``y0``, ``y1``, ...
    attrs : Attrs, optional
        The operator's defaults when None.
    constants : mapping, optional
        Input position -> its known value.
    name : str
        The layer's.

    Returns
    -------
    Step
        Takes the inputs that are not constants, returns a tuple of results.

    Raises
    ------
    GraphError
        When nothing is bound for the operator on this engine, or shapes or types do not fit.
    """
    load_bindings()
    known = constants or {}
    b = GraphBuilder(name="one")
    names = []
    for i, (shape, (dtype, quant)) in enumerate(inputs):
        if i in known:
            names.append(b.constant(f"x{i}", known[i], quant))
        else:
            names.append(b.input(f"x{i}", *shape, dtype=dtype, quant=quant))
    formats = [outputs] if isinstance(outputs, tuple) else list(outputs)
    first, *others = (f"y{i}" for i in range(len(formats)))
    b.node(op, names, first, attrs, others, name=name, engine=engine)
    graph = b.done()
    for result, (dtype, quant) in zip(graph.outputs, formats, strict=True):
        graph.tensors[result] = replace(graph.spec(result), dtype=dtype, quant=quant)
    (node,) = graph.nodes
    return bind(replace(node, requant=requant_of(node, graph)), graph)


def memory_orders(value: NDArray[Any]) -> list[NDArray[Any]]:
    """Return equal arrays: planes (C order), channels last, a strided view, and read-only."""
    planes = np.array(value, order="C")
    last, wide = planes.copy(), planes.copy()
    if value.ndim > 1:
        last = np.moveaxis(np.array(np.moveaxis(value, 1, -1), order="C"), -1, 1)
    if value.ndim:
        wide = np.repeat(value, 2, axis=-1)[..., ::2]
    locked = planes.copy()
    locked.flags.writeable = False
    return [planes, last, wide, locked]
