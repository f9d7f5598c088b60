"""What is known of a tensor."""

from dataclasses import dataclass, field
from math import prod

from npusim.ir.dtypes import DType
from npusim.ir.quant import Float, Quant

Shape = tuple[int, ...]

MAX_TENSOR_ELEMENTS = 1 << 28
"""Of one tensor, and of a map with the pads that a window needs; holds before memory is taken."""

MAX_AXES = 16
"""Of one tensor."""

LIMITS = f"no negative sizes, at most {MAX_AXES} axes and {MAX_TENSOR_ELEMENTS} elements"


def within_limits(shape: Shape) -> bool:
    """Tell whether a tensor may have a shape: the rule is ``LIMITS``."""
    fits = prod(shape) <= MAX_TENSOR_ELEMENTS and len(shape) <= MAX_AXES
    return fits and min(shape, default=0) >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, shape, element type and quantization of one tensor.

    Shapes follow the source model's axis order; feature maps are N, C, H, W. How the elements lie
    in memory is the runtime's business (see ``npusim.runtime.memory_order``).
    """

    name: str
    shape: Shape
    dtype: DType = DType.F32
    quant: Quant = field(default_factory=Float)

    @property
    def elements(self) -> int:
        """Return the number of elements."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes of the dense tensor."""
        return self.elements * self.dtype.itemsize
