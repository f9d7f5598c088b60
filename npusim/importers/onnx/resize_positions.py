"""Sizes, scales and roundings of ONNX Resize and Upsample, as ONNX Runtime has them."""

import math

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.onnx.context import Context, OnnxNode, checked_axis
from npusim.ops.onnx_resize import CROP, ROUNDINGS, Axis, nearest_of

F32 = np.float32
HALF = np.float32(0.5)
RULES = (
    *("asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel"),
    *("tf_half_pixel_for_nn", "half_pixel_symmetric", CROP),
)


def targets(node: OnnxNode, context: Context, shape: tuple[int, ...]) -> list[Axis]:
    """Return every axis from whichever form the node has."""
    wanted: tuple[int, ...] | None = None
    if node.op_type == "Upsample" and node.version < 9:
        given = node.reals("scales")
    elif node.op_type == "Upsample" or node.version < 11:
        given = context.fixed_reals(node, 1, "the scales")
    else:
        given = context.fixed_reals(node, 2, "the scales")
        wanted = context.fixed_ints(node, 3, "the sizes") or None
    axes = node.integers("axes") or tuple(range(len(shape)))
    axes = tuple(checked_axis(node, axis, len(shape)) for axis in axes)
    if (given is None) == (wanted is None) or len(given or wanted or ()) != len(axes):
        raise ModelImportError(
            f"scales {given} and sizes {wanted} for axes {axes} of {shape}",
            where=node.where,
            rule="one of the two, one number per axis",
        )
    region = _region(node, context, len(axes))
    full = [Axis(n, n, F32(1)) for n in shape]
    ratio = _common_ratio(node, shape, axes, wanted)
    for i, axis in enumerate(axes):
        size, (start, end) = shape[axis], region[i]
        if given is not None:
            scale = F32(given[i])
            if not scale > 0:
                raise ModelImportError(f"scales {given}", where=node.where, rule="positive")
            # in float32, as runtimes do: 3 * float32(10 / 3) is 10 there, not 9.9999999; the
            # runtime leaves the region of interest out of the size
            out = math.floor(F32(size) * scale)
        elif ratio is not None:
            scale, out = ratio, math.floor(F32(ratio * F32(size)) + HALF)  # halves go up
        else:
            out = (wanted or ())[i]
            scale = F32(out) / F32(size)
        full[axis] = Axis(size, out, scale, start, end)
    return full


def rule_of(node: OnnxNode) -> str:
    """Return the coordinate rule; forms before opset 11 know one."""
    if node.op_type == "Upsample" or node.version < 11:
        return "asymmetric"
    rule = node.text("coordinate_transformation_mode", "half_pixel")
    if rule not in RULES:
        raise ModelImportError(
            f"coordinate_transformation_mode {rule!r}", where=node.where, rule=", ".join(RULES)
        )
    return rule


def _region(node: OnnxNode, context: Context, count: int) -> list[tuple[np.float32, np.float32]]:
    whole = [(F32(0), F32(1))] * count
    if rule_of(node) != CROP:
        return whole  # the input is there and without effect
    values = context.fixed_reals(node, 1, "the region of interest")
    if values is None or len(values) != 2 * count:
        raise ModelImportError(
            f"the region of interest is {values}",
            where=node.where,
            rule="a start and an end per axis",
        )
    return [(F32(values[i]), F32(values[i + count])) for i in range(count)]


def _common_ratio(
    node: OnnxNode, shape: tuple[int, ...], axes: tuple[int, ...], wanted: tuple[int, ...] | None
) -> np.float32 | None:
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if wanted is None or policy == "stretch":
        return None
    ratios = [F32(size) / F32(shape[axis]) for axis, size in zip(axes, wanted, strict=True)]
    if policy not in ("not_larger", "not_smaller"):
        raise ModelImportError(
            f"keep_aspect_ratio_policy {policy!r}",
            where=node.where,
            rule="stretch, not_larger or not_smaller",
        )
    return min(ratios) if policy == "not_larger" else max(ratios)


def source_indices(node: OnnxNode, positions: Array, axis: Axis) -> Array:
    """Return the source index of every output element of a nearest resize, int64."""
    if node.op_type == "Upsample" or node.version < 11:  # shrinking, the runtime rounds up
        found = np.ceil(positions) if axis.scale < 1 else np.floor(positions)
        return np.clip(found, 0, axis.size - 1).astype(np.int64)
    mode = node.text("nearest_mode", "round_prefer_floor")
    if mode not in ROUNDINGS:
        raise ModelImportError(
            f"nearest_mode {mode!r}", where=node.where, rule=", ".join(ROUNDINGS)
        )
    return nearest_of(mode, positions, axis.size)
