"""Element types of the chip."""

from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

_NUMPY: dict[str, type[np.generic]] = {
    "u8": np.uint8,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "f16": np.float16,
    "f32": np.float32,
    "bool": np.bool_,
}


class DType(Enum):
    """An element type: knows its bits, limits and numpy type."""

    U8 = "u8"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    F16 = "f16"
    F32 = "f32"
    BOOL = "bool"

    numpy: np.dtype[Any]
    """The numpy type."""
    itemsize: int
    """Bytes of one element."""
    bits: int
    """Bits of one element."""
    is_float: bool
    """Whether this is a floating point type."""

    # Members are one of a kind; Enum's own hash calls Python at every look-up in a dict.
    __hash__ = object.__hash__

    def __init__(self, word: str) -> None:
        self.numpy = np.dtype(_NUMPY[word])
        self.itemsize = self.numpy.itemsize
        self.bits = self.itemsize * 8
        self.is_float = self.numpy.kind == "f"

    @cached_property
    def min(self) -> int:
        """Return the smallest integer of an integer type."""
        return int(np.iinfo(self.numpy).min)

    @cached_property
    def max(self) -> int:
        """Return the largest integer of an integer type."""
        return int(np.iinfo(self.numpy).max)

    @classmethod
    def of(cls, dtype: DTypeLike) -> "DType":
        """Return the member of a numpy type; KeyError when there is none."""
        return _FROM_NUMPY[np.dtype(dtype)]


_FROM_NUMPY: dict[np.dtype[Any], DType] = {dtype.numpy: dtype for dtype in DType}
