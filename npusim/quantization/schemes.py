"""Ranges -> quantization parameters. Equations: docs/quantization.md."""

from dataclasses import dataclass
from enum import Enum
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError, QuantizationError
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Quant, scale_of

Range = tuple[float, float]
FINEST = 126  # fraction bits: 2**-126 is the smallest normal float32


class Scheme(Enum):
    """A number format for a whole network, in the toolkit's canonical spelling."""

    U8 = "asymmetric_affine-u8"
    I8 = "dynamic_fixed_point-i8"
    I16 = "dynamic_fixed_point-i16"
    F16 = "float16"

    @property
    def dtype(self) -> DType:
        """Return the element type of activations and weights."""
        return _DTYPES[self]

    @property
    def bias_dtype(self) -> DType:
        """Return the element type of biases. Source: RKNN C API guide, types of bias tensors."""
        return {Scheme.I16: DType.I64, Scheme.F16: DType.F32}.get(self, DType.I32)


_DTYPES = {
    Scheme.U8: DType.U8,
    Scheme.I8: DType.I8,
    Scheme.I16: DType.I16,
    Scheme.F16: DType.F16,
}
_SPELLINGS = {
    Scheme.U8: ("asymmetric_quantized-u8", "asymmetric_affine-u8", "u8"),
    Scheme.I8: ("dynamic_fixed_point-8", "dynamic_fixed_point-i8", "i8"),
    Scheme.I16: ("dynamic_fixed_point-16", "dynamic_fixed_point-i16", "i16"),
    Scheme.F16: ("float16", "fp16", "f16"),
}


def scheme_named(name: str) -> Scheme:
    """Return the scheme for any era's spelling."""
    for scheme, names in _SPELLINGS.items():
        if name.strip().lower() in names:
            return scheme
    known = ", ".join(n for names in _SPELLINGS.values() for n in names)
    raise ConfigError(f"quantization type {name!r} is not known", rule=f"one of {known}")


def scheme_of(value: "Scheme | str") -> Scheme:
    """Return a scheme given as itself or by any spelling."""
    return value if isinstance(value, Scheme) else scheme_named(value)


def affine_u8(bounds: Range) -> Affine:
    """Return u8 parameters of a range (equations 1-3).

    The range is widened to contain 0. Ends, difference and both quotients are float32, so -6.3..6.3
    has the zero point rint(127.5) = 128. Source: docs/quantization.md, asymmetric u8.
    """
    low, high = _checked(bounds)
    with np.errstate(over="ignore", under="ignore"):
        bottom, top = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
        scale = (top - bottom) / np.float32(255)
    if bottom == top:
        return Affine(scale=1.0, zero_point=0)
    if not np.isfinite(scale):
        raise QuantizationError(
            f"range {low} .. {high} is wider than float32 holds",
            remedy="look for huge values in the samples and in the weights before this layer",
        )
    if scale == 0.0:
        return Affine(scale=float(np.finfo(np.float32).tiny), zero_point=0)
    zero_point = int(np.clip(np.rint(-bottom / scale), 0, 255))
    return Affine(scale=float(scale), zero_point=zero_point)


def dynamic_fixed_point(bounds: Range, bits: int) -> DynamicFixedPoint:
    """Return ``fl = bits - 1 - ceil(log2(max(|min|, |max|)))`` (equation 5).

    The step stays a normal float32: the engines divide by it.
    """
    low, high = _checked(bounds)
    reach = max(abs(low), abs(high))
    if reach == 0:
        return DynamicFixedPoint(fl=bits - 1)
    return DynamicFixedPoint(fl=min(bits - 1 - ceil(log2(reach)), FINEST))


def _checked(bounds: Range) -> Range:
    low, high = float(bounds[0]), float(bounds[1])
    if not (np.isfinite(low) and np.isfinite(high)):
        raise QuantizationError(
            f"range {low} .. {high} is not finite",
            rule="a range must be two finite numbers",
            remedy="look for NaN or infinity in the samples and in the weights before this layer",
        )
    if low > high:
        raise QuantizationError(f"range {low} .. {high} is empty")
    return low, high


def parameters(bounds: Range, scheme: Scheme) -> Quant:
    """Return the quantization parameters of a range under an integer scheme."""
    if scheme is Scheme.U8:
        return affine_u8(bounds)
    if scheme is Scheme.F16:
        raise QuantizationError("float16 has no quantization parameters")
    return dynamic_fixed_point(bounds, scheme.dtype.bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightQuantizer:
    """How a layer's weights and bias become integers under a scheme."""

    scheme: Scheme

    def weights(
        self, value: NDArray[np.generic], quant: Quant | None = None
    ) -> tuple[NDArray[np.generic], Quant]:
        """Return integer weights with their parameters, one set for the whole tensor.

        ``quant`` replaces the parameters that follow from minimum and maximum.
        """
        if quant is None:
            low, high = float(value.min(initial=0.0)), float(value.max(initial=0.0))
            quant = parameters((low, high), self.scheme)
        return quantize(value, self.scheme.dtype, quant), quant

    def bias(
        self, value: NDArray[np.generic], ifm: Quant, weights: Quant
    ) -> tuple[NDArray[np.generic], Quant]:
        """Return the integer bias at the accumulator's scale."""
        quant: Quant
        if isinstance(ifm, DynamicFixedPoint) and isinstance(weights, DynamicFixedPoint):
            quant = DynamicFixedPoint(fl=ifm.fl + weights.fl)
        else:
            step = np.float32(scale_of(ifm)) * np.float32(scale_of(weights))
            quant = Affine(scale=float(step), zero_point=0)
        return quantize(value, self.scheme.bias_dtype, quant), quant
