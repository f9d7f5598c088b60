"""Name the layers whose results on the chip are not known, or known to be of no use."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from npusim.explain import see
from npusim.ir.attrs import (
    Conv2dAttrs,
    GlobalPoolAttrs,
    LrnAttrs,
    MatmulAttrs,
    Pool2dAttrs,
    PoolKind,
    ResizeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import DynamicFixedPoint
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def
from npusim.ops.conv import counts_last_product_again
from npusim.ops.pool import PIXELS_SUMMED, leaves_pixels_out, reads_pads_only, windows_overhang
from npusim.ops.resize_positions import takes_first_rows
from npusim.ops.traits import TpTable
from npusim.passes.convolution_predicates import loses_values, spans_too_far
from npusim.passes.engine_predicates import FINEST_OF_TABLES
from npusim.passes.requant import excess_fraction_bits

log = logging.getLogger(__name__)
WIDEST_DILATED_ON_SHADER = 5  # columns of a u8 depthwise kernel


class Remark(NamedTuple):
    """What is odd about a layer.

    Attributes
    ----------
    code : str
        Page of ``npusim.explain``, which says what npusim computes instead.
    text : str
        What the chip does and what may be done about it, in a line.
    """

    code: str
    text: str


def _transposed_matmul(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    if not isinstance(node.attrs, MatmulAttrs) or not node.attrs.transpose_b:
        return None
    if ifm.dtype is DType.I16:
        return Remark(
            "matmul-transposed-i16",
            "the chip's kernel for a transposed second operand misreads groups of eight elements, "
            "npusim computes the true product; transpose the constant yourself, or use u8 or i8",
        )
    *_, columns, inner = graph.spec(node.inputs[1]).shape
    if counts_last_product_again(node.attrs, (inner, columns)):
        return Remark(
            "matmul-last-product",
            f"the chip's kernel for a transposed second operand adds the last of {inner} products "
            "five times, and so does npusim; pad to a multiple of 8",
        )
    return None


def _lrn(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    if not isinstance(node.attrs, LrnAttrs):
        return None
    if node.attrs.size in (2, 4):
        return Remark(
            "lrn-zeros",
            "the chip stores zeros for windows of 2 and 4 channels, npusim the true values; "
            "use 3 or 5",
        )
    if ifm.dtype is DType.I8 and node.engine is Engine.SHADER:
        return Remark(
            "lrn-i8",
            "the chip's i8 kernel for more than 5 channels stores wrong values, npusim the true "
            "ones; use u8 or i16 for this layer",
        )
    return None


def _layer_norm(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    if node.op == "layer_norm" and ifm.dtype is DType.I8:
        return Remark(
            "layer-norm-i8",
            "the chip's i8 kernel stores 0 wherever the codes of a row add up to less than 0, and "
            "so does npusim; use u8 or i16 for this layer",
        )
    return None


def _fine_table(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    if (
        node.engine is Engine.TP
        and op_def(node.op).tp_table is TpTable.LOOKUP
        and isinstance(ifm.quant, DynamicFixedPoint)
        and ifm.quant.fl > FINEST_OF_TABLES
    ):
        return Remark(
            "table-too-fine",
            f"the chip's table is wrong for inputs of more than {FINEST_OF_TABLES} fraction bits, "
            "npusim computes the true values; give the input a wider range",
        )
    return None


def _wide_dilated_depthwise(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    attrs = node.attrs
    if not isinstance(attrs, Conv2dAttrs) or not 1 < attrs.group == ifm.shape[1]:
        return None
    kernel = graph.spec(node.inputs[1]).shape[2:]
    if not spans_too_far(attrs, kernel):
        return None
    if loses_values(attrs, ifm, kernel, graph.spec(node.outputs[0]).shape[1]):
        return Remark(
            "depthwise-wide-dilation",
            f"the chip's driver stores garbage for a depthwise {kernel[0]}x{kernel[1]} kernel with "
            f"dilation {attrs.dilation[0]}x{attrs.dilation[1]}, which spans more than 11 pixels; "
            "npusim computes the true values; use a smaller dilation, or i8 or i16",
        )
    if ifm.dtype is DType.U8 and kernel[1] > WIDEST_DILATED_ON_SHADER:
        return Remark(
            "depthwise-wide-dilation",
            "the chip's u8 kernel for dilated kernels of 6 columns or more stores wrong values, "
            "npusim the true ones; use a smaller dilation or kernel, or i8 or i16",
        )
    return None


def _finer_than_its_sums(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    excess = excess_fraction_bits(node, graph)
    quant = graph.spec(node.outputs[0]).quant
    if not excess or not isinstance(quant, DynamicFixedPoint):
        return None
    return Remark(
        "i16-negative-sums",
        f"the chip stores -32768 for every negative sum, because the result has {quant.fl} "
        f"fraction bits and the sum {quant.fl - excess}, and so does npusim; quantize without "
        "naming a release (toolkit), give the result a wider range, or use u8 or f16 here",
    )


def _average_overhang(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    attrs = node.attrs
    if not isinstance(attrs, Pool2dAttrs) or attrs.kind is PoolKind.MAX:
        return None
    ofm = graph.spec(node.outputs[0])
    if not attrs.count_include_pad or not windows_overhang(attrs, ifm.shape, ofm.shape):
        return None
    return Remark(
        "average-overhang",
        "the last window hangs over the edge (ceil mode) and the chip divides it by its full size, "
        "and so does npusim; export with count_include_pad=0, or use floor mode",
    )


def _incomplete_average(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    attrs = node.attrs
    if not isinstance(attrs, Pool2dAttrs | GlobalPoolAttrs) or attrs.kind is PoolKind.MAX:
        return None
    ofm, size = graph.spec(node.outputs[0]), ifm.shape[2:]
    if isinstance(attrs, Pool2dAttrs) and (attrs.kernel != size or any(attrs.pad)):
        return None
    halves = ifm.dtype is ofm.dtype is DType.F16
    if node.engine is not Engine.SHADER or not halves or not leaves_pixels_out(size):
        return None
    return Remark(
        "average-incomplete",
        f"the chip's program for this average adds the first {PIXELS_SUMMED} of "
        f"{size[0] * size[1]} pixels and divides by all, and so does npusim; "
        "use a mean over both axes instead, or u8, i8 or i16 here",
    )


def _maximum_of_pads(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    attrs, ofm = node.attrs, graph.spec(node.outputs[0])
    if not isinstance(attrs, Pool2dAttrs) or attrs.kind is not PoolKind.MAX:
        return None
    if not reads_pads_only(attrs, ifm.shape, ofm.shape):
        return None
    lowest = "-65504" if ofm.dtype is DType.F16 else "the lowest code"
    return Remark(
        "maximum-of-pads",
        f"a window lies in the padding only: its maximum is {lowest} here and minus infinity in "
        "the source; make the pads smaller than the window",
    )


def _first_rows(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    attrs = node.attrs
    if not isinstance(attrs, ResizeAttrs) or node.engine is not Engine.TP:
        return None
    if not takes_first_rows(attrs, ifm.shape):
        return None
    return Remark(
        "resize-first-rows",
        f"the chip copies the first of every {ifm.shape[2] // attrs.size[0]} rows, not a middle "
        "one as half_pixel says, and so does npusim; use asymmetric coordinates, or i8 or f16",
    )


def _pool_between_types(node: Node, ifm: TensorSpec, graph: Graph) -> Remark | None:
    attrs, ofm = node.attrs, graph.spec(node.outputs[0])
    if not isinstance(attrs, Pool2dAttrs | GlobalPoolAttrs) or node.engine is not Engine.SHADER:
        return None
    one, other = ifm.dtype, ofm.dtype
    whole = isinstance(attrs, GlobalPoolAttrs) and attrs.kind is PoolKind.AVG
    reals = one.is_float != other.is_float
    wrong = whole and (other.is_float or other is DType.I8) if reals else one is not other
    if not wrong:
        return None
    return Remark(
        "pool-between-types",
        f"the chip's program for this pool from {one.value} to {other.value} stores wrong values "
        "or does not compile, npusim computes the true ones; give input and result one type",
    )


UNMODELLED: tuple[Callable[[Node, TensorSpec, Graph], Remark | None], ...] = (
    _wide_dilated_depthwise,
    _transposed_matmul,
    _lrn,
    _layer_norm,
    _fine_table,
    _finer_than_its_sums,
    _average_overhang,
    _incomplete_average,
    _maximum_of_pads,
    _pool_between_types,
    _first_rows,
)


def warn_unmodelled(graph: Graph) -> Graph:
    """Log a warning for every layer of which the chip makes something unusable or unknown.

    Engines must be assigned. Source: measured, docs/fidelity.md section 3.
    """
    for node in graph.nodes:
        ifm = graph.spec(node.inputs[0])
        for check in UNMODELLED:
            if remark := check(node, ifm, graph):
                log.warning(
                    "layer %r (%s, %s): %s %s",
                    node.name,
                    node.op,
                    ifm.dtype.value,
                    remark.text,
                    see(remark.code),
                )
    return graph
