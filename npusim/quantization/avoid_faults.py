"""Parameters with which the driver copies where it would lay a concat in place and lose data.

Source: measured, docs/arithmetic/whole-networks.md rule 4.9.
"""

from collections.abc import Callable, Mapping

import numpy as np

from npusim.ir.graph import Graph
from npusim.ir.quant import Affine, DynamicFixedPoint, Quant
from npusim.ops import keeps_codes
from npusim.passes.driver_faults import FaultKind, driver_faults
from npusim.passes.memory_predicates import SCALES_APART
from npusim.passes.pipeline import place

STEP = np.float32(1.1 * SCALES_APART)  # the smallest difference of scales that the driver sees
WIDEST = 0.01  # by which a scale may grow; beyond that the zero point moves


def avoid_driver_faults(
    made: Callable[[Mapping[str, Quant]], Graph], *, level: int
) -> tuple[Graph, tuple[str, ...]]:
    """Return the quantized graph whose concats the driver gets right, and what was changed.

    Parameters
    ----------
    made : callable
        Parameters of some tensors -> the quantized graph with them.
    level : int
        Optimization level with which the graph will be lowered.

    Returns
    -------
    (Graph, tuple of str)
        The names of the layers whose results have other parameters now. float16 has none to
        change; neither do they help where a reshape's result is cut.
    """
    quants: dict[str, Quant] = {}
    layers: list[str] = []
    while True:
        graph = made(quants)
        placed = place(graph, level=level)
        changed: dict[str, Quant] = {}
        for fault in driver_faults(placed):
            name = placed.node(fault.layer).outputs[0]
            quant = apart(graph.spec(name).quant)
            if name in quants or name in changed or quant is None:
                continue
            if fault.kind is FaultKind.PART_OF_RESHAPE:
                continue
            layers.append(fault.layer)
            changed |= dict.fromkeys(_followers(graph, name), quant)
        if not changed:
            return graph, tuple(layers)
        quants |= changed


def apart(quant: Quant) -> Quant | None:
    """Return the nearest parameters that the driver takes for others; None where there are none.

    u8: the scale grows by as much as the driver notices, or where that is more than 1 % the zero
    point moves by one. Fixed point: one fraction bit less.
    """
    if isinstance(quant, DynamicFixedPoint):
        return DynamicFixedPoint(fl=quant.fl - 1)
    if not isinstance(quant, Affine):
        return None
    if float(STEP) <= WIDEST * quant.scale:
        scale = np.float32(quant.scale) + STEP
        if scale - np.float32(quant.scale) < STEP:  # rounded down
            scale = np.nextafter(scale, np.float32(np.inf))
        return Affine(scale=float(scale), zero_point=quant.zero_point)
    to_middle = 1 if quant.zero_point < 128 else -1
    return Affine(scale=quant.scale, zero_point=quant.zero_point + to_middle)


def _followers(graph: Graph, name: str) -> list[str]:
    """Return a tensor and those that have its parameters because codes pass unchanged."""
    users, quant, found = graph.consumers(), graph.spec(name).quant, [name]
    for tensor in found:
        for user in users[tensor]:
            if keeps_codes(user) and user.inputs[0] == tensor:
                same = (out for out in user.outputs if graph.spec(out).quant == quant)
                found += [out for out in same if out not in found]
    return found
