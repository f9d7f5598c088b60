"""Reference of comparisons, functions of truth values, and the choice by one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npusim.ir.graph import Graph, Node
from npusim.reference.table import Step, Workers, reference

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "select": np.where,
}


@reference(*_FUNCTIONS, integers=True)
def prepare_truth(node: Node, graph: Graph, workers: Workers) -> Step:
    """Broadcast and compute."""
    function = _FUNCTIONS[node.op]
    return lambda *values: (np.asarray(function(*values)),)
