"""Advice for layers without a counterpart: the nearest rewrite, or where to cut."""

from difflib import get_close_matches

from npusim import words
from npusim.importers.caffe.context import converter
from npusim.importers.caffe.net import CaffeLayer

_ADVICE = {
    "LSTM": "export the recurrent part as inner products of one step",
    "RNN": "export the recurrent part as inner products of one step",
    "BatchReindex": "reorder the batch on the CPU",
    "SmoothL1": "it is a loss; remove it",
}


def advise(layer: CaffeLayer) -> str:
    """Return what to do about a layer that has no counterpart."""
    if layer.type in _ADVICE:
        return _ADVICE[layer.type]
    names = list(layer.inputs)
    cut = f"end the network before it ({words.cut_at(outputs=names)}) and run it on the CPU"
    known = {name.lower(): name for name in converter.types()}
    close = get_close_matches(layer.type.lower(), list(known), n=1, cutoff=0.8)
    if close and known[close[0]] != layer.type:
        return f"the nearest layer is {known[close[0]]}; or {cut}"
    return cut
