"""What goes into a network and comes out of it: real numbers, or codes as other runtimes have them.

A model that came quantized may declare integer inputs and outputs. For ONNX Runtime and LiteRT
their arrays hold codes; ``Program.run`` takes and gives real numbers everywhere, because that is
what pixels are after mean and std, and ``Program.run_codes`` takes and gives codes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import InputError
from npusim.explain import see
from npusim.ir.codes import quantize
from npusim.ir.graph import Graph, Preprocess
from npusim.ir.quant import Float, scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec

Array = NDArray[Any]


def is_coded(spec: TensorSpec) -> bool:
    """Tell whether a tensor's integers stand for real numbers."""
    return not isinstance(spec.quant, Float)


def codes_in_doubt(graph: Graph, name: str, value: Array, how: Preprocess | None) -> str:
    """Return a warning when an array looks like codes and is read as real numbers; else nothing.

    It does when the source model declares the input as codes of the array's own type, when neither
    mean nor std nor a channel order says that these are pixels, and when codes and real numbers
    differ.

    Parameters
    ----------
    graph : Graph
    name : str
        Of an input.
    value : ndarray
        As the user gave it.
    how : Preprocess, optional
        What is done to it.
    """
    spec = graph.spec(name)
    if name not in graph.coded or not is_coded(spec) or value.dtype.kind not in "iu":
        return ""
    scale, zero_point = scale_of(spec.quant), zero_point_of(spec.quant)
    if _prepares(how) or (scale, zero_point) == (1.0, 0):
        return ""
    return (
        f"input {name!r}: the {value.dtype} array is read as real numbers; the model declares "
        f"codes of scale {scale:.6g} and zero point {zero_point}. For codes, as other runtimes "
        f"take them: {words.say('take_codes')}; for pixels: mean and std {see('integer-input')}"
    )


def _prepares(how: Preprocess | None) -> bool:
    """Tell whether numbers change on their way in: what is prepared so are pixels."""
    if how is None:
        return False
    moved = list(how.reorder) != sorted(how.reorder)
    return moved or any(how.mean) or any(std != 1 for std in how.std)


def codes_from(value: Array, spec: TensorSpec) -> Array:
    """Return an array of codes for an input, checked.

    Raises
    ------
    InputError
        When the array does not hold whole numbers of the input's type.
    """
    where = f"input {spec.name!r}"
    if value.dtype.kind not in "iub":
        raise InputError(
            f"an array of {value.dtype} where codes are wanted",
            where=where,
            rule=f"codes are integers: {spec.dtype.numpy}",
            remedy=f"give real numbers to {words.say('take_reals')}",
        )
    codes = value.astype(spec.dtype.numpy)
    if (codes != value).any():
        raise InputError(
            f"codes from {value.min()} to {value.max()}",
            where=where,
            rule=f"{spec.dtype.numpy} holds {spec.dtype.min} to {spec.dtype.max}",
        )
    return codes


def as_declared(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return real feeds as another runtime takes them: codes where the model declares codes."""
    return {
        name: quantize(value, graph.spec(name).dtype, graph.spec(name).quant)
        if name in graph.coded and np.asarray(value).dtype.kind == "f"
        else value
        for name, value in feeds.items()
    }
