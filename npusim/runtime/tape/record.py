"""From steps to a tape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from npusim.kernels import tape as compiled
from npusim.kernels._jit import Kernel
from npusim.runtime.calls import Call, Calls, KernelStep, Scratch
from npusim.runtime.tape.memory import Array, Region, View, owner_of, place, stand_in
from npusim.runtime.tape.memory import address_of as address
from npusim.runtime.threads import share_count

_LINE = 64
_WORD = 8


class Layer(Protocol):
    """A step with the names of what it takes and gives."""

    @property
    def step(self) -> Any:
        """The step."""

    @property
    def feeds(self) -> tuple[str, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it gives."""


@dataclass(frozen=True, slots=True)
class Result:
    """An array that the tape gives: a constant, or a view of a region.

    ``region`` counts inputs first, then memory that every run makes anew.
    """

    name: str
    value: Array | View
    region: int = 0

    def of(self, regions: Sequence[Array]) -> Array:
        """Return it from the memory of a run."""
        return self.value.of(regions[self.region]) if isinstance(self.value, View) else self.value


@dataclass(frozen=True, slots=True)
class Tape:
    """Records and what has to be put into them before a run.

    Attributes
    ----------
    words : int64
        All records.
    records : int64
        Where each begins.
    groups : int64 (groups, 3)
        First record, behind the last, shares.
    cuts : tuple of int
        Groups between which the interpreter is asked for signals, with 0 and all.
    where, region, offsets : int64
        Words that are addresses: in which region, at which offset from its first element. Region 0
        is the arena, then come inputs and new results.
    feeds : tuple of str
    new_sizes : tuple of int
        Bytes of every memory that a run makes anew.
    arena_size, scratch_size : int
        Bytes.
    results : tuple of Result
    kept : tuple
        Constants that the records point to.
    """

    words: NDArray[np.int64]
    records: NDArray[np.int64]
    groups: NDArray[np.int64]
    cuts: tuple[int, ...]
    where: NDArray[np.int64]
    region: NDArray[np.int64]
    offsets: NDArray[np.int64]
    feeds: tuple[str, ...]
    new_sizes: tuple[int, ...]
    arena_size: int
    scratch_size: int
    results: tuple[Result, ...]
    kept: tuple[Any, ...]


SMALL_WORK = 1 << 16  # as in ``threads``: a hand-over in compiled code takes less than 1 us
CUT = 1 << 31  # multiply-adds of plain kernels, or bytes, that take less than a second


def record(layers: Sequence[Layer], feeds: Mapping[str, Array], wanted: Sequence[str]) -> Tape:
    """Return the tape of layers whose steps are all ``KernelStep``.

    Parameters
    ----------
    layers : sequence of Layer
    feeds : mapping
        Arrays that come from outside; only shape, strides and type are looked at.
    wanted : sequence of str
        Values that are needed behind the layers.
    """
    inputs = {name: stand_in(value) for name, value in feeds.items()}
    values: dict[str, Array] = {name: region.array for name, region in inputs.items()}
    calls = Calls()
    for layer in layers:
        step = layer.step
        assert isinstance(step, KernelStep)  # the caller sees to it
        results = step.lay(calls, *[values[name] for name in layer.feeds])
        for name, result in zip(layer.outputs, results, strict=True):
            if not isinstance(result, np.ndarray):  # numpy read an element that nobody has written
                raise TypeError(f"the step of {name!r} lays out {type(result)}, which is no array")
        values.update(zip(layer.outputs, results, strict=True))
    made = {id(array): Region(array) for array in calls.made}
    given = {id(region.memory): region for region in inputs.values()}
    regions = made | given
    owners = dict.fromkeys(id(owner_of(values[name])) for name in wanted)
    fresh = [made[owner] for owner in owners if owner in made]
    bases: list[Region] = [*inputs.values(), *fresh]
    builder = _Builder(regions, {id(region): 1 + i for i, region in enumerate(bases)})
    for number, call in enumerate(calls.calls):
        builder.add(number, call)
    inside = [r for r in made.values() if id(r) not in builder.numbers and r.last >= r.first]
    arena_size = place(inside)
    groups, cuts = _groups(calls.calls)
    return Tape(
        words=np.array(builder.words, np.uint64).view(np.int64),
        records=np.array(builder.records, np.int64),
        groups=groups,
        cuts=cuts,
        where=np.array([where for where, _, _ in builder.addresses], np.int64),
        region=np.array([builder.numbers.get(id(r), 0) for _, r, _ in builder.addresses], np.int64),
        offsets=np.array([offset + r.offset for _, r, offset in builder.addresses], np.int64),
        feeds=tuple(inputs),
        new_sizes=tuple(region.memory.nbytes for region in fresh),
        arena_size=arena_size,
        scratch_size=builder.scratch_size,
        results=tuple(_result(name, values[name], regions, builder.numbers) for name in wanted),
        kept=tuple(builder.constants),
    )


def _result(
    name: str, value: Array, regions: Mapping[int, Region], numbers: Mapping[int, int]
) -> Result:
    region = regions.get(id(owner_of(value)))
    if region is None:
        return Result(name, value)
    view = View(value.shape, value.strides, value.dtype, address(value) - region.start)
    return Result(name, view, numbers[id(region)] - 1)


def _groups(calls: Sequence[Call]) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Return records in groups, and where the interpreter gets a word in between."""
    groups: list[tuple[int, int, int]] = []
    cuts, since = [0], 0
    for number, call in enumerate(calls):
        shares = share_count(call.rows, call.work, SMALL_WORK)
        alone = shares == 1 and groups and groups[-1][2] == 1 and cuts[-1] != len(groups)
        if alone:
            groups[-1] = (groups[-1][0], number + 1, 1)
        else:
            groups.append((number, number + 1, shares))
        since += call.work
        if since >= CUT:
            cuts.append(len(groups))
            since = 0
    if cuts[-1] != len(groups):
        cuts.append(len(groups))
    return np.array(groups, np.int64).reshape(-1, 3), tuple(cuts)


class _Builder:
    """The words of the records as they are written."""

    def __init__(self, regions: Mapping[int, Region], numbers: dict[int, int]) -> None:
        self.regions, self.numbers = regions, numbers
        self.words: list[int] = []
        self.records: list[int] = []
        self.addresses: list[tuple[int, Region, int]] = []
        self.constants: list[Any] = []
        self.scratch_size = 0

    def add(self, number: int, call: Call) -> None:
        """Write the record of a call."""
        arguments = _signature(call)
        form, address_of_code = _entry(call.kernel, arguments)
        leaves: list[int] = []
        scratches: list[tuple[int, int]] = []
        addresses: list[tuple[int, Region, int]] = []
        used = 0
        for kind, value in zip(arguments[:-2], call.arguments, strict=True):
            if isinstance(value, Scratch):
                size = np.dtype(value.dtype).itemsize * value.size
                itemsize = np.dtype(value.dtype).itemsize
                scratches.append((len(leaves) + _DATA, used))
                leaves += _array_words((value.size,), (itemsize,), 0, itemsize)
                used += -(-size // _LINE) * _LINE
            elif isinstance(kind, types.Array):
                owner = owner_of(value)
                region = self.regions.get(id(owner))
                if region is None:
                    self.constants.append(value)
                else:
                    region.first = number if region.last < 0 else region.first
                    region.last = number
                    addresses.append((len(leaves) + _DATA, region, address(value) - region.start))
                itemsize = value.dtype.itemsize
                leaves += _array_words(value.shape, value.strides, address(value), itemsize)
            else:
                leaves += _number_words(kind, value)
        self.scratch_size = max(self.scratch_size, used)
        self.records.append(len(self.words))
        self.words += [form, address_of_code, call.rows, len(scratches)]
        self.words += [word for pair in scratches for word in pair]
        self.words.append(len(leaves))  # where the range of rows is
        begin = len(self.words)
        self.addresses += [(begin + leaf, region, offset) for leaf, region, offset in addresses]
        self.words += [*leaves, 0, 0]


_DATA = 4  # of the words of an array: the address of its first element


def _array_words(
    shape: Sequence[int], strides: Sequence[int], data: int, itemsize: int
) -> list[int]:
    """Return an array as Numba passes it: owner (none), size, item size, data, shape, strides."""
    count = 1
    for n in shape:
        count *= n
    return [0, 0, count, itemsize, data, *shape, *(step % 2**64 for step in strides)]


def _number_words(kind: Any, value: Any) -> list[int]:
    """Return a number, or a tuple of numbers, as the words of a type."""
    if isinstance(kind, types.BaseTuple):
        kinds: Any = kind
        return [word for k, v in zip(kinds, value, strict=True) for word in _number_words(k, v)]
    memory = np.zeros(1, np.uint64)
    dtype = {
        types.int64: np.int64,
        types.float64: np.float64,
        types.float32: np.float32,
        types.boolean: np.bool_,
    }[kind]
    memory.view(dtype)[0] = value
    return [int(memory[0])]


def _signature(call: Call) -> tuple[Any, ...]:
    """Return the types of the kernel's signature that takes the arguments of a call."""
    for arguments in _signatures(call.kernel):
        if len(arguments) == len(call.arguments) + 2 and all(
            _takes(kind, value) for kind, value in zip(arguments, call.arguments, strict=False)
        ):
            return arguments
    raise TypeError(f"kernel {call.kernel.name} takes no {call.arguments}")


def _takes(kind: Any, value: Any) -> bool:
    if not isinstance(kind, types.Array):
        return not isinstance(value, np.ndarray | Scratch)
    if isinstance(value, Scratch):
        return np.dtype(value.dtype) == _dtype(kind) and kind.ndim == 1
    return (
        isinstance(value, np.ndarray)
        and value.dtype == _dtype(kind)
        and value.ndim == kind.ndim
        and (kind.layout == "A" or value.flags.c_contiguous)
    )


@cache
def _dtype(kind: Any) -> np.dtype[Any]:
    return np.dtype(str(kind.dtype))


@cache
def _signatures(kernel: Kernel) -> tuple[tuple[Any, ...], ...]:
    return tuple(compiled.arguments_of(text) for text in kernel.signatures)


@cache
def _entry(kernel: Kernel, arguments: tuple[Any, ...]) -> tuple[int, int]:
    """Return form and address of a kernel's code for one signature."""
    form = compiled.form_of(arguments)
    assert form is not None, f"kernel {kernel.name} is missing in npusim.kernels.tape"
    code: Any = kernel.compile().overloads[arguments]
    return form, code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
