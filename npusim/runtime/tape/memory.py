"""Where arrays lie while a tape is recorded, and where they will lie when it runs.

Steps are laid out on arrays that nobody reads. Each belongs to a *region*: the memory of an input,
memory that a step made, or a constant, which stays where it is. Regions that live only inside of
the tape get places in one arena, so that those alive at the same time do not overlap.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_LINE = 64


def address_of(array: Array) -> int:
    """Return the address of the first element."""
    return int(array.__array_interface__["data"][0])


def owner_of(array: Array) -> Array:
    """Return the array whose memory an array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@dataclass(slots=True)
class Region:
    """Memory of one owner.

    Attributes
    ----------
    memory : array
        Stands for it while recording.
    first, last : int
        Calls that use it first and last.
    offset : int
        Its place in the arena.
    """

    memory: Array
    first: int = 0
    last: int = -1
    offset: int = 0
    array: Array = field(init=False)

    def __post_init__(self) -> None:
        self.array = self.memory

    @property
    def start(self) -> int:
        """Where it begins now: what addresses in it are told from."""
        return address_of(self.array)


def stand_in(like: Array) -> Region:
    """Return memory for an array of the same shape and strides; ``start`` is its first element."""
    reach = [(n - 1) * step for n, step in zip(like.shape, like.strides, strict=True)]
    low = sum(min(r, 0) for r in reach)
    high = sum(max(r, 0) for r in reach) + like.itemsize
    memory = np.empty(high - low if like.size else 0, np.uint8)
    region = Region(memory)
    region.array = np.ndarray(
        like.shape, like.dtype, buffer=memory, offset=-low if like.size else 0, strides=like.strides
    )
    return region


def place(regions: list[Region]) -> int:
    """Give every region a place in the arena, the largest first; return the arena's bytes."""
    placed: list[Region] = []
    size = 0
    for region in sorted(regions, key=lambda r: -r.memory.nbytes):
        offset = 0
        for other in sorted(placed, key=lambda r: r.offset):
            if other.last < region.first or region.last < other.first:
                continue
            if offset + region.memory.nbytes <= other.offset:
                break
            offset = max(offset, _up(other.offset + other.memory.nbytes))
        region.offset = offset
        placed.append(region)
        size = max(size, _up(offset + region.memory.nbytes))
    return size


def _up(size: int) -> int:
    return -(-size // _LINE) * _LINE


class _Interface:
    def __init__(self, interface: dict[str, Any], base: Array) -> None:
        self.__array_interface__ = interface
        self.base = base


class View(NamedTuple):
    """Elements ``offset`` bytes behind the first one of some array."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def of(self, base: Array) -> Array:
        """Return them as an array that keeps ``base`` alive."""
        if base.dtype == np.uint8 and base.ndim == 1 and base.flags.owndata:  # made by a run
            return np.ndarray(self.shape, self.dtype, base, self.offset, self.strides)
        address, read_only = base.__array_interface__["data"]
        interface = {
            "version": 3,
            "shape": self.shape,
            "strides": self.strides,
            "typestr": self.dtype.str,
            "data": (address + self.offset, read_only),
        }
        return np.asarray(_Interface(interface, base))
