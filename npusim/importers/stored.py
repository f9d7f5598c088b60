"""npusim's own model files, as the table of formats loads them."""

from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ContainerError
from npusim.importers.formats import OWN, head_of, refuse_other
from npusim.ir import archive
from npusim.ir.graph import Graph
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
    return upgraded(load_with_meta(path)[0])


def load_with_meta(path: str | Path) -> tuple[Graph, dict[str, Any]]:
    """Return a stored graph and what was stored beside it; a foreign file is named."""
    refuse_other(OWN, head_of(path), path)
    return archive.load_with_meta(path)
