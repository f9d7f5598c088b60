"""Advice for nodes without a counterpart: the nearest rewrite, or where to cut."""

from difflib import get_close_matches

from npusim.importers.mxnet.context import converter
from npusim.importers.mxnet.symbol import MxNode

_ADVICE = {
    "RNN": "unroll it (rnn_cell.unroll gives FullyConnected and Activation)",
    "_foreach": "unroll the loop",
    "_while_loop": "unroll the loop",
    "_cond": "export the branch that is taken",
    "Custom": "its code is no network; write it with operators",
    "CTCLoss": "it is a loss; end the network before it",
}


def advise(node: MxNode) -> str:
    """Return what to do about a node that has no counterpart."""
    if node.type in _ADVICE:
        return _ADVICE[node.type]
    names = list(node.inputs)
    cut = f"end the network before it with outputs={names} and run it on the CPU"
    if "ROI" in node.type or "Proposal" in node.type:
        return f"its regions are computed; {cut}"
    known = {name.lower(): name for name in converter.types()}
    close = get_close_matches(node.type.lower(), list(known), n=1, cutoff=0.8)
    if close and known[close[0]] != node.type:
        return f"the nearest operator is {known[close[0]]}; or {cut}"
    return cut
