"""int8 weights of a quantized ONNX model as uint8, so that ONNX Runtime's sums are exact.

On x86 processors without VNNI instructions ONNX Runtime multiplies uint8 activations by int8
weights in pairs whose 16-bit sums saturate. uint8 weights take another kernel, which is exact, and
a zero point moved along leaves every product as it was.
Source: measured with ONNX Runtime 1.32.0; its own remedy, ``session.x64quantprecision``, works only
with the graph rewrites that exposing every tensor forbids.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from npusim.ir.names import fresh_among

WEIGHTED = ("QLinearConv", "QLinearMatMul", "QGemm")
_IFM_ZERO_POINT, _WEIGHTS, _WEIGHTS_ZERO_POINT = 2, 3, 5  # positions of their inputs


def use_unsigned_weights(model: ModelProto) -> None:
    """Turn known int8 weights that meet uint8 activations into uint8, in place.

    The original constants stay, since other nodes may read them.
    """
    known = _known_tensors(model)
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} | set(known)
    moved: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or not _mixes_signs(node, known):
            continue
        for position in (_WEIGHTS, _WEIGHTS_ZERO_POINT):
            name = node.input[position]
            if name not in moved:
                moved[name] = fresh_among(taken, f"{name}/uint8")
                taken.add(moved[name])
                codes = numpy_helper.to_array(known[name]).astype(np.int16) + 128
                model.graph.initializer.append(
                    numpy_helper.from_array(codes.astype(np.uint8), moved[name])
                )
            node.input[position] = moved[name]


def _mixes_signs(node: NodeProto, known: dict[str, TensorProto]) -> bool:
    types = [
        known[node.input[position]].data_type if node.input[position] in known else None
        for position in (_IFM_ZERO_POINT, _WEIGHTS, _WEIGHTS_ZERO_POINT)
    ]
    return types == [TensorProto.UINT8, TensorProto.INT8, TensorProto.INT8]


def _known_tensors(model: ModelProto) -> dict[str, TensorProto]:
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
    return known
