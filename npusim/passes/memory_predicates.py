"""Engine rules that depend on where tensors lie: sums, concats, parts and views.

Source: as in ``engine_predicates``; operation lists of small networks for what is copied.
"""

from math import prod

from npusim.ir.attrs import AxisAttrs, SliceAttrs, SplitAttrs, TransposeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Form, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, scale_of
from npusim.ir.tensor import TensorSpec
from npusim.passes.engine_predicates import (
    ENGINE_TYPES,
    engine_types,
    fully_connected_types,
)
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import same_numbers

SCALES_APART = 1e-5  # u8 scales that differ by less are equal to the driver


# ---- sums --------------------------------------------------------------------------------------
def is_part(node: Node, view: GraphView) -> bool:
    """Tell whether the results of a split or slice are parts of its input, without a copy."""
    return same_numbers(view.graph, node.inputs[0], *node.outputs) and takes_one_piece(node, view)


def takes_one_piece(node: Node, view: GraphView) -> bool:
    """Tell whether a node is a split or slice of which every result has no gap in memory.

    Source: measured, docs/arithmetic/placement.md rule 6.2.
    """
    ifm = view.ifm(node)
    match node.attrs:
        case SplitAttrs(axis=axis):
            return prod(ifm.shape[:axis]) == 1
        case SliceAttrs(step=step):
            return set(step) == {1} and _in_one_piece(view.ofm(node).shape, ifm.shape)
    return False


def _in_one_piece(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Tell whether a part of these sizes has no gap in memory: whole behind its first long axis."""
    first = next((axis for axis, n in enumerate(part) if n > 1), len(part))
    return part[first + 1 :] == whole[first + 1 :]


def _lays_claim(node: Node, name: str, view: GraphView) -> bool:
    """Tell whether a reader fixes where a tensor lies: view, concat in place, earlier NN sum."""
    if node.op in ("add", "sub"):
        return node.name in view.placed and view.placed[node.name].form is Form.SUM
    if node.op == "concat":
        return joined_in_place(node, view)
    return name == node.inputs[0] and is_part(node, view)


def _summand(name: str, view: GraphView) -> bool:
    """Tell whether the driver may lay a tensor beside the other operand of a sum."""
    node = view.producers.get(name)
    if node is None or view.exposed(name) or is_part(node, view):
        return False
    if node.op == "concat" and joined_in_place(node, view):
        return False
    return not any(
        _lays_claim(reader, alias, view)
        for alias in view.aliases(name)
        for reader in view.consumers[alias]
    )


def _sum_scales_fit(a: TensorSpec, b: TensorSpec) -> bool:
    """Tell whether 8- or 16-bit weights reach from the coarser operand to the finer.

    u8 scales are within a factor of 2, or of 20 when neither is above 1.
    """
    if a.dtype is DType.F16:
        return True
    if isinstance(a.quant, DynamicFixedPoint) and isinstance(b.quant, DynamicFixedPoint):
        return abs(a.quant.fl - b.quant.fl) < a.dtype.bits
    low, high = sorted((scale_of(a.quant), scale_of(b.quant)))
    return high / low < 2 or (high <= 1 and high / low <= 20)


def _sums_as_a_layer(*specs: TensorSpec) -> bool:
    """Tell whether all are u8, all float16, or all i8 or i16 in dynamic fixed point."""
    kinds = {(spec.dtype, type(spec.quant)) for spec in specs}
    (dtype, quant), *others = kinds
    return not others and (
        dtype in (DType.U8, DType.F16)
        or (dtype in (DType.I8, DType.I16) and quant is DynamicFixedPoint)
    )


def sum_on_nn(node: Node, view: GraphView) -> bool:
    """Match a sum or difference of two hidden u8 or f16 results of one shape, four or five axes.

    The driver lays both operands side by side, so neither may be an input, output, constant, view,
    part of a concat in place, or operand of an earlier such sum. u8 scales are within a factor of
    2, or 20 if neither is above 1.
    """
    a, b = view.ifm(node), view.ifm(node, 1)
    return (
        a.dtype is b.dtype is view.ofm(node).dtype
        and _sums_as_a_layer(a, b, view.ofm(node))
        and a.shape == b.shape
        and len(a.shape) in (4, 5)
        and b.name not in view.aliases(a.name)
        and _sum_scales_fit(a, b)
        and all(_summand(name, view) for name in node.inputs)
    )


def sum_of_one_pixel(node: Node, view: GraphView) -> bool:
    """Match such a sum of one pixel, batch 1, several channels, the first without zero point."""
    ifm = view.ifm(node)
    return (
        len(ifm.shape) == 4
        and ifm.elements == ifm.shape[1] > 1
        and fully_connected_types(ifm, view.ofm(node))
        and sum_on_nn(node, view)
    )


# ---- movement ----------------------------------------------------------------------------------
def equal_for_driver(*specs: TensorSpec) -> bool:
    """Tell whether the driver takes parameters for equal: u8 scales that differ by less than 1e-5.

    Source: measured, docs/arithmetic/whole-networks.md rule 4.1.
    """
    first, *others = specs
    return all(
        spec.dtype is first.dtype
        and (
            spec.quant == first.quant
            or (
                isinstance(spec.quant, Affine)
                and isinstance(first.quant, Affine)
                and spec.quant.zero_point == first.quant.zero_point
                and abs(spec.quant.scale - first.quant.scale) < SCALES_APART
            )
        )
        for spec in others
    )


def joined_in_place(node: Node, view: GraphView) -> bool:
    """Match a concat of hidden results that all have the output's quantization.

    Along the first axis, or the second behind a batch of 1.
    """
    ofm = view.ofm(node)
    assert isinstance(node.attrs, AxisAttrs)  # by the operator's definition
    return (
        ofm.dtype in ENGINE_TYPES
        and node.attrs.axis <= 1
        and prod(ofm.shape[: node.attrs.axis]) == 1
        and equal_for_driver(ofm, *(view.graph.spec(name) for name in node.inputs))
        and all(name in view.producers and name not in view.graph.outputs for name in node.inputs)
    )


def same_codes_of_any_type(node: Node, view: GraphView) -> bool:
    """Match one type and quantization in and out."""
    return same_numbers(view.graph, node.inputs[0], *node.outputs)


def same_codes(node: Node, view: GraphView) -> bool:
    """Match u8, i8, i16 and f16 with one quantization in and out."""
    return engine_types(node, view) and same_codes_of_any_type(node, view)


def moves_nothing(node: Node, view: GraphView) -> bool:
    """Match such a permutation in which only axes of one element change places."""
    assert isinstance(node.attrs, TransposeAttrs)  # by the operator's definition
    shape = view.ifm(node).shape
    moved = [axis for axis in node.attrs.perm if shape[axis] > 1]
    return moved == sorted(moved) and same_codes(node, view)


def hidden_part(node: Node, view: GraphView) -> bool:
    """Match parts that lie in the input in one piece, in its quantization, none of them an output.

    u8, i8, i16 and f16; all axes before the cut one have one element.
    """
    return (
        engine_types(node, view)
        and is_part(node, view)
        and not any(name in view.graph.outputs for name in node.outputs)
    )
