"""Small networks around every operator, made from the operators' definitions.

An operator whose attributes and inputs say enough needs no entry here: every new one takes part in
the matrix by itself. `VARIANTS` adds what only some operators need: weights, and forms that reach
other engines.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from npusim.ir.attrs import (
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
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ops import op_def, op_names
from npusim.ops.unary import same
from npusim.testing import GraphBuilder

MAP = (1, 8, 6, 6)
MAX, AVG = PoolKind.MAX, PoolKind.AVG
# One record per kind of attributes; operators that share a kind share it
ATTRS: dict[type[Attrs], tuple[Attrs, ...]] = {
    Attrs: (Attrs(),),
    EltwiseAttrs: (EltwiseAttrs(),),
    AlphaAttrs: (AlphaAttrs(alpha=0.1),),
    ArgAttrs: (ArgAttrs(axis=1), ArgAttrs(axis=3, keepdims=False)),
    AxisAttrs: (AxisAttrs(axis=1),),
    BlockAttrs: (BlockAttrs(block=2), BlockAttrs(block=2, mode="crd")),
    ClipAttrs: (ClipAttrs(minimum=-1, maximum=1.5),),
    GlobalPoolAttrs: (GlobalPoolAttrs(kind=AVG), GlobalPoolAttrs(kind=MAX)),
    GroupAttrs: (GroupAttrs(group=2),),
    HardSigmoidAttrs: (HardSigmoidAttrs(),),
    LrnAttrs: (LrnAttrs(size=5, alpha=0.05), LrnAttrs(size=7, alpha=0.05)),
    PadAttrs: (
        PadAttrs(front=(0, 0, 1, 0), back=(0, 0, 1, 2)),
        PadAttrs(front=(0, 0, 1, 0), back=(0, 0, 1, 2), mode=PadMode.EDGE),
    ),
    Pool2dAttrs: (
        Pool2dAttrs(kind=MAX, kernel=(2, 2), stride=(2, 2)),
        Pool2dAttrs(kind=MAX, kernel=(5, 3), pad=(2, 2, 1, 1)),
        Pool2dAttrs(kind=AVG, kernel=(3, 3)),
        Pool2dAttrs(kind=AVG, kernel=(3, 3), stride=(3, 3)),
        Pool2dAttrs(kind=AVG, kernel=(3, 3), pad=(1, 1, 1, 1)),
        Pool2dAttrs(kind=AVG, kernel=(6, 6)),
    ),
    ReduceAttrs: (ReduceAttrs(axes=(2, 3)), ReduceAttrs(axes=(1,), keepdims=False)),
    ReshapeAttrs: (ReshapeAttrs(shape=(1, 4, 72)),),
    ResizeAttrs: tuple(
        ResizeAttrs(size=size, mode=mode, coordinates=where)
        for mode in ResizeMode
        for where, size in (
            (Coordinates.ASYMMETRIC, (12, 12)),
            (Coordinates.ASYMMETRIC, (3, 3)),
            (Coordinates.HALF_PIXEL, (9, 4)),
        )
    ),
    SliceAttrs: (SliceAttrs(begin=(0, 1, 0, 5), end=(1, 7, 6, -1), step=(1, 2, 1, -1)),),
    SplitAttrs: (SplitAttrs(axis=1, sizes=(3, 5)), SplitAttrs(axis=2, sizes=(4, 2))),
    TileAttrs: (TileAttrs(repeats=(1, 1, 2, 1)),),
    TransposeAttrs: (TransposeAttrs(perm=(0, 2, 3, 1)),),
}
# movement of whole numbers is a shader program
OF_INDICES = (
    *("reshape", "transpose", "concat", "split", "slice", "pad"),
    *("depth2space", "space2depth", "channel_shuffle"),
)
# without an input zero point these run elsewhere
SIGNLESS = ("conv2d", "fc", "pool2d", "reduce_mean")
POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal", "pow", "div", "reduce_prod", "l2norm")


@dataclass(frozen=True)
class Sample:
    """A float graph with the operator in it, and the interval its inputs are drawn from."""

    op: str
    graph: Graph
    low: float = -2.0
    high: float = 2.0


Build = Callable[[GraphBuilder], str]


def _weights(b: GraphBuilder, *shape: int, spread: float = 1.0) -> str:
    name = f"c{len(b.graph.tensors)}"
    return b.constant(name, b.rng.standard_normal(shape) * spread / np.sqrt(np.prod(shape[1:])))


def _conv(attrs: Conv2dAttrs, weights: tuple[int, ...], shape: tuple[int, ...] = MAP) -> Build:
    def build(b: GraphBuilder) -> str:
        x = b.input("x", *shape)
        return b.node("conv2d", [x, _weights(b, *weights), _weights(b, weights[0])], "y", attrs)

    return build


def _deconv(b: GraphBuilder) -> str:
    inputs = [b.input("x", *MAP), _weights(b, 4, 8, 3, 3), _weights(b, 4)]
    return b.node("deconv2d", inputs, "y", Deconv2dAttrs(stride=(2, 2), pad=(1, 1, 1, 1)))


def _fc(shape: tuple[int, ...]) -> Build:
    def build(b: GraphBuilder) -> str:
        inputs = [b.input("x", *shape), _weights(b, 5, shape[-1]), _weights(b, 5)]
        return b.node("fc", inputs, "y", FcAttrs())

    return build


def _matmul(attrs: MatmulAttrs) -> Build:
    def build(b: GraphBuilder) -> str:
        shape = (1, 2, 5, 8) if attrs.transpose_b else (1, 2, 8, 5)
        return b.node("matmul", [b.input("x", 1, 2, 6, 8), b.input("z", *shape)], "y", attrs)

    return build


def _hidden(op: str, attrs: Attrs, size: int = 6, operands: int = 2) -> Build:
    """The operator behind convolutions."""

    def build(b: GraphBuilder) -> str:
        x = b.input("x", 1, 8, size, size)
        return b.node(op, [b.conv(x, 8, 1 + 2 * i) for i in range(operands)], "y", attrs)

    return build


def _normalised(op: str, attrs: NormAttrs, parameters: int, size: int, *shape: int) -> Build:
    def build(b: GraphBuilder) -> str:
        x = b.input("x", *(shape or MAP))
        known = [b.constant(f"p{i}", b.rng.uniform(0.5, 1.5, size)) for i in range(parameters)]
        return b.node(op, [x, *known], "y", attrs)

    return build


def _slopes(*shape: int) -> Build:
    def build(b: GraphBuilder) -> str:
        slope = b.constant("slope", b.rng.uniform(0.1, 0.3, shape))
        return b.node("prelu", [b.input("x", *MAP), slope], "y")

    return build


def _gather(b: GraphBuilder) -> str:
    index = b.constant("index", np.array([3, 0, 5]))
    return b.node("gather", [b.input("x", *MAP), index], "y", AxisAttrs(axis=1))


def _on_size(op: str, attrs: Attrs, *shape: int) -> Build:
    return lambda b: b.node(op, [b.input("x", *shape)], "y", attrs)


def _with_constant(op: str, *shape: int) -> Build:
    def build(b: GraphBuilder) -> str:
        known = b.constant("k", b.rng.uniform(0.5, 1.5, shape))
        return b.node(op, [b.input("x", *MAP), known], "y")

    return build


BATCH_NORM = NormAttrs(epsilon=1e-3)
# Operators with weights or other constants are here only; the others besides their own samples
WEIGHTS: dict[str, tuple[Build, ...]] = {
    "conv2d": (
        _conv(Conv2dAttrs(pad=(1, 1, 1, 1)), (4, 8, 3, 3)),
        _conv(Conv2dAttrs(stride=(2, 2), group=8), (8, 1, 3, 3)),
        _conv(Conv2dAttrs(), (4, 8, 6, 6)),
        _conv(Conv2dAttrs(), (4, 2, 12, 12), (1, 2, 14, 14)),
        _conv(Conv2dAttrs(group=4, dilation=(6, 6)), (4, 1, 3, 3), (1, 4, 16, 16)),
    ),
    "deconv2d": (_deconv,),
    "fc": (_fc((1, 30)), _fc((4, 30))),
    "matmul": (_matmul(MatmulAttrs()), _matmul(MatmulAttrs(transpose_b=True))),
    # three axes: with four it becomes a convolution
    "batch_norm": (_normalised("batch_norm", BATCH_NORM, 4, 8, 1, 8, 36),),
    "instance_norm": (_normalised("instance_norm", BATCH_NORM, 2, 8),),
    "layer_norm": (_normalised("layer_norm", NormAttrs(axis=3), 2, 6),),
    "prelu": (_slopes(8, 1, 1), _slopes(1, 1, 1)),
    "gather": (_gather,),
}
VARIANTS: dict[str, tuple[Build, ...]] = {
    "add": (
        _hidden("add", EltwiseAttrs()),
        _hidden("add", EltwiseAttrs(), size=1),
        _with_constant("add", 8, 1, 1),
    ),
    "sub": (_hidden("sub", EltwiseAttrs()), _hidden("sub", EltwiseAttrs(), size=1)),
    "mul": (_with_constant("mul", 8, 1, 1),),
    "concat": (_hidden("concat", AxisAttrs(axis=1)),),
    "pool2d": (
        _hidden("pool2d", Pool2dAttrs(kind=MAX, kernel=(2, 2), stride=(2, 2)), operands=1),
        _on_size("pool2d", Pool2dAttrs(kind=AVG, kernel=(13, 13)), 1, 4, 13, 13),
    ),
    "global_pool": (_on_size("global_pool", GlobalPoolAttrs(kind=AVG), 1, 4, 14, 14),),
}


def _of_indices(op: str, attrs: Attrs) -> Build:
    """The operator on whole numbers, which are no codes."""

    def build(b: GraphBuilder) -> str:
        x = b.input("x", *MAP, 3)
        x = b.node("argmax", [x], "", ArgAttrs(axis=4, keepdims=False), dtype=DType.I64)
        others = ["y2"] if isinstance(attrs, SplitAttrs) else []
        inputs = [x] * (2 if op == "concat" else 1)
        return b.node(op, inputs, "y", attrs, others, dtype=DType.I64)

    return build


def _own(op: str, attrs: Attrs) -> Build:
    """The operator on its own: inputs of one shape, results as the attributes say."""

    def build(b: GraphBuilder) -> str:
        definition = op_def(op)
        least = definition.inputs[0]
        inputs = [b.input(f"x{i}", *MAP) for i in range(max(least, 2 if op == "concat" else 1))]
        if definition.of_truth:  # truth values come from a comparison
            truths = inputs if definition.truth else inputs[:1]
            compared = [b.node("greater", [x, inputs[-1]], dtype=DType.BOOL) for x in truths]
            inputs = [*compared, *inputs[len(truths) :]]
        others = ["y2"] if isinstance(attrs, SplitAttrs) else []
        dtype = DType.BOOL if definition.truth else _RESULTS.get(type(attrs))
        return b.node(op, inputs, "y", attrs, others, dtype=dtype)

    return build


_RESULTS = {ArgAttrs: DType.I64}


def samples() -> Iterator[tuple[str, Sample]]:
    """Yield (name, sample) for every operator."""
    for op in op_names():
        attrs = () if op in WEIGHTS else ATTRS[op_def(op).attrs]
        builds = [*WEIGHTS.get(op, ()), *(_own(op, a) for a in attrs), *VARIANTS.get(op, ())]
        if op in OF_INDICES:
            builds.append(_of_indices(op, attrs[0]))
        low = 0.5 if op in POSITIVE else -2.0
        for number, build in enumerate(builds):
            b = GraphBuilder(name=op)
            build(b)
            yield f"{op}-{number}", Sample(op, b.done(), low)
        b = GraphBuilder(name=op)
        builds[0](b)
        graph = b.done()
        if op_def(op).infer is same:  # finer codes than the tables of functions reach
            yield f"{op}-fine", Sample(op, graph, low / 2048, 1 / 1024)
        if op in SIGNLESS:
            yield f"{op}-positive", Sample(op, graph, 0.0)
