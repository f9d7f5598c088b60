"""What a converter of a Caffe layer works with."""

from dataclasses import dataclass, field

from npusim.errors import ModelImportError
from npusim.importers.caffe.blobs import Blobs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.common.layers import Converters, LayerContext


@dataclass(slots=True)
class CaffeContext(LayerContext):
    """The import in progress.

    Attributes
    ----------
    blobs : Blobs
        The learned blobs.
    structure_only : bool
        No weights file, and layers that need one.
    """

    blobs: Blobs = field(default_factory=lambda: Blobs(None))
    structure_only: bool = False

    def axis(self, layer: CaffeLayer, axis: int, rank: int, *, extra: int = 0) -> int:
        """Return an axis as a non-negative number; ``extra`` allows one past the last."""
        count = rank + extra
        if not -count <= axis < count:
            raise ModelImportError(
                f"axis {axis} does not exist", where=layer.where, rule=f"the input has {rank} axes"
            )
        return axis % count


converter: Converters[CaffeLayer, CaffeContext] = Converters()
"""Registers converters of layer types."""


def needs(
    layer: CaffeLayer, bottoms: int | tuple[int, int], tops: int | tuple[int, int] = 1
) -> None:
    """Refuse another number of bottoms or tops."""
    for what, count, wanted in (
        ("bottoms", len(layer.inputs), bottoms),
        ("tops", len(layer.outputs), tops),
    ):
        low, high = (wanted, wanted) if isinstance(wanted, int) else wanted
        if not low <= count <= high:
            text = f"{low}" if low == high else f"{low} to {high}"
            raise ModelImportError(f"it has {count} {what}", where=layer.where, rule=text)
