"""Ranges that do not fit the values: clipped, or stretched by few of them."""

import numpy as np

from npusim.analysis.channel_causes import joined_by
from npusim.analysis.findings import (
    DOMINANT,
    POOR_DB,
    Cause,
    Finding,
    db_between,
    own_db,
    raise_precision,
)
from npusim.analysis.layer_view import LayerView, Real
from npusim.analysis.metrics import energy
from npusim.ir.dtypes import DType
from npusim.ir.limits import representable
from npusim.quantization.constrain import SIGMOID_REACH
from npusim.quantization.losses import sigmoid_remedy

NOTABLE = 0.25  # share of the layer's own error that is worth a word
CLIPPED_COUNT = 1e-3  # share of clipped elements that is worth a word
WIDE = 4.0  # two bits of the range unused
OWN = 1.5  # a range this much wider than the values was made by others
OUTLIERS = 1e-3  # share of elements that count as outliers


def clipped_range(view: LayerView) -> Finding | None:
    """Find values beyond what the output type holds, and their share of the error."""
    low, high = view.limits
    half = (view.step or 0.0) / 2
    beyond = (view.reference < low - half) | (view.reference > high + half)
    count = int(np.count_nonzero(beyond))
    if not count:
        return None
    gap = np.clip(view.reference, low, high)[beyond] - view.reference[beyond]
    share = view.share(energy(gap))
    if share < DOMINANT and (share < NOTABLE or count < CLIPPED_COUNT * view.reference.size):
        return None
    seen = _span(view.reference[beyond])
    more = " by more than half a step" if half else ""
    if view.spec.dtype is DType.F16:
        remedy = "scale the layer down, or quantize it to integers"
    else:
        remedy = "calibrate with more data that reaches these values (or with algorithm normal)"
    rule = ""
    if sigmoids := _cutting_sigmoids(view, view.tensor):
        rule = _rule(sigmoids)
        remedy = sigmoid_remedy(sigmoids, view.tensor)
    return Finding(
        cause=Cause.CLIPPED_RANGE,
        reason=f"{count} of {view.reference.size} values lie beyond the range {low:.6g} .. "
        f"{high:.6g}{more}: these go {seen}; clipping makes {share:.0%} of the layer's own "
        f"error{rule}",
        suggestion=remedy,
        severe=share >= DOMINANT and own_db(view) < POOR_DB,
    )


def _span(values: Real) -> str:
    return f"{values.min():.6g} .. {values.max():.6g}"


def _cutting_sigmoids(view: LayerView, tensor: str) -> list[str]:
    """Return the layer ids of sigmoids whose reach sets the range of a u8 tensor they read."""
    spec = view.graph.spec(tensor)
    if spec.dtype is not DType.U8:
        return []
    low, high = representable(spec)
    step = (high - low) / (spec.dtype.max - spec.dtype.min)
    if not any(abs(end - SIGMOID_REACH) <= step for end in (-low, high)):
        return []
    return [user.layer_id for user in view.users.get(tensor, ()) if user.op == "sigmoid"]


def _rule(sigmoids: list[str]) -> str:
    return (
        f"; u8 values that a sigmoid reads ({', '.join(sigmoids)}) are cut at -{SIGMOID_REACH} "
        f"and {SIGMOID_REACH}"
    )


def clipped_input(view: LayerView) -> Finding | None:
    """Find a poor result whose inputs are clipped: graph inputs have no line of their own."""
    if own_db(view) >= POOR_DB:
        return None
    for name in view.feeds:
        value = view.values.get(name)
        if value is None:
            continue
        low, high = representable(view.graph.spec(name))
        value = value.astype(np.float64)  # ends of a type may lie beyond float32
        kept = np.clip(value, low, high)
        lost_db = db_between(value, kept)
        beyond = kept != value
        count = int(np.count_nonzero(beyond))
        if count and lost_db < POOR_DB:
            sigmoids = _cutting_sigmoids(view, name)
            return Finding(
                cause=Cause.CLIPPED_RANGE,
                reason=f"its input {name!r} is clipped: {count} of {value.size} values lie beyond "
                f"the range {low:.6g} .. {high:.6g}, these go {_span(value[beyond])}; this alone "
                f"leaves an SQNR of {lost_db:.1f} dB" + (_rule(sigmoids) if sigmoids else ""),
                suggestion=sigmoid_remedy(sigmoids, name)
                if sigmoids
                else "calibrate with data that reaches these values; for an input of the "
                "network, check mean and std",
                severe=True,
            )
    return None


def outlier_range(view: LayerView) -> Finding | None:
    """Find a range made wide by few values: the bulk is left with few steps.

    A range that a concat joined is as wide as its other parts need: ``mixed_concat`` measures it.
    """
    if view.step is None or view.reference.size < 2 / OUTLIERS:
        return None
    size = np.abs(view.reference).reshape(-1)
    few = int(np.ceil(OUTLIERS * size.size))
    low, high = view.limits
    reach, seen = max(-low, high), float(size.max())
    if seen < reach / OWN and joined_by(view) is not None:
        return None
    if np.count_nonzero(size > reach / WIDE) > few:
        return None
    bulk_reach = float(np.partition(size, size.size - few - 1)[size.size - few - 1])
    if bulk_reach <= 0:
        return None
    bulk = np.abs(view.reference) <= bulk_reach
    bulk_db = db_between(view.reference[bulk], view.real[bulk])
    steps = 2 * bulk_reach / view.step if low < 0 else bulk_reach / view.step
    if seen / bulk_reach >= WIDE:
        reason = (
            f"{few} of {size.size} values stretch the range to {low:.6g} .. {high:.6g}; the others "
            f"stay within +-{bulk_reach:.6g} and share {steps:.0f} steps (SQNR {bulk_db:.1f} dB)"
        )
    elif reach / max(seen, bulk_reach) >= WIDE:
        reason = (
            f"the range is {low:.6g} .. {high:.6g}, this sample's values stay within +-{seen:.6g}: "
            f"{steps:.0f} steps are left to them (SQNR {bulk_db:.1f} dB)"
        )
    else:
        return None
    return Finding(
        cause=Cause.OUTLIER_RANGE,
        reason=reason,
        suggestion=f"calibrate with kl_divergence or mmse, drop the calibration sample that "
        f"reaches so far, or {raise_precision(view)}",
        severe=bulk_db < POOR_DB,
    )
