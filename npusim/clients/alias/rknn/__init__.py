"""RKNN-Toolkit 1.x by name; the class is npusim's (``npusim exec``)."""

from npusim.rknn.printed import TOOLKIT as __version__

__all__ = ["__version__"]
