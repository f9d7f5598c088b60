"""Steps that are kernel calls and nothing else: laid out first, made afterwards.

Such a step says which calls its inputs need, from their shapes and strides alone, and reads no
element. So it can be run at once, call by call, or be recorded (``npusim.runtime.tape``).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels._jit import Kernel
from npusim.kernels.elementwise.copy_runs import copy_elements
from npusim.runtime.threads import run_rows, scratch

Array = NDArray[Any]
_AXES = 6  # of the arrays that ``copy_elements`` takes


class Scratch(NamedTuple):
    """A flat array of the thread that a kernel writes first; see ``threads.scratch``."""

    key: str
    size: int
    dtype: DTypeLike


class Call(NamedTuple):
    """A kernel call.

    Attributes
    ----------
    kernel : Kernel
    arguments : tuple
        All but the last two, which are the range of rows: arrays, numbers, tuples of numbers, and
        ``Scratch``.
    rows : int
        Independent rows.
    work : int
        Multiply-adds or bytes of all rows together.
    """

    kernel: Kernel
    arguments: tuple[Any, ...]
    rows: int
    work: int

    def run(self) -> None:
        """Make the call, shared between threads where that is worth it."""
        run_rows(self._part, self.rows, self.work)

    def _part(self, start: int, stop: int) -> None:
        arguments = [scratch(*a) if isinstance(a, Scratch) else a for a in self.arguments]
        self.kernel(*arguments, start, stop)


class Calls:
    """Calls in the order in which they are to be made.

    Attributes
    ----------
    made : list of arrays
        Memory that the calls write and nobody has written yet.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.made: list[Array] = []

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """Return new memory for the results of a call."""
        array = np.empty(shape, dtype)
        self.made.append(array)
        return array

    def add(self, kernel: Kernel, arguments: tuple[Any, ...], rows: int, work: int) -> None:
        """Add a call; see ``Call``."""
        self.calls.append(Call(kernel, arguments, rows, work))

    def run(self) -> None:
        """Make all calls."""
        for call in self.calls:
            call.run()

    def in_order(self, value: Array, order: Sequence[int]) -> Array:
        """Return ``value.transpose(order)`` as a C-contiguous array; copies only when needed."""
        memory = value.transpose(order)
        if memory.flags.c_contiguous:
            return memory
        copy = self.empty(memory.shape, memory.dtype)
        self.copy(memory, copy)
        return copy

    def copy(self, source: Array, target: Array) -> None:
        """Copy all elements, of up to eight bytes and along up to six axes."""
        code = f"u{source.itemsize}"
        read, written = (
            array.view(code)[(None,) * (_AXES - array.ndim)] for array in (source, target)
        )
        rows = source.size // source.shape[-1] if source.size else 0
        self.add(copy_elements, (read, written), rows, source.nbytes)


class KernelFunction:
    """A function of arrays to an array that is kernel calls only.

    Parameters
    ----------
    lay : callable
        (calls, arrays..) -> array: adds the calls that compute it.
    """

    def __init__(self, lay: Callable[..., Array]) -> None:
        self.lay = lay

    def __call__(self, *values: Array) -> Array:
        """Make the calls and return the result."""
        calls = Calls()
        result = self.lay(calls, *values)
        calls.run()
        return result


class KernelStep:
    """A step (see ``npusim.runtime.binding``) that is kernel calls only.

    Parameters
    ----------
    lay : callable
        (calls, activations..) -> results: adds the calls that compute them.
    """

    def __init__(self, lay: Callable[..., tuple[Array, ...]]) -> None:
        self.lay = lay

    def __call__(self, *values: Array) -> tuple[Array, ...]:
        """Make the calls and return the results."""
        calls = Calls()
        results = self.lay(calls, *values)
        calls.run()
        return results


def step_of(function: Callable[..., Array]) -> Callable[..., tuple[Array, ...]]:
    """Return the step whose only result is a function of its activations."""
    if not isinstance(function, KernelFunction):
        return lambda *values: (function(*values),)
    lay = function.lay
    return KernelStep(lambda calls, *values: (lay(calls, *values),))


def composed(*functions: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the function that applies functions of one array one after the other."""
    lays = [function.lay for function in functions if isinstance(function, KernelFunction)]
    if len(lays) == len(functions):

        def lay(calls: Calls, value: Array) -> Array:
            for one in lays:
                value = one(calls, value)
            return value

        return KernelFunction(lay)

    def apply(value: Array) -> Array:
        for function in functions:
            value = function(value)
        return value

    return apply


SAME = KernelFunction(lambda calls, value: value)
