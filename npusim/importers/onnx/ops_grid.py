"""Sampling positions of spatial transformers."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, converter


@converter("AffineGrid")
def affine_grid(node: OnnxNode, context: Context) -> None:
    """Multiply the transformation with the positions of a map (N,H,W,2) or volume (N,D,H,W,3).

    ONNX's own definition by other operators fails for maps of one image.
    """
    size = context.fixed_ints(node, 1, "the size")
    theta = context.shape(node.inputs[0])
    if size is None or len(size) not in (4, 5) or theta != (size[0], len(size) - 2, len(size) - 1):
        raise ModelImportError(
            f"theta {theta} with the size {size}",
            where=node.where,
            rule="theta (N,2,3) with the size N,C,H,W, or (N,3,4) with N,C,D,H,W",
        )
    maps = size[2:]
    if min(size) < 1:
        raise ModelImportError(f"size {size}", where=node.where, rule="positive whole numbers")
    check_made((*maps, len(maps) + 1), "the grid", node.where)
    ends = [_positions(n, aligned=bool(node.integer("align_corners", 0))) for n in maps]
    places = np.ones((*maps, len(maps) + 1), np.float32)
    for axis, end in enumerate(ends):
        places[..., len(maps) - 1 - axis] = end.reshape(-1, *(1,) * (len(maps) - 1 - axis))
    places = places.reshape(prod(maps), len(maps) + 1)
    chain = Chain(node, context, context.operand(node.inputs[0])).product(places, "grid")
    chain.transpose((0, 2, 1)).reshape((size[0], *maps, len(maps))).end()


def _positions(count: int, *, aligned: bool) -> Array:
    """Return the middles of ``count`` cells from -1 to 1, or points with one at each end.

    A single point lies in the middle, as in PyTorch.
    """
    if not aligned:
        return (2 * np.arange(count) + 1) / count - 1
    return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
