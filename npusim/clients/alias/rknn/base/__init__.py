"""The toolkit's inner package: the version that is reported."""

from npusim.rknn.printed import TOOLKIT as __version__

version = __version__

__all__ = ["__version__", "version"]
