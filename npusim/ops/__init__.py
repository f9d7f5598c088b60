"""Operator definitions. Importing this package registers all families."""

from npusim.ops import compare, conv, eltwise, move, norm, pool, reduce, unary
from npusim.ops.registry import (
    OpDef,
    averages,
    infer_shapes,
    is_function,
    keeps_codes,
    node_macs,
    op_def,
    op_names,
    ops_named_in,
    ops_where,
    register,
    require_parameters,
)
from npusim.ops.traits import TpTable, Traits

__all__ = [
    "OpDef",
    "TpTable",
    "Traits",
    "averages",
    "infer_shapes",
    "is_function",
    "keeps_codes",
    "node_macs",
    "op_def",
    "op_names",
    "ops_named_in",
    "ops_where",
    "register",
    "require_parameters",
]

FAMILIES = (compare, conv, eltwise, move, norm, pool, reduce, unary)
