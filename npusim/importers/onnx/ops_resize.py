"""Resize and Upsample, mapped to the three coordinate rules of the chip when they agree."""

import math
from collections.abc import Sequence

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, check_elements
from npusim.importers.onnx.context import (
    Context,
    OnnxNode,
    UnsupportedForm,
    checked_axis,
    converter,
)
from npusim.importers.onnx.window import to_1d, to_2d
from npusim.ir.attrs import AxisAttrs, Coordinates, ResizeAttrs, ResizeMode

MAX_SIZE = 1 << 16
"""Largest output along an axis; the coordinates of each are computed here."""

_RULES = {
    "asymmetric": Coordinates.ASYMMETRIC,
    "half_pixel": Coordinates.HALF_PIXEL,
    "align_corners": Coordinates.ALIGN_CORNERS,
}


@converter("Resize", "Upsample")
def resize(node: OnnxNode, context: Context) -> None:
    """Resize of the last one or two axes."""
    shape = context.shape(node.inputs[0])
    sizes, scales = _targets(node, context, shape)
    check_elements(sizes, "the output", node.where)
    if max(sizes, default=0) > MAX_SIZE:
        raise UnsupportedForm(f"resize to {tuple(sizes)}", f"at most {MAX_SIZE} along an axis")
    changed = [axis for axis in range(len(shape)) if sizes[axis] != shape[axis]]
    mode = node.text("mode", "nearest")
    if node.integer("antialias", 0) and any(scale < 1 for scale in scales):
        raise UnsupportedForm("antialias", "resize without antialias, or pool first")
    if mode not in ("nearest", "linear", "bilinear"):
        raise UnsupportedForm(f"mode {mode!r}", "use nearest or linear")
    if len(shape) not in (3, 4) or any(axis < 2 for axis in changed):
        raise UnsupportedForm(
            f"resize of {shape} to {tuple(sizes)}", "resize the spatial axes of (N, C, H, W)"
        )
    rule = "asymmetric"
    if node.op_type == "Resize" and node.version >= 11:
        rule = node.text("coordinate_transformation_mode", "half_pixel")
    if rule == "tf_crop_and_resize":
        raise UnsupportedForm(rule, "slice, then resize with half_pixel")
    axes = range(2, len(shape))
    maps = [_positions(node, rule, shape[a], sizes[a], scales[a]) for a in axes]
    if mode == "nearest":
        _nearest(node, context, shape, sizes, maps)
    else:
        _linear(node, context, shape, sizes, maps)


def _targets(
    node: OnnxNode, context: Context, shape: tuple[int, ...]
) -> tuple[list[int], list[float]]:
    """Return the size and the scale of every axis from whichever form the node has."""
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
    sizes, scales = list(shape), [1.0] * len(shape)
    if given is not None:
        if min(given) <= 0:
            raise ModelImportError(f"scales {given}", where=node.where, rule="positive")
        for axis, scale in zip(axes, given, strict=True):
            # in float32, as runtimes do: 3 * float32(10 / 3) is 10 there, not 9.9999999
            product = np.float32(shape[axis]) * np.float32(scale)
            sizes[axis], scales[axis] = math.floor(product), scale
        return sizes, scales
    targets = dict(zip(axes, wanted or (), strict=True))
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ratios = [size / shape[axis] for axis, size in targets.items()]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        for axis in targets:
            # ONNX rounds halves up here
            sizes[axis], scales[axis] = math.floor(shape[axis] * ratio + 0.5), ratio
        return sizes, scales
    for axis, size in targets.items():
        sizes[axis], scales[axis] = size, size / shape[axis]
    return sizes, scales


def _positions(node: OnnxNode, rule: str, size: int, out: int, scale: float) -> Array:
    """Return the real source position of every output element, as ONNX defines it."""
    o = np.arange(out, dtype=np.float64)
    if rule == "asymmetric":
        return o / scale
    if rule == "align_corners":
        return o * (size - 1) / (out - 1) if out > 1 else np.zeros(1)
    if rule == "pytorch_half_pixel" and out == 1:
        return np.zeros(1)
    if rule in ("half_pixel", "pytorch_half_pixel"):
        return (o + 0.5) / scale - 0.5
    if rule == "tf_half_pixel_for_nn":
        return (o + 0.5) / scale
    if rule == "half_pixel_symmetric":
        offset = size / 2 * (1 - out / (scale * size))
        return offset + (o + 0.5) / scale - 0.5
    raise UnsupportedForm(
        f"coordinate_transformation_mode {rule!r}", "use asymmetric, half_pixel or align_corners"
    )


def _chip_positions(rule: Coordinates, size: int, out: int) -> Array:
    """Return the source positions of the chip's linear interpolation (see ir.attrs)."""
    o = np.arange(out, dtype=np.float64)
    if rule is Coordinates.ASYMMETRIC:
        return o * size / out
    if rule is Coordinates.ALIGN_CORNERS:
        return o * (size - 1) / (out - 1) if out > 1 else np.zeros(1)
    return (o + 0.5) * size / out - 0.5


def _chip_indices(rule: Coordinates, size: int, out: int) -> Array:
    """Return the source index of the chip's nearest interpolation.

    floor(o * in / out), half_pixel floor((o + .5) * in / out), align_corners
    floor(o * (in - 1) / (out - 1) + .5), in exact integers.
    """
    o = np.arange(out, dtype=np.int64)
    if rule is Coordinates.ASYMMETRIC:
        found = o * size // out
    elif rule is Coordinates.HALF_PIXEL:
        found = (2 * o + 1) * size // (2 * out)
    else:
        steps = max(out - 1, 1)
        found = (2 * o * (size - 1) + steps) // (2 * steps)
    return np.clip(found, 0, size - 1)


def _nearest_indices(node: OnnxNode, positions: Array, size: int) -> Array:
    default = "floor" if node.op_type == "Upsample" or node.version < 11 else "round_prefer_floor"
    mode = node.text("nearest_mode", default)
    # positions such as 2.0000000001 come from scales that float32 cannot hold
    near = np.round(positions * 2) / 2
    positions = np.where(np.abs(positions - near) < 1e-5, near, positions)
    if mode == "floor":
        found = np.floor(positions)
    elif mode == "ceil":
        found = np.ceil(positions)
    elif mode == "round_prefer_floor":
        found = np.ceil(positions - 0.5)
    elif mode == "round_prefer_ceil":
        found = np.floor(positions + 0.5)
    else:
        raise ModelImportError(
            f"nearest_mode {mode!r}",
            where=node.where,
            rule="floor, ceil, round_prefer_floor or round_prefer_ceil",
        )
    return np.clip(found, 0, size - 1).astype(np.int64)


def _emit(
    node: OnnxNode, context: Context, sizes: Sequence[int], mode: ResizeMode, rule: Coordinates
) -> None:
    flat = len(sizes) == 3
    size = (1, sizes[2]) if flat else (sizes[2], sizes[3])
    attrs = ResizeAttrs(size=size, mode=mode, coordinates=rule)
    ifm = to_2d(node, context, node.inputs[0])
    out = context.emit(node, "resize", (ifm,), attrs, part="in_2d" if flat else "")
    if flat:
        to_1d(node, context, out)


def _nearest(
    node: OnnxNode,
    context: Context,
    shape: tuple[int, ...],
    sizes: Sequence[int],
    positions: Sequence[Array],
) -> None:
    """Use the chip's rule that picks the same elements; else pick them one axis at a time."""
    wanted = [_nearest_indices(node, p, n) for p, n in zip(positions, shape[2:], strict=True)]
    for rule in _RULES.values():
        if all(
            np.array_equal(index, _chip_indices(rule, n, len(index)))
            for index, n in zip(wanted, shape[2:], strict=True)
        ):
            if tuple(sizes) == shape:
                context.alias(node.outputs[0], node.inputs[0])
            else:
                _emit(node, context, sizes, ResizeMode.NEAREST, rule)
            return
    out = node.inputs[0]
    moving = [i for i, n in enumerate(shape[2:]) if not np.array_equal(wanted[i], np.arange(n))]
    for i in moving:
        axis = i + 2
        name = context.constant(f"{node.outputs[0]}/indices_{axis}", wanted[i])
        part = "" if i == moving[-1] else f"axis_{axis}"
        out = context.emit(node, "gather", (out, name), AxisAttrs(axis=axis), part=part)


def _linear(
    node: OnnxNode,
    context: Context,
    shape: tuple[int, ...],
    sizes: Sequence[int],
    positions: Sequence[Array],
) -> None:
    """Use the chip's rule with the same positions (up to clamping at the borders)."""
    for rule in _RULES.values():
        fits = True
        for want, n in zip(positions, shape[2:], strict=True):
            have = _chip_positions(rule, n, len(want))
            gap = np.abs(np.clip(want, 0, n - 1) - np.clip(have, 0, n - 1))
            fits &= bool(gap.max(initial=0.0) < 1e-4)
        if fits:
            if tuple(sizes) == shape:
                context.alias(node.outputs[0], node.inputs[0])
            else:
                _emit(node, context, sizes, ResizeMode.BILINEAR, rule)
            return
    raise UnsupportedForm(
        f"linear resize of {shape} to {tuple(sizes)} by scales that are not output / input",
        "give sizes instead of scales, with asymmetric, half_pixel or align_corners",
    )
