"""What shape rules have in common: axes that exist, maps of four axes, settings within reason."""

from collections.abc import Iterable

from npusim.errors import GraphError
from npusim.ir.attrs import Attrs
from npusim.ir.tensor import MAX_TENSOR_ELEMENTS, Shape

_AT_LEAST = {
    **dict.fromkeys(("kernel", "stride", "dilation", "group", "block", "size"), 1),
    **dict.fromkeys(("output_pad", "repeats", "shape", "sizes"), 0),
}
_LARGEST_SETTING = (1 << 31) - 1


def require_settings(attrs: Attrs) -> None:
    """Raise a GraphError when a whole number among the attributes cannot be what it says.

    Sizes, steps and counts are positive; all settings fit 32 bits, as the chip's registers do.
    """
    for name in attrs.__dataclass_fields__:
        value = getattr(attrs, name)
        given = value if isinstance(value, tuple) else (value,)
        wholes = [n for n in given if isinstance(n, int)]
        if not wholes:
            continue
        low = _AT_LEAST.get(name, -_LARGEST_SETTING)
        if name == "step" and 0 in wholes:
            raise GraphError(f"step is {value}", rule="no step is 0", remedy=_SETTING)
        if min(wholes) < low or max(wholes) > _LARGEST_SETTING:
            raise GraphError(
                f"{name} is {value}",
                rule=f"{low} to {_LARGEST_SETTING}",
                remedy=_SETTING,
            )


_SETTING = "correct the layer's setting in the model file; it cannot be meant"


def require_reach(
    ifm: Shape, pad: tuple[int, int, int, int], extent: tuple[int, int], what: str
) -> None:
    """Raise a GraphError when the map that windows are read from would be absurdly large.

    Parameters
    ----------
    ifm : Shape
        (N, C, H, W).
    pad : tuple of int
        (top, bottom, left, right).
    extent : tuple of int
        Rows and columns from the first window's begin to the last one's end.
    what : str
        The settings that make it so large.
    """
    top, bottom, left, right = pad
    rows = max(ifm[2] + max(top, 0) + max(bottom, 0), extent[0])
    columns = max(ifm[3] + max(left, 0) + max(right, 0), extent[1])
    if ifm[1] * rows * columns > MAX_TENSOR_ELEMENTS:
        raise GraphError(
            f"{what} make a map of {ifm[1]} x {rows} x {columns} elements of input {ifm}",
            rule=f"at most {MAX_TENSOR_ELEMENTS} elements with all pads",
            remedy=_SETTING,
        )


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
