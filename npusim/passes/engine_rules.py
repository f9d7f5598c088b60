"""Where an operator runs and in what form: per operator an ordered table of rules.

The first rule that matches decides engine and form. Its reason is what users read in
``npusim ops``, in dumps and in docs/supported-ops.md. Operators without an entry of their own are
placed by their traits, or are shader programs.

Source: measured, docs/arithmetic/placement.md: what the driver of the chip runs; forms by the
operation lists that the driver prints.
"""

from collections.abc import Callable
from dataclasses import dataclass

from npusim import words
from npusim.explain import see
from npusim.ir.graph import Engine, Form, Node
from npusim.ops import OpDef, op_def, op_names
from npusim.ops.traits import TpTable
from npusim.passes import convolution_predicates as convolution
from npusim.passes import engine_predicates as when
from npusim.passes import memory_predicates as lies
from npusim.passes.graph_view import GraphView


@dataclass(frozen=True, slots=True)
class EngineRule:
    """One line of the table: engine, form, when it applies and why, in words for the user."""

    engine: Engine
    form: Form
    when: Callable[[Node, GraphView], bool]
    reason: str


NN, TP, SHADER, CPU = Engine.NN, Engine.TP, Engine.SHADER, Engine.CPU


def _program(condition: Callable[[Node, GraphView], bool], reason: str) -> EngineRule:
    return EngineRule(SHADER, Form.PROGRAM, condition, reason)


_PER_CHANNEL = _program(convolution.per_channel_weights, "weights with one scale per channel")
_SHADER_ONLY = _program(when.engine_types, "always a shader program")
_OTHER_TYPES = _program(when.always, "types other than u8, i8, i16 and f16")
_INDEX = (_program(when.always, _SHADER_ONLY.reason),)
_SUM = (
    EngineRule(TP, Form.SUM, lies.sum_of_one_pixel, "sum of one pixel each: fully connected"),
    EngineRule(
        NN, Form.SUM, lies.sum_on_nn, "sum of two hidden results as a convolution over both"
    ),
    _program(
        when.engine_types,
        "an operand is not free to be laid beside the other, or scales differ too much",
    ),
)
_COPY_REASON = "data movement is a TP copy"
_COPY = EngineRule(TP, Form.COPY, when.engine_types, _COPY_REASON)
_REORDER = (EngineRule(TP, Form.REORDERING, when.engine_types, _COPY_REASON), _OTHER_TYPES)
_PART = (
    EngineRule(TP, Form.VIEW, lies.hidden_part, "parts of the input in one piece: nothing moves"),
    _COPY,
    _OTHER_TYPES,
)
_VIEW = (
    EngineRule(TP, Form.VIEW, lies.same_codes, "another name for the input's memory"),
    _COPY,
    EngineRule(SHADER, Form.VIEW, lies.same_codes_of_any_type, "another name, types of the host"),
    _OTHER_TYPES,
)
_TP_ACTIVATION = (
    _program(when.finer_than_tables, "finer than TP's tables reach"),
    EngineRule(TP, Form.ACTIVATION, when.engine_types, "TP activation"),
)
_TP_LOOKUP = (EngineRule(TP, Form.TABLE, when.engine_types, "TP table lookup"),)

_OWN: dict[str, tuple[EngineRule, ...]] = {
    "conv2d": (
        _PER_CHANNEL,
        EngineRule(
            TP,
            Form.FULLY_CONNECTED,
            when.conv_is_fc_on_tp,
            "kernel over the whole input, no input zero point: fully connected",
        ),
        _program(convolution.large_kernel, "kernel of 12 rows or columns or more"),
        _program(
            convolution.wide_dilated_kernel, "dilated kernel that spans 12 rows or columns or more"
        ),
        _program(
            convolution.far_padded_depthwise, "depthwise, more than 7 pads above or to the left"
        ),
        EngineRule(
            CPU, Form.PROGRAM, when.wide_output, "output type wider than the NN engine stores"
        ),
        EngineRule(NN, Form.CONVOLUTION, when.nn_types, "convolution"),
    ),
    "deconv2d": (
        _PER_CHANNEL,
        EngineRule(
            NN,
            Form.TRANSPOSED_CONVOLUTION,
            when.nn_types,
            "convolutions whose results TP interleaves",
        ),
    ),
    "fc": (
        _PER_CHANNEL,
        EngineRule(
            TP,
            Form.FULLY_CONNECTED,
            when.fc_on_tp,
            "fully connected layer, no input zero point, batch 1",
        ),
        EngineRule(
            NN,
            Form.FULLY_CONNECTED,
            when.nn_types,
            "as a convolution: input zero point, one result, batch or wide bias",
        ),
    ),
    "pool2d": (
        EngineRule(
            NN,
            Form.FUSED,
            when.max_pool_fused,
            "2x2 or 3x3 max pool of stride 2 fused into the layer before",
        ),
        EngineRule(
            TP, Form.POOLING, when.max_pool_on_tp, "max pool of 2x2 or 3x3, or a chain of them"
        ),
        _program(when.max_pool, "max pool with another window, stride or padding"),
        _program(when.average_without_padding, "a window counts only the pixels that it has"),
        EngineRule(
            NN,
            Form.AVERAGE,
            when.whole_average_of_2x2,
            "average of 2x2, the whole input, like global_pool",
        ),
        EngineRule(
            NN,
            Form.AVERAGE_BY_CHANNEL,
            when.whole_average_by_channel,
            "average of the whole input, like global_pool",
        ),
        EngineRule(
            TP,
            Form.AVERAGE,
            when.average_is_fc_on_tp,
            "average of the whole input, no input zero point: fully connected",
        ),
        EngineRule(
            NN,
            Form.AVERAGE,
            when.average_window_on_nn,
            "average as a depthwise convolution with one weight",
        ),
        _program(when.engine_types, "average above 11x11, or stride above 2 or unequal"),
    ),
    "global_pool": (
        EngineRule(NN, Form.AVERAGE, when.global_average_of_2x2, "u8 or f16 average of 2x2"),
        EngineRule(
            NN,
            Form.AVERAGE_BY_CHANNEL,
            when.global_average_by_channel,
            "u8 or f16 average of 12x12 to 255 pixels",
        ),
        _program(when.engine_types, "other sizes and types, and every maximum"),
    ),
    "reduce_mean": (
        EngineRule(
            TP,
            Form.AVERAGE,
            when.small_spatial_mean_on_tp,
            "mean over height and width that fit 11x11, no input zero point: fully connected",
        ),
        EngineRule(
            NN,
            Form.AVERAGE,
            when.small_spatial_mean,
            "mean over height and width that fit 11x11: convolution with one weight",
        ),
        _program(when.engine_types, "mean over other axes or sizes"),
    ),
    "add": _SUM,
    "sub": _SUM,
    "concat": (
        EngineRule(
            TP,
            Form.IN_PLACE,
            lies.joined_in_place,
            "hidden results of the same quantization: in place",
        ),
        EngineRule(
            TP, Form.CONCATENATION, when.engine_types, "TP copies each input into its place"
        ),
        _OTHER_TYPES,
    ),
    "split": _PART,
    "slice": _PART,
    "transpose": (
        EngineRule(
            TP, Form.VIEW, lies.moves_nothing, "no axis of several elements changes its place"
        ),
        EngineRule(TP, Form.TRANSPOSITION, when.engine_types, _COPY_REASON),
        _OTHER_TYPES,
    ),
    "depth2space": _REORDER,
    "space2depth": _REORDER,
    "channel_shuffle": _REORDER,
    "resize": (
        EngineRule(
            NN,
            Form.ENLARGEMENT,
            when.nearest_enlarging,
            "nearest, u8 or i16, larger by a whole factor up to 16: convolution",
        ),
        EngineRule(
            TP,
            Form.SUBSAMPLING,
            when.nearest_shrinking,
            "nearest, u8 or i16, smaller by whole factors: TP copies",
        ),
        _program(when.engine_types, "bilinear, or nearest by other factors or types"),
    ),
    "convert": (
        _program(when.signed_with_zero_point, "i8 with a zero point"),
        EngineRule(TP, Form.COPY, when.engine_types, "conversion is a TP copy"),
        _program(when.always, "to or from 32 bits"),
    ),
    "lrn": (
        EngineRule(
            TP, Form.NORMALIZATION, when.few_channels, "TP normalization over up to 5 channels"
        ),
        _program(when.engine_types, "normalization over more channels"),
    ),
    "prelu": (
        EngineRule(
            TP,
            Form.ACTIVATION,
            when.one_slope,
            "one slope: TP activation leaky_relu",
        ),
        _program(when.slopes_compile, "several slopes, in float16, or in u8 like the input"),
    ),
    "argmax": _INDEX,
    "argmin": _INDEX,
}


def remedy(op: str) -> str:
    """Return what helps where no rule of an operator applies; empty: to quantize the graph."""
    if op != "prelu":
        return ""
    return (
        "quantize the float model again, which stores slopes in float16; or give this layer u8 or "
        f"f16 ({words.say('raise_layers')}) {see('prelu-fixed-point')}"
    )


def _by_traits(definition: OpDef) -> tuple[EngineRule, ...]:
    if definition.truth or definition.of_truth:
        return _INDEX
    if definition.tp_table is TpTable.ACTIVATION:
        return _TP_ACTIVATION
    if definition.tp_table is TpTable.LOOKUP:
        return _TP_LOOKUP
    if definition.view:
        return _VIEW
    if definition.moves and definition.tp_copy:
        return (_COPY, _OTHER_TYPES)
    return (_SHADER_ONLY,)


RULES: dict[str, tuple[EngineRule, ...]] = {
    name: _OWN.get(name) or _by_traits(op_def(name)) for name in op_names()
}
