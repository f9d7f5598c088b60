"""Advice for ONNX operators without a counterpart: the nearest rewrite."""

from collections.abc import Sequence
from difflib import get_close_matches

from npusim import words
from npusim.importers.onnx.context import convertible_ops

_CUT = "end the graph before it ({cut}) and run it on the CPU"

ADVICE = {
    **dict.fromkeys(
        ("QLinearWhere", "QAttention", "QEmbedLayerNormalization"),
        "quantize the float model here, or without this operator",
    ),
    **dict.fromkeys(("NonMaxSuppression", "TopK", "NonZero", "Unique", "RoiAlign"), _CUT),
    **dict.fromkeys(
        ("If", "Loop", "Scan"),
        "export without control flow: trace the model with fixed sizes (torch.onnx.export with "
        "int() around sizes) or simplify it with its exporter",
    ),
    **dict.fromkeys(("IsInf", "IsNaN"), "remove the test: calibrated numbers are finite"),
    **dict.fromkeys(("Cos", "Sin", "Tan", "Asin", "Acos", "Atan"), "use a table or " + _CUT),
    "Hardmax": "use ArgMax",
    "GridSample": "resample on the CPU; " + _CUT,
    "MaxUnpool": "use Resize (nearest)",
}

_OTHER_DOMAINS = (
    "it belongs to another domain; export the model without runtime-specific optimisation "
    "(ONNX Runtime: do not save an optimised model)"
)


def advice_for(op_type: str, domain: str, inputs: Sequence[str] = ()) -> str:
    """Return what to do about an operator that has no converter, by its inputs."""
    cut = words.cut_at(outputs=inputs[:1]) if inputs else words.say("cut_both")
    return _advice(op_type, domain).replace("{cut}", cut)


def _advice(op_type: str, domain: str) -> str:
    if op_type in ADVICE:
        return ADVICE[op_type]
    if domain:
        return _OTHER_DOMAINS
    if op_type in convertible_ops():
        return "use the operator's common form, or " + _CUT
    known = {name.lower(): name for name in convertible_ops()}
    close = get_close_matches(op_type.lower(), list(known), n=1, cutoff=0.8)
    return f"the nearest supported one is {known[close[0]]}" if close else _CUT
