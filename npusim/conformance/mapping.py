"""Turn a golden case into a graph of npusim operators.

Each recorded kind has one small function: recorded attributes -> operator name and attributes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from npusim.conformance.golden import GoldenCase, GoldenOp
from npusim.errors import InputError
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
    GroupAttrs,
    HardSigmoidAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    PadAttrs,
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
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ir.verify import verify
from npusim.ops import infer_shapes, is_function, ops_named_in, ops_where

# (operation, shape of its first input) -> operator and attributes
Translate = Callable[[GoldenOp, Shape], tuple[str, Attrs]]


def case_graph(case: GoldenCase) -> Graph:
    """Return the case as a graph; constants are the recorded ones.

    Raises
    ------
    InputError
        For an operation or quantization this module does not know, and when a recorded output
        shape is not the one the operator gives.
    """
    tensors = {name: _spec(case, name) for name in case.tensors}
    constants = {name: np.asarray(case.arrays[name], order="C") for name in case.named("const")}
    nodes: list[Node] = []
    for number, op in enumerate(case.ops):
        nodes.append(_node(case, number, op, tensors, constants))
    graph = Graph(
        name=f"{case.file}[{case.index}]",
        nodes=tuple(nodes),
        inputs=case.named("input"),
        outputs=case.named("output"),
        tensors=tensors,
        constants=constants,
    )
    verify(graph)
    return graph


def _node(
    case: GoldenCase,
    number: int,
    op: GoldenOp,
    tensors: dict[str, TensorSpec],
    constants: dict[str, Any],
) -> Node:
    translate = TRANSLATIONS.get(op.kind)
    if translate is None:
        raise InputError(
            f"operation {op.kind!r} is not known",
            where=case.where,
            rule=f"known: {', '.join(sorted(TRANSLATIONS))}",
        )
    name, attrs = translate(op, tensors[op.inputs[0]].shape)
    inputs = tuple(op.inputs[i] for i in INPUT_ORDER.get(op.kind, range(len(op.inputs))))
    if op.attrs.get("mult"):  # recorded as (1, O, kh, kw); ours is (O, 1, kh, kw) with groups
        weights = inputs[1]
        constants[weights] = np.asarray(constants[weights].transpose(1, 0, 2, 3), order="C")
        tensors[weights] = replace(tensors[weights], shape=constants[weights].shape)
    node = Node(
        name=f"{op.kind}_{number}",
        op=name,
        inputs=inputs,
        outputs=op.outputs,
        attrs=attrs,
        uid=number,
        origin=(f"{case.name}/{number}",),
    )
    shapes = infer_shapes(node, [tensors[tensor] for tensor in node.inputs])
    recorded = tuple(tensors[tensor].shape for tensor in node.outputs)
    if shapes != recorded:
        raise InputError(
            f"{op.kind} gives {shapes}, recorded is {recorded}", where=case.where, rule=str(attrs)
        )
    return node


def _spec(case: GoldenCase, name: str) -> TensorSpec:
    record = case.tensors[name]
    try:
        dtype = DType(record["dtype"])
    except ValueError:  # some constants carry numpy's names
        dtype = DType.of(record["dtype"])
    return TensorSpec(
        name=name, shape=tuple(record["shape"]), dtype=dtype, quant=_quant(case, record["q"])
    )


def _quant(case: GoldenCase, stored: list[Any] | None) -> Quant:
    match stored:
        case None:
            return Float()
        case ["asym", scale, zero_point]:
            return Affine(scale=scale, zero_point=zero_point)
        case ["dfp", fl]:
            return DynamicFixedPoint(fl=fl)
        case ["perch", axis, scales, zero_points]:
            return AffinePerChannel(
                scales=tuple(float(np.float32(s)) for s in scales),
                zero_points=tuple(zero_points or [0] * len(scales)),
                axis=axis,
            )
    raise InputError(f"quantization {stored} is not known", where=case.where)


# ---- one function per kind ---------------------------------------------------------------------
def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, list) else (value, value)
    return int(first), int(second)


def _pads(op: GoldenOp) -> tuple[int, int, int, int]:
    pad = op.attrs.get("pad", 0)
    top, bottom, left, right = pad if isinstance(pad, list) else [pad] * 4
    return int(top), int(bottom), int(left), int(right)


def _conv(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    return "conv2d", Conv2dAttrs(
        stride=_pair(op.attrs.get("stride", 1)),
        pad=_pads(op),
        dilation=_pair(op.attrs.get("dilation", 1)),
        group=ifm[1] if op.attrs.get("mult") else op.attrs.get("group", 1),
    )


def _deconv(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    return "deconv2d", Deconv2dAttrs(
        stride=_pair(op.attrs.get("stride", 1)),
        pad=_pads(op),
        output_pad=_pair(op.attrs.get("outpad", 0)),
    )


def _pool(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    kind = op.attrs["type"]  # avg divides by the whole window, avg_android by its pixels
    return "pool2d", Pool2dAttrs(
        kind=PoolKind(kind.removesuffix("_android")),
        kernel=_pair(op.attrs["ksize"]),
        stride=_pair(op.attrs.get("stride", 1)),
        pad=_pads(op),
        ceil_mode=op.attrs.get("round", "floor") == "ceil",
        count_include_pad=kind == "avg",
    )


def _resize(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    coordinates = Coordinates.ASYMMETRIC
    if op.attrs.get("align_corners"):
        coordinates = Coordinates.ALIGN_CORNERS
    elif op.attrs.get("half_pixel"):
        coordinates = Coordinates.HALF_PIXEL
    return "resize", ResizeAttrs(
        size=(op.attrs["height"], op.attrs["width"]),
        mode=ResizeMode(op.attrs["mode"]),
        coordinates=coordinates,
    )


def _slice(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    begin = tuple(op.attrs["start"])
    end = tuple(b + n for b, n in zip(begin, op.attrs["length"], strict=True))
    return "slice", SliceAttrs(begin=begin, end=end, step=(1,) * len(begin))


def _strided_slice(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    return "slice", SliceAttrs(
        begin=tuple(op.attrs["begin"]), end=tuple(op.attrs["end"]), step=tuple(op.attrs["strides"])
    )


def _reverse(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    axes = {axis % len(ifm) for axis in op.attrs["axis"]}
    return "slice", SliceAttrs(
        begin=tuple(n - 1 if i in axes else 0 for i, n in enumerate(ifm)),
        end=tuple(-1 if i in axes else n for i, n in enumerate(ifm)),
        step=tuple(-1 if i in axes else 1 for i in range(len(ifm))),
    )


def _lrn(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    size = op.attrs["size"]
    return "lrn", LrnAttrs(  # recorded alpha multiplies the sum, ours the mean over the window
        size=size, alpha=op.attrs["alpha"] * size, beta=op.attrs["beta"], bias=op.attrs["bias"]
    )


def _argmax(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    return "argmax", ArgAttrs(axis=op.attrs["axis"] % len(ifm), keepdims=False)


def _reduce(op: GoldenOp, ifm: Shape) -> tuple[str, Attrs]:
    axes = tuple(axis % len(ifm) for axis in op.attrs["axis"])
    return op.kind, ReduceAttrs(axes=axes, keepdims=bool(op.attrs.get("keep", 1)))


def _axis(name: str) -> Translate:
    return lambda op, ifm: (name, AxisAttrs(axis=op.attrs["axis"] % len(ifm)))


def _plain(name: str, attrs: Attrs = NO_ATTRS) -> Translate:
    return lambda op, ifm: (name, attrs)


TRANSLATIONS: dict[str, Translate] = {
    "conv2d": _conv,
    "gconv2d": _conv,
    "deconv2d": _deconv,
    "fc": _plain("fc", FcAttrs()),
    "matmul": lambda op, ifm: (
        "matmul",
        MatmulAttrs(transpose_a=bool(op.attrs.get("ta")), transpose_b=bool(op.attrs.get("tb"))),
    ),
    "pool2d": _pool,
    "globalpool": lambda op, ifm: (
        "global_pool",
        GlobalPoolAttrs(kind=PoolKind(op.attrs["type"])),
    ),
    "hardsigmoid": lambda op, ifm: (
        "hard_sigmoid",
        HardSigmoidAttrs(alpha=op.attrs["alpha"], beta=op.attrs["beta"]),
    ),
    "leaky_relu": lambda op, ifm: ("leaky_relu", AlphaAttrs(alpha=op.attrs["alpha"])),
    "elu": lambda op, ifm: ("elu", AlphaAttrs(alpha=op.attrs.get("alpha", 1.0))),
    "clip": lambda op, ifm: (
        "clip",
        ClipAttrs(minimum=op.attrs["min"], maximum=op.attrs["max"]),
    ),
    "concat": _axis("concat"),
    "softmax": _axis("softmax"),
    "logsoftmax": _axis("log_softmax"),
    "l2norm": _axis("l2norm"),
    "gather": _axis("gather"),
    "split": lambda op, ifm: (
        "split",
        SplitAttrs(axis=op.attrs["axis"] % len(ifm), sizes=tuple(op.attrs["slices"])),
    ),
    "reshape": lambda op, ifm: ("reshape", ReshapeAttrs(shape=tuple(op.attrs["shape"]))),
    "transpose": lambda op, ifm: ("transpose", TransposeAttrs(perm=tuple(op.attrs["perm"]))),
    "slice": _slice,
    "stridedslice": _strided_slice,
    "reverse": _reverse,
    "pad": lambda op, ifm: (
        "pad",
        PadAttrs(front=tuple(op.attrs["front"]), back=tuple(op.attrs["back"])),
    ),
    "space2depth": lambda op, ifm: ("space2depth", BlockAttrs(block=op.attrs["block"])),
    "depth2space": lambda op, ifm: (
        "depth2space",
        BlockAttrs(block=op.attrs["block"], mode=op.attrs.get("mode", "dcr")),
    ),
    "shuffle": lambda op, ifm: ("channel_shuffle", GroupAttrs(group=op.attrs["group"])),
    "tile": lambda op, ifm: ("tile", TileAttrs(repeats=tuple(op.attrs["multiples"]))),
    "resize": _resize,
    "argmax": _argmax,
    "lrn": _lrn,
    "batchnorm": _plain("batch_norm", NormAttrs()),
    "instancenorm": _plain("instance_norm", NormAttrs()),
    "layernorm": lambda op, ifm: (
        "layer_norm",
        NormAttrs(axis=op.attrs["axis"] % len(ifm)),
    ),
}
TRANSLATIONS |= {
    kind: _plain(op)
    for kind, op in ops_named_in("golden", lambda d: is_function(d) or d.name == "prelu").items()
}
TRANSLATIONS |= {
    kind: _plain(op, EltwiseAttrs())
    for kind, op in ops_named_in("golden", lambda d: d.attrs is EltwiseAttrs).items()
}
TRANSLATIONS |= dict.fromkeys(ops_where(lambda d: d.attrs is ReduceAttrs), _reduce)

# our order of inputs, as indices into the recorded order
INPUT_ORDER: dict[str, tuple[int, ...]] = {
    "batchnorm": (0, 3, 4, 1, 2),  # recorded: mean, variance, gamma, beta
    "instancenorm": (0, 2, 1),  # recorded: beta, gamma
    "layernorm": (0, 2, 1),
}
