"""Values that are known before a run, whatever operator gives them."""

from collections.abc import Sequence

import numpy as np

from npusim.errors import GraphError
from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.ir.attrs import Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.ops import infer_shapes


def known_results(
    op: str, values: Sequence[Array], attrs: Attrs, dtype: DType
) -> list[Array] | None:
    """Return an operator's outputs for known inputs, as the float evaluator gives them.

    Parameters
    ----------
    op : str
        Key of ``npusim.ops.registry``.
    values : sequence of array
        float32, integers or booleans; what is only moved may be codes.
    dtype : DType
        Type of the results.

    Returns
    -------
    list of array, or None
        None for what the evaluator does not compute (functions of integers).

    Raises
    ------
    GraphError
        When the shapes do not fit.
    ModelImportError
        When the result is much larger than what it is made of.
    """
    from npusim.reference.evaluate import Evaluator

    if op == "div" and all(value.dtype.kind in "iu" for value in values):
        return _whole_quotient(values[0], values[1])
    inputs = tuple(f"input{i}" for i in range(len(values)))
    specs = [
        TensorSpec(name=name, shape=value.shape, dtype=DType.of(value.dtype))
        for name, value in zip(inputs, values, strict=True)
    ]
    node = Node(name=op, op=op, inputs=inputs, outputs=(), attrs=attrs)
    made = [
        TensorSpec(name=f"output{i}", shape=shape, dtype=dtype)
        for i, shape in enumerate(infer_shapes(node, specs))
    ]
    largest = max((value.size for value in values), default=0)
    for spec in made:
        check_made(spec.shape, f"a computed {op}", "", largest)
    outputs = tuple(spec.name for spec in made)
    graph = Graph(
        name=op,
        nodes=(Node(name=op, op=op, inputs=inputs, outputs=outputs, attrs=attrs),),
        inputs=inputs,
        outputs=outputs,
        tensors={spec.name: spec for spec in (*specs, *made)},
    )
    try:
        found = Evaluator(graph, threads=1).run(dict(zip(inputs, values, strict=True)))
    except GraphError:  # not defined for these types
        return None
    return [found[name] for name in outputs]


def _whole_quotient(first: Array, second: Array) -> list[Array] | None:
    """Return the quotient of integers, cut toward zero; None for a division by zero."""
    if not np.all(second):
        return None
    wide = first.astype(np.int64), second.astype(np.int64)
    quotient = np.abs(wide[0]) // np.abs(wide[1]) * np.sign(wide[0]) * np.sign(wide[1])
    return [quotient.astype(first.dtype)]
