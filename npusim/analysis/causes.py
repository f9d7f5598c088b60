"""Why a layer is off: every cause is measured on the layer run alone with float inputs."""

from collections.abc import Callable

from npusim.analysis.arithmetic_causes import (
    accumulator_wrap,
    few_steps,
    negative_sums,
    table_kink,
)
from npusim.analysis.channel_causes import mixed_concat, unequal_channels
from npusim.analysis.constant_causes import vanished_constant
from npusim.analysis.findings import Finding
from npusim.analysis.layer_view import LayerView
from npusim.analysis.range_causes import (
    clipped_input,
    clipped_range,
    outlier_range,
)
from npusim.ops import op_def

Measure = Callable[[LayerView], Finding | None]
MEASURES: tuple[Measure, ...] = (
    accumulator_wrap,
    negative_sums,
    vanished_constant,
    clipped_range,
    clipped_input,
    table_kink,
    unequal_channels,
    mixed_concat,
    outlier_range,
    few_steps,
)


def find_causes(view: LayerView) -> tuple[Finding, ...]:
    """Return what was found at a layer, the most definite cause first.

    A layer that only moves codes has no fault of its own: what it reads was stored by a layer
    before, which has a line of its own unless it is an input of the network.
    """
    if _only_moves(view):
        return ()
    found = (measure(view) for measure in MEASURES)
    return tuple(finding for finding in found if finding is not None)


def _only_moves(view: LayerView) -> bool:
    node, graph = view.node, view.graph
    if not op_def(node.op).moves or node.op == "concat":
        return False
    read = graph.spec(node.inputs[0])
    same = (read.dtype, read.quant) == (view.spec.dtype, view.spec.quant)
    return same and node.inputs[0] not in (*graph.inputs, *graph.constants)
