"""Reference pooling."""

import numpy as np

from npusim.ir.attrs import GlobalPoolAttrs, Pool2dAttrs, PoolKind
from npusim.ir.graph import Graph, Node
from npusim.reference.table import Array, Step, Workers, attributes, last_axes, reference
from npusim.runtime.memory_order import from_channels_last


def _counted(
    size: int, before: int, after: int, kernel: int, stride: int, length: int, padding: bool
) -> Array:
    """Return how many elements of one axis each window of an average counts."""
    begin = np.arange(length) * stride - before
    if padding:
        return np.minimum(begin + kernel, size + after) - begin
    return np.minimum(begin + kernel, size) - np.maximum(begin, 0)


@reference("pool2d")
def prepare_pool2d(node: Node, graph: Graph, workers: Workers) -> Step:
    """Windows are reduced down the rows first, then along them."""
    attrs = attributes(node, Pool2dAttrs)
    _, channels, in_h, in_w = graph.spec(node.inputs[0]).shape
    _, _, out_h, out_w = graph.spec(node.outputs[0]).shape
    (kernel_h, kernel_w), (stride_y, stride_x) = attrs.kernel, attrs.stride
    top, bottom, left, right = attrs.pad
    # the last window of ceil_mode may reach beyond the padding
    height = max(top + in_h + bottom, (out_h - 1) * stride_y + kernel_h)
    width = max(left + in_w + right, (out_w - 1) * stride_x + kernel_w)
    average = attrs.kind is PoolKind.AVG
    combine, empty = (np.add, 0.0) if average else (np.maximum, -np.inf)
    span_y, span_x = (out_h - 1) * stride_y + 1, (out_w - 1) * stride_x + 1
    padding = attrs.count_include_pad
    rows = _counted(in_h, top, bottom, kernel_h, stride_y, out_h, padding)
    columns = _counted(in_w, left, right, kernel_w, stride_x, out_w, padding)
    count = (rows[:, None] * columns).astype(np.float32)[None, :, :, None]

    def step(ifm: Array) -> tuple[Array, ...]:
        moved = ifm.transpose(0, 2, 3, 1)
        if (height, width) != (in_h, in_w):
            canvas = np.full((len(ifm), height, width, channels), empty, np.float32)
            canvas[:, top : top + in_h, left : left + in_w] = moved
            moved = canvas
        tall = moved[:, :span_y:stride_y].copy()
        for y in range(1, kernel_h):
            combine(tall, moved[:, y : y + span_y : stride_y], out=tall)
        ofm = tall[:, :, :span_x:stride_x].copy()
        for x in range(1, kernel_w):
            combine(ofm, tall[:, :, x : x + span_x : stride_x], out=ofm)
        if average:
            ofm /= count
        return (from_channels_last(ofm),)

    return step


@reference("global_pool")
def prepare_global_pool(node: Node, graph: Graph, workers: Workers) -> Step:
    """Maximum or mean over (H, W)."""
    attrs = attributes(node, GlobalPoolAttrs)
    average = attrs.kind is PoolKind.AVG

    def step(ifm: Array) -> tuple[Array, ...]:
        planes = last_axes(ifm, (2, 3))
        ofm = planes.sum(-1) / np.float32(planes.shape[-1]) if average else planes.max(-1)
        return (ofm[:, :, None, None],)

    return step
