"""The two orders of four axes: N, H, W, C in the file, N, C, H, W in the graph."""

from npusim.ir.tensor import Shape

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def physical(shape: Shape) -> Shape:
    """Return a shape of the file as the graph has it."""
    return tuple(shape[i] for i in TO_NCHW) if len(shape) == 4 else tuple(shape)


def source_order(shape: Shape) -> Shape:
    """Return a shape of the graph as the file has it."""
    return tuple(shape[i] for i in TO_NHWC) if len(shape) == 4 else tuple(shape)


def same_memory(shape: Shape) -> bool:
    """Tell whether elements lie alike in N, C, H, W and N, H, W, C: one channel or one pixel."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1
