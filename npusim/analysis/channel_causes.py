"""Unequal parts that share one range: channels of a layer, operands of a concat."""

from typing import Any

import numpy as np

from npusim import words
from npusim.analysis.findings import (
    LOST_DB,
    POOR_DB,
    Cause,
    Finding,
    db_between,
    own_db,
    raise_precision,
)
from npusim.analysis.layer_view import LayerView, Real
from npusim.analysis.metrics import sqnr_db
from npusim.ir.codes import dequantize
from npusim.ir.quant import AffinePerChannel, DynamicFixedPoint, Float, scale_of
from npusim.ops import keeps_codes

UNEQUAL = 16.0  # a channel whose weights use less than 1/16 of the tensor's range: 4 bits lost
UNEQUAL_CHANNELS = 0.1
CONCAT_RATIO = 8.0  # an operand that uses less than 1/8 of the joint range: 3 bits lost


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
            + f", or {raise_precision(view)}"
        ),
        severe=own_db(view) < POOR_DB,
    )


def mixed_concat(view: LayerView) -> Finding | None:
    """Find operands of one concat with very unequal ranges, which all get the union's steps."""
    if view.step is None:
        return None
    if view.node.op == "concat":
        return _concat_parts(view)
    joint = joined_by(view)
    if joint is None or _unused(view) < CONCAT_RATIO:
        return None
    low, high = view.limits
    return Finding(
        cause=Cause.MIXED_CONCAT,
        reason=f"it shares the range {low:.6g} .. {high:.6g} of concat {joint}; its values use "
        f"1/{_unused(view):.0f} of it",
        suggestion=_apart(joint),
        severe=own_db(view) < POOR_DB,
    )


def _concat_parts(view: LayerView) -> Finding | None:
    attrs: Any = view.node.attrs
    sizes = [view.graph.spec(name).shape[attrs.axis] for name in view.node.inputs]
    edges = np.cumsum(sizes)[:-1]
    parts = [
        (name, np.abs(reference).max(initial=0.0), db_between(reference, real))
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
        suggestion=_apart(view.node.layer_id),
        severe=small[2] < POOR_DB,
    )


def _apart(concat: str) -> str:
    return (
        f"cut the model before {concat} and join on the host, keep its parts apart "
        f"({words.say('no_join', value=concat)}), scale the weights before it, or raise the "
        "layers around it to dynamic_fixed_point-i16"
    )


def _by_channel(value: Real, axis: int) -> Real:
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


def _channel_db(reference: Real, real: Real) -> Real:
    """Return the SQNR of each row about its mean: a constant channel carries no information."""
    centred, gap = reference - reference.mean(axis=1, keepdims=True), real - reference
    signal, noise = (np.einsum("ij,ij->i", rows, rows) for rows in (centred, gap))
    return np.array([sqnr_db(float(s), float(n)) for s, n in zip(signal, noise, strict=True)])


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


def joined_by(view: LayerView) -> str | None:
    """Return the concat whose joint range the output has, directly or through movement."""
    names = [view.tensor]
    while names:
        for user in view.users.get(names.pop(), ()):
            if user.op == "concat":
                same = view.graph.spec(user.outputs[0]).quant == view.spec.quant
                return user.layer_id if same else None
            if keeps_codes(user):
                names += user.outputs
    return None
