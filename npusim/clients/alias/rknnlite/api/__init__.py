"""``from rknnlite.api import RKNNLite``."""

import urllib.request  # noqa: F401

from npusim.rknn.lite import RKNNLite

__all__ = ["RKNNLite"]
