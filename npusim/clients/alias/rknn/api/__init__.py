"""``from rknn.api import RKNN``."""

# the toolkit imports it as well, and scripts say no more than "import urllib"
import urllib.request  # noqa: F401

from npusim.clients.custom_op import IoMap, RKNNCustomOP, Shape
from npusim.rknn import RKNN

__all__ = ["RKNN", "IoMap", "RKNNCustomOP", "Shape"]
