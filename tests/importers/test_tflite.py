"""TensorFlow Lite operators one at a time against LiteRT, float and quantized."""

import numpy as np
import pytest

import npusim
from npusim.errors import UnsupportedOpError
from npusim.importers.tflite.importer import load_tflite
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, AffinePerChannel
from npusim.passes.pipeline import lower
from npusim.reference.evaluate import evaluate

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
from tests.importers.layerwise import (
    assert_close_layers,
    compare_layers,
    litert_values,
)
from tests.importers.tflite_build import Model, one_op

R = np.random.default_rng(2)
RELU6, RELU, VALID = 3, 1, 1  # the schema's numbers


def real(*shape):
    return R.uniform(-1, 1, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int32)


F = (1, 6, 8, 4)  # N, H, W, C
FLOAT_CASES = {
    "conv": one_op("CONV_2D", F, (1, 3, 4, 5), constants=[real(5, 3, 3, 4), real(5)],
                   options="Conv2DOptions", strideH=2, strideW=2),
    "conv-relu6": one_op("CONV_2D", F, (1, 4, 6, 5), constants=[real(5, 3, 3, 4), real(5)],
                         options="Conv2DOptions", strideH=1, strideW=1, padding=VALID,
                         fusedActivationFunction=RELU6),
    "conv-dilated": one_op("CONV_2D", F, F, constants=[real(4, 3, 3, 4), real(4)],
                           options="Conv2DOptions", strideH=1, strideW=1, dilationHFactor=2,
                           dilationWFactor=2),
    "depthwise": one_op("DEPTHWISE_CONV_2D", F, (1, 6, 8, 8), constants=[real(1, 3, 3, 8), real(8)],
                        options="DepthwiseConv2DOptions", strideH=1, strideW=1, depthMultiplier=2,
                        fusedActivationFunction=RELU),
    "transpose-conv": one_op("TRANSPOSE_CONV", F, (1, 12, 16, 5), before=[ints(1, 12, 16, 5),
                             real(5, 3, 3, 4)], options="TransposeConvOptions", strideH=2,
                             strideW=2),
    "fc": one_op("FULLY_CONNECTED", (3, 8), (3, 5), constants=[real(5, 8), real(5)],
                 options="FullyConnectedOptions"),
    "fc-of-map": one_op("FULLY_CONNECTED", (1, 2, 3, 4), (1, 5), constants=[real(5, 24), real(5)],
                        options="FullyConnectedOptions"),
    "fc-keeps": one_op("FULLY_CONNECTED", (1, 2, 3, 4), (1, 2, 3, 5), constants=[real(5, 4),
                       real(5)], options="FullyConnectedOptions", keepNumDims=True),
    "max-pool": one_op("MAX_POOL_2D", F, (1, 3, 4, 4), options="Pool2DOptions", filterHeight=3,
                       filterWidth=3, strideH=2, strideW=2),
    "average-pool": one_op("AVERAGE_POOL_2D", F, (1, 3, 4, 4), options="Pool2DOptions",
                           filterHeight=3, filterWidth=3, strideH=2, strideW=2),
    "add-channel": one_op("ADD", F, F, constants=[real(4)], options="AddOptions"),
    "mul-map": one_op("MUL", F, F, constants=[real(1, 6, 8, 1)], options="MulOptions"),
    "sub-rank3": one_op("SUB", F, F, constants=[real(6, 8, 1)], options="SubOptions",
                        fusedActivationFunction=RELU),
    "div-rows": one_op("DIV", (3, 8), (3, 8), constants=[real(8) + 3], options="DivOptions"),
    "maximum": one_op("MAXIMUM", F, F, constants=[real(8, 4)], options="MaximumMinimumOptions"),
    "squared-difference": one_op("SQUARED_DIFFERENCE", F, F, constants=[real(4)],
                                 options="SquaredDifferenceOptions"),
    "prelu": one_op("PRELU", F, F, constants=[real(1, 1, 4)]),
    "leaky": one_op("LEAKY_RELU", F, F, options="LeakyReluOptions", alpha=0.3),
    **{kind.lower(): one_op(kind, F, F) for kind in (
        "RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "ELU", "HARD_SWISH", "ABS", "NEG",
        "EXP", "FLOOR", "SQUARE")},
    "softmax": one_op("SOFTMAX", F, F, options="SoftmaxOptions", beta=1.0),
    "log-softmax": one_op("LOG_SOFTMAX", F, F),
    "l2": one_op("L2_NORMALIZATION", F, F, options="L2NormOptions"),
    "lrn": one_op("LOCAL_RESPONSE_NORMALIZATION", F, F, options="LocalResponseNormalizationOptions",
                  radius=1, alpha=0.1, beta=0.6, bias=1.5),
    "mean-map": one_op("MEAN", F, (1, 4), constants=[ints(1, 2)], options="ReducerOptions"),
    "mean-kept": one_op("MEAN", F, (1, 1, 1, 4), constants=[ints(1, 2)], options="ReducerOptions",
                        keepDims=True),
    "mean-rows": one_op("MEAN", F, (1, 8, 4), constants=[ints(1)], options="ReducerOptions"),
    "sum-channels": one_op("SUM", F, (1, 6, 8), constants=[ints(-1)], options="ReducerOptions"),
    "max-all": one_op("REDUCE_MAX", (3, 8), (3,), constants=[ints(1)], options="ReducerOptions"),
    "concat": one_op("CONCATENATION", F, (1, 6, 8, 7), constants=[real(1, 6, 8, 3)],
                     options="ConcatenationOptions", axis=3),
    "concat-rows": one_op("CONCATENATION", F, (1, 8, 8, 4), constants=[real(1, 2, 8, 4)],
                          options="ConcatenationOptions", axis=1),
    "reshape-out": one_op("RESHAPE", F, (1, 192), constants=[ints(1, 192)]),
    "reshape-in": one_op("RESHAPE", (1, 192), F, constants=[ints(1, 6, 8, 4)]),
    "reshape-maps": one_op("RESHAPE", F, (1, 3, 16, 4), constants=[ints(1, 3, -1, 4)]),
    "reshape-pixel": one_op("RESHAPE", (1, 1, 1, 12), (1, 12), constants=[ints(1, 12)]),
    "squeeze": one_op("SQUEEZE", (1, 1, 8, 4), (1, 8, 4), options="SqueezeOptions",
                      squeezeDims=[1]),
    "expand": one_op("EXPAND_DIMS", (3, 8, 4), (1, 3, 8, 4), constants=[ints(0)]),
    "transpose": one_op("TRANSPOSE", F, (1, 4, 8, 6), constants=[ints(0, 3, 2, 1)]),
    "transpose-rank3": one_op("TRANSPOSE", (2, 3, 4), (4, 2, 3), constants=[ints(2, 0, 1)]),
    "pad": one_op("PAD", F, (1, 9, 8, 5), constants=[ints([0, 0], [1, 2], [0, 0], [0, 1])]),
    "pad-value": one_op("PADV2", F, (1, 8, 8, 4), constants=[ints([0, 0], [1, 1], [0, 0], [0, 0]),
                                                            np.float32(-3)]),
    "mirror": one_op("MIRROR_PAD", F, (1, 8, 8, 4), constants=[ints([0, 0], [1, 1], [0, 0], [0, 0])
                                                              ], options="MirrorPadOptions"),
    "slice": one_op("SLICE", F, (1, 2, 8, 3), constants=[ints(0, 1, 0, 1), ints(1, 2, -1, 3)]),
    "strided": one_op("STRIDED_SLICE", F, (1, 3, 4, 4), constants=[ints(0, 0, 1, 0),
                      ints(0, 6, 8, 0), ints(1, 2, 2, 1)], options="StridedSliceOptions",
                      beginMask=9, endMask=9),
    "strided-shrink": one_op("STRIDED_SLICE", F, (1, 8, 4), constants=[ints(0, -1, 0, 0),
                             ints(1, 0, 8, 4), ints(1, 1, 1, 1)], options="StridedSliceOptions",
                             shrinkAxisMask=2),
    "tile": one_op("TILE", F, (1, 12, 8, 8), constants=[ints(1, 2, 1, 2)]),
    "gather": one_op("GATHER", F, (1, 6, 8, 3), constants=[ints(3, 0, 2)], options="GatherOptions",
                     axis=3),
    "split": one_op("SPLIT", F, (1, 6, 8, 2), before=[ints(3)[0]], outputs=2,
                    options="SplitOptions", numSplits=2),
    "split-v": one_op("SPLIT_V", F, (1, 3, 8, 4), constants=[ints(3, -1), ints(1)[0]], outputs=2,
                      options="SplitVOptions", numSplits=2),
    "unpack": one_op("UNPACK", (1, 2, 8, 4), (1, 8, 4), outputs=2, options="UnpackOptions", num=2,
                     axis=1),
    "depth-to-space": one_op("DEPTH_TO_SPACE", F, (1, 12, 16, 1), options="DepthToSpaceOptions",
                             blockSize=2),
    "space-to-depth": one_op("SPACE_TO_DEPTH", F, (1, 3, 4, 16), options="SpaceToDepthOptions",
                             blockSize=2),
    **{f"{kind}-{flag or 'plain'}": one_op(
        f"RESIZE_{kind}", F, (1, 12, 20, 4), constants=[ints(12, 20)], options=table,
        **({flag: True} if flag else {}))
        for kind, table in (("BILINEAR", "ResizeBilinearOptions"),
                            ("NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"))
        for flag in ("", "alignCorners", "halfPixelCenters")},
    "space-to-batch": one_op("SPACE_TO_BATCH_ND", F, (4, 4, 5, 4), constants=[ints(2, 2),
                             ints([1, 1], [0, 2])]),
    "batch-to-space": one_op("BATCH_TO_SPACE_ND", (4, 3, 4, 2), (1, 5, 6, 2), constants=[
                             ints(2, 2), ints([1, 0], [0, 2])]),
    "l2-pool": one_op("L2_POOL_2D", F, (1, 3, 4, 4), options="Pool2DOptions", filterHeight=2,
                      filterWidth=2, strideH=2, strideW=2),
    "floor-div": one_op("FLOOR_DIV", (3, 8), (3, 8), constants=[real(8) + 3]),
    "batch-matmul": one_op("BATCH_MATMUL", (2, 3, 4), (2, 3, 5), constants=[real(2, 4, 5)],
                           options="BatchMatMulOptions"),
}  # fmt: skip


@pytest.mark.parametrize("case", FLOAT_CASES)
def test_float_operators(tmp_path, case):
    path = FLOAT_CASES[case].save(tmp_path / "tiny.tflite")
    graph = load_tflite(path)
    feeds = litert_feed(path, case)
    values, found = litert_values(path, [feeds])
    ours = evaluate(graph, {"x": graph_order(feeds)})
    for entry, name in zip(found.get_output_details(), graph.outputs, strict=True):
        want = values[entry["name"] + "/nhwc"]
        assert ours[name].shape == want.shape  # outputs keep the source layout
        np.testing.assert_allclose(ours[name], want, rtol=1e-5, atol=2e-6)
    assert {n for node in graph.nodes for n in node.origin} <= set(values) | {"x"}


def litert_feed(path, case):
    shape = source_shape(load_tflite(path).spec("x").shape)
    return R.uniform(0.1 if case in ("log",) else -4, 4, shape).astype(np.float32)


def source_shape(shape):
    return tuple(shape[i] for i in (0, 2, 3, 1)) if len(shape) == 4 else shape


def graph_order(value):
    return np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if value.ndim == 4 else value


I8 = ((0.05, -7), (0.04, 12))
U8 = ((0.05, 121), (0.04, 140))
SAME = ((0.05, -7), (0.05, -7))
SPREAD = np.linspace(0.002, 0.02, 8).astype(np.float32)


def codes(*shape, dtype=np.int8):
    info = np.iinfo(dtype)
    return R.integers(max(info.min, -127), info.max + 1, shape).astype(dtype)


BIAS = R.integers(-2000, 2000, 8).astype(np.int32)
QUANTIZED_CASES = {
    "conv-channel": one_op(
        "CONV_2D", F, (1, 6, 8, 8), quant=I8, options="Conv2DOptions", strideH=1, strideW=1,
        constants=[(codes(8, 3, 3, 4), (SPREAD, [0] * 8, 0)),
                   (BIAS, (SPREAD * np.float32(0.05), [0] * 8, 0))]),
    "conv-u8": one_op(
        "CONV_2D", F, (1, 3, 4, 8), quant=U8, dtype="uint8", options="Conv2DOptions", strideH=2,
        strideW=2, constants=[(codes(8, 3, 3, 4, dtype=np.uint8), (0.01, 117)),
                              (BIAS, (0.0005, 0))], fusedActivationFunction=RELU),
    "conv-relu6": one_op(
        "CONV_2D", F, (1, 6, 8, 8), quant=((0.05, -7), (6 / 255, -128)), options="Conv2DOptions",
        strideH=1, strideW=1, constants=[(codes(8, 1, 1, 4), (SPREAD, [0] * 8, 0)),
                                         (BIAS, (SPREAD * np.float32(0.05), [0] * 8, 0))],
        fusedActivationFunction=RELU6),
    "depthwise-channel": one_op(
        "DEPTHWISE_CONV_2D", F, (1, 6, 8, 8), quant=I8, options="DepthwiseConv2DOptions",
        strideH=1, strideW=1, depthMultiplier=2,
        constants=[(codes(1, 3, 3, 8), (SPREAD, [0] * 8, 3)),
                   (BIAS, (SPREAD * np.float32(0.05), [0] * 8, 0))]),
    "fc": one_op("FULLY_CONNECTED", (3, 12), (3, 8), quant=I8, options="FullyConnectedOptions",
                 constants=[(codes(8, 12), (0.01, 0)), (BIAS, (0.0005, 0))]),
    "fc-without-bias": one_op("FULLY_CONNECTED", (3, 12), (3, 8), quant=I8,
                              options="FullyConnectedOptions",
                              constants=[(codes(8, 12), (0.01, 0))]),
    "add": one_op("ADD", F, F, quant=I8, options="AddOptions",
                  constants=[(codes(4), (0.03, 5))]),
    "mul": one_op("MUL", F, F, quant=I8, options="MulOptions",
                  constants=[(codes(1, 6, 8, 4), (0.03, 5))]),
    "average": one_op("AVERAGE_POOL_2D", F, (1, 3, 4, 4), quant=SAME, options="Pool2DOptions",
                      filterHeight=2, filterWidth=2, strideH=2, strideW=2),
    "max": one_op("MAX_POOL_2D", F, (1, 3, 4, 4), quant=SAME, options="Pool2DOptions",
                  filterHeight=2, filterWidth=2, strideH=2, strideW=2),
    "concat": one_op("CONCATENATION", F, (1, 6, 8, 6), quant=SAME, options="ConcatenationOptions",
                     axis=3, constants=[(codes(1, 6, 8, 2), SAME[0])]),
    "pad": one_op("PAD", F, (1, 8, 8, 4), quant=SAME,
                  constants=[ints([0, 0], [1, 1], [0, 0], [0, 0])]),
    "logistic": one_op("LOGISTIC", F, F, quant=((0.05, -7), (1 / 256, -128))),
    "tanh": one_op("TANH", F, F, quant=((0.05, -7), (1 / 128, 0))),
    "softmax": one_op("SOFTMAX", F, F, quant=((0.05, -7), (1 / 256, -128)),
                      options="SoftmaxOptions", beta=1.0),
    "leaky": one_op("LEAKY_RELU", F, F, quant=I8, options="LeakyReluOptions", alpha=0.25),
    "mean": one_op("MEAN", F, (1, 4), quant=I8, constants=[ints(1, 2)], options="ReducerOptions"),
    "requantize": one_op("QUANTIZE", F, F, quant=I8, options="QuantizeOptions"),
    "i8-to-u8": one_op("QUANTIZE", F, F, quant=((0.05, -7), (0.05, 121)), out_dtype="uint8",
                       options="QuantizeOptions"),
    "dequantize": one_op("DEQUANTIZE", F, F, quant=((0.05, -7), None), out_dtype="float32",
                         options="DequantizeOptions"),
}  # fmt: skip


@pytest.mark.parametrize("case", QUANTIZED_CASES)
def test_quantized_operators(tmp_path, case):
    path = QUANTIZED_CASES[case].save(tmp_path / "tiny.tflite")
    source = load_tflite(path)
    graph = lower(npusim.float16(source))
    spec = graph.spec("x")
    assert spec.dtype is (DType.U8 if case == "conv-u8" else DType.I8)
    info = np.iinfo(spec.dtype.numpy)
    feed = R.integers(info.min, info.max + 1, source_shape(spec.shape)).astype(spec.dtype.numpy)
    values, found = litert_values(path, [feed])
    assert_close_layers(compare_layers(graph, values), share=0.3)
    # and from end to end: one layer, so one step
    (entry,) = found.get_output_details()
    want = values[entry["name"] + "/nhwc"]
    got = npusim.compile(npusim.float16(source)).run_stored({"x": graph_order(feed)})["y"]
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
    assert difference <= (0.01 if want.dtype == np.float32 else 1)


@pytest.mark.parametrize("case", ["conv-channel", "depthwise-channel"])
def test_codes_and_scales_are_the_files(tmp_path, case):
    model = QUANTIZED_CASES[case]
    graph = load_tflite(model.save(tmp_path / "tiny.tflite"))
    node = next(n for n in graph.nodes if n.op == "conv2d")
    weights = graph.constants[node.inputs[1]]
    order = (0, 3, 1, 2) if case == "conv-channel" else (3, 0, 1, 2)
    buffers = [b.data for b in model.proto.buffers if b.data is not None]
    want = np.asarray(buffers[0]).view(np.int8)
    shape = (8, 3, 3, 4) if case == "conv-channel" else (1, 3, 3, 8)
    np.testing.assert_array_equal(weights, want.reshape(shape).transpose(order))
    quant = graph.spec(node.inputs[1]).quant
    assert quant == AffinePerChannel(scales=tuple(map(float, SPREAD)), zero_points=(0,) * 8, axis=0)
    np.testing.assert_array_equal(graph.constants[node.inputs[2]], BIAS)
    assert graph.spec("x").quant == Affine(scale=0.05, zero_point=-7)
    assert graph.spec(node.inputs[0]).quant == Affine(scale=0.05, zero_point=121)


def test_float16_weights_become_float32(tmp_path):
    model = Model()
    main = model.function()
    x = main.tensor("x", (1, 4, 4, 2))
    half = main.constant("w16", real(3, 1, 1, 2).astype(np.float16))
    w = main.tensor("w", (3, 1, 1, 2))
    b = main.constant("b", real(3))
    y = main.tensor("y", (1, 4, 4, 3))
    main.op("DEQUANTIZE", [half], [w], "DequantizeOptions")
    main.op("CONV_2D", [x, w, b], [y], "Conv2DOptions", strideH=1, strideW=1)
    main.proto.inputs, main.proto.outputs = [x], [y]
    path = model.save(tmp_path / "half.tflite")
    graph = load_tflite(path)
    assert [n.op for n in graph.nodes] == ["conv2d", "transpose"]
    feed = real(1, 4, 4, 2)
    values, _ = litert_values(path, [feed])
    ours = evaluate(graph, {"x": graph_order(feed)})["y"]
    np.testing.assert_allclose(ours, values["y/nhwc"], rtol=1e-5, atol=1e-6)


def streaming(initial=0):
    """Return y = concat(state, x), state' = y[1:]: a first-in first-out memory of three rows."""
    model = Model()
    main, once = model.function(), model.function("NoOp")
    quant = (0.1, 3)
    x = main.tensor("x", (1, 1, 1, 2), "int8", quant=quant)
    handle = main.tensor("v", (), "resource")
    old = main.tensor("old", (1, 3, 1, 2), "int8", quant=quant)
    y = main.tensor("y", (1, 4, 1, 2), "int8", quant=quant)
    new = main.tensor("new", (1, 3, 1, 2), "int8", quant=quant)
    begin, end = main.constant("begin", ints(0, 1, 0, 0)), main.constant("end", ints(1, 4, 1, 2))
    step = main.constant("step", ints(1, 1, 1, 1))
    main.op("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    main.op("VAR_HANDLE", [], [handle], "VarHandleOptions", sharedName=b"memory/rows")
    main.op("READ_VARIABLE", [handle], [old], "ReadVariableOptions")
    main.op("CONCATENATION", [old, x], [y], "ConcatenationOptions", axis=1)
    main.op("STRIDED_SLICE", [y, begin, end, step], [new], "StridedSliceOptions")
    main.op("ASSIGN_VARIABLE", [handle, new], [], "AssignVariableOptions")
    main.proto.inputs, main.proto.outputs = [x], [y]
    inner = once.tensor("v", (), "resource")
    start = once.constant("start", np.full((1, 3, 1, 2), 3 + initial, np.int8), quant)
    once.op("VAR_HANDLE", [], [inner], "VarHandleOptions", sharedName=b"memory/rows")
    once.op("ASSIGN_VARIABLE", [inner, start], [], "AssignVariableOptions")
    return model


@pytest.mark.parametrize("initial", [0, 5])
def test_state_becomes_inputs_and_outputs(tmp_path, initial):
    from npusim.importers.tflite.importer import initial_states

    path = streaming(initial).save(tmp_path / "stream.tflite")
    graph = load_tflite(path)
    assert graph.inputs == ("x", "state/memory/rows")
    assert graph.outputs == ("y", "next_state/memory/rows")
    assert graph.spec("state/memory/rows").shape == (1, 2, 3, 1)
    (note,) = graph.notes
    assert "next_state/" in note
    assert ("zeros" in note) == (initial == 0)
    starts = initial_states(path)
    np.testing.assert_allclose(starts["state/memory/rows"], np.float32(0.1) * initial)
    program = npusim.compile(npusim.float16(graph))
    state = starts["state/memory/rows"]
    rows = [codes(1, 1, 1, 2) for _ in range(5)]
    for count in range(1, 6):
        values, _ = litert_values(path, rows[:count])
        x = (rows[count - 1].astype(np.float32) - 3) * np.float32(0.1)
        out = program.run({"x": graph_order(x), "state/memory/rows": state}, preprocessed=True)
        want = (values["y/nhwc"].astype(np.float32) - 3) * np.float32(0.1)
        np.testing.assert_allclose(out["y"], want, rtol=1e-6)
        state = out["next_state/memory/rows"].transpose(0, 3, 1, 2)


def reading(started=True):
    """Return a fully connected layer whose weights are a variable that nothing assigns."""
    weights = np.float32([[1, 2, 3], [4, 5, 6]])
    model = Model()
    main, once = model.function(), model.function("NoOp")
    x, y = main.tensor("x", (1, 3), "float32"), main.tensor("y", (1, 2), "float32")
    handle, read = main.tensor("v", (), "resource"), main.tensor("read", (2, 3), "float32")
    if started:
        main.op("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    main.op("VAR_HANDLE", [], [handle], "VarHandleOptions", sharedName=b"dense/kernel")
    main.op("READ_VARIABLE", [handle], [read], "ReadVariableOptions")
    main.op("FULLY_CONNECTED", [x, read, -1], [y], "FullyConnectedOptions")
    main.proto.inputs, main.proto.outputs = [x], [y]
    inner, start = once.tensor("v", (), "resource"), once.constant("start", weights)
    once.op("VAR_HANDLE", [], [inner], "VarHandleOptions", sharedName=b"dense/kernel")
    once.op("ASSIGN_VARIABLE", [inner, start], [], "AssignVariableOptions")
    return model


def test_a_variable_that_nothing_assigns_is_a_constant(tmp_path):
    graph = load_tflite(reading().save(tmp_path / "weights.tflite"))
    assert graph.inputs == ("x",)
    assert graph.outputs == ("y",)
    assert graph.notes == ()
    (y,) = evaluate(graph, {"x": np.float32([[1, 0, 2]])}).values()
    assert y.tolist() == [[7, 16]]


def test_a_variable_without_any_value_is_refused(tmp_path):
    path = reading(started=False).save(tmp_path / "lost.tflite")
    with pytest.raises(UnsupportedOpError, match="'dense/kernel' has no value in the file"):
        load_tflite(path)


@pytest.mark.parametrize("rate", [2, 3])
def test_case_b29_dilated_convolution_through_the_batch(tmp_path, rate):
    """TensorFlow 1 writes a dilated convolution as blocks in the batch; both forms are equal."""
    weights, bias = real(5, 3, 3, 4), real(5)
    height, width = 2 * rate * 2, rate * 3
    pads = ints([rate, rate], [rate, rate])
    model = Model()
    main = model.function()
    shape = (1, height, width, 4)
    x = main.tensor("x", shape)
    sizes = ((height + 2 * rate) // rate, (width + 2 * rate) // rate)
    blocks = main.tensor("blocks", (rate * rate, *sizes, 4))
    inner = main.tensor("inner", (rate * rate, sizes[0] - 2, sizes[1] - 2, 5))
    y = main.tensor("y", (1, height, width, 5))
    block = main.constant("block", ints(rate, rate))
    main.op("SPACE_TO_BATCH_ND", [x, block, main.constant("pads", pads)], [blocks])
    main.op("CONV_2D", [blocks, main.constant("w", weights), main.constant("b", bias)], [inner],
            "Conv2DOptions", strideH=1, strideW=1, padding=VALID)  # fmt: skip
    main.op("BATCH_TO_SPACE_ND", [inner, block, main.constant("crops", pads * 0)], [y])
    main.proto.inputs, main.proto.outputs = [x], [y]
    feed = real(*shape)
    path = model.save(tmp_path / "blocks.tflite")
    values, _ = litert_values(path, [feed])
    direct = one_op("CONV_2D", shape, (1, height, width, 5), constants=[weights, bias],
                    options="Conv2DOptions", strideH=1, strideW=1, dilationHFactor=rate,
                    dilationWFactor=rate)  # fmt: skip
    for file in (path, direct.save(tmp_path / "direct.tflite")):
        ours = evaluate(load_tflite(file), {"x": graph_order(feed)})["y"]
        np.testing.assert_allclose(ours, values["y/nhwc"], rtol=1e-5, atol=2e-6)


def test_cut_and_open_sizes(tmp_path):
    model = Model()
    main = model.function()
    x = main.tensor("x", (1, 1, 1, 3), signature=(-1, -1, -1, 3))
    a, b = (main.tensor(n, (1, 1, 1, 3)) for n in ("a", "b"))
    main.op("ABS", [x], [a])
    main.op("NEG", [a], [b])
    main.proto.inputs, main.proto.outputs = [x], [b]
    path = model.save(tmp_path / "open.tflite")
    with pytest.raises(npusim_errors().ModelImportError, match=r"sizes are open: 'x' \(1, -1, -1"):
        load_tflite(path)
    for shapes in ({"x": (1, 4, 5, 3)}, [(None, 4, 5, None)]):
        graph = npusim.load_model(path, input_shapes=shapes, outputs=["a"])
        assert graph.spec("x").shape == (1, 3, 4, 5)
        assert graph.spec("a").shape == (1, 4, 5, 3)
        assert [n.op for n in graph.nodes] == ["abs", "transpose"]


def npusim_errors():
    from npusim import errors

    return errors
