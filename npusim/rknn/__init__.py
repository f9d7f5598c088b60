"""RKNN-Toolkit 1.x's programming interface, on the simulator: ``from npusim.rknn import RKNN``."""

from npusim.rknn.api import RKNN

__all__ = ["RKNN"]
