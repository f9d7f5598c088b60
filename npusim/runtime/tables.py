"""Functions of single stored codes, as tables of every code."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.quant import scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.runtime.binding import Step
from npusim.runtime.calls import SAME, Calls, KernelFunction, step_of
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.memory_order import inverse, memory_order

Array = NDArray[Any]
Function = Callable[[Array], Array]  # codes -> codes
_TABLES: WeakValueDictionary[Hashable, Array] = WeakValueDictionary()
ENGINE_TYPES = (DType.U8, DType.I8, DType.I16, DType.F16)


def unsigned(value: Array) -> Array:
    """Return a contiguous array of 8-bit or 16-bit codes as flat unsigned bit patterns."""
    flat = value.reshape(-1)
    return flat if value.dtype.kind == "u" else flat.view(f"u{value.dtype.itemsize}")


def all_codes(dtype: DTypeLike) -> Array:
    """Return every code of an 8-bit or 16-bit type, ordered by bit pattern."""
    bits = np.dtype(dtype).itemsize * 8
    return np.arange(1 << bits, dtype=f"u{bits // 8}").view(dtype)


def code_table(key: Hashable, codes: Array, function: Function) -> Array:
    """Return the function's results on ``codes`` as flat unsigned bit patterns.

    Equal tables of different layers are one array while any of them lives: float16 layers with the
    same activation share 128 KiB of cache. ``key`` says what the function is, completely.
    """
    key = (key, codes.dtype.str, codes.shape)
    table = _TABLES.get(key)
    if table is None:
        table = _TABLES[key] = unsigned(np.asarray(function(codes), order="C"))
        table.flags.writeable = False
    return table


def table_step(key: Hashable, function: Function, ifm: DTypeLike, ofm: DTypeLike) -> Step:
    """Return ``table_function`` as a step."""
    return step_of(table_function(key, function, ifm, ofm))


def table_function(
    key: Hashable, function: Function, ifm: DTypeLike, ofm: DTypeLike
) -> KernelFunction:
    """Return a function of single codes as kernel calls that look in a table of all codes.

    Parameters
    ----------
    key : hashable
        Names the function with all its parameters.
    function : callable
        Codes (flat, of type ``ifm``) -> codes of type ``ofm``.
    ifm, ofm : numpy type
        8-bit or 16-bit types.
    """
    codes = all_codes(ifm)
    table = code_table(key, codes, function)
    if np.dtype(ifm) == np.dtype(ofm) == np.int16 and (clip := clip_of(codes, table)):
        return _clip_function(clip)
    look_up = choose(Work.FUNCTION, DType.of(ifm), DType.of(ofm))
    if np.dtype(ifm) == np.dtype(ofm) and np.array_equal(table, unsigned(codes)):
        return SAME

    def lay(calls: Calls, value: Array) -> Array:
        order = memory_order(value)
        source = unsigned(calls.in_order(value, order))
        result = calls.empty([value.shape[axis] for axis in order], ofm)
        calls.add(look_up, (source, table, unsigned(result)), source.size, source.size)
        return result.transpose(inverse(order))

    return KernelFunction(lay)


Clip = tuple[float, float, float]  # scale, low, high


def clip_of(codes: Array, table: Array) -> Clip | None:
    """Return a table of i16 codes as ``clip(rne(code * scale), low, high)``, if that is what it is.

    relu and its relatives are, with a scale that is a power of two; computing is several times
    faster than a table that fills the second-level cache.
    """
    results = table.view(np.int16)
    low, high = int(results.min()), int(results.max())
    for exponent in range(-8, 9):
        steps = np.rint(codes * 2.0**exponent)
        if np.array_equal(np.clip(steps, low, high), results):
            return 2.0**exponent, float(low), float(high)
    return None


def _clip_function(clip: Clip) -> KernelFunction:
    clip_words = choose(Work.CLIP, DType.I16, DType.I16)

    def lay(calls: Calls, value: Array) -> Array:
        order = memory_order(value)
        source = calls.in_order(value, order).reshape(-1)
        result = calls.empty([value.shape[axis] for axis in order], np.int16)
        calls.add(clip_words, (source, *clip, result.reshape(-1)), source.size, source.size)
        return result.transpose(inverse(order))

    return KernelFunction(lay)


def scaling_of(spec: TensorSpec) -> tuple[float, int]:
    """Return (scale, zero point) of a tensor; (1, 0) for floats."""
    return scale_of(spec.quant), zero_point_of(spec.quant)


def require_types(node: Node, specs: Sequence[TensorSpec], allowed: Sequence[DType]) -> None:
    """Raise a GraphError that names the layer when a tensor has another element type."""
    for spec in specs:
        if spec.dtype not in allowed:
            engine = node.engine.value if node.engine else "no engine"
            raise GraphError(
                f"tensor {spec.name!r} is {spec.dtype.value}",
                where=f"layer {node.name!r} ({node.op} on {engine})",
                rule=f"element types {', '.join(dtype.value for dtype in allowed)}",
                remedy="quantize the graph or convert it to float16",
            )
