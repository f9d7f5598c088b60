"""Element-wise work on stored codes in whatever memory order a value has.

Element-wise operators never change the memory order: they run over the memory as it lies, which for
feature maps usually is N, H, W, C.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.quant import scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.kernels.lut import map_codes
from npusim.runtime.binding import Step
from npusim.runtime.threads import run_rows

Array = NDArray[Any]
Function = Callable[[Array], Array]  # codes -> codes
Offsets = NDArray[np.int64]
ENGINE_TYPES = (DType.U8, DType.I8, DType.I16, DType.F16)


def memory_order(value: Array) -> tuple[int, ...]:
    """Return the axes from outermost to innermost in memory."""
    return tuple(sorted(range(value.ndim), key=lambda axis: -value.strides[axis]))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that undoes ``order``."""
    return tuple(int(axis) for axis in np.argsort(order))


def unsigned(value: Array) -> Array:
    """Return a contiguous array of 8-bit or 16-bit codes as flat unsigned bit patterns."""
    return value.view(f"u{value.dtype.itemsize}").reshape(-1)


def all_codes(dtype: DTypeLike) -> Array:
    """Return every code of an 8-bit or 16-bit type, ordered by bit pattern."""
    bits = np.dtype(dtype).itemsize * 8
    return np.arange(1 << bits, dtype=f"u{bits // 8}").view(dtype)


def table_step(function: Function, dtype: DTypeLike) -> Step:
    """Return a step that applies a function of single codes through a table of all codes.

    Parameters
    ----------
    function : callable
        Codes (flat, of ``dtype``) -> codes of an 8-bit or 16-bit type.
    dtype : numpy type
        8-bit or 16-bit input type.
    """
    codes = all_codes(dtype)
    result = function(codes)
    table = unsigned(np.ascontiguousarray(result))
    identity = result.dtype == codes.dtype and np.array_equal(table, unsigned(codes))

    def step(ifm: Array) -> tuple[Array, ...]:
        if identity:
            return (ifm,)
        order = memory_order(ifm)
        memory = np.ascontiguousarray(ifm.transpose(order))
        ofm = np.empty(memory.shape, result.dtype)
        source, target = unsigned(memory), unsigned(ofm)
        run_rows(
            lambda start, stop: map_codes(source, table, target, start, stop), ofm.size, ofm.size
        )
        return (ofm.transpose(inverse(order)),)

    return step


def paired_rows(
    a: Array, b: Array, shape: tuple[int, ...]
) -> tuple[Array, Offsets, Array, Offsets, tuple[int, ...], int]:
    """Lay two broadcasting operands out as rows of contiguous memory.

    Returns
    -------
    a, a_rows, b, b_rows
        Flat contiguous memory of each operand and where each row of the result starts in it.
    order : tuple of int
        Memory order of the result: that of the operand that has the result's shape.
    row_length : int
        Elements of a row.
    """
    a = a.reshape((1,) * (len(shape) - a.ndim) + a.shape) if a.ndim < len(shape) else a
    b = b.reshape((1,) * (len(shape) - b.ndim) + b.shape) if b.ndim < len(shape) else b
    if a.shape != shape and b.shape != shape:
        a = np.broadcast_to(a, shape)
    order = memory_order(a if a.shape == shape else b)
    sizes = tuple(shape[axis] for axis in order)
    memories = [np.ascontiguousarray(v.transpose(order)) for v in (a, b)]
    # an operand that is constant along the innermost axis cannot be read as rows
    memories = [
        np.ascontiguousarray(np.broadcast_to(m, (*m.shape[:-1], sizes[-1])))
        if sizes and m.shape[-1] != sizes[-1]
        else m
        for m in memories
    ]
    split = max(len(sizes) - 1, 0)  # axes from here on form a row
    while split > 0 and all(m.shape[split - 1] == sizes[split - 1] for m in memories):
        split -= 1
    while split < len(sizes) - 1 and np.prod(sizes[:split]) < 8:
        split += 1  # enough rows to share between threads
    starts = [_row_starts(m.shape[:split], sizes[:split], m.shape[split:]) for m in memories]
    row_length = int(np.prod(sizes[split:]))
    return (
        memories[0].reshape(-1),
        starts[0],
        memories[1].reshape(-1),
        starts[1],
        order,
        row_length,
    )


def _row_starts(own: Sequence[int], full: Sequence[int], row: Sequence[int]) -> Offsets:
    """Return the first element of every row of the broadcast, in the operand's own memory."""
    starts = np.arange(int(np.prod(own)), dtype=np.int64).reshape(own) * int(np.prod(row))
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
