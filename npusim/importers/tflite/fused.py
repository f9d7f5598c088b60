"""Activations that an operator of the file applies to its result."""

from math import inf

from npusim.importers.common.builder import FLOAT, UnsupportedForm
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, Quant

NONE, RELU, RELU_N1_TO_1, RELU6, TANH = range(5)
"""The schema's numbers."""
_RECTIFIERS = {
    RELU: ("relu", 0.0, inf),
    RELU_N1_TO_1: ("relu1", -1.0, 1.0),
    RELU6: ("relu6", 0.0, 6.0),
}


def fused_operator(activation: int, dtype: DType, quant: Quant) -> str:
    """Return the operator of a fused activation, empty where storing is the clamp already.

    Raises
    ------
    UnsupportedForm
        For activations without a counterpart, and tanh of codes, whose input has no parameters.
    """
    if activation == NONE:
        return ""
    if activation == TANH and quant == FLOAT:
        return "tanh"
    if activation not in _RECTIFIERS:
        raise UnsupportedForm("its fused activation", "use relu, relu6 or a layer of its own")
    kind, low, high = _RECTIFIERS[activation]
    if isinstance(quant, Affine):
        lowest = quant.zero_point + low / quant.scale
        highest = quant.zero_point + high / quant.scale
        if lowest <= dtype.min and round(min(highest, 1e9)) >= dtype.max:
            return ""
    return kind
