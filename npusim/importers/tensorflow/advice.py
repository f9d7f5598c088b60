"""Advice for operators without a counterpart, and where to cut a graph."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from npusim import words
from npusim.importers.tensorflow.context import TfNode, converter_of, convertible_ops
from npusim.importers.tensorflow.fold import is_foldable
from npusim.importers.tensorflow.scope import Scope

_LOOP = "loops and conditions on data run on the CPU"
_CPU = "run it on the CPU"
_ADVICE = {
    **dict.fromkeys(
        ("Enter", "RefEnter", "NextIteration", "LoopCond", "Merge", "While",
         "StatelessWhile", "If", "StatelessIf", "Switch", "Case", "StatelessCase"),
        _LOOP,
    ),
    **dict.fromkeys(
        ("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "Multinomial"),
        "random numbers belong to training: freeze the inference graph",
    ),
    **dict.fromkeys(
        ("DecodeJpeg", "DecodePng", "DecodeBmp", "DecodeRaw", "ReadFile", "DecodeWav"),
        "files are decoded on the CPU; begin behind it",
    ),
    "Sin": "the chip has no sine",
    "Cos": "the chip has no cosine",
}  # fmt: skip


def advise(node: TfNode) -> str:
    """Return what to do about an operator that has no counterpart."""
    if node.type in _ADVICE:
        return _ADVICE[node.type]
    if converter_of(node.type):
        return f"use the operator's common form, or {_CPU}"
    close = get_close_matches(node.type, convertible_ops(), n=1, cutoff=0.85)
    return f"the nearest supported one is {close[0]}; or {_CPU}" if close else _CPU


def cut_advice(scope: Scope, order: Sequence[TfNode], culprits: Iterable[str]) -> str:
    """Return the ``inputs=`` and ``outputs=`` that leave out what cannot be taken.

    Parameters
    ----------
    order : sequence of TfNode
        In an order in which they can run.
    culprits : iterable of str
        Names of nodes that cannot be taken.
    """
    bad = set(culprits)
    first = next((node.name for node in order if node.name in bad), "")
    begin = _begin(order, bad) if first else None
    lost, known = _spread(scope, order, bad, begin)
    place = {name: index for index, name in enumerate(scope.nodes)}

    def in_file_order(tensors: Sequence[str]) -> list[str]:
        return sorted(tensors, key=lambda tensor: place.get(tensor.rpartition(":")[0], 0))

    frontier = in_file_order(_frontier(order, lost, known, begin))
    advice = []
    if begin is not None:
        name = _short(begin)
        advice.append(
            f"begin behind it ({words.cut_at(inputs=[name])}), giving the shape of {name!r}"
        )
    if frontier:
        ends = [_short(t) for t in frontier]
        advice.append(f"end in front of it ({words.cut_at(outputs=ends)})")
        joins = in_file_order(_joins(order, frontier, known))
        if joins and joins != frontier:
            ends = [_short(t) for t in joins]
            advice.append(f"or at the last joins ({words.cut_at(outputs=ends)})")
    return "; ".join(advice)


def _short(tensor: str) -> str:
    return tensor.removesuffix(":0")


def _begin(order: Sequence[TfNode], bad: set[str]) -> str | None:
    """Return the tensor behind the first fault that a convolution or product reads."""
    spoiled: set[str] = set()
    for node in order:
        if node.name in bad or spoiled.intersection(node.inputs):
            heavy = node.type in ("Conv2D", "DepthwiseConv2dNative") and node.name not in bad
            if heavy and node.inputs[0] in spoiled:
                return node.inputs[0]
            spoiled.update(node.outputs)
        elif node.type in ("Conv2D", "DepthwiseConv2dNative"):
            return None  # the network begins in front of the fault
    return None


def _spread(
    scope: Scope, order: Sequence[TfNode], bad: set[str], begin: str | None
) -> tuple[set[str], set[str]]:
    """Return tensors that depend on a fault (behind ``begin``), and those that are known."""
    lost: set[str] = set()
    known: set[str] = set()
    for node in order:
        if begin is not None and begin in node.outputs:
            continue
        constant = node.type in ("Const", "Shape", "ShapeN", "Rank", "Size")
        if node.name in bad or lost.intersection(node.inputs):
            lost.update(node.outputs)
        elif constant or (
            node.inputs
            and known.issuperset(node.inputs)
            and (is_foldable(node.type) or node.type == "Identity")
        ):
            known.update(node.outputs)
    return lost, known


def _frontier(
    order: Sequence[TfNode], lost: set[str], known: set[str], begin: str | None
) -> list[str]:
    """Return the last tensors in front of faults that a network computes."""
    computed: set[str] = set() if begin is None else {begin}
    names: dict[str, None] = {}
    for node in order:
        if lost.intersection(node.outputs):
            for name in node.inputs:
                if name in computed and name != begin:
                    names[name] = None
            continue
        if not node.inputs or known.issuperset(node.outputs):
            continue
        if begin is None or computed.intersection(node.inputs):
            computed.update(node.outputs)
    return list(names)


def _joins(order: Sequence[TfNode], frontier: Sequence[str], known: set[str]) -> list[str]:
    """Return the concats that tensors come from, where each comes from one."""
    makers: Mapping[str, TfNode] = {out: node for node in order for out in node.outputs}
    found: dict[str, None] = {}
    for name in frontier:
        node = makers.get(name)
        for _ in range(64):
            if node is None:
                return []
            data = [i for i in node.inputs if i not in known]
            if node.type == "ConcatV2" and len(data) > 1:
                found[node.outputs[0]] = None
                break
            if len(data) != 1:
                return []
            node = makers.get(data[0])
    return list(found)
