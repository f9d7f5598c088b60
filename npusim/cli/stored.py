"""Stored quantized models beside the float model they were made from."""

import logging
from pathlib import Path

import npusim
from npusim.analysis.parameter_match import named_like
from npusim.cli import common
from npusim.errors import ConfigError
from npusim.importers.formats import is_stored
from npusim.ir.graph import Graph
from npusim.ir.real import on_real_numbers
from npusim.ir.vendor_file import VENDORS_TOOLKIT
from npusim.passes.pipeline import lower, optimize

log = logging.getLogger("npusim")


def is_vendors(graph: Graph) -> bool:
    """Tell whether a graph came from a file of the vendor's toolkit, as that lowered it."""
    return graph.source.framework == VENDORS_TOOLKIT and not graph.is_lowered


def own_reference(graph: Graph) -> Graph:
    """Return what a vendor file is compared with where its source is not given."""
    log.info(
        "%s holds no float source: the reference is its own stored numbers in float32, which shows "
        "what codes between layers cost, not what its weights and ranges lost before",
        Path(graph.source.path).name,
    )
    return on_real_numbers(graph)


def stored_like(path: Path, graph: Graph, option: str) -> Graph:
    """Return a stored quantized model with the inputs of ``graph``.

    Raises
    ------
    ConfigError
        When it is no stored quantized model, or has other inputs.
    """
    if not is_stored(path):
        raise ConfigError(
            "this is no stored model",
            where=f"{option} {path}",
            rule="a file that npusim quantize, npusim tune, npusim.save or the RKNN class wrote",
        )
    found = npusim.load_model(path)
    if is_vendors(found):
        found = named_like(found, optimize(graph))
    shapes, own = ({n: g.spec(n).shape for n in g.inputs} for g in (graph, found))
    if own != shapes or not common.is_quantized(found):
        raise ConfigError(
            f"its inputs are {own}",
            where=f"{option} {path}",
            rule=f"a quantized model with the inputs {shapes}",
        )
    return lower(found)
