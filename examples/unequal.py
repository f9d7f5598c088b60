"""The network of the notebook: MobileNetV2 as it comes from training, with seeded weights.

Batch normalization folded into a depthwise convolution leaves channels whose weights differ by
orders of magnitude. That is what MobileNetV2 is known for in 8 bits, and what this makes.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.zoo import mobilenet_v2

SPREAD = 40.0  # of the channels of one layer, largest to smallest


def write(path: str | Path, *, seed: int = 1) -> Path:
    """Write the network as ONNX and return its path.

    Parameters
    ----------
    path : path
    seed : int
        Of the spread of channels.
    """
    rng = np.random.default_rng(seed)
    model = mobilenet_v2()
    constants = {constant.name: constant for constant in model.graph.initializer}
    readers = {name: node for node in model.graph.node for name in node.input}
    for node in model.graph.node:
        if node.op_type != "Conv" or _group(node) == 1:
            continue
        clip = readers[node.output[0]]
        after = readers[clip.output[0]]
        spread = np.exp(rng.uniform(-0.5, 0.5, _group(node)) * np.log(SPREAD)).astype(np.float32)
        _scale(constants[node.input[1]], spread[:, None, None, None])
        _scale(constants[node.input[2]], spread)
        _scale(constants[after.input[1]], 1 / spread[None, :, None, None])
    onnx.save(model, path)
    return Path(path)


def _group(node: onnx.NodeProto) -> int:
    return next(a.i for a in node.attribute if a.name == "group")


def _scale(constant: onnx.TensorProto, by: np.ndarray) -> None:
    scaled = numpy_helper.to_array(constant) * by
    constant.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), constant.name))
