"""Quantized graph -> program."""

from collections.abc import Callable

from npusim import words
from npusim.api.stages import is_complete
from npusim.errors import GraphError
from npusim.ir.graph import Graph
from npusim.ir.targets import checked_target
from npusim.passes.pipeline import lower
from npusim.runtime.program import Program


def compile(
    graph: Graph,
    *,
    target: str | None = None,
    optimization_level: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> Program:
    """Assign engines and bind kernels.

    Parameters
    ----------
    graph : Graph
        Quantized or float16 graph.
    target : str, optional
        ``"rk1808"``, ``"rk1806"`` or ``"rk3399pro"``, all with the same arithmetic. Default: the
        graph's own.
    optimization_level : int
        0..3.
    progress : callable, optional
        Called with (layers done, layers, layer name).

    Raises
    ------
    ConfigError
        When the target is no simulated chip; the error names those that are.
    GraphError
        When no engine runs a layer, as in every float graph that computes.
    """
    ready = graph.copy(target=checked_target(graph.target if target is None else target))
    try:
        lowered = lower(ready, level=optimization_level)
    except GraphError as error:
        if is_complete(graph):
            raise
        raise GraphError(  # the operator is innocent: nobody has chosen a number format
            f"{error.what}; the graph computes real numbers (float32)",
            where=error.where,
            rule="a quantized or float16 graph is compiled; float32 is only moved",
            remedy=words.say("quantize_first"),
        ) from None
    return Program(lowered, progress=progress)
