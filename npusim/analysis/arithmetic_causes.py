"""Arithmetic that loses: accumulators that wrap, tables that miss, too few steps."""

import numpy as np

from npusim.analysis.findings import (
    DOMINANT,
    POOR_DB,
    Cause,
    Finding,
    db_between,
    own_db,
    raise_precision,
)
from npusim.analysis.layer_view import LayerView
from npusim.analysis.metrics import energy, gap_between
from npusim.explain import see
from npusim.ir.codes import dequantize, quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.limits import SMALLEST_NORMAL_F16
from npusim.ir.quant import AffinePerChannel, DynamicFixedPoint, Float, scale_of
from npusim.ops import op_def

WEIGHTS, INPUTS, STORING = "stored weights", "stored inputs", "storing the result"


def accumulator_wrap(view: LayerView) -> Finding | None:
    """Find sums beyond the engine's 32 bits, or a bias cut to them.

    Source: measured, docs/arithmetic/nn.md rule 1.2: the 8-bit accumulator has 32 bits and wraps.
    """
    node, graph = view.node, view.graph
    if not op_def(node.op).weighted or node.engine is not Engine.NN:
        return None
    specs = [graph.spec(name) for name in node.inputs]
    if specs[0].dtype not in (DType.U8, DType.I8) or len(specs) < 3:
        return None
    if any(isinstance(spec.quant, Float | AffinePerChannel) for spec in specs[:2]):
        return None
    weights, bias = (graph.constants.get(name) for name in node.inputs[1:3])
    if weights is None or bias is None or not view.inputs:
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
        suggestion=f"{raise_precision(view)}, whose accumulator is wider; or scale the weights up "
        "and the bias down in training",
        severe=True,
    )


def negative_sums(view: LayerView) -> Finding | None:
    """Find i16 results with more fraction bits than their sums, whose negative ones are -32768.

    Source: measured, docs/arithmetic/nn.md rule 2.4.
    """
    node, quant = view.node, view.spec.quant
    if node.engine is not Engine.NN or view.spec.dtype is not DType.I16 or node.requant is None:
        return None
    excess = -node.requant.shift
    if excess <= 0 or not isinstance(quant, DynamicFixedPoint):
        return None
    lost = (view.stored == DType.I16.min) & (view.reference > view.limits[0] + (view.step or 0.0))
    count = int(np.count_nonzero(lost))
    if not count:
        return None
    share = view.share(energy((view.real - view.reference)[lost]))
    return Finding(
        cause=Cause.NEGATIVE_SUMS,
        reason=f"{count} of {view.stored.size} results are -32768 because their sum is negative: "
        f"the result has {quant.fl} fraction bits, its sum {quant.fl - excess}; this makes "
        f"{share:.0%} of the layer's own error",
        suggestion="quantize without naming a release of the toolkit, give the result a wider "
        f"range (fl {quant.fl - excess}) in a cfg file, or use u8 or float16 for {node.layer_id} "
        f"{see('i16-negative-sums')}",
        severe=own_db(view) < POOR_DB,
    )


def table_kink(view: LayerView) -> Finding | None:
    """Find a TP table whose straight segments leave the function, by more than one step."""
    node, step = view.node, view.step
    if node.engine is not Engine.TP or not op_def(node.op).tp_table or step is None:
        return None
    if not view.inputs:  # it reads constants only
        return None
    exact = view.exact()
    if exact is None:
        return None
    stored = quantize(exact, view.spec.dtype, view.spec.quant)
    gap = view.stored.astype(np.int64) - stored.astype(np.int64)
    worst = int(np.abs(gap).argmax()) if gap.size else 0
    steps = int(np.abs(gap).max(initial=0))
    share = view.share(energy(gap * step))
    if steps < 2 or share < DOMINANT:
        return None
    at = dequantize(view.inputs[0], view.graph.spec(view.feeds[0]).quant).reshape(-1)[worst]
    kind = "its kink" if op_def(node.op).kink else "its curve"
    advice = "use a function without a kink (relu instead of relu6, for example)"
    return Finding(
        cause=Cause.TABLE_KINK,
        reason=f"the table's straight segment misses {kind} by {steps} steps at input {at:.6g} "
        f"({int(np.count_nonzero(np.abs(gap) > 1))} of {gap.size} values by more than one step); "
        f"this makes {share:.0%} of the layer's own error",
        suggestion=f"run {node.layer_id} in float16, or {advice}",
        severe=own_db(view) < POOR_DB,
    )


def few_steps(view: LayerView) -> Finding | None:
    """Find a poor result that nothing above explains: the type itself is too coarse."""
    own = own_db(view)
    if own >= POOR_DB:
        return None
    if view.step is None:
        gap = float(np.abs(gap_between(view.real, view.reference)).max(initial=0.0))
        return Finding(
            cause=Cause.FEW_STEPS,
            reason=f"its own SQNR is {own:.1f} dB in {view.spec.dtype.value}",
            suggestion="look for values that cancel, or below the smallest normal float16",
            severe=not gap <= SMALLEST_NORMAL_F16,
        )
    parts = _error_parts(view)
    said = ", ".join(f"{name} {share:.0%}" for name, share in parts.items())
    main = max(parts, key=lambda name: parts[name], default=STORING)
    advice = raise_precision(view)
    if main == WEIGHTS:
        advice = f"equalize the channels across layers and correct the biases, or {advice}"
    elif main == INPUTS:
        advice = f"give its inputs ({', '.join(view.feeds)}) more steps: {advice} and the layers "
        advice += "that feed it"
    return Finding(
        cause=Cause.FEW_STEPS,
        reason=f"its own SQNR is {own:.1f} dB" + (f"; error from {said}" if said else ""),
        suggestion=advice,
        severe=True,
        at=_coarsest_feeder(view) if main == INPUTS else "",
    )


def _coarsest_feeder(view: LayerView) -> str:
    """Return the layer whose stored result is furthest from the float value that it stands for."""
    errors = {
        name: db_between(
            view.values[name].astype(np.float64),
            dequantize(value, view.graph.spec(name).quant).astype(np.float64),
        )
        for name, value in zip(view.feeds, view.inputs, strict=True)
        if name in view.values
    }
    worst = min(errors, key=lambda name: errors[name], default="")
    return next((node.layer_id for node in view.graph.nodes if worst in node.outputs), "")


def _error_parts(view: LayerView) -> dict[str, float]:
    """Return which share of the error the stored weights, the stored inputs and storing make."""
    exact, of_float = view.exact(), view.exact(float_inputs=True)
    if exact is None or of_float is None:
        return {}
    parts = {
        WEIGHTS: gap_between(of_float, view.reference),
        INPUTS: gap_between(exact, of_float),
        STORING: gap_between(view.real, exact),
    }
    energies = {name: energy(gap) for name, gap in parts.items()}
    whole = sum(energies.values())
    return {name: value / whole for name, value in energies.items()} if whole > 0 else {}
