"""``from rknn.api.rknn import RKNN``."""

from npusim.rknn import RKNN

__all__ = ["RKNN"]
