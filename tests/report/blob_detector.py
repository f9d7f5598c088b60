"""A YOLO head that finds red and green squares, and a picture that has one of each."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CELL = 8
ANCHORS = "8,8,24,24,32,32"  # of its one map
RED, GREEN = (32, 16, 48, 32), (80, 32, 96, 48)  # left, top, right, bottom in the picture


def write_detector(path, *, size=64):
    """One convolution: an object where red or green is bright; pixels are divided by 255."""
    weights = np.zeros((3, 7, 3, CELL, CELL), np.float32)
    bias = np.full((3, 7), -8.0, np.float32)
    bias[:, :4] = 0.0
    share = 1 / CELL**2
    # the first anchor is sure of a cell that is all red or all green, and not of grey
    weights[0, 4] = np.reshape([16.0, 16.0, -24.0], (3, 1, 1)) * share
    weights[0, 5] = np.reshape([16.0, -8.0, 0.0], (3, 1, 1)) * share
    weights[0, 6] = np.reshape([-8.0, 16.0, 0.0], (3, 1, 1)) * share
    values = {"w": weights.reshape(21, 3, CELL, CELL), "b": bias.reshape(21)}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["heads"], "head", strides=[CELL, CELL])],
        "main_graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, size, size))],
        [
            helper.make_tensor_value_info(
                "heads", TensorProto.FLOAT, (1, 21, size // CELL, size // CELL)
            )
        ],
        [numpy_helper.from_array(v, k) for k, v in values.items()],
    )
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def write_picture(path, *, height=64, width=128):
    """A grey picture with a red and a green square."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for (left, top, right, bottom), colour in ((RED, (255, 0, 0)), (GREEN, (0, 255, 0))):
        pixels[top:bottom, left:right] = colour
    Image.fromarray(pixels).save(path)
