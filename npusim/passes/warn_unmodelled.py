"""Name the layers whose results on the chip are not known, or known to be of no use."""

import logging
from collections.abc import Callable

from npusim.ir.attrs import Conv2dAttrs, LrnAttrs, MatmulAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import DynamicFixedPoint
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def
from npusim.ops.conv import counts_last_product_again
from npusim.ops.traits import TpTable
from npusim.passes.engine_predicates import FINEST_OF_TABLES, spans_too_far

log = logging.getLogger(__name__)
WIDEST_DILATED_ON_SHADER = 5  # columns of a u8 depthwise kernel


def _transposed_matmul(node: Node, ifm: TensorSpec, graph: Graph) -> str:
    if not isinstance(node.attrs, MatmulAttrs) or not node.attrs.transpose_b:
        return ""
    if ifm.dtype is DType.I16:
        return "the chip's kernel for a transposed second operand misreads groups of eight elements"
    *_, columns, inner = graph.spec(node.inputs[1]).shape
    if counts_last_product_again(node.attrs, (inner, columns)):
        return (
            f"the chip's kernel for a transposed second operand adds the last of {inner} products "
            "five times; pad to a multiple of 8"
        )
    return ""


def _lrn(node: Node, ifm: TensorSpec, graph: Graph) -> str:
    if not isinstance(node.attrs, LrnAttrs):
        return ""
    if node.attrs.size in (2, 4):
        return "the chip stores zeros for windows of 2 and 4 channels"
    if ifm.dtype is DType.I8 and node.engine is Engine.SHADER:
        return "the chip's i8 kernel for more than 5 channels stores wrong values"
    return ""


def _prelu(node: Node, ifm: TensorSpec, graph: Graph) -> str:
    if node.op == "prelu" and ifm.dtype in (DType.I8, DType.I16):
        return "the chip's driver has no i8 or i16 kernel for it"
    return ""


def _layer_norm(node: Node, ifm: TensorSpec, graph: Graph) -> str:
    if node.op == "layer_norm" and ifm.dtype is DType.I8:
        return "the chip's i8 kernel stores 0 wherever the codes of a row add up to less than 0"
    return ""


def _fine_table(node: Node, ifm: TensorSpec, graph: Graph) -> str:
    if (
        node.engine is Engine.TP
        and op_def(node.op).tp_table is TpTable.LOOKUP
        and isinstance(ifm.quant, DynamicFixedPoint)
        and ifm.quant.fl > FINEST_OF_TABLES
    ):
        return f"the chip's table is wrong for inputs of more than {FINEST_OF_TABLES} fraction bits"
    return ""


def _wide_dilated_depthwise(node: Node, ifm: TensorSpec, graph: Graph) -> str:
    attrs = node.attrs
    if not isinstance(attrs, Conv2dAttrs) or not 1 < attrs.group == ifm.shape[1]:
        return ""
    kernel = graph.spec(node.inputs[1]).shape[2:]
    if not spans_too_far(attrs, kernel):
        return ""
    if node.engine is Engine.NN:
        return (
            f"the chip's driver stores garbage for a depthwise {kernel[0]}x{kernel[1]} kernel with "
            f"dilation {attrs.dilation[0]}x{attrs.dilation[1]}, which spans more than 11 pixels; "
            "use a smaller dilation, or i8 or i16"
        )
    if ifm.dtype is DType.U8 and kernel[1] > WIDEST_DILATED_ON_SHADER:
        return "the chip's u8 kernel for dilated kernels of 6 columns or more stores wrong values"
    return ""


UNMODELLED: tuple[Callable[[Node, TensorSpec, Graph], str], ...] = (
    _wide_dilated_depthwise,
    _transposed_matmul,
    _lrn,
    _prelu,
    _layer_norm,
    _fine_table,
)


def warn_unmodelled(graph: Graph) -> Graph:
    """Log a warning for every layer of which the chip makes something unusable or unknown.

    Engines must be assigned. Source: measured, docs/fidelity.md section 3.
    """
    for node in graph.nodes:
        ifm = graph.spec(node.inputs[0])
        for check in UNMODELLED:
            if why := check(node, ifm, graph):
                log.warning(
                    "layer %r (%s, %s): %s (docs/fidelity.md section 3 says what npusim does)",
                    node.name,
                    node.op,
                    ifm.dtype.value,
                    why,
                )
    return graph
