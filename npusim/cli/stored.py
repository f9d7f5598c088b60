"""Stored quantized models beside the float model they were made from."""

from pathlib import Path

import npusim
from npusim.cli import common
from npusim.errors import ConfigError
from npusim.importers.formats import is_stored
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower


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
    shapes, own = ({n: g.spec(n).shape for n in g.inputs} for g in (graph, found))
    if own != shapes or not common.is_quantized(found):
        raise ConfigError(
            f"its inputs are {own}",
            where=f"{option} {path}",
            rule=f"a quantized model with the inputs {shapes}",
        )
    return lower(found)
