"""Why a layer is off: each cause is measured on the layer run alone with float inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from npusim.analysis.layer_view import LayerView, Real, representable
from npusim.analysis.metrics import sqnr_db
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import AffinePerChannel, DynamicFixedPoint, Float, scale_of
from npusim.quantization.constrain import takes_input_range
from npusim.quantization.schemes import dequantize, quantize

POOR_DB = 20.0  # a layer's own error below this is bad; its cosine is then below 0.995
DOMINANT = 0.5  # share of the layer's own error that makes a cause the main one
NOTABLE = 0.25  # share of it that is worth a word
CLIPPED_COUNT = 1e-3  # share of clipped elements that is worth a word
WIDE = 4.0  # two bits of the range unused
OUTLIERS = 1e-3  # share of elements that count as outliers
UNEQUAL = 16.0  # a channel whose weights use less than 1/16 of the tensor's range: 4 bits lost
UNEQUAL_CHANNELS = 0.1
CONCAT_RATIO = 8.0  # an operand that uses less than 1/8 of the joint range: 3 bits lost
LOST_DB = 12.0
KINKED = ("relu1", "relu6", "clip", "hard_swish", "hard_sigmoid", "leaky_relu", "elu")
TABLES = (
    *KINKED, "sigmoid", "tanh", "swish", "mish", "gelu", "neg", "square", "reciprocal", "log",
)  # fmt: skip


class Cause(Enum):
    """Why a layer is off, the most definite first."""

    ACCUMULATOR_WRAP = "accumulator_wrap"
    CLIPPED_RANGE = "clipped_range"
    TABLE_KINK = "table_kink"
    UNEQUAL_CHANNELS = "unequal_channels"
    MIXED_CONCAT = "mixed_concat"
    OUTLIER_RANGE = "outlier_range"
    FEW_STEPS = "few_steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause with what was measured and what to do next.

    Attributes
    ----------
    severe : bool
        The result is wrong, not only coarse.
    """

    cause: Cause
    reason: str
    suggestion: str
    severe: bool = False


def find_causes(view: LayerView) -> tuple[Finding, ...]:
    """Return what was found at a layer, the most definite cause first."""
    found = (measure(view) for measure in MEASURES)
    return tuple(finding for finding in found if finding is not None)


def _raise_precision(view: LayerView) -> str:
    if view.spec.dtype in (DType.U8, DType.I8):
        return f"raise {view.node.layer_id} to dynamic_fixed_point-i16 (hybrid quantization)"
    return f"run {view.node.layer_id} in float16 (hybrid quantization)"


def accumulator_wrap(view: LayerView) -> Finding | None:
    """Find sums beyond the engine's 32 bits, or a bias cut to them.

    Source: ARITHMETIC_NN section 1: the 8-bit accumulator is 32 bits of two's complement and wraps.
    """
    node, graph = view.node, view.graph
    if node.op not in ("conv2d", "deconv2d", "fc") or node.engine is not Engine.NN:
        return None
    specs = [graph.spec(name) for name in node.inputs]
    if specs[0].dtype not in (DType.U8, DType.I8) or len(specs) < 3:
        return None
    if any(isinstance(spec.quant, Float | AffinePerChannel) for spec in specs[:2]):
        return None
    weights, bias = (graph.constants.get(name) for name in node.inputs[1:3])
    if weights is None or bias is None:
        return None
    unit = scale_of(specs[0].quant) * scale_of(specs[1].quant)
    integers = bias.astype(np.int64)
    ends = np.abs(integers).max(initial=0)
    cut = int(np.count_nonzero((integers >= DType.I32.max) | (integers <= DType.I32.min)))
    reach = np.abs(dequantize(weights, specs[1].quant).astype(np.float64))
    largest_input = np.abs(dequantize(view.inputs[0], specs[0].quant)).max(initial=0)
    axes = tuple(range(1, reach.ndim))
    bound = float(reach.sum(axis=axes).max(initial=0)) * float(largest_input) / unit + float(ends)
    wrapped = 0
    if bound > DType.I32.max:
        exact = view.exact(activation=False)
        if exact is not None:
            wrapped = int(np.count_nonzero(np.abs(exact / unit) > 2.0**31))
    if not wrapped and not cut:
        return None
    said = (
        [f"{wrapped} of {view.stored.size} sums exceed the 32-bit accumulator"] if wrapped else []
    )
    said += [f"{cut} biases do not fit 32 bits at scale {unit:.3g}"] if cut else []
    return Finding(
        cause=Cause.ACCUMULATOR_WRAP,
        reason=" and ".join(said),
        suggestion=f"{_raise_precision(view)}, whose accumulator is wider; or scale the weights up "
        "and the bias down in training",
        severe=True,
    )


def clipped_range(view: LayerView) -> Finding | None:
    """Find values beyond what the output type holds, and their share of the error."""
    low, high = view.limits
    half = (view.step or 0.0) / 2
    beyond = (view.reference < low - half) | (view.reference > high + half)
    count = int(np.count_nonzero(beyond))
    if not count:
        return None
    gap = np.clip(view.reference, low, high)[beyond] - view.reference[beyond]
    share = view.share(float(np.sum(gap * gap)))
    if share < DOMINANT and (share < NOTABLE or count < CLIPPED_COUNT * view.reference.size):
        return None
    seen = f"{view.reference.min():.6g} .. {view.reference.max():.6g}"
    if view.spec.dtype is DType.F16:
        remedy = "scale the layer down, or quantize it to integers"
    else:
        remedy = "calibrate with more data that reaches these values (or with algorithm normal)"
    return Finding(
        cause=Cause.CLIPPED_RANGE,
        reason=f"{count} of {view.reference.size} values lie beyond the range {low:.6g} .. "
        f"{high:.6g}: they go {seen}; clipping makes {share:.0%} of the layer's own error",
        suggestion=remedy,
        severe=share >= DOMINANT and _own_db(view) < POOR_DB,
    )


def clipped_input(view: LayerView) -> Finding | None:
    """Find a poor result whose inputs are clipped: graph inputs have no line of their own."""
    if _own_db(view) >= POOR_DB:
        return None
    for name in view.feeds:
        value = view.values.get(name)
        if value is None:
            continue
        low, high = representable(view.graph.spec(name))
        kept = np.clip(value, low, high)
        lost_db = _db(value.astype(np.float64), kept.astype(np.float64))
        count = int(np.count_nonzero(kept != value))
        if count and lost_db < POOR_DB:
            return Finding(
                cause=Cause.CLIPPED_RANGE,
                reason=f"its input {name!r} is clipped: {count} of {value.size} values lie beyond "
                f"the range {low:.6g} .. {high:.6g}, they go {value.min():.6g} .. "
                f"{value.max():.6g}; this alone leaves an SQNR of {lost_db:.1f} dB",
                suggestion="calibrate with data that reaches these values; for an input of the "
                "network, check mean and std",
                severe=True,
            )
    return None


def table_kink(view: LayerView) -> Finding | None:
    """Find a TP table whose straight segments leave the function, by more than one step."""
    node, step = view.node, view.step
    if node.engine is not Engine.TP or node.op not in TABLES or step is None:
        return None
    exact = view.exact()
    if exact is None:
        return None
    stored = quantize(exact, view.spec.dtype, view.spec.quant)
    gap = view.stored.astype(np.int64) - stored.astype(np.int64)
    worst = int(np.abs(gap).argmax()) if gap.size else 0
    steps = int(np.abs(gap).max(initial=0))
    share = view.share(float(np.sum((gap * step) ** 2)))
    if steps < 2 or share < DOMINANT:
        return None
    at = dequantize(view.inputs[0], view.graph.spec(view.feeds[0]).quant).reshape(-1)[worst]
    kind = "its kink" if node.op in KINKED else "its curve"
    advice = "use a function without a kink (relu instead of relu6, for example)"
    return Finding(
        cause=Cause.TABLE_KINK,
        reason=f"the table's straight segment misses {kind} by {steps} steps at input {at:.6g} "
        f"({int(np.count_nonzero(np.abs(gap) > 1))} of {gap.size} values by more than one step); "
        f"this makes {share:.0%} of the layer's own error",
        suggestion=f"run {node.layer_id} in float16, or {advice}",
        severe=_own_db(view) < POOR_DB,
    )


def unequal_channels(view: LayerView) -> Finding | None:
    """Find channels whose weights use a small part of the tensor's range, and suffer for it."""
    node, graph = view.node, view.graph
    if node.op not in ("conv2d", "fc") or view.step is None:
        return None
    name = node.inputs[1]
    weights, spec = graph.constants.get(name), graph.spec(name)
    if weights is None or isinstance(spec.quant, Float | AffinePerChannel):
        return None
    axis = 1 if node.op == "conv2d" else view.reference.ndim - 1
    reach = np.abs(dequantize(weights, spec.quant)).reshape(weights.shape[0], -1).max(axis=1)
    reference, real = (_by_channel(value, axis) for value in (view.reference, view.real))
    alive = np.ptp(reference, axis=1) > 0
    weak = alive & (reach * UNEQUAL < reach.max(initial=0))
    if np.count_nonzero(weak) < max(1.0, UNEQUAL_CHANNELS * np.count_nonzero(alive)):
        return None
    decibels = _channel_db(reference, real)
    weak_db = float(np.median(decibels[weak]))
    strong_db = float(np.median(decibels[alive & ~weak])) if (alive & ~weak).any() else np.inf
    if weak_db > POOR_DB or strong_db - weak_db < LOST_DB / 2:
        return None
    depthwise = node.op == "conv2d" and getattr(node.attrs, "group", 1) == weights.shape[0] > 1
    relu6 = _acts_with_relu6(view)
    ratio = float(reach.max() / max(float(reach[weak].min()), scale_of(spec.quant)))
    return Finding(
        cause=Cause.UNEQUAL_CHANNELS,
        reason=f"{int(np.count_nonzero(weak))} of {int(np.count_nonzero(alive))} "
        f"{'depthwise ' if depthwise else ''}channels have weights below 1/{UNEQUAL:.0f} of the "
        f"tensor's range (up to 1/{ratio:.0f}); their SQNR is {weak_db:.1f} dB, that of the others "
        f"{strong_db:.1f} dB",
        suggestion=(
            "equalize the channels across layers before quantization"
            + (" (replace relu6 by relu, which equalization needs)" if relu6 else "")
            + f", or {_raise_precision(view)}"
        ),
        severe=_own_db(view) < POOR_DB,
    )


def mixed_concat(view: LayerView) -> Finding | None:
    """Find operands of one concat with very unequal ranges, which all get the union's steps."""
    if view.step is None:
        return None
    if view.node.op == "concat":
        return _concat_parts(view)
    joint = _joined_by(view)
    if joint is None or _unused(view) < CONCAT_RATIO:
        return None
    low, high = view.limits
    return Finding(
        cause=Cause.MIXED_CONCAT,
        reason=f"it shares the range {low:.6g} .. {high:.6g} of concat {joint}; its values use "
        f"1/{_unused(view):.0f} of it",
        suggestion=f"keep operands of unequal range out of {joint} (scale the weights before it), "
        f"or raise the layers around it to dynamic_fixed_point-i16",
        severe=_own_db(view) < POOR_DB,
    )


def _concat_parts(view: LayerView) -> Finding | None:
    attrs: Any = view.node.attrs
    sizes = [view.graph.spec(name).shape[attrs.axis] for name in view.node.inputs]
    edges = np.cumsum(sizes)[:-1]
    parts = [
        (name, np.abs(reference).max(initial=0.0), _db(reference, real))
        for name, reference, real in zip(
            view.node.inputs,
            np.split(view.reference, edges, attrs.axis),
            np.split(view.real, edges, attrs.axis),
            strict=True,
        )
    ]
    parts = [part for part in parts if part[1] > 0]
    if len(parts) < 2:
        return None
    small = min(parts, key=lambda part: part[1])
    large = max(parts, key=lambda part: part[1])
    ratio = large[1] / small[1]
    if ratio < CONCAT_RATIO or large[2] - small[2] < LOST_DB:
        return None
    return Finding(
        cause=Cause.MIXED_CONCAT,
        reason=f"operand {small[0]!r} reaches {small[1]:.6g}, operand {large[0]!r} {large[1]:.6g} "
        f"({ratio:.0f} times as far); at the joint step their SQNR is {small[2]:.1f} dB and "
        f"{large[2]:.1f} dB",
        suggestion=f"scale the operands of {view.node.layer_id} alike in the weights before it, or "
        "raise the layers around it to dynamic_fixed_point-i16",
        severe=small[2] < POOR_DB,
    )


def outlier_range(view: LayerView) -> Finding | None:
    """Find a range made wide by few values: the bulk is left with few steps."""
    if view.step is None or view.reference.size < 2 / OUTLIERS:
        return None
    size = np.abs(view.reference).reshape(-1)
    few = int(np.ceil(OUTLIERS * size.size))
    bulk_reach = float(np.partition(size, size.size - few - 1)[size.size - few - 1])
    low, high = view.limits
    reach, seen = max(-low, high), float(size.max())
    if bulk_reach <= 0 or reach / bulk_reach < WIDE:
        return None
    bulk = np.abs(view.reference) <= bulk_reach
    bulk_db = _db(view.reference[bulk], view.real[bulk])
    steps = 2 * bulk_reach / view.step if low < 0 else bulk_reach / view.step
    if seen / bulk_reach >= WIDE:
        reason = (
            f"{few} of {size.size} values stretch the range to {reach:.6g}; the others stay below "
            f"{bulk_reach:.6g} and share {steps:.0f} steps (SQNR {bulk_db:.1f} dB)"
        )
    elif reach / max(seen, bulk_reach) >= WIDE:
        reason = (
            f"the range reaches {reach:.6g}, this sample {seen:.6g}: an outlier of another "
            f"calibration sample leaves {steps:.0f} steps (SQNR {bulk_db:.1f} dB)"
        )
    else:
        return None
    return Finding(
        cause=Cause.OUTLIER_RANGE,
        reason=reason,
        suggestion=f"calibrate with kl_divergence or mmse, drop the sample with the outlier, or "
        f"{_raise_precision(view)}",
        severe=bulk_db < POOR_DB,
    )


def few_steps(view: LayerView) -> Finding | None:
    """Find a poor result that nothing above explains: the type itself is too coarse."""
    own = _own_db(view)
    if own >= POOR_DB:
        return None
    if view.step is None:
        return Finding(
            cause=Cause.FEW_STEPS,
            reason=f"its own SQNR is {own:.1f} dB in {view.spec.dtype.value}",
            suggestion="look for values that cancel, or below the smallest normal float16",
            severe=True,
        )
    ideal = dequantize(
        quantize(view.reference, view.spec.dtype, view.spec.quant), view.spec.quant
    ).astype(np.float64)
    spread = float(np.std(view.reference)) / view.step
    return Finding(
        cause=Cause.FEW_STEPS,
        reason=f"its own SQNR is {own:.1f} dB; storing the exact result alone gives "
        f"{_db(view.reference, ideal):.1f} dB (standard deviation {spread:.1f} steps)",
        suggestion=_raise_precision(view),
        severe=True,
    )


Measure = Callable[[LayerView], Finding | None]
MEASURES: tuple[Measure, ...] = (
    accumulator_wrap,
    clipped_range,
    clipped_input,
    table_kink,
    unequal_channels,
    mixed_concat,
    outlier_range,
    few_steps,
)


def _own_db(view: LayerView) -> float:
    return _db(view.reference, view.real)


def _db(reference: Real, real: Real) -> float:
    gap = real - reference
    return sqnr_db(float(np.sum(reference * reference)), float(np.sum(gap * gap)))


def _by_channel(value: Real, axis: int) -> Real:
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


def _channel_db(reference: Real, real: Real) -> Real:
    """Return the SQNR of each row about its mean: a constant channel carries no information."""
    centred = reference - reference.mean(axis=1, keepdims=True)
    return np.array(
        [
            sqnr_db(float(row @ row), float((got - want) @ (got - want)))
            for row, want, got in zip(centred, reference, real, strict=True)
        ]
    )


def _acts_with_relu6(view: LayerView) -> bool:
    activation = getattr(view.node.attrs, "activation", None)
    return getattr(activation, "value", "") == "relu6" or any(
        user.op == "relu6" for user in view.users.get(view.tensor, ())
    )


def _unused(view: LayerView) -> float:
    """Return how many times the range is wider than what the values need."""
    low, high = view.limits
    if isinstance(view.spec.quant, DynamicFixedPoint):
        needed, given = float(np.abs(view.reference).max(initial=0)), max(-low, high)
    else:
        needed = max(float(view.reference.max(initial=0)), 0.0) - min(
            float(view.reference.min(initial=0)), 0.0
        )
        given = high - low
    return given / needed if needed > 0 else 1.0


def _joined_by(view: LayerView) -> str | None:
    """Return the concat whose joint range the output has, directly or through movement."""
    names = [view.tensor]
    while names:
        for user in view.users.get(names.pop(), ()):
            if user.op == "concat":
                same = view.graph.spec(user.outputs[0]).quant == view.spec.quant
                return user.layer_id if same else None
            if takes_input_range(user):
                names += user.outputs
    return None
