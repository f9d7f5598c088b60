"""What a stored type can hold."""

import numpy as np

from npusim.ir.dtypes import DType
from npusim.ir.quant import AffinePerChannel, Float, scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec

LARGEST_F16 = 65504.0
SMALLEST_NORMAL_F16 = 2.0**-14
SMALLEST_F16 = 2.0**-24


def representable(spec: TensorSpec) -> tuple[float, float]:
    """Return the smallest and the largest real value of a stored type; infinite for float32."""
    if spec.dtype is DType.F16:
        return -LARGEST_F16, LARGEST_F16
    if spec.dtype.is_float or isinstance(spec.quant, AffinePerChannel | Float):
        return -np.inf, np.inf
    step, zero = scale_of(spec.quant), zero_point_of(spec.quant)
    return (spec.dtype.min - zero) * step, (spec.dtype.max - zero) * step
