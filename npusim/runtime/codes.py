"""Element-wise work on stored codes in whatever memory order a value has.

Element-wise operators never change the memory order: they run over the memory as it lies, which for
feature maps usually is N, H, W, C.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.quant import scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.kernels.elementwise import int8_lut_vbmi
from npusim.kernels.elementwise.lut import clip_words, map_codes
from npusim.runtime import isa
from npusim.runtime.binding import Step
from npusim.runtime.threads import run_rows

Array = NDArray[Any]
Function = Callable[[Array], Array]  # codes -> codes
Offsets = NDArray[np.int64]
_TABLES: WeakValueDictionary[Hashable, Array] = WeakValueDictionary()
ENGINE_TYPES = (DType.U8, DType.I8, DType.I16, DType.F16)


def memory_order(value: Array) -> tuple[int, ...]:
    """Return the axes from outermost to innermost in memory."""
    return tuple(sorted(range(value.ndim), key=lambda axis: -value.strides[axis]))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that undoes ``order``."""
    return tuple(int(axis) for axis in np.argsort(order))


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
        table = _TABLES[key] = unsigned(np.ascontiguousarray(function(codes)))
        table.flags.writeable = False
    return table


def table_step(key: Hashable, function: Function, ifm: DTypeLike, ofm: DTypeLike) -> Step:
    """Return a step that applies a function of single codes through a table of all codes.

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
    look_up = map_codes
    if np.dtype(ifm) == np.dtype(ofm) == np.int16 and (clip := clip_of(codes, table)):
        return _clip_step(clip)
    if table.itemsize == codes.itemsize == 1 and isa.may_use(int8_lut_vbmi.FEATURES):
        look_up = int8_lut_vbmi.map_bytes
    identity = np.dtype(ifm) == np.dtype(ofm) and np.array_equal(table, unsigned(codes))

    def step(value: Array) -> tuple[Array, ...]:
        if identity:
            return (value,)
        order = memory_order(value)
        memory = np.ascontiguousarray(value.transpose(order))
        result = np.empty(memory.shape, ofm)
        source, target = unsigned(memory), unsigned(result)
        run_rows(
            lambda start, stop: look_up(source, table, target, start, stop),
            source.size,
            source.size,
        )
        return (result.transpose(inverse(order)),)

    return step


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


def _clip_step(clip: Clip) -> Step:
    scale, low, high = clip

    def step(value: Array) -> tuple[Array, ...]:
        order = memory_order(value)
        memory = np.ascontiguousarray(value.transpose(order))
        result = np.empty_like(memory)
        if scale == 1:
            np.clip(memory, np.int16(low), np.int16(high), out=result)
            return (result.transpose(inverse(order)),)
        source, target = memory.reshape(-1), result.reshape(-1)
        run_rows(
            lambda start, stop: clip_words(source, *clip, target, start, stop),
            source.size,
            source.size,
        )
        return (result.transpose(inverse(order)),)

    return step


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How two broadcasting operands lie as rows of contiguous memory.

    Attributes
    ----------
    order : tuple of int
        Memory order of the result: that of the operand that has the result's shape.
    spread : tuple of (tuple of int or None)
        For each operand, the shape (in memory order) to spread it to first, if it cannot be read
        as rows as it is.
    rows : tuple of int64 arrays
        For each operand, where each row of the result starts in it.
    row_length : int
        Elements of a row.
    """

    order: tuple[int, ...]
    spread: tuple[tuple[int, ...] | None, ...]
    rows: tuple[Offsets, ...]
    row_length: int

    def flat(self, position: int, value: Array) -> Array:
        """Return an operand's memory, flat; copies only what does not lie in order."""
        memory = value.reshape((1,) * (len(self.order) - value.ndim) + value.shape)
        memory = memory.transpose(self.order)
        spread = self.spread[position]
        if spread is not None:
            memory = np.broadcast_to(memory, spread)
        return np.ascontiguousarray(memory).reshape(-1)


def row_plan(a: Array, b: Array, shape: tuple[int, ...]) -> RowPlan:
    """Return the rows of two operands that broadcast to ``shape``."""
    lead = a if a.shape == shape or b.shape != shape else b
    order = memory_order(lead) if lead.shape == shape else tuple(range(len(shape)))
    return _row_plan(a.shape, b.shape, shape, order)


@lru_cache(maxsize=1024)
def _row_plan(
    a: tuple[int, ...], b: tuple[int, ...], shape: tuple[int, ...], order: tuple[int, ...]
) -> RowPlan:
    sizes = tuple(shape[axis] for axis in order)
    own, spread = [], []
    for operand in (a, b):
        padded = (1,) * (len(shape) - len(operand)) + operand
        memory = tuple(padded[axis] for axis in order)
        # an operand that is constant along the innermost axis cannot be read as rows
        wider = (*memory[:-1], sizes[-1]) if sizes and memory[-1] != sizes[-1] else None
        own.append(wider or memory)
        spread.append(wider)
    split = max(len(sizes) - 1, 0)  # axes from here on form a row
    while split > 0 and all(memory[split - 1] == sizes[split - 1] for memory in own):
        split -= 1
    while split < len(sizes) - 1 and prod(sizes[:split]) < 8:
        split += 1  # enough rows to share between threads
    rows = tuple(_row_starts(memory[:split], sizes[:split], memory[split:]) for memory in own)
    return RowPlan(order, tuple(spread), rows, prod(sizes[split:]))


def _row_starts(own: Sequence[int], full: Sequence[int], row: Sequence[int]) -> Offsets:
    """Return the first element of every row of the broadcast, in the operand's own memory."""
    starts = np.arange(prod(own), dtype=np.int64).reshape(own) * prod(row)
    return np.ascontiguousarray(np.broadcast_to(starts, full)).reshape(-1)


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
