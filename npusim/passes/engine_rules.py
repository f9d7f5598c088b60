"""Which engine runs an operator: per operator an ordered table of rules; the first match wins.

The reasons are what users read in ``npusim ops``, in dumps and in docs/supported-ops.md.

Source: measured, docs/arithmetic/placement.md: what the driver of the chip runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

from npusim.ir.graph import Engine, Node
from npusim.passes import engine_predicates as when
from npusim.passes.engine_view import GraphView


@dataclass(frozen=True, slots=True)
class EngineRule:
    """One line of the table: the engine, when it applies and why, in words for the user."""

    engine: Engine
    when: Callable[[Node, GraphView], bool]
    reason: str


NN, TP, SHADER, CPU = Engine.NN, Engine.TP, Engine.SHADER, Engine.CPU
_PER_CHANNEL = EngineRule(SHADER, when.per_channel_weights, "weights with one scale per channel")
_SHADER_ONLY = EngineRule(SHADER, when.engine_types, "always a shader program")
_OTHER_TYPES = EngineRule(SHADER, when.always, "types other than u8, i8, i16 and f16")
_SUM = (
    EngineRule(TP, when.sum_of_one_pixel, "sum of one pixel each: fully connected"),
    EngineRule(NN, when.sum_on_nn, "sum of two hidden results as a convolution over both"),
    EngineRule(
        SHADER,
        when.engine_types,
        "an operand is not free to be laid beside the other, or scales differ too much",
    ),
)

RULES: dict[str, tuple[EngineRule, ...]] = {
    "conv2d": (
        _PER_CHANNEL,
        EngineRule(
            TP,
            when.conv_is_fc_on_tp,
            "kernel over the whole input, no input zero point: fully connected",
        ),
        EngineRule(SHADER, when.large_kernel, "kernel of 12 rows or columns or more"),
        EngineRule(
            SHADER, when.wide_dilated_kernel, "dilated kernel that spans 12 rows or columns or more"
        ),
        EngineRule(CPU, when.wide_output, "output type wider than the NN engine stores"),
        EngineRule(NN, when.nn_types, "convolution"),
    ),
    "deconv2d": (
        _PER_CHANNEL,
        EngineRule(NN, when.nn_types, "convolutions whose results TP interleaves"),
    ),
    "fc": (
        _PER_CHANNEL,
        EngineRule(TP, when.fc_on_tp, "fully connected layer, no input zero point, batch 1"),
        EngineRule(
            NN, when.nn_types, "as a convolution: input zero point, one result, batch or wide bias"
        ),
    ),
    "pool2d": (
        EngineRule(NN, when.max_pool_fused, "2x2 max pool of stride 2 fused into the layer before"),
        EngineRule(TP, when.max_pool_on_tp, "max pool of 2x2 or 3x3, or a chain of them"),
        EngineRule(SHADER, when.max_pool, "max pool with another window, stride or padding"),
        EngineRule(SHADER, when.average_without_padding, "padding does not count in the divisor"),
        EngineRule(NN, when.whole_average_on_nn, "average of the whole input, like global_pool"),
        EngineRule(
            TP,
            when.average_is_fc_on_tp,
            "average of the whole input, no input zero point: fully connected",
        ),
        EngineRule(
            NN, when.average_window_on_nn, "average as a depthwise convolution with one weight"
        ),
        EngineRule(SHADER, when.engine_types, "average above 11x11, or stride above 2 or unequal"),
    ),
    "global_pool": (
        EngineRule(
            NN, when.global_average_on_nn, "u8 or f16 average of 2x2, or 12x12 to 255 pixels"
        ),
        EngineRule(SHADER, when.engine_types, "other sizes and types, and every maximum"),
    ),
    "reduce_mean": (
        EngineRule(
            TP,
            when.small_spatial_mean_on_tp,
            "mean over height and width that fit 11x11, no input zero point: fully connected",
        ),
        EngineRule(
            NN,
            when.small_spatial_mean,
            "mean over height and width that fit 11x11: convolution with one weight",
        ),
        EngineRule(SHADER, when.engine_types, "mean over other axes or sizes"),
    ),
    "add": _SUM,
    "sub": _SUM,
    "concat": (
        EngineRule(TP, when.joined_in_place, "hidden results of the same quantization: in place"),
        EngineRule(TP, when.engine_types, "TP copies each input into its place"),
        _OTHER_TYPES,
    ),
    "resize": (
        EngineRule(
            NN, when.nearest_enlarging, "nearest, u8 or i16, larger by a whole factor: convolution"
        ),
        EngineRule(
            TP, when.nearest_shrinking, "nearest, u8 or i16, smaller by whole factors: TP copies"
        ),
        EngineRule(SHADER, when.engine_types, "bilinear, or nearest by other factors or types"),
    ),
    "convert": (
        EngineRule(SHADER, when.signed_with_zero_point, "i8 with a zero point"),
        EngineRule(TP, when.engine_types, "conversion is a TP copy"),
        EngineRule(SHADER, when.always, "to or from 32 bits"),
    ),
    "lrn": (
        EngineRule(TP, when.few_channels, "TP normalization over up to 5 channels"),
        EngineRule(SHADER, when.engine_types, "normalization over more channels"),
    ),
    "prelu": (
        EngineRule(TP, when.one_slope, "one slope, u8 or f16: TP activation leaky_relu"),
        _SHADER_ONLY,
    ),
    "argmax": (EngineRule(SHADER, when.always, _SHADER_ONLY.reason),),
    "argmin": (EngineRule(SHADER, when.always, _SHADER_ONLY.reason),),
}


def _add(ops: str, *rules: EngineRule) -> None:
    RULES.update(dict.fromkeys(ops.split(), rules))


_add(
    "relu relu1 relu6 leaky_relu sigmoid tanh hard_swish swish abs square",
    EngineRule(SHADER, when.finer_than_tables, "finer than TP's tables reach"),
    EngineRule(TP, when.engine_types, "TP activation"),
)
_add(
    "mish elu hard_sigmoid clip neg log gelu reciprocal",
    EngineRule(TP, when.engine_types, "TP table lookup"),
)
_add(
    "identity reshape transpose split slice pad depth2space space2depth channel_shuffle",
    EngineRule(TP, when.engine_types, "data movement is a TP copy"),
    _OTHER_TYPES,
)
_add(
    "mul div max min pow softplus exp sqrt rsqrt floor erf softmax log_softmax l2norm "
    "batch_norm instance_norm layer_norm matmul gather tile reduce_sum reduce_max reduce_min "
    "reduce_prod",
    _SHADER_ONLY,
)
