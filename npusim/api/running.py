"""Quantized graph -> program."""

from collections.abc import Callable

from npusim.ir.graph import Graph
from npusim.ir.targets import checked_target
from npusim.passes.pipeline import lower
from npusim.runtime.driver_memory import CORRECT
from npusim.runtime.program import Program


def compile(
    graph: Graph,
    *,
    target: str | None = None,
    optimization_level: int = 3,
    driver_faults: str = CORRECT,
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
    driver_faults : {"correct", "reproduce"}
        Where the chip's driver loses data in a concat: the true values, or what the chip stores
        where that does not depend on chance (``npusim explain concat-of-views``).
    progress : callable, optional
        Called with (layers done, layers, layer name).

    Raises
    ------
    ConfigError
        When the target is no simulated chip, or ``driver_faults`` another word; the error names
        those that exist.
    """
    target = checked_target(graph.target if target is None else target)
    lowered = lower(graph.copy(target=target), level=optimization_level)
    return Program(lowered, progress=progress, driver_faults=driver_faults)
