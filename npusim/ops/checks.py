"""What shape rules have in common: axes that exist, maps of four axes."""

from collections.abc import Iterable

from npusim.errors import GraphError
from npusim.ir.tensor import Shape


def require_axes(shape: Shape, axes: Iterable[int]) -> None:
    """Raise a GraphError unless every axis is one of the shape's, and none is named twice."""
    named = tuple(axes)
    if any(not 0 <= axis < len(shape) for axis in named) or len(set(named)) != len(named):
        words = "axis" if len(named) == 1 else "axes"
        raise GraphError(
            f"{words} {', '.join(map(str, named))} of a tensor of shape {shape}",
            rule=f"each once, from 0 to {len(shape) - 1}" if shape else "the tensor has no axes",
        )


def require_map(shape: Shape) -> tuple[int, int, int, int]:
    """Return the sizes of a feature map.

    Raises
    ------
    GraphError
        When the shape has not four axes.
    """
    if len(shape) != 4:
        raise GraphError(f"a tensor of shape {shape}", rule="four axes: N, C, H, W")
    n, c, h, w = shape
    return n, c, h, w


def require_per_channel(ifm: Shape, parameters: Iterable[Shape]) -> None:
    """Raise a GraphError unless axis 1 exists and every parameter has one value for each."""
    found = tuple(parameters)
    if len(ifm) < 2 or any(shape != (ifm[1],) for shape in found):
        raise GraphError(f"parameters {found} must have one value per channel of {ifm}")
