"""Quantized graph -> program."""

import logging
from collections.abc import Callable
from typing import Literal

from npusim import words
from npusim.api.stages import is_complete
from npusim.errors import GraphError
from npusim.explain import see
from npusim.ir.graph import Graph
from npusim.ir.targets import assumption, checked_target
from npusim.passes.pipeline import lower
from npusim.runtime.driver_memory import CORRECT
from npusim.runtime.program import Program

log = logging.getLogger("npusim")


def compile(
    graph: Graph,
    *,
    target: str | None = None,
    optimization_level: int = 3,
    driver_faults: str = CORRECT,
    progress: Callable[[int, int, str], None] | Literal[True] | None = None,
) -> Program:
    """Assign engines and bind kernels.

    Parameters
    ----------
    graph : Graph
        Quantized or float16 graph.
    target : str, optional
        ``"rk1808"``, ``"rk1806"`` or ``"rk3399pro"``, all with the same arithmetic; ``"rv1126"``
        and ``"rv1109"``, for which it is assumed (a warning says so). Default: the graph's own.
    optimization_level : int
        0..3.
    driver_faults : {"correct", "reproduce"}
        Where the chip's driver loses data in a concat: the true values, or what the chip stores
        where that does not depend on chance (``npusim explain concat-of-views``).
    progress : callable or True, optional
        Called with (layers done, layers, layer name).

    Raises
    ------
    ConfigError
        When there is no such chip, or ``driver_faults`` is another word; the error names what
        exists.
    GraphError
        When no engine runs a layer, as in every float graph that computes.
    """
    assert progress is not True  # a bar by now (npusim.api.arguments.checked)
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
    if said := assumption(lowered.target):
        log.warning("%s %s", said, see("assumed-arithmetic"))
    return Program(lowered, progress=progress, driver_faults=driver_faults)
