"""From the arrays a user has to the arrays a program takes: shapes and channel order.

Users hold images as H, W, C; graphs take N, C, H, W. Only unambiguous shapes are taken: an array
whose axes are in another order has the right number of elements and would give wrong results.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import InputError
from npusim.ir.tensor import Shape, TensorSpec

Array = NDArray[Any]
LAYOUTS = ("nhwc", "nchw")


def accepted_shapes(spec: TensorSpec, *, layout: str = "nhwc", batch: int = 1) -> list[Shape]:
    """Return the array shapes that fit an input, the full one first.

    Parameters
    ----------
    spec : TensorSpec
        The graph input; (N, C, H, W) when it has four axes.
    layout : str
        ``"nhwc"`` or ``"nchw"``; matters only for inputs with four axes.
    batch : int
        Samples per call; multiplies the first axis.
    """
    if len(spec.shape) != 4:
        if not spec.shape:
            return [()]
        count = spec.shape[0] * batch
        full = (count, *spec.shape[1:])
        return [full, full[1:]] if count == 1 and len(full) > 1 else [full]
    n, c, h, w = spec.shape
    n *= batch
    shapes = [(n, h, w, c), (n * h, w, c)] if layout == "nhwc" else [(n, c, h, w), (n * c, h, w)]
    if c == 1:
        shapes += [(n, h, w), (n * h, w)]
    shapes.append((n * c * h * w,))
    return list(dict.fromkeys(shapes))


def arrange(
    value: Array, spec: TensorSpec, *, layout: str = "nhwc", batch: int = 1, where: str = ""
) -> Array:
    """Return an array as (N * batch, C, H, W), or in the shape of an input of another rank.

    Parameters
    ----------
    value : ndarray
        For an input with four axes: N, H, W, C or H, W, C (``nhwc``), N, C, H, W or C, H, W
        (``nchw``), H, W for one channel, several images along the first axis, or flat.
        Otherwise the input's own shape, the batch axis optional when it is 1.
    spec, layout, batch
        As in ``accepted_shapes``.
    where : str
        Names the input in messages.

    Returns
    -------
    ndarray
        A view whenever possible.

    Raises
    ------
    InputError
        With the shapes that would fit.
    """
    shapes = accepted_shapes(spec, layout=layout, batch=batch)
    if value.shape not in shapes:
        raise _misfit(value.shape, spec, shapes, layout=layout, batch=batch, where=where)
    value = value.reshape(shapes[0])
    return value.transpose(0, 3, 1, 2) if len(spec.shape) == 4 and layout == "nhwc" else value


def _misfit(
    shape: Shape, spec: TensorSpec, shapes: list[Shape], *, layout: str, batch: int, where: str
) -> InputError:
    rule = f"it must be {_listed([s for s in shapes if len(s) > 1] or shapes)}"
    if batch > 1:
        rule += f" ({words.say('batch_is', value=batch)})"
    rule += f", {prod(shapes[0])} elements"
    what, remedy = f"array of shape {shape} with {prod(shape)} elements", ""
    if len(spec.shape) == 4:
        rule = f"{layout.upper()} data: {rule}"
        _, c, h, w = spec.shape
        other = LAYOUTS[1 - LAYOUTS.index(layout)]
        others = accepted_shapes(spec, layout=other, batch=batch)[:2]
        if shape in others:
            what = f"array of shape {shape} is in {other.upper()} order"
            fitting = shapes[0 if len(shape) == 4 else 1]
            remedy = words.say("other_layout", shape=fitting, layout=other)
        elif c == 1 and prod(shape) == 3 * prod(shapes[0]):
            remedy = "the model takes one channel: read the image as grey"
        elif c == 3 and prod(shape) * 3 == prod(shapes[0]):
            remedy = "the model takes three channels: read the image in colour"
        elif batch > 1 and prod(shape) * batch == prod(shapes[0]):
            remedy = f"give {batch} images in one array, or {words.say('one_image')}"
        elif len(shape) in (3, 4) and layout == "nhwc" and shape[-1] == c:
            remedy = f"resize the image to {h} x {w} (height x width)"
    return InputError(what, where=where, rule=rule, remedy=remedy)


def _listed(shapes: list[Shape]) -> str:
    return " or ".join(str(shape) for shape in shapes)


def as_number_array(value: Any, *, where: str) -> Array:
    """Return the value as a numeric array.

    Raises
    ------
    InputError
        When it is None (an image that could not be read) or not made of numbers.
    """
    if value is None:
        raise InputError(
            "there is no array, only None",
            where=where,
            remedy="check the path: imread returns None for a file it cannot read",
        )
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"no array: {error}", where=where) from error
    if array.dtype.kind not in "buif":
        raise InputError(
            f"data of type {array.dtype}", where=where, rule="integers or floating point numbers"
        )
    return array
