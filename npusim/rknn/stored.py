"""Reading a stored model."""

from pathlib import Path
from typing import Any

from npusim.importers.stored import load_with_meta
from npusim.ir.graph import Graph
from npusim.passes.driver import check
from npusim.passes.pipeline import lower, upgraded
from npusim.rknn.platforms import check_runtime_target


def read_model(path: Path) -> tuple[Graph, dict[str, Any]]:
    """Return (lowered graph, what was stored beside it) of npusim's model file."""
    graph, meta = load_with_meta(path)
    check_runtime_target(None, graph.target)
    check(graph)
    graph = upgraded(graph)
    return lower(graph), meta
