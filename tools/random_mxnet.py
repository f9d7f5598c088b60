"""Small random MXNet networks, one maker per kind of operator, for tools/record_mxnet.py."""

from tools import random_mxnet_layers, random_mxnet_moves
from tools.random_mxnet_base import MAKERS, Sample

FAMILIES = (random_mxnet_layers, random_mxnet_moves)
"""Importing them registers the makers."""

__all__ = ["FAMILIES", "MAKERS", "Sample"]
