"""A float ONNX network and the vendor file that the toolkit would make of it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from tests.importers.vendor_build import File, fmt

SHAPE, OUT = (1, 3, 6, 8), (1, 4, 6, 8)


def numbers(seed=1):
    """Return weights and biases; the largest and smallest weight make 0.01 the u8 scale."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-1.19, 1.34, (4, 3, 3, 3))
    weights.flat[:2] = -1.2, 1.35
    return weights.astype(np.float32), rng.normal(0, 0.2, 4).astype(np.float32)


def source(path, weights, bias, names=("c", "r", "s")):
    """Write convolution, relu, sigmoid."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], name=names[0], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["d"], name=names[1]),
        helper.make_node("Sigmoid", ["d"], ["y"], name=names[2]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, OUT)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)])
    model.ir_version = 7
    onnx.save(model, str(path))
    return path


FORMATS = {
    "u8": (
        fmt("u1", 0.02, 128),
        fmt("u1", 0.01, 120),
        fmt("u1", 6.3 / 255, 0),
        fmt("u1", 1 / 255, 0),
    ),
    "i8": (fmt("i1", fl=5), fmt("i1", fl=6), fmt("i1", fl=4), fmt("i1", fl=7)),
    "i16": (fmt("i2", fl=13), fmt("i2", fl=14), fmt("i2", fl=12), fmt("i2", fl=15)),
    "f16": (fmt("f2"),) * 4,
}
DTYPES = {"u8": DType.U8, "i8": DType.I8, "i16": DType.I16, "f16": DType.F16}


def _quant(form):
    if "scale" in form:
        return Affine(scale=form["scale"], zero_point=form["zero_point"])
    return DynamicFixedPoint(fl=form["fl"]) if "fl" in form else Float()


def built(path, weights, bias, kind="u8", **config):
    """Write the file of the network in one number format."""
    file = File(**config)
    x_form, w_form, r_form, s_form = FORMATS[kind]
    x = file.input(SHAPE, x_form, "x_5")
    codes = quantize(weights, DTYPES[kind], _quant(w_form))
    if kind == "u8":
        scale = float(np.float32(x_form["scale"]) * np.float32(w_form["scale"]))
        b_form, b_quant, b_type = fmt("i4", scale, 0), Affine(scale=scale), DType.I32
    elif kind == "f16":
        b_form, b_quant, b_type = fmt("f4"), Float(), DType.F32
    else:
        fl, wide = x_form["fl"] + w_form["fl"], kind == "i16"
        b_form = fmt("i8" if wide else "i4", fl=fl)
        b_quant, b_type = DynamicFixedPoint(fl=fl), DType.I64 if wide else DType.I32
    inputs = (
        x,
        file.constant(codes, w_form),
        file.constant(quantize(bias, b_type, b_quant), b_form),
    )
    nn = {"conv2d": {"ksize": [3, 3], "stride": [1, 1], "pad": [1, 1, 1, 1], "group": 1}}
    (c,) = file.layer("CONV2D", "Conv_c", 3, inputs, r_form, nn=nn)
    (r,) = file.layer("RELU", "Relu_r", 2, (c,), r_form)
    (s,) = file.layer("SIGMOID", "Sigmoid_s", 1, (r,), s_form)
    file.output(s, OUT, s_form, "Sigmoid_s/out0_0")
    return file.save(path)
