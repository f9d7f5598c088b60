"""Every operator that npusim takes from TensorFlow Lite files, as one-operator models over ranks.

The models' results get their shapes from LiteRT, so nothing here repeats a shape rule.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from npusim.ops import is_function, ops_named_in
from tests.importers.tflite_build import TYPES, Model

Array = NDArray[Any]
Case = tuple[str, Model]
SIZES = (2, 3, 4, 5, 2, 3)
RANKS = range(7)
_R = np.random.default_rng(11)


def shape_of(rank: int) -> tuple[int, ...]:
    """Return sizes that differ from their neighbours; the first axis is a batch of one or two."""
    return SIZES[:rank]


def real(*shape: int) -> Array:
    """Return random float32."""
    return _R.uniform(0.2, 2, shape).astype(np.float32)


def ints(values: Any) -> Array:
    """Return int32."""
    return np.array(values, np.int32)


def one(
    kind: str,
    shapes: list[tuple[int, ...]],
    *,
    constants: list[Array] | None = None,
    order: list[int] | None = None,
    outputs: int = 1,
    out_shape: tuple[int, ...] = (1,),
    options: str = "",
    out_dtype: str = "float32",
    **fields: Any,
) -> Model:
    """Return a model of one operator.

    Parameters
    ----------
    shapes : list
        Of the inputs x0, x1, ..
    constants : list
        Operands behind them.
    order : list of int
        Places of inputs and constants, where they differ from that.
    out_shape : tuple of int
        Of the results, for operators where LiteRT insists on it.
    """
    model = Model()
    main = model.function()
    data = [main.tensor(f"x{i}", shape) for i, shape in enumerate(shapes)]
    places = data + [main.constant(f"c{i}", value) for i, value in enumerate(constants or [])]
    if order is not None:
        places = [places[i] for i in order]
    results = [main.tensor(f"y{i}", out_shape, out_dtype) for i in range(outputs)]
    main.op(kind, places, results, options, **fields)
    main.proto.inputs, main.proto.outputs = data, results
    return model


def elementwise() -> Iterator[Case]:
    """Functions of one tensor, and of two that broadcast."""
    unary = ops_named_in("tflite", is_function)
    for rank in RANKS:
        shape = shape_of(rank)
        for kind in unary:
            yield f"{kind}-{rank}", one(kind, [shape])
        yield (
            f"LEAKY_RELU-{rank}",
            one("LEAKY_RELU", [shape], options="LeakyReluOptions", alpha=0.2),
        )
        yield f"ELU-{rank}", one("ELU", [shape])
        for approximate in (False, True):
            yield (
                f"GELU-{rank}-{approximate}",
                one("GELU", [shape], options="GeluOptions", approximate=approximate),
            )
    for kind in ("RELU_0_TO_1", "CEIL"):
        for rank in (1, 3, 4, 5):
            yield f"{kind}-{rank}", one(kind, [shape_of(rank)])
    tables = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}
    for kind in (*_binary(), "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD"):
        for rank in range(7 if kind in ("ADD", "MUL", "SUB", "MAXIMUM", "MINIMUM") else 5):
            shape = shape_of(rank)
            for short in range(rank + 1):
                other = shape[rank - short :]
                yield (
                    f"{kind}-{rank}-{short}",
                    one(kind, [shape, other], options=tables.get(kind, "")),
                )
                yield f"{kind}-{rank}-{short}-known", one(
                    kind, [shape], constants=[real(*other)], order=[1, 0],
                    options=tables.get(kind, ""),
                )  # fmt: skip
    for rank in range(1, 5):
        shape = shape_of(rank)
        yield f"PRELU-{rank}", one("PRELU", [shape], constants=[real(*shape[1:])])
        yield f"PRELU-{rank}-last", one("PRELU", [shape], constants=[real(shape[-1])])


def _binary() -> dict[str, str]:
    from npusim.ir.attrs import EltwiseAttrs

    return ops_named_in("tflite", lambda definition: definition.attrs is EltwiseAttrs)


def reductions() -> Iterator[Case]:
    """Reductions and extremes over every axis, with and without the axes kept."""
    from npusim.ir.attrs import ReduceAttrs

    for kind in ops_named_in("tflite", lambda definition: definition.attrs is ReduceAttrs):
        for rank in range(1, 7):
            for keep in (False, True):
                sets = [[a] for a in range(rank)] + [[-1], [0, -1]]
                sets += [[1, 2], [2, 3], [1, 3]] if rank > 3 else []
                sets += [list(range(rank))]
                for axes in sets:
                    yield f"{kind}-{rank}-{axes}-{keep}", one(
                        kind, [shape_of(rank)], constants=[ints(axes)], options="ReducerOptions",
                        keepDims=keep,
                    )  # fmt: skip
    for kind in ("ARG_MAX", "ARG_MIN"):
        table = "ArgMaxOptions" if kind == "ARG_MAX" else "ArgMinOptions"
        for rank in range(1, 6):
            for axis in (*range(rank), -1):
                yield f"{kind}-{rank}-{axis}", one(
                    kind, [shape_of(rank)], constants=[ints(axis)], out_dtype="int32",
                    options=table, outputType=2,
                )  # fmt: skip
    for rank in range(1, 5):
        shape = shape_of(rank)
        for beta in (1.0, 0.5):
            yield (
                f"SOFTMAX-{rank}-{beta}",
                one("SOFTMAX", [shape], options="SoftmaxOptions", beta=beta),
            )
        yield f"LOG_SOFTMAX-{rank}", one("LOG_SOFTMAX", [shape])
        yield f"L2_NORMALIZATION-{rank}", one("L2_NORMALIZATION", [shape], options="L2NormOptions")
    for rank in range(1, 6):
        for axis in range(rank):
            yield (
                f"CUMSUM-{rank}-{axis}",
                one("CUMSUM", [shape_of(rank)], constants=[ints(axis)], options="CumsumOptions"),
            )


def joins() -> Iterator[Case]:
    """Joining and cutting along every axis."""
    for rank in range(1, 6):
        shape = shape_of(rank)
        for axis in (*range(rank), -1):
            longer = [n + (i == axis % rank) for i, n in enumerate(shape)]
            yield (
                f"CONCATENATION-{rank}-{axis}",
                one(
                    "CONCATENATION",
                    [shape, tuple(longer)],
                    options="ConcatenationOptions",
                    axis=axis,
                ),
            )
            size = shape[axis]
            yield f"SPLIT-{rank}-{axis}", one(
                "SPLIT", [shape], constants=[ints(axis)], order=[1, 0], outputs=size,
                options="SplitOptions", numSplits=size,
            )  # fmt: skip
            yield f"SPLIT_V-{rank}-{axis}", one(
                "SPLIT_V", [shape], constants=[ints([1, -1]), ints(axis)], outputs=2,
                options="SplitVOptions", numSplits=2,
            )  # fmt: skip
            yield (
                f"UNPACK-{rank}-{axis}",
                one("UNPACK", [shape], outputs=size, options="UnpackOptions", num=size, axis=axis),
            )
            yield f"REVERSE_V2-{rank}-{axis}", one("REVERSE_V2", [shape], constants=[ints([axis])])
        repeats = ints([1 + (i % 3) for i in range(rank)])
        yield f"TILE-{rank}", one("TILE", [shape], constants=[repeats])
    for rank in range(5):
        shape = shape_of(rank)
        for axis in (*range(rank + 1), -1):
            yield (
                f"PACK-{rank}-{axis}",
                one("PACK", [shape, shape], options="PackOptions", axis=axis, valuesCount=2),
            )
            yield f"PACK-{rank}-{axis}-known", one(
                "PACK", [shape], constants=[real(*shape)], options="PackOptions", axis=axis,
                valuesCount=2,
            )  # fmt: skip
    yield "ADD_N", one("ADD_N", [shape_of(4)] * 3)


def shapes() -> Iterator[Case]:
    """Views: every change of rank."""
    for rank in range(7):
        shape = shape_of(rank)
        count = int(np.prod(shape))
        targets = [(count,), (1, count), (count, 1), (1, 1, count), (1, count, 1, 1)]
        targets += [shape, (1, 1, 1, count), (*shape, 1), (1, *shape)]
        targets += [(2, 3, -1), (2, -1, 1, 3), (1, 2, 3, -1), (1, 1, 2, 3, -1)] if rank > 1 else []
        for target in targets:
            if len(target) < 7:
                yield f"RESHAPE-{rank}-{target}", one("RESHAPE", [shape], constants=[ints(target)])
        for axis in (*range(rank + 1), -1) if rank < 6 else ():
            yield f"EXPAND_DIMS-{rank}-{axis}", one("EXPAND_DIMS", [shape], constants=[ints(axis)])
        for axis in range(rank):
            thin = (*shape[:axis], 1, *shape[axis + 1 :])
            for listed in ([axis], [axis - rank], []):
                yield (
                    f"SQUEEZE-{rank}-{axis}-{listed}",
                    one("SQUEEZE", [thin], options="SqueezeOptions", squeezeDims=listed),
                )
        if 0 < rank < 6:
            for perm in (np.arange(rank)[::-1], np.roll(np.arange(rank), 1), _R.permutation(rank)):
                yield (
                    f"TRANSPOSE-{rank}-{perm.tolist()}",
                    one("TRANSPOSE", [shape], constants=[ints(perm)]),
                )
    for rank in range(1, 6):
        shape = shape_of(rank)
        wide = (2, *shape) if rank < 5 else shape
        yield f"BROADCAST_TO-{rank}", one("BROADCAST_TO", [shape], constants=[ints(wide)])
        thin = (*shape[:-1], 1)
        yield f"BROADCAST_TO-{rank}-last", one("BROADCAST_TO", [thin], constants=[ints(shape)])


def slices() -> Iterator[Case]:
    """Cuts, pads and gathers."""
    for rank in range(1, 6):
        shape = shape_of(rank)
        begin, size = [1] * rank, [-1, *(n - 1 for n in shape[1:])]
        yield (
            f"SLICE-{rank}",
            one(
                "SLICE",
                [shape],
                constants=[ints(begin), ints(size)],
                out_shape=tuple(n - 1 for n in shape),
            ),
        )
        pads = ints([[i % 2, (i + 1) % 3] for i in range(rank)])
        yield f"PAD-{rank}", one("PAD", [shape], constants=[pads])
        yield f"PADV2-{rank}", one("PADV2", [shape], constants=[pads, np.float32(-1.5)])
        for mode in (0, 1):
            yield f"MIRROR_PAD-{rank}-{mode}", one(
                "MIRROR_PAD", [shape], constants=[np.minimum(pads, 1)],
                options="MirrorPadOptions", mode=mode,
            )  # fmt: skip
        for axis in (*range(rank), -1):
            for indices in (1, [1], [1, 0, 1], [[1, 0], [0, 1]], [[[1], [0]]]):
                if rank - 1 + np.ndim(indices) < 7:
                    yield f"GATHER-{rank}-{axis}-{np.ndim(indices)}", one(
                        "GATHER", [shape], constants=[ints(indices)], options="GatherOptions",
                        axis=axis,
                    )  # fmt: skip
        for depth in range(1, rank + 1):
            at = ints(np.ones((2, 3, depth)) * [[[1], [0], [1]], [[0], [0], [1]]])
            if rank - depth + 2 < 7:
                yield f"GATHER_ND-{rank}-{depth}", one("GATHER_ND", [shape], constants=[at])
    masks: list[tuple[int, str, list[int], list[int], list[int], dict[str, int]]] = []
    for rank in range(1, 6):
        n = list(shape_of(rank))
        zeros, ones = [0] * rank, [1] * rank
        masks += [
            (rank, "step", zeros, n, [2] * rank, {}),
            (rank, "masked", ones, ones, ones, {"beginMask": 1, "endMask": 2**rank - 1}),
            (rank, "back", [-1] * rank, [-9] * rank, [-1] * rank, {}),
            (rank, "front", zeros[:1], [1], [1], {}),
        ]
        masks += [
            (rank, f"shrink{axis}", ones, [2] * rank, ones, {"shrinkAxisMask": 1 << axis})
            for axis in range(rank)
        ]
        masks += [
            (rank, f"new{axis}", [*zeros, 0], [*n, 1], [*ones, 1], {
                "newAxisMask": 1 << axis, "beginMask": 2 ** (rank + 1) - 1,
                "endMask": 2 ** (rank + 1) - 1})
            for axis in range(rank + 1)
        ]  # fmt: skip
        masks += [  # an ellipsis for no axes at all is left out: LiteRT then ignores what follows
            (rank, "ellipsis", [0, 0], [9, 1], [1, 1], {"ellipsisMask": 1}),
            (rank, "ellipsis-shrink", [0, 1], [9, 2], [1, 1],
             {"ellipsisMask": 1, "shrinkAxisMask": 2}),
            (rank, "ellipsis-new", [0, 0], [9, 1], [1, 1], {"ellipsisMask": 1, "newAxisMask": 2}),
            (rank, "shrink-first-new", [1, 0, 0], [2, 1, 1], [1, 1, 1],
             {"shrinkAxisMask": 1, "newAxisMask": 2, "ellipsisMask": 4}),
        ][rank == 1 and 2:]  # fmt: skip
    for rank, label, begin, end, step, flags in masks:
        yield f"STRIDED_SLICE-{rank}-{label}", one(
            "STRIDED_SLICE", [shape_of(rank)], constants=[ints(begin), ints(end), ints(step)],
            options="StridedSliceOptions", **flags,
        )  # fmt: skip


def products() -> Iterator[Case]:
    """Products of matrices, and of rows with weights."""
    for rank in range(2, 6):
        lead = shape_of(rank - 2)
        for x, y in ((False, False), (True, False), (False, True), (True, True)):
            a = (*lead, 5, 3) if x else (*lead, 3, 5)
            for other in {lead, lead[1:], ()}:
                b = (*other, 4, 5) if y else (*other, 5, 4)
                flags = {"options": "BatchMatMulOptions", "adjX": x, "adjY": y}
                yield (
                    f"BATCH_MATMUL-{rank}-{x}-{y}-{len(other)}",
                    one("BATCH_MATMUL", [a, b], **flags),
                )
                yield (
                    f"BATCH_MATMUL-{rank}-{x}-{y}-{len(other)}-known",
                    one("BATCH_MATMUL", [a], constants=[real(*b)], **flags),
                )
    for rank in range(1, 6):
        shape = shape_of(rank)
        for keep in (False, True):
            for activation in (0, 1, 3):
                for bias in (False, True):
                    operands = [real(7, shape[-1])] + ([real(7)] if bias else [])
                    yield f"FULLY_CONNECTED-{rank}-{keep}-{activation}-{bias}", one(
                        "FULLY_CONNECTED", [shape], constants=operands,
                        options="FullyConnectedOptions", keepNumDims=keep,
                        fusedActivationFunction=activation,
                    )  # fmt: skip


def maps() -> Iterator[Case]:
    """What works on feature maps with two spatial axes."""
    f = (2, 6, 8, 4)
    for padding in (0, 1):
        for activation in range(4):
            tail = {"padding": padding, "fusedActivationFunction": activation}
            label = f"{padding}-{activation}"
            yield f"CONV_2D-{label}", one(
                "CONV_2D", [f], constants=[real(5, 3, 2, 4), real(5)], options="Conv2DOptions",
                strideH=2, strideW=1, **tail,
            )  # fmt: skip
            yield f"DEPTHWISE_CONV_2D-{label}", one(
                "DEPTHWISE_CONV_2D", [f], constants=[real(1, 3, 3, 8), real(8)],
                options="DepthwiseConv2DOptions", strideH=1, strideW=1, depthMultiplier=2, **tail,
            )  # fmt: skip
            for kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"):
                yield f"{kind}-{label}", one(
                    kind, [f], options="Pool2DOptions", filterHeight=3, filterWidth=2, strideH=2,
                    strideW=1, **tail,
                )  # fmt: skip
    for padding, target in ((0, (2, 12, 16, 5)), (1, (2, 13, 17, 5))):
        for activation in (0, 1):
            yield f"TRANSPOSE_CONV-{padding}-{activation}", one(
                "TRANSPOSE_CONV", [f], constants=[ints(target), real(5, 3, 3, 4), real(5)],
                order=[1, 2, 0, 3], options="TransposeConvOptions", padding=padding, strideH=2,
                strideW=2, fusedActivationFunction=activation,
            )  # fmt: skip
    for kind, table in (
        ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    ):
        for flags in ({}, {"alignCorners": True}, {"halfPixelCenters": True}):
            for size in ((12, 20), (3, 4), (1, 1), (7, 8)):
                yield (
                    f"{kind}-{[*flags]}-{size}",
                    one(kind, [f], constants=[ints(size)], options=table, **flags),
                )
    yield "DEPTH_TO_SPACE", one("DEPTH_TO_SPACE", [f], options="DepthToSpaceOptions", blockSize=2)
    yield "SPACE_TO_DEPTH", one("SPACE_TO_DEPTH", [f], options="SpaceToDepthOptions", blockSize=2)
    yield (
        "SPACE_TO_BATCH_ND-4",
        one("SPACE_TO_BATCH_ND", [f], constants=[ints([2, 3]), ints([[1, 1], [0, 1]])]),
    )
    yield (
        "SPACE_TO_BATCH_ND-3",
        one("SPACE_TO_BATCH_ND", [(2, 6, 4)], constants=[ints([2]), ints([[1, 1]])]),
    )
    yield (
        "BATCH_TO_SPACE_ND-4",
        one("BATCH_TO_SPACE_ND", [(12, 3, 4, 2)], constants=[ints([2, 3]), ints([[1, 1], [0, 1]])]),
    )
    yield (
        "BATCH_TO_SPACE_ND-3",
        one("BATCH_TO_SPACE_ND", [(4, 3, 4)], constants=[ints([2]), ints([[1, 0]])]),
    )
    yield "LOCAL_RESPONSE_NORMALIZATION", one(
        "LOCAL_RESPONSE_NORMALIZATION", [f], options="LocalResponseNormalizationOptions",
        radius=1, alpha=0.1, beta=0.6, bias=1.5,
    )  # fmt: skip


FAMILIES = (elementwise, reductions, joins, shapes, slices, products, maps)
SCALE, ZERO = 0.02, -5


def movement() -> tuple[Callable[[], Iterator[Case]], ...]:
    """Return the families that move elements."""
    return (joins, shapes, slices)


def coded(family: Callable[[], Iterator[Case]]) -> Iterator[Case]:
    """Yield the cases of a family with int8 tensors, all of the same parameters.

    Left out are sums, which LiteRT does not have on int8, fills with another value than 0, and
    tensors without axes.
    """
    for name, model in family():
        kind, rank, *_ = f"{name}-".split("-")
        (graph,) = model.proto.subgraphs
        if kind in ("ADD_N", "PADV2") or rank in ("0", "1"):
            continue
        for tensor in graph.tensors:
            if tensor.type != TYPES["float32"]:
                continue
            tensor.type = TYPES["int8"]
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [SCALE], [ZERO]
            buffer = model.proto.buffers[tensor.buffer]
            if buffer.data is not None:
                values = np.asarray(buffer.data, np.uint8).view(np.float32)
                codes = np.clip(np.rint(values / SCALE) + ZERO, -128, 127)
                buffer.data = codes.astype(np.int8).view(np.uint8)
        yield name, model
