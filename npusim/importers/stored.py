"""Stored models, npusim's and the vendor's, as the table of formats loads them."""

from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ContainerError, GraphError
from npusim.importers.formats import OWN, head_of, refuse_other
from npusim.ir import archive
from npusim.ir.graph import Graph
from npusim.ir.vendor_file import is_vendor_file, read_vendor_file
from npusim.passes.driver import check
from npusim.passes.pipeline import upgraded


def load_stored(
    path: str | Path, *, inputs: Any = None, input_shapes: Any = None, outputs: Any = None
) -> Graph:
    """Read a graph that ``npusim.save`` or ``RKNN.export_rknn`` wrote, at whatever stage it is.

    Raises
    ------
    ContainerError
        When the file cannot be read, or the model is to be cut or to get other shapes.
    """
    given = {"inputs": inputs, "input_shapes": input_shapes, "outputs": outputs}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise ContainerError(
            f"{' and '.join(map(words.say, wrong))} cannot be changed in a stored model",
            where=str(path),
            rule="a stored model is finished: its tensors and shapes are fixed",
            remedy="leave them out, or load the source model",
        )
    return load_with_meta(path)[0]


def load_with_meta(path: str | Path) -> tuple[Graph, dict[str, Any]]:
    """Return a stored graph and what was stored beside it; a foreign file is named.

    Of a vendor file the targets are known besides.
    """
    head = head_of(path)
    refuse_other(OWN, head, path)
    if is_vendor_file(head):
        from npusim.importers.vendor.importer import load_vendor

        graph = load_vendor(path)
        return graph, {"target_platform": list(read_vendor_file(path).targets)}
    graph, meta = archive.load_with_meta(path)
    try:
        graph = upgraded(graph)
        check(graph, "lowered" if graph.nodes and graph.is_lowered else None)
    except GraphError as error:
        place = f"{path}: {error.where}" if error.where else str(path)
        raise ContainerError(
            f"the stored graph is not valid: {error.what}", where=place, rule=error.rule
        ) from error
    return graph, meta
