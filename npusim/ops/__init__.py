"""Operator definitions. Importing this package registers all families."""

from npusim.ops import conv, eltwise, move, norm, pool, reduce, unary
from npusim.ops.registry import OpDef, infer_shapes, node_macs, op_def, op_names, register

__all__ = ["OpDef", "infer_shapes", "node_macs", "op_def", "op_names", "register"]

FAMILIES = (conv, eltwise, move, norm, pool, reduce, unary)
