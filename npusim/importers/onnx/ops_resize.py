"""Resize and Upsample: the chip's resize where it reads the same, else gathers or products."""

from collections.abc import Callable, Sequence

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, check_elements
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.importers.onnx.resize_positions import rule_of, source_indices, targets
from npusim.importers.onnx.resize_weights import Kernel, cubic_filter, linear_filter, matrix
from npusim.ir.attrs import AxisAttrs, Coordinates, PadAttrs, ResizeAttrs, ResizeMode
from npusim.ops.onnx_resize import CROP, Axis, source_positions
from npusim.ops.resize_positions import nearest_indices, positions

MAX_SIZE = 1 << 16
"""Largest output along an axis; the coordinates of each are computed here."""

_NEAR = 1e-5, 2.0**-22
"""Positions of a linear resize count as equal within the first plus the second times the size:
both sides round float32 in their own order."""


@converter("Resize", "Upsample")
def resize(node: OnnxNode, context: Context) -> None:
    """Resize of any axes, nearest, linear or cubic."""
    shape = context.shape(node.inputs[0])
    axes = targets(node, context, shape)
    sizes = tuple(axis.out for axis in axes)
    check_elements(sizes, "the output", node.where)
    if max(sizes, default=0) > MAX_SIZE:
        raise UnsupportedForm(f"resize to {sizes}", f"at most {MAX_SIZE} along an axis")
    if 0 in sizes:
        raise ModelImportError(
            f"resize of {shape} to {sizes}", where=node.where, rule="no empty result"
        )
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear", "cubic"):
        raise ModelImportError(f"mode {mode!r}", where=node.where, rule="nearest, linear or cubic")
    if sizes == shape:  # the runtime copies, whatever scales and region say
        context.alias(node.outputs[0], node.inputs[0])
        return
    _Resize(node, context, axes).run(mode)


class _Resize:
    """One node at work.

    Attributes
    ----------
    moving : list of int
        Axes whose elements are not simply all taken in order.
    """

    def __init__(self, node: OnnxNode, context: Context, axes: Sequence[Axis]) -> None:
        self.node, self.context, self.axes = node, context, list(axes)
        rule = rule_of(node)
        self.places = [source_positions(rule, axis) for axis in axes]
        self.chain = Chain(node, context, node.inputs[0])
        self.borders: dict[int, tuple[int, int]] = {}
        if rule == CROP:
            self._cut_to_inside()
        self.moving: list[int] = []

    def run(self, mode: str) -> None:
        if mode == "nearest":
            self._nearest()
        else:
            self._interpolate(mode)
        if self.borders:
            pads = [self.borders.get(i, (0, 0)) for i in range(len(self.axes))]
            attrs = PadAttrs(
                front=tuple(front for front, _ in pads),
                back=tuple(back for _, back in pads),
                value=self.node.real("extrapolation_value", 0.0),
            )
            self.chain.then("pad", attrs, part="bordered")
        self.chain.end()

    def _cut_to_inside(self) -> None:
        """Take the positions outside of the input for a border of one value around the rest."""
        for i, axis in enumerate(self.axes):
            place = self.places[i]
            inside = np.flatnonzero((place >= 0) & (place <= axis.size - 1))
            if inside.size == axis.out:
                continue
            if not inside.size:
                raise UnsupportedForm(
                    f"axis {i} of the region of interest lies wholly outside", "crop inside"
                )
            front, back = int(inside[0]), axis.out - 1 - int(inside[-1])
            self.borders[i] = (front, back)
            self.places[i] = place[front : axis.out - back]
            cut = axis.out - front - back
            self.axes[i] = Axis(axis.size, cut, axis.scale, axis.start, axis.end)

    # ---- nearest -------------------------------------------------------------------------------
    def _nearest(self) -> None:
        """Use the chip's rule that picks the same elements; else pick them one axis at a time."""
        wanted = [
            source_indices(self.node, place, axis)
            for place, axis in zip(self.places, self.axes, strict=True)
        ]
        self.moving = [
            i
            for i, axis in enumerate(self.axes)
            if not np.array_equal(wanted[i], np.arange(axis.size))
        ]
        rule = self._common_rule(
            lambda i, rule: np.array_equal(
                wanted[i], nearest_indices(self.axes[i].size, self.axes[i].out, rule)
            )
        )
        if rule is not None:
            self._on_chip(ResizeMode.NEAREST, rule)
            return
        for i in self.moving:
            name = self.context.constant(f"{self.node.outputs[0]}/indices_{i}", wanted[i])
            self.chain.then("gather", AxisAttrs(axis=i), name, part=f"axis_{i}")
        self.context.notes.append(
            f"{self.node.where}: no rule of the chip's resize picks these pixels; gathers do"
        )

    # ---- linear and cubic ----------------------------------------------------------------------
    def _interpolate(self, mode: str) -> None:
        """Use the chip's rule with the same positions; else multiply with the weights."""
        self.moving = [i for i, axis in enumerate(self.axes) if not self._is_identity(i, axis)]
        shrinks = any(self.axes[i].scale < 1 for i in self.moving)
        antialias = bool(self.node.integer("antialias", 0)) and shrinks
        outside = bool(self.node.integer("exclude_outside", 0))
        if mode != "cubic" and not antialias:
            rule = self._common_rule(self._reads_alike)
            if rule is not None:
                self._on_chip(ResizeMode.BILINEAR, rule)
                return
        kernel: Kernel = linear_filter
        if mode == "cubic":
            kernel = cubic_filter(self.node.real("cubic_coeff_a", -0.75))
        for i in self.moving:
            weights = matrix(
                self.places[i],
                self.axes[i],
                kernel,
                width=4 if mode == "cubic" else 2,
                antialias=antialias,
                exclude_outside=outside and (mode == "cubic" or antialias),
            )
            self._times(i, weights)
        self.context.notes.append(
            f"{self.node.where}: the chip's resize does not interpolate like this; "
            "products with constant weights do, one per axis"
        )

    def _is_identity(self, i: int, axis: Axis) -> bool:
        return axis.size == axis.out and np.array_equal(
            np.clip(self.places[i], 0, axis.size - 1), np.arange(axis.size)
        )

    def _reads_alike(self, i: int, rule: Coordinates) -> bool:
        axis = self.axes[i]
        want = np.clip(self.places[i].astype(np.float64), 0, axis.size - 1)
        have = np.clip(positions(axis.size, axis.out, rule, centred=True), 0, axis.size - 1)
        return bool(np.abs(want - have).max() <= _NEAR[0] + _NEAR[1] * axis.size)

    def _times(self, axis: int, weights: Array) -> None:
        """Multiply along an axis, which is last meanwhile."""
        rank = len(self.axes)
        order = (*(i for i in range(rank) if i != axis), axis)
        back = tuple(order.index(i) for i in range(rank))
        check_elements(weights.shape, "the weights", self.node.where)
        self.chain.transpose(order, f"axis_{axis}_last")
        self.chain.product(weights, f"along_{axis}")
        self.chain.transpose(back, f"axis_{axis}_back")

    # ---- both ----------------------------------------------------------------------------------
    def _common_rule(self, fits: Callable[[int, Coordinates], bool]) -> Coordinates | None:
        return next((rule for rule in Coordinates if all(fits(i, rule) for i in self.moving)), None)

    def _on_chip(self, mode: ResizeMode, rule: Coordinates) -> None:
        """Resize two axes at a time, as the last two of four."""
        rank = len(self.axes)
        pending = list(self.moving)
        if rank == 4 and pending and pending[0] >= 2:
            self.chain.then("resize", self._attrs((2, 3), mode, rule), part="resized")
            return
        if rank == 3 and pending == [2]:
            n, c, length = self.chain.shape
            self.chain.reshape((n, c, 1, length), "to_2d")
            attrs = ResizeAttrs(size=(1, self.axes[2].out), mode=mode, coordinates=rule)
            self.chain.then("resize", attrs, part="in_2d").reshape((n, c, self.axes[2].out))
            return
        while pending:
            pair, pending = pending[:2], pending[2:]
            self._two_axes(pair, mode, rule)

    def _attrs(self, pair: Sequence[int], mode: ResizeMode, rule: Coordinates) -> ResizeAttrs:
        first, second = (self.axes[i].out for i in pair)
        return ResizeAttrs(size=(first, second), mode=mode, coordinates=rule)

    def _two_axes(self, pair: Sequence[int], mode: ResizeMode, rule: Coordinates) -> None:
        rank, word = len(self.axes), "_".join(map(str, pair))
        order = (*(i for i in range(rank) if i not in pair), *pair)
        back = tuple(order.index(i) for i in range(rank))
        self.chain.transpose(order, f"axes_{word}_last")
        before = self.chain.shape
        sizes = before[rank - len(pair) :]
        outs = tuple(self.axes[i].out for i in pair)
        lead = before[: rank - len(pair)]
        rows = (1,) * (2 - len(pair))
        count = int(np.prod(lead, dtype=np.int64))
        self.chain.reshape((1, count, *rows, *sizes), f"axes_{word}_of_4")
        attrs = ResizeAttrs(size=(*rows, *outs), mode=mode, coordinates=rule)  # type: ignore[arg-type]
        self.chain.then("resize", attrs, part=f"axes_{word}")
        self.chain.reshape((*lead, *outs), f"axes_{word}_shaped")
        self.chain.transpose(back, f"axes_{word}_back")
