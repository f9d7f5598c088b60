"""File formats -> graph: ``npusim.importers.formats`` is the table of them."""

from npusim.importers.formats import load

__all__ = ["load"]
