"""Kernel, stride, dilation and padding attributes shared by convolutions and pooling."""

from collections.abc import Sequence
from dataclasses import dataclass

from npusim.errors import ModelImportError
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm
from npusim.ir.attrs import ReshapeAttrs
from npusim.ir.tensor import Shape


@dataclass(frozen=True, slots=True)
class Window:
    """Two-dimensional window; one-dimensional ones have height 1.

    Attributes
    ----------
    pad : tuple of int
        top, bottom, left, right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]


def spatial_rank(node: OnnxNode, shape: Shape) -> int:
    """Return 1 or 2, the number of spatial axes of (N, C, ...)."""
    rank = len(shape) - 2
    if rank not in (1, 2):
        raise UnsupportedForm(
            f"its input {shape} has {rank} spatial axes",
            "one and two spatial axes exist; fold the others into the batch or the channels",
        )
    return rank


def pair(node: OnnxNode, key: str, rank: int, default: int, missing: int = 1) -> tuple[int, int]:
    """Return a per-axis attribute for (height, width)."""
    values = node.integers(key)
    if values is None:
        values = (default,) * rank
    if len(values) != rank or min(values) < (0 if key == "output_padding" else 1):
        raise ModelImportError(
            f"{key} is {list(values)}",
            where=node.where,
            rule=f"{rank} positive numbers, one per spatial axis",
        )
    return (missing, values[0]) if rank == 1 else (values[0], values[1])


def explicit_pad(node: OnnxNode, rank: int) -> tuple[int, int, int, int]:
    """Return the attribute ``pads`` as top, bottom, left, right."""
    pads = node.integers("pads") or (0,) * (2 * rank)
    if len(pads) != 2 * rank:
        raise ModelImportError(
            f"pads is {list(pads)}", where=node.where, rule=f"{2 * rank} numbers"
        )
    if min(pads) < 0:
        raise UnsupportedForm(f"negative pads {list(pads)}", "put a Slice before the node")
    return (0, 0, pads[0], pads[1]) if rank == 1 else (pads[0], pads[2], pads[1], pads[3])


def window(node: OnnxNode, shape: Shape, kernel: tuple[int, int]) -> Window:
    """Return the window of a convolution or pooling for an input (N, C, [H,] W).

    ``auto_pad`` SAME_UPPER and SAME_LOWER give ceil(size / stride) outputs, as ONNX defines.
    """
    rank = spatial_rank(node, shape)
    stride = pair(node, "strides", rank, 1)
    dilation = pair(node, "dilations", rank, 1)
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return Window(kernel, stride, dilation, explicit_pad(node, rank))
    if mode == "VALID":
        return Window(kernel, stride, dilation, (0, 0, 0, 0))
    check_auto_pad(node, mode)
    sizes = (1, shape[2]) if rank == 1 else (shape[2], shape[3])
    pads: list[int] = []
    for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads += split_pad(total, mode)
    return Window(kernel, stride, dilation, (pads[0], pads[1], pads[2], pads[3]))


def check_auto_pad(node: OnnxNode, mode: str) -> None:
    """Refuse an auto_pad that ONNX does not define."""
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ModelImportError(
            f"auto_pad is {mode!r}",
            where=node.where,
            rule="NOTSET, VALID, SAME_UPPER or SAME_LOWER",
        )


def split_pad(total: int, mode: str) -> tuple[int, int]:
    """Return the padding before and after; the odd element goes where ``mode`` says."""
    small, large = total // 2, total - total // 2
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def to_2d(node: OnnxNode, context: Context, name: str) -> str:
    """Return a (N, C, L) tensor as (N, C, 1, L); other ranks as they are."""
    shape = context.shape(name)
    if len(shape) != 3:
        return name
    n, c, length = shape
    return context.emit(
        node, "reshape", (name,), ReshapeAttrs(shape=(n, c, 1, length)), part="to_2d"
    )


def to_1d(node: OnnxNode, context: Context, name: str) -> None:
    """Give the node's output as (N, C, L) from a (N, C, 1, L) tensor."""
    n, c, _, length = context.shape(name)
    context.emit(node, "reshape", (name,), ReshapeAttrs(shape=(n, c, length)))


def part_2d(shape: Sequence[int]) -> str:
    """Return the part name of the main operator: set when a reshape to 1-D follows."""
    return "in_2d" if len(shape) == 3 else ""
