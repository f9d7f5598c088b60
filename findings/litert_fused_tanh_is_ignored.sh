#!/usr/bin/env bash
# A fused TANH is a legal activation of the TensorFlow Lite schema; LiteRT runs the file without it.
#
# Versions: ai-edge-litert 2.3.0, flatbuffers 25.12.19, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: ActivationFunctionType has NONE, RELU, RELU_N1_TO_1, RELU6, TANH and SIGN_BIT, so a
# convolution with TANH gives tanh of its sum, or is refused.
# Seen: CONV_2D, DEPTHWISE_CONV_2D, ADD, MUL and MAX_POOL_2D give their plain result, without a
# word, with LiteRT's own kernels and with its default delegate. Only FULLY_CONNECTED refuses, when
# tensors are allocated. A comparison with this runtime therefore blames whoever computes the tanh.
#
# Output:
#   CONV_2D: none 3, tanh 3, delegate 3
#   DEPTHWISE_CONV_2D: none 3, tanh 3, delegate 3
#   ADD: none 3, tanh 3, delegate 3
#   MUL: none 3, tanh 3, delegate 3
#   MAX_POOL_2D: none 1, tanh 1, delegate 1
#   FULLY_CONNECTED: none 3, tanh RuntimeError, delegate RuntimeError
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { cat "$work/log"; exit 1; }
import math

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

KERNELS, DELEGATE = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO
PIXEL, ROW = (1, 1, 1, 1), (1, 1)
STEP = {"padding": schema.Padding.VALID, "strideW": 1, "strideH": 1}
WINDOW = STEP | {"dilationWFactor": 1, "dilationHFactor": 1}
THREE = np.full(PIXEL, 3)
# operator: options, their fields, shape of the data, what stands behind it
OPERATORS = {
    "CONV_2D": ("Conv2DOptions", WINDOW, PIXEL, [THREE, [0]]),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions", WINDOW | {"depthMultiplier": 1}, PIXEL, [THREE, [0]]
    ),
    "ADD": ("AddOptions", {}, ROW, [[[2]]]),
    "MUL": ("MulOptions", {}, ROW, [[[3]]]),
    "MAX_POOL_2D": ("Pool2DOptions", STEP | {"filterWidth": 1, "filterHeight": 1}, PIXEL, []),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {}, ROW, [[[3]], [0]]),
}


def file(kind, activation):
    word, fields, shape, constants = OPERATORS[kind]
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []

    def tensor(name, size, value=None):
        made, buffer = schema.TensorT(), schema.BufferT()
        made.name, made.shape, made.type = name, list(size), schema.TensorType.FLOAT32
        if value is not None:
            buffer.data = list(np.asarray(value, np.float32).tobytes())
        made.buffer = len(model.buffers)
        model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    inputs = [tensor("x", shape)]
    inputs += [tensor(f"c{i}", np.shape(value), value) for i, value in enumerate(constants)]
    operator.inputs, operator.outputs = inputs, [tensor("y", shape)]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, word)
    operator.builtinOptions = getattr(schema, f"{word}T")()
    for key, value in (fields | {"fusedActivationFunction": activation}).items():
        setattr(operator.builtinOptions, key, value)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = 1
    graph.operators, graph.inputs, graph.outputs = [operator], [0], operator.outputs
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def result(kind, activation, resolver):
    try:
        runtime = Interpreter(
            model_content=file(kind, activation), experimental_op_resolver_type=resolver
        )
        runtime.allocate_tensors()
    except RuntimeError as error:
        return type(error).__name__
    runtime.set_tensor(runtime.get_input_details()[0]["index"], np.ones(OPERATORS[kind][2], "f4"))
    runtime.invoke()
    return float(runtime.get_tensor(runtime.get_output_details()[0]["index"]).item())


TANH, NONE = schema.ActivationFunctionType.TANH, schema.ActivationFunctionType.NONE
for kind in OPERATORS:
    plain = result(kind, NONE, KERNELS)
    fused = [result(kind, TANH, resolver) for resolver in (KERNELS, DELEGATE)]
    said = [value if isinstance(value, str) else f"{value:g}" for value in fused]
    print(f"{kind}: none {plain:g}, tanh {said[0]}, delegate {said[1]}")
    assert plain != math.tanh(plain)
    wanted = "RuntimeError" if kind == "FULLY_CONNECTED" else plain
    assert fused == [wanted, wanted], kind
PY
