"""A convolution on the NN engine as a step, with what its i16 store does beyond rounding."""

import numpy as np

from npusim.ir.dtypes import DType
from npusim.runtime.binding import Step
from npusim.runtime.convolution.phases import Array, Convolution
from npusim.runtime.convolution.step import ConvolutionStep


def nn_layer(conv: Convolution) -> Step:
    """Return the step of a convolution.

    Where i16 results have more fraction bits than the sums (a negative shift), every negative sum
    is stored as -32768. Source: measured, docs/arithmetic/nn.md rule 2.4.
    """
    step = ConvolutionStep(conv)
    if conv.ofm.dtype is not DType.I16 or conv.requant.shift >= 0:
        return step

    def saturated(value: Array) -> tuple[Array, ...]:
        (result,) = step(value)
        return (np.where(result < 0, np.int16(-32768), result),)

    return saturated
