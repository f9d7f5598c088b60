"""Numbers of the model that leave no steps for the others, or that a shared range cuts off."""

from collections.abc import Iterator, Mapping

import numpy as np

from npusim.explain import see
from npusim.ir.attrs import PadAttrs, PadMode
from npusim.ir.graph import Graph
from npusim.ir.quant import scale_of
from npusim.passes.hidden import sides
from npusim.quantization.apply import Formats
from npusim.quantization.schemes import Range, Scheme, parameters

PAGE = "constant-drowns"
LOST = 8.0  # less than 1/8 of the steps that the operand would have alone: 3 bits
FEW = 64.0  # and fewer steps than that


def drowned(graph: Graph, ranges: Mapping[str, Range], formats: Formats) -> Iterator[str]:
    """Yield a line for every sum with a constant so large that the other operand is lost in it.

    Parameters
    ----------
    graph : Graph
        Float graph.
    ranges : mapping
        Final ranges of its activations.
    formats : Formats
    """
    for node in graph.nodes:
        known = [name for name in node.inputs if graph.is_constant(name)]
        others = graph.activations(node)
        scheme, out = formats.scheme_of(node), node.outputs[0]
        if node.op not in ("add", "sub") or len(known) != 1 or len(others) != 1:
            continue
        if scheme is Scheme.F16 or out not in ranges or others[0] not in ranges:
            continue
        low, high = ranges[others[0]]
        width, step = high - low, scale_of(parameters(ranges[out], scheme))
        alone = width / scale_of(parameters(ranges[others[0]], scheme)) if width > 0 else 0.0
        steps = width / step
        value = graph.constants[known[0]]
        reach = float(np.abs(value).max(initial=0.0))
        if not alone or steps >= FEW or steps * LOST > alone or reach < width:
            continue
        worst = float(value.reshape(-1)[np.abs(value).argmax()])
        yield (
            f"layer {node.name!r} ({node.op}): constant {known[0]!r} of {worst:.6g} makes a step "
            f"of the {scheme.dtype.value} result {step:.3g}, so that the other operand {low:.6g} .."
            f" {high:.6g} spans {steps:.3g} steps of it; npusim computes with that. Use a smaller "
            f"constant (a mask needs no more than -100), or f16 for this layer "
            f"{see(PAGE)}"
        )


def clipped_fills(graph: Graph, ranges: Mapping[str, Range], formats: Formats) -> Iterator[str]:
    """Yield a line for every pad whose fill value lies beyond the range it shares with its input.

    Fill values that only a maximum reads may end anywhere and are not listed.
    """
    below = sides(graph)
    for node in graph.nodes:
        attrs, out = node.attrs, node.outputs[0]
        if not isinstance(attrs, PadAttrs) or attrs.mode is not PadMode.CONSTANT or below[out]:
            continue
        scheme = formats.scheme_of(node)
        if scheme is Scheme.F16 or out not in ranges:
            continue
        low, high = min(ranges[out][0], 0.0), max(ranges[out][1], 0.0)
        step = scale_of(parameters((low, high), scheme))
        if low - step <= attrs.value <= high + step:
            continue
        yield (
            f"layer {node.name!r} (pad): its fill value {attrs.value:.6g} lies beyond {low:.6g} .. "
            f"{high:.6g}, the range it shares with its input; npusim stores the end of that range, "
            "as the chip does. Choose a fill value inside, or give the input a wider range in a "
            f"cfg file {see(PAGE)}"
        )
