"""Constants that a format does not hold: what the model multiplies by became 0."""

import numpy as np

from npusim.analysis.findings import POOR_DB, Cause, Finding, own_db, raise_precision
from npusim.analysis.layer_view import LayerView
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.quantization.float16 import SMALLEST_NORMAL

SHARE = 0.5  # of a constant's elements; single weights near 0 vanish in every network


def vanished_constant(view: LayerView) -> Finding | None:
    """Find a constant most of which is 0 in its stored type and was not in the source model.

    Constants that passes folded into others are not looked at: they have no original. Source:
    docs/arithmetic/nn.md rule 1.4: subnormal float16 is read as 0, and docs/arithmetic/README.md.
    """
    own = own_db(view)
    if own >= POOR_DB:
        return None
    for name in view.node.inputs:
        stored, spec = view.graph.constants.get(name), view.graph.spec(name)
        original = view.originals.get(original_name(name, spec.dtype))
        if stored is None or original is None or original.shape != stored.shape:
            continue
        was = original != 0
        half = spec.dtype is DType.F16
        read_as_0 = SMALLEST_NORMAL if half and view.node.engine is not Engine.TP else 0.0
        real = np.abs(dequantize(stored, spec.quant))
        vanished = was & ((real < read_as_0) | (real == 0))
        if not was.any() or np.count_nonzero(vanished) <= SHARE * np.count_nonzero(was):
            continue
        size = float(np.abs(original[vanished]).max())
        count = f"{int(np.count_nonzero(vanished))} of its {int(np.count_nonzero(was))} numbers"
        limit = (
            "the chip reads float16 below 6.1e-05 as 0"
            if half
            else f"the step of {spec.dtype.value} is too coarse for them"
        )
        wider = "" if half else f", or {raise_precision(view)}"
        return Finding(
            cause=Cause.VANISHED_CONSTANT,
            reason=f"constant {original_name(name, spec.dtype)!r} became 0: {count}, up to "
            f"{size:.3g}; {limit}. The layer's own SQNR is {own:.1f} dB",
            suggestion="scale the constant up in the source model and what follows it down" + wider,
            severe=True,
        )
    return None


def original_name(name: str, dtype: DType) -> str:
    """Return what a stored constant is called in the source model."""
    return name.removesuffix(f".{dtype.value}")
