"""Small networks, quantized by ONNX Runtime."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from tests.onnx_models import onnx_model

Array = NDArray[Any]
SHAPE = (1, 3, 16, 16)


def convnet(opset: int = 13) -> onnx.ModelProto:
    """Return a network with the operators that ONNX Runtime quantizes."""
    random = np.random.default_rng(11)

    def weights(*shape: int) -> Array:
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "w1": weights(8, 3, 3, 3) * np.linspace(0.2, 3, 8, dtype=np.float32)[:, None, None, None],
        "b1": weights(8), "w2": weights(8, 1, 3, 3), "b2": weights(8),
        "w3": weights(8, 8, 1, 1), "b3": weights(8), "w4": weights(8, 16, 3, 3), "b4": weights(8),
        "w5": weights(10, 8), "b5": weights(10), "w6": weights(10, 6),
        "six": np.float32(6), "zero": np.float32(0), "flat": np.array([1, -1]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="relu"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="depthwise", pads=[1] * 4, group=8),
        node("Clip", ["c2", "zero", "six"], ["r2"], name="clip"),
        node("Conv", ["r2", "w3", "b3"], ["c3"], name="pointwise"),
        node("Add", ["c3", "r1"], ["a"], name="sum"),
        node("Sigmoid", ["a"], ["g"], name="gate"),
        node("Mul", ["a", "g"], ["m"], name="product"),
        node("LeakyRelu", ["m"], ["l"], name="leaky", alpha=0.1),
        node("Concat", ["l", "r1"], ["cat"], name="join", axis=1),
        node("MaxPool", ["cat"], ["p"], name="largest", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "w4", "b4"], ["c4"], name="wide", pads=[1] * 4),
        node("AveragePool", ["c4"], ["v"], name="mean", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["v"], ["gap"], name="all"),
        node("Reshape", ["gap", "flat"], ["row"], name="flatten"),
        node("Gemm", ["row", "w5", "b5"], ["fc"], name="dense", transB=1),
        node("MatMul", ["fc", "w6"], ["mm"], name="product2"),
        node("Softmax", ["mm"], ["y"], name="last", axis=1),
    ]
    return onnx_model(nodes, {"x": SHAPE}, {"y": (1, 6)}, constants, opset=opset, name="quantized")


def samples(name: str, shape: tuple[int, ...], count: int = 4) -> Iterator[dict[str, Array]]:
    random = np.random.default_rng(3)
    for _ in range(count):
        yield {name: random.uniform(-1, 1, shape).astype(np.float32)}


def quantized_by_ort(
    model: onnx.ModelProto,
    folder: Path,
    *,
    form: str,
    activations: str = "QUInt8",
    weights: str = "QInt8",
    per_channel: bool = False,
    name: str = "x",
    shape: tuple[int, ...] = SHAPE,
) -> Path:
    """Return a file with the model quantized statically: form QDQ or QOperator."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = samples(name, shape)

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rest, None)

    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(model, source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        q.quantize_static(
            source,
            target,
            Reader(),
            quant_format=q.QuantFormat[form],
            activation_type=q.QuantType[activations],
            weight_type=q.QuantType[weights],
            per_channel=per_channel,
        )
    return target
