"""Ranges of lookup tables: entries that no sample asked for are entries all the same."""

from collections.abc import Mapping

import numpy as np

from npusim.ir.graph import Graph
from npusim.passes.hidden import hidden_tensors
from npusim.quantization.schemes import Range


def with_whole_tables(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return ranges with those of results of lookups widened to the whole table.

    An embedding shares its codes with its result. The samples of a calibration hold a few of its
    indices; without this the rows of the others would be cut off. Tables with masks (infinite, or
    read by nothing but a softmax) are left alone.

    Parameters
    ----------
    graph : Graph
        Float graph.
    ranges : mapping
        Measured range of every tensor.
    """
    found = dict(ranges)
    tables = [n for n in graph.nodes if n.op == "gather" and graph.is_constant(n.inputs[0])]
    hidden = hidden_tensors(graph) if tables else {}
    for node in tables:
        name, table = node.outputs[0], graph.constants[node.inputs[0]]
        if name in hidden or name not in found or not table.size:
            continue
        if table.dtype.kind == "f" and np.isfinite(table).all():
            low, high = found[name]
            found[name] = (min(low, float(table.min())), max(high, float(table.max())))
    return found
