"""One ONNX node and the same npusim node, for every operator that has such a pair."""

from dataclasses import dataclass, field

import numpy as np
import onnx

from npusim.ir.attrs import (
    NO_ATTRS,
    AlphaAttrs,
    ArgAttrs,
    Attrs,
    AxisAttrs,
    BlockAttrs,
    ClipAttrs,
    Conv2dAttrs,
    Coordinates,
    Deconv2dAttrs,
    EltwiseAttrs,
    FcAttrs,
    GlobalPoolAttrs,
    HardSigmoidAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    PadAttrs,
    PadMode,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ops import is_function, op_def, ops_named_in


@dataclass
class Case:
    """An ONNX node and the same thing as an npusim node."""

    op: str
    onnx_op: str
    inputs: list  # arrays: activations first, then constants
    attrs: Attrs = NO_ATTRS
    onnx_attrs: dict = field(default_factory=dict)
    onnx_constants: list = field(default_factory=list)  # extra ONNX inputs; None skips one
    constants: list = field(default_factory=list)  # extra npusim inputs
    outputs: int = 1
    opset: int = 20
    id: str = ""


def draw(*shape, low=-2.0, high=2.0, seed=0):
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(low, high, shape).astype(np.float32)


def conv_case(in_shape, w_shape, attrs: Conv2dAttrs, id=""):
    weights, bias = draw(*w_shape, seed=1), draw(w_shape[0], seed=2)
    top, bottom, left, right = attrs.pad
    return Case(
        "conv2d",
        "Conv",
        [draw(*in_shape)],
        attrs,
        {
            "strides": attrs.stride,
            "pads": [top, left, bottom, right],
            "dilations": attrs.dilation,
            "group": attrs.group,
        },
        [weights, bias],
        [weights, bias],
        id=id,
    )


def deconv_case(in_shape, out_c, kernel, attrs: Deconv2dAttrs, id=""):
    group, in_c = attrs.group, in_shape[1]
    theirs = draw(in_c, out_c // group, *kernel, seed=1)
    ours = theirs.reshape(group, in_c // group, out_c // group, *kernel).swapaxes(1, 2)
    bias = draw(out_c, seed=2)
    top, bottom, left, right = attrs.pad
    return Case(
        "deconv2d",
        "ConvTranspose",
        [draw(*in_shape)],
        attrs,
        {
            "strides": attrs.stride,
            "pads": [top, left, bottom, right],
            "output_padding": attrs.output_pad,
            "dilations": attrs.dilation,
            "group": group,
        },
        [theirs, bias],
        [ours.reshape(out_c, in_c // group, *kernel), bias],
        id=id,
    )


def pool_case(in_shape, attrs: Pool2dAttrs, id=""):
    top, bottom, left, right = attrs.pad
    more = {} if attrs.kind is PoolKind.MAX else {"count_include_pad": attrs.count_include_pad}
    return Case(
        "pool2d",
        "MaxPool" if attrs.kind is PoolKind.MAX else "AveragePool",
        [draw(*in_shape)],
        attrs,
        {
            "kernel_shape": attrs.kernel,
            "strides": attrs.stride,
            "pads": [top, left, bottom, right],
            "ceil_mode": attrs.ceil_mode,
            **more,
        },
        id=id,
    )


def ints(*values):
    return np.array(values, np.int64)


IMAGE = (2, 5, 9, 7)
CONVS = [
    conv_case((2, 3, 15, 13), (8, 3, 3, 3), Conv2dAttrs(), "conv"),
    conv_case(IMAGE, (20, 5, 1, 1), Conv2dAttrs(), "conv_1x1"),
    conv_case(IMAGE, (4, 5, 1, 1), Conv2dAttrs(stride=(2, 2)), "conv_1x1_stride"),
    conv_case(IMAGE, (17, 5, 3, 2), Conv2dAttrs(pad=(1, 0, 2, 1), stride=(2, 1)), "conv_pads"),
    conv_case(IMAGE, (3, 5, 3, 3), Conv2dAttrs(dilation=(2, 3), pad=(2, 2, 3, 3)), "conv_dilated"),
    conv_case((2, 6, 9, 7), (9, 2, 3, 3), Conv2dAttrs(group=3, pad=(1, 1, 1, 1)), "conv_grouped"),
    conv_case(IMAGE, (5, 1, 3, 3), Conv2dAttrs(group=5, pad=(1, 1, 1, 1)), "conv_depthwise"),
    conv_case(IMAGE, (15, 1, 5, 3), Conv2dAttrs(group=5, stride=(2, 2)), "conv_multiplier"),
    conv_case((1, 300, 4, 4), (40, 300, 3, 3), Conv2dAttrs(pad=(1, 1, 1, 1)), "conv_deep"),
    deconv_case((2, 4, 5, 6), 6, (3, 3), Deconv2dAttrs(stride=(2, 2)), "deconv"),
    deconv_case(
        (2, 4, 5, 6),
        6,
        (4, 3),
        Deconv2dAttrs(stride=(2, 3), pad=(1, 0, 2, 1), output_pad=(1, 2), group=2),
        "deconv_grouped",
    ),
    deconv_case((1, 3, 4, 4), 2, (2, 2), Deconv2dAttrs(dilation=(2, 3)), "deconv_dilated"),
    deconv_case(
        (1, 3, 2, 2), 2, (1, 1), Deconv2dAttrs(stride=(3, 3), output_pad=(2, 1)), "deconv_gaps"
    ),
]

MAX, AVG = PoolKind.MAX, PoolKind.AVG
POOLS = [
    pool_case(IMAGE, Pool2dAttrs(kind=MAX, kernel=(2, 2), stride=(2, 2)), "max"),
    pool_case(
        IMAGE, Pool2dAttrs(kind=MAX, kernel=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1)), "max_pad"
    ),
    pool_case(
        IMAGE, Pool2dAttrs(kind=MAX, kernel=(3, 2), stride=(2, 3), ceil_mode=True), "max_ceil"
    ),
    pool_case(IMAGE, Pool2dAttrs(kind=AVG, kernel=(3, 3), stride=(2, 2), pad=(1, 0, 1, 1)), "avg"),
    pool_case(
        IMAGE,
        Pool2dAttrs(kind=AVG, kernel=(3, 3), pad=(1, 1, 1, 1), count_include_pad=True),
        "avg_include_pad",
    ),
    pool_case(
        IMAGE,
        Pool2dAttrs(kind=AVG, kernel=(3, 3), stride=(3, 2), pad=(1, 1, 0, 0), ceil_mode=True),
        "avg_ceil",
    ),
    pool_case(
        (1, 2, 8, 9),
        Pool2dAttrs(
            kind=AVG,
            kernel=(3, 3),
            stride=(2, 3),
            pad=(1, 1, 1, 0),
            ceil_mode=True,
            count_include_pad=True,
        ),
        "avg_ceil_include_pad",
    ),
    Case("global_pool", "GlobalAveragePool", [draw(*IMAGE)], GlobalPoolAttrs(kind=AVG), id="gap"),
    Case("global_pool", "GlobalMaxPool", [draw(*IMAGE)], GlobalPoolAttrs(kind=MAX), id="gmp"),
]


def products():
    weights, bias = draw(6, 20, seed=1), draw(6, seed=2)
    yield Case(
        "fc", "Gemm", [draw(3, 20)], FcAttrs(), {"transB": 1}, [weights, bias], [weights, bias]
    )
    for a, b, swap_a, swap_b in [
        ((3, 20), (20, 5), False, False),
        ((2, 4, 3, 20), (2, 4, 20, 5), False, False),
        ((2, 1, 3, 20), (4, 20, 5), False, False),
        ((2, 3, 20), (20, 18), False, False),
    ]:
        attrs = MatmulAttrs(transpose_a=swap_a, transpose_b=swap_b)
        yield Case("matmul", "MatMul", [draw(*a), draw(*b, seed=1)], attrs, id=f"matmul_{a}_{b}")
    for swap_a, swap_b in [(True, False), (False, True), (True, True)]:
        a = draw(*((20, 3) if swap_a else (3, 20)))
        b = draw(*((5, 20) if swap_b else (20, 5)), seed=1)
        yield Case(
            "matmul",
            "Gemm",
            [a, b],
            MatmulAttrs(transpose_a=swap_a, transpose_b=swap_b),
            {"transA": int(swap_a), "transB": int(swap_b)},
            id=f"matmul_{swap_a}_{swap_b}",
        )


def elementwise():
    for op, name in [
        ("add", "Add"),
        ("sub", "Sub"),
        ("mul", "Mul"),
        ("div", "Div"),
        ("max", "Max"),
        ("min", "Min"),
    ]:
        for other in [IMAGE, (5, 1, 1), (1, 1, 1, 7), (2, 1, 9, 1), (1,)]:
            second = draw(*other, seed=1)
            second[np.abs(second) < 0.1] = 0.5
            yield Case(op, name, [draw(*IMAGE), second], EltwiseAttrs(), id=f"{op}_{other}")
    yield Case("pow", "Pow", [draw(2, 50, low=0.1), draw(2, 50, seed=1)], EltwiseAttrs(), id="pow")
    whole = np.full((1,), 2, np.float32)
    yield Case("pow", "Pow", [draw(2, 50), whole], EltwiseAttrs(), id="pow_square")
    for op in ("add", "sub", "mul", "max", "min"):
        a = np.random.default_rng(0).integers(-50, 50, (3, 4))
        yield Case(op, op.title(), [a, a[::-1].copy()], EltwiseAttrs(), id=f"{op}_int64")


def unary():
    wide = draw(2, 3, 40, low=-12, high=12)
    positive = draw(2, 3, 40, low=0.01, high=9)
    other_inputs = {
        "sigmoid": wide * 10,
        "mish": wide * 4,
        "softplus": wide * 10,
        "erf": wide / 4,
        "log": positive,
        "sqrt": positive,
        "reciprocal": positive,
    }
    for name, op in ops_named_in("onnx", is_function).items():
        value = other_inputs.get(op, wide)
        yield Case(op, name, [value], NO_ATTRS, {}, id=f"{op}_{value.dtype}")
    for op, name, value, attrs, theirs in [
        ("leaky_relu", "LeakyRelu", wide, AlphaAttrs(alpha=0.07), {"alpha": 0.07}),
        (
            "hard_sigmoid",
            "HardSigmoid",
            wide,
            HardSigmoidAttrs(alpha=0.15, beta=0.4),
            {"alpha": 0.15, "beta": 0.4},
        ),
        ("elu", "Elu", wide, AlphaAttrs(alpha=1.3), {"alpha": 1.3}),
        ("gelu", "Gelu", wide, NO_ATTRS, {}),
        ("identity", "Identity", wide, NO_ATTRS, {}),
        ("convert", "Cast", wide, NO_ATTRS, {"to": onnx.TensorProto.INT32}),
        ("convert", "Cast", wide.astype(np.int64), NO_ATTRS, {"to": onnx.TensorProto.FLOAT}),
    ]:
        yield Case(op, name, [value], attrs, theirs, id=f"{op}_{value.dtype}")
    for low, high in [(0, 6), (-1, 1), (-0.3, np.inf), (-np.inf, 2)]:
        limits = [np.array(low, np.float32), np.array(high, np.float32)]
        attrs = ClipAttrs(minimum=low, maximum=high)
        yield Case("clip", "Clip", [wide], attrs, onnx_constants=limits, id=f"clip_{low}_{high}")
    slope = draw(5, 1, 1, seed=1)
    yield Case("prelu", "PRelu", [draw(*IMAGE)], NO_ATTRS, {}, [slope], [slope], id="prelu")


def moves():
    x, whole = draw(*IMAGE), np.arange(24).reshape(2, 3, 4)
    yield Case("reshape", "Reshape", [x], ReshapeAttrs(shape=(2, 45, 7)), {}, [ints(2, 45, 7)])
    for value in (x, whole):
        perm = (0, 2, 3, 1) if value.ndim == 4 else (2, 0, 1)
        yield Case("transpose", "Transpose", [value], TransposeAttrs(perm=perm), {"perm": perm})
    for axis in range(4):
        other = draw(*(n + (i == axis) for i, n in enumerate(IMAGE)), seed=1)
        yield Case("concat", "Concat", [x, other], AxisAttrs(axis=axis), {"axis": axis})
    yield Case(
        "split",
        "Split",
        [x],
        SplitAttrs(axis=1, sizes=(2, 3)),
        {"axis": 1},
        [ints(2, 3)],
        outputs=2,
    )
    attrs = SliceAttrs(begin=(0, 1, 8, 6), end=(2, 5, 1, -1), step=(1, 2, -3, -1))
    far = np.iinfo(np.int64).min
    given = [ints(1, 8, 6), ints(5, 1, far), ints(1, 2, 3), ints(2, -3, -1)]
    yield Case("slice", "Slice", [x], attrs, {}, given)
    for mode in PadMode:
        for front, back in [((0, 0, 1, 3), (0, 0, 2, 1)), ((1, 0, -1, 2), (0, 2, 0, -3))]:
            if mode is not PadMode.CONSTANT and min(front + back) < 0:
                continue
            value = 1.5 if mode is PadMode.CONSTANT else 0.0
            attrs = PadAttrs(front=front, back=back, mode=mode, value=value)
            given = [ints(*front, *back), np.array(value, np.float32)]
            yield Case(
                "pad", "Pad", [x], attrs, {"mode": mode.value}, given, id=f"pad_{mode.value}"
            )
    for mode in ("dcr", "crd"):
        yield Case(
            "depth2space",
            "DepthToSpace",
            [draw(2, 12, 3, 5)],
            BlockAttrs(block=2, mode=mode),
            {"blocksize": 2, "mode": mode.upper()},
        )
    yield Case(
        "space2depth", "SpaceToDepth", [draw(2, 3, 6, 4)], BlockAttrs(block=2), {"blocksize": 2}
    )
    yield Case("tile", "Tile", [whole], TileAttrs(repeats=(2, 1, 3)), {}, [ints(2, 1, 3)])
    index = np.array([[0, -1], [2, 1]])
    yield Case("gather", "Gather", [x, index], AxisAttrs(axis=1), {"axis": 1})


def resizes():
    half, corners = Coordinates.HALF_PIXEL, Coordinates.ALIGN_CORNERS
    for size in [(18, 14), (13, 20), (4, 3), (1, 1), (9, 21)]:
        for coordinates, nearest in [
            (Coordinates.ASYMMETRIC, "floor"),
            (half, "round_prefer_ceil"),
            (corners, "round_prefer_ceil"),
        ]:
            for mode in ResizeMode:
                name = "nearest" if mode is ResizeMode.NEAREST else "linear"
                theirs = {"mode": name, "coordinate_transformation_mode": coordinates.value}
                if name == "nearest":
                    theirs["nearest_mode"] = nearest
                yield Case(
                    "resize",
                    "Resize",
                    [draw(*IMAGE)],
                    ResizeAttrs(size=size, mode=mode, coordinates=coordinates),
                    theirs,
                    [None, None, ints(2, 5, *size)],
                    id=f"{name}_{coordinates.value}_{size}",
                )


def truth_cases() -> list[Case]:
    x, y = np.round(draw(2, 3, 4)), np.round(draw(3, 1, seed=1))
    a, b = draw(2, 3, 4, seed=2) > 0, draw(3, 1, seed=3) > 0
    cases = [
        Case(op, name, [x, y])
        for name, op in ops_named_in("onnx", lambda d: d.truth and not d.of_truth).items()
    ]
    cases += [
        Case(op, name, [a, b][: op_def(op).inputs[0]])
        for name, op in ops_named_in("onnx", lambda d: d.truth and d.of_truth).items()
    ]
    return [*cases, Case("select", "Where", [a, x, y])]


def reductions():
    names = {
        "reduce_mean": "ReduceMean",
        "reduce_sum": "ReduceSum",
        "reduce_max": "ReduceMax",
        "reduce_min": "ReduceMin",
        "reduce_prod": "ReduceProd",
    }
    for op, name in names.items():
        for axes in [(2, 3), (1,), (0, 2), (0, 1, 2, 3)]:
            for keep in (True, False):
                yield Case(
                    op,
                    name,
                    [draw(*IMAGE)],
                    ReduceAttrs(axes=axes, keepdims=keep),
                    {"keepdims": int(keep)},
                    [ints(*axes)],
                    id=f"{op}_{axes}_{keep}",
                )
    ties = np.random.default_rng(0).integers(0, 3, IMAGE).astype(np.float32)
    for op, name in [("argmax", "ArgMax"), ("argmin", "ArgMin")]:
        for axis in (1, 3):
            for keep in (True, False):
                yield Case(
                    op,
                    name,
                    [ties],
                    ArgAttrs(axis=axis, keepdims=keep),
                    {"axis": axis, "keepdims": int(keep)},
                    id=f"{op}_{axis}_{keep}",
                )
    for axis in range(4):
        x = draw(*IMAGE, low=-30, high=30)
        yield Case("softmax", "Softmax", [x], AxisAttrs(axis=axis), {"axis": axis})
        yield Case("log_softmax", "LogSoftmax", [x], AxisAttrs(axis=axis), {"axis": axis})


def norms():
    x = draw(*IMAGE)
    gamma, beta, mean = (draw(5, seed=i) for i in (1, 2, 3))
    var = draw(5, low=0.2, high=3, seed=4)
    given = [gamma, beta, mean, var]
    yield Case(
        "batch_norm", "BatchNormalization", [x], NormAttrs(epsilon=1e-3), {"epsilon": 1e-3},
        given, given,
    )  # fmt: skip
    yield Case(
        "instance_norm", "InstanceNormalization", [x], NormAttrs(epsilon=1e-4), {"epsilon": 1e-4},
        [gamma, beta], [gamma, beta],
    )  # fmt: skip
    for axis, shape in [(3, (7,)), (1, (5, 9, 7))]:
        scale, shift = draw(*shape, seed=1), draw(*shape, seed=2)
        yield Case(
            "layer_norm", "LayerNormalization", [x], NormAttrs(axis=axis), {"axis": axis},
            [scale, shift], [scale, shift],
        )  # fmt: skip
    zero = x.copy()
    zero[0, :, 0, 0] = 0
    yield Case("l2norm", "LpNormalization", [zero], AxisAttrs(axis=1), {"axis": 1, "p": 2})
    for size in (5, 1):  # ONNX Runtime refuses even sizes
        yield Case(
            "lrn",
            "LRN",
            [draw(2, 9, 4, 3)],
            LrnAttrs(size=size, alpha=0.02, beta=0.6, bias=1.5),
            {"size": size, "alpha": 0.02, "beta": 0.6, "bias": 1.5},
        )


CASES = [
    *CONVS,
    *POOLS,
    *products(),
    *elementwise(),
    *unary(),
    *moves(),
    *resizes(),
    *reductions(),
    *norms(),
    *truth_cases(),
]
# operators without a single ONNX node of the same meaning: tests in test_reference_ops.py
COMPOSED = {"channel_shuffle", "relu1", "relu6", "rsqrt", "square", "swish"}
