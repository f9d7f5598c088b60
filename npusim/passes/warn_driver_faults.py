"""Name the concats that the chip's driver lays in place and gets wrong."""

import logging

from npusim import words
from npusim.explain import see
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.names import by_name
from npusim.passes.driver_faults import DriverFault, driver_faults

log = logging.getLogger(__name__)
OF_CONCAT, OF_VIEW = "concat-of-views", "view-of-view"
SHOWN = 6  # layers named in one warning


def warn_driver_faults(graph: Graph) -> Graph:
    """Log one warning for every layer of that kind. Engines and forms must be assigned.

    Source: measured, docs/arithmetic/whole-networks.md section 4.
    """
    found: dict[str, list[DriverFault]] = {}
    for fault in driver_faults(graph):
        found.setdefault(fault.layer, []).append(fault)
    named = by_name(graph)
    for name, faults in found.items():
        node = named[name]
        dtype = graph.spec(node.outputs[0]).dtype
        log.warning("layer %r (%s, %s): %s", name, node.op, dtype.value, text_of(faults, dtype))
    return graph


def text_of(faults: list[DriverFault], dtype: DType) -> str:
    """Return what the driver does, through which layers, what npusim computes, the way out."""
    whats = " and ".join(fault.kind.value for fault in faults)
    layers = list(dict.fromkeys(layer for fault in faults for layer in fault.layers))
    more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
    named = f" (layers {', '.join(map(repr, layers[:SHOWN]))}{more})" if layers else ""
    what = f"the chip's driver {whats}{named}; npusim computes the true values"
    if not faults[0].kind.of_concat:
        return f"{what}; put a layer that computes between the two {see(OF_VIEW)}"
    other = "" if dtype is DType.F16 else f"quantize with {words.say('avoid_faults')}, or "
    chips = f"({words.say('driver_faults')} reproduce: the chip's)"
    return (
        f"in this concat in place {what} {chips}; {other}make one part an output of the network "
        f"{see(OF_CONCAT)}"
    )
