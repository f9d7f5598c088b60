"""A resize as ONNX Resize, or as Gathers where ONNX Runtime would pick other pixels."""

from typing import cast

import numpy as np

from npusim.exporters.onnx_writer import Writer
from npusim.ir.attrs import Coordinates, ResizeAttrs, ResizeMode
from npusim.ir.graph import Node
from npusim.ops.onnx_resize import by_size, nearest_of, source_positions
from npusim.ops.resize_positions import nearest_indices


def write_resize(w: Writer, node: Node) -> None:
    """Write one layer."""
    attrs = cast(ResizeAttrs, node.attrs)
    shape = w.graph.spec(node.inputs[0]).shape
    nearest = attrs.mode is ResizeMode.NEAREST
    rounding = "floor" if attrs.coordinates is Coordinates.ASYMMETRIC else "round_prefer_ceil"
    if nearest:
        wanted = [
            nearest_indices(size, out, attrs.coordinates)
            for size, out in zip(shape[2:], attrs.size, strict=True)
        ]
        if not _reads(wanted, shape[2:], attrs.coordinates.value, rounding):
            rows = w.add(
                "Gather", [node.inputs[0], w.constant(node, "rows", wanted[0])],
                w.temporary(node, "picked"), axis=2,
            )  # fmt: skip
            columns = w.constant(node, "columns", wanted[1])
            w.add("Gather", [rows, columns], node.outputs[0], axis=3)
            return
    sizes = w.numbers(node, "sizes", (*shape[:2], *attrs.size))
    none = w.constant(node, "none", np.zeros(0, np.float32))
    w.add(
        "Resize",
        [node.inputs[0], none, none, sizes],
        node.outputs[0],
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode=attrs.coordinates.value,
        nearest_mode=rounding if nearest else None,
    )


def _reads(
    wanted: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]],
    sizes: tuple[int, ...],
    rule: str,
    rounding: str,
) -> bool:
    """Tell whether ONNX picks the same pixels."""
    return all(
        np.array_equal(
            index,
            nearest_of(rounding, source_positions(rule, by_size(size, len(index))), size),
        )
        for index, size in zip(wanted, sizes, strict=True)
    )
