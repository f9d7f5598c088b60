"""Small models and pictures for scripts."""

import importlib.util

import numpy as np
import onnx
from onnx import helper
from PIL import Image

from tests.onnx_models import onnx_model


def has(module):
    return importlib.util.find_spec(module) is not None


def picture(path, size=16, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def small_onnx(path, *, inputs=1, channels=3, size=16):
    """Write a convolution with relu, pooled to 10 numbers; several inputs are added."""
    rng = np.random.default_rng(3)
    names = [f"in{i}" if inputs > 1 else "data" for i in range(inputs)]
    nodes = [helper.make_node("Sum", names, ["all"], name="all")] if inputs > 1 else []
    nodes += [
        helper.make_node("Conv", ["all" if nodes else "data", "w"], ["c"], name="c", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="p"),
        helper.make_node("Flatten", ["p"], ["out"], name="f"),
    ]
    weights = {"w": rng.normal(0, 0.2, (10, channels, 3, 3)).astype(np.float32)}
    shapes = dict.fromkeys(names, (1, channels, size, size))
    onnx.save(onnx_model(nodes, shapes, {"out": (1, 10)}, weights), path)
    return path
