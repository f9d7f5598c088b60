"""Advice for layers without a counterpart: the nearest rewrite, or where to cut."""

import re
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
_PROPOSAL = (
    'the native layer takes the same bottoms without im_info: layer {{ type: "Proposal" '
    "proposal_param {{ feat_stride: {stride} base_size: 16 min_size: 16 ratio: 0.5 ratio: 1 "
    "ratio: 2 scale: 8 scale: 16 scale: 32 pre_nms_topn: 6000 post_nms_topn: 300 "
    "nms_thresh: 0.7 }} }}; or "
)


def advise(layer: CaffeLayer) -> str:
    """Return what to do about a layer that has no counterpart."""
    if layer.type in _ADVICE:
        return _ADVICE[layer.type]
    names = list(layer.inputs)
    cut = f"end the network before it ({words.cut_at(outputs=names)}) and run it on the CPU"
    if layer.type == "Python":
        record = layer.parameters("python_param")
        if "proposal" in record.text("module") + record.text("layer").lower():
            found = re.search(r"feat_stride\D*(\d+)", record.text("param_str"))
            return _PROPOSAL.format(stride=found.group(1) if found else 16) + cut
        return (
            f"it runs code of {record.text('module') or 'a module'!r}, which is no network; {cut}"
        )
    known = {name.lower(): name for name in converter.types()}
    close = get_close_matches(layer.type.lower(), list(known), n=1, cutoff=0.8)
    if close and known[close[0]] != layer.type:
        return f"the nearest layer is {known[close[0]]}; or {cut}"
    return cut
