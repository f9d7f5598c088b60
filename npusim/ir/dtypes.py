"""Element types of the chip."""

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


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

    @property
    def numpy(self) -> np.dtype[Any]:
        """Return the numpy type."""
        return _NUMPY[self]

    @property
    def bits(self) -> int:
        """Return the width of one element in bits."""
        return self.numpy.itemsize * 8

    @property
    def itemsize(self) -> int:
        """Return the width of one element in bytes."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        """Tell whether this is a floating point type."""
        return self in (DType.F16, DType.F32)

    @property
    def min(self) -> int:
        """Return the smallest integer of an integer type."""
        return int(np.iinfo(self.numpy).min)

    @property
    def max(self) -> int:
        """Return the largest integer of an integer type."""
        return int(np.iinfo(self.numpy).max)

    @classmethod
    def of(cls, dtype: DTypeLike) -> "DType":
        """Return the member of a numpy type; KeyError when there is none."""
        return _FROM_NUMPY[np.dtype(dtype)]


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.U8: np.dtype(np.uint8),
    DType.I8: np.dtype(np.int8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.BOOL: np.dtype(np.bool_),
}
_FROM_NUMPY: dict[np.dtype[Any], DType] = {v: k for k, v in _NUMPY.items()}
