"""Facts about operators that passes, importers, quantization and reports ask for.

Each is stated once, where the operator is registered; everything else derives its lists from them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

from npusim.ir.attrs import Attrs


class TpTable(Enum):
    """How the driver of the chip makes a table of the TP engine for a function of one code.

    Source: docs/arithmetic/tp.md rule 3.8.
    """

    ACTIVATION = "activation"  # the engine's own functions; beyond their reach a shader program
    LOOKUP = "lookup"  # a table of samples, resampled to the engine's grid


def never(attrs: Attrs) -> bool:
    """Say no whatever the attributes are."""
    return False


def always(attrs: Attrs) -> bool:
    """Say yes whatever the attributes are."""
    return True


def hides_nothing(attrs: Attrs) -> int:
    """Return 0 whatever the attributes are."""
    return 0


def hides_low(attrs: Attrs) -> int:
    """Return 1 whatever the attributes are: elements far below the others do not count."""
    return 1


def hides_high(attrs: Attrs) -> int:
    """Return -1 whatever the attributes are: elements far above the others do not count."""
    return -1


def kind_is(field: str, value: object) -> Callable[[Any], bool]:
    """Return a condition on one attribute."""
    return lambda attrs: getattr(attrs, field, None) is value


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is true of an operator; nothing is unless it is said.

    Attributes
    ----------
    weighted : bool
        Inputs are (ifm, weights, bias); the weights are multiplied with the ifm.
    accumulates : bool
        Results are sums that are stored once, so that a relu behind may become part of the layer.
    moves : bool
        Results are elements of the inputs (or a fill value) in other places, of any type.
    view : bool
        Moves nothing: another name and shape for the input's memory.
    tp_copy : bool
        The driver moves with copies of the TP engine; other moves are shader programs.
    keeps_codes : callable
        Attributes -> every result is one of the first input's elements, chosen by place or by
        order: the codes pass unchanged and input and outputs have one set of parameters.
    on_codes : bool
        Done on codes as on real numbers besides what ``keeps_codes`` says: interpolation, whose
        results the input's parameters can hold, and argmax, whose result is an index.
    averages : callable
        Attributes -> results are means of elements.
    hides : callable
        Attributes -> 1 when it makes no difference how far an element lies below the others that it
        competes with (softmax, maxima), -1 for above (minima), 0 when it always does.
    truth : bool
        Results are truth values.
    of_truth : bool
        The first input, or every one of a function with ``truth``, is a truth value.
    joins : bool
        All real inputs and the result have one set of parameters, as those of a concat.
    elementwise : bool
        An element of the result depends on the elements in its place only (after broadcasting).
    keeps_channels : bool
        Axis 1 of the result is axis 1 of the operand where their sizes are equal; so it is of those
        that are ``elementwise``.
    activation : bool
        A network's non-linearity of one tensor, as layer lists and frameworks count them.
    rectifier : bool
        relu and its relatives: linear in pieces, in the number format of the layer before.
    kink : bool
        The slope jumps somewhere, where a table of straight segments may miss.
    homogeneous : bool
        Equalization passes a positive factor of a channel through it unchanged.
    keeps_sign : bool
        Results are not negative when no operand is (said by ``bounds`` where none ever is).
    bounds : tuple of float
        Lowest and highest result there can be.
    tp_table : TpTable or None
        The TP engine looks it up in a table.
    real_parameters : bool
        Constants besides the ifm stay real in a quantized model: the shader reads them as they are.
    real_operand : bool
        A known operand stays float16 in a u8 model. Source: docs/quantization.md, constants.
    half_operand : bool
        A known operand stays float16 in every format. Source: docs/quantization.md, constants.
    f16_results : bool
        The chip also stores float16 from 8-bit codes. Source: docs/rknn-compat.md section 8.
    power : float or None
        The result is this power of the operand.
    onnx, tflite, caffe, tensorflow, keras, mxnet : str
        The source format's operator that means the same without attributes or constants of its
        own; empty when there is none or when a converter translates more than the name.
    golden : str
        Name in recorded vectors and in the tools that record them; empty: the operator's own.
    toolkit : str
        Name after ``VSI_NN_OP_`` in the toolkit's files; empty: the operator's own in capitals.
    layer_class : str
        The driver's class of the layer, in names of dump files; empty: ``<Name>Layer``, the
        pattern of those that are known. Source: file names in users' scripts and public driver
        source (ConvolutionReluPoolingLayer2, PoolingLayer2, FullyConnectedReluLayer,
        TensorTranspose, DeConvolutionLayer); the others follow it.
    kernel : str
        The driver's name of the layer in listings of times; empty: ``<name>.layer``.
    """

    weighted: bool = False
    accumulates: bool = False
    moves: bool = False
    view: bool = False
    tp_copy: bool = False
    keeps_codes: Callable[[Any], bool] = never
    on_codes: bool = False
    averages: Callable[[Any], bool] = never
    hides: Callable[[Any], int] = hides_nothing
    truth: bool = False
    of_truth: bool = False
    joins: bool = False
    elementwise: bool = False
    keeps_channels: bool = False
    activation: bool = False
    rectifier: bool = False
    kink: bool = False
    homogeneous: bool = False
    keeps_sign: bool = False
    bounds: tuple[float, float] = (-inf, inf)
    tp_table: TpTable | None = None
    real_parameters: bool = False
    real_operand: bool = False
    half_operand: bool = False
    f16_results: bool = False
    power: float | None = None
    onnx: str = ""
    tflite: str = ""
    caffe: str = ""
    tensorflow: str = ""
    keras: str = ""
    mxnet: str = ""
    golden: str = ""
    toolkit: str = ""
    layer_class: str = ""
    kernel: str = ""


NO_TRAITS = Traits()
