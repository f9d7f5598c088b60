"""Random graphs of one operation each, in the terms of the chip vendor's simulator.

Every function takes a ``Draw`` and returns a ``Recipe``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from random_layers import (
    TYPES,
    Draw,
    Recipe,
    conv2d,
    deconv2d,
    depthwise,
    f32,
    fc,
    grouped,
    one_pixel,
    scale_of,
)

from npusim.conformance.mapping import TRANSLATIONS
from npusim.ir.attrs import EltwiseAttrs
from npusim.ops import is_function, ops_named_in


def _unary(kind: str, **options: Callable[[Draw], Any]) -> Callable[[Draw], Recipe]:
    def build(d: Draw) -> Recipe:
        recipe, in_q = Recipe(), d.quant()
        shape = d.pick((1, 1, 16, 16), (1, 1, 64, 64), d.shape())
        recipe.inputs["x"] = (d.dtype, d.data(shape), in_q)
        attrs = {name: option(d) for name, option in options.items()}
        recipe.op(kind, ["x"], "y", d.dtype, d.same_or_new(in_q), **attrs)
        return recipe

    return build


def pool2d(d: Draw) -> Recipe:
    """Max and average pools."""
    recipe, in_q = Recipe(), d.quant()
    k, stride = d.pick(2, 3, 3, 4, 5, 6, 7, 9), d.pick(1, 1, 2, 2, 3)
    pad = d.pick(0, 0, k // 2)
    shape = (1, d.below(20), k + d.below(16, 0), k + d.below(16, 0))
    kind = d.pick("max", "avg")
    size = shape[2:] if kind == "avg" and d.below(8) == 1 else (k, k)
    if size != (k, k):
        stride, pad = 1, 0
    recipe.inputs["x"] = (d.dtype, d.data(shape), in_q)
    how = "floor" if kind == "avg" else d.pick("floor", "ceil")
    recipe.op(
        "pool2d",
        ["x"],
        "y",
        d.dtype,
        d.same_or_new(in_q),
        type=kind,
        ksize=list(size),
        stride=[stride] * 2,
        pad=[pad] * 4,
        round=how,
    )
    return recipe


def globalpool(d: Draw) -> Recipe:
    """Global averages and maxima."""
    recipe, in_q, shape = Recipe(), d.quant(), d.shape(30, 20)
    recipe.inputs["x"] = (d.dtype, d.data(shape), in_q)
    recipe.op(
        "globalpool",
        ["x"],
        "y",
        d.dtype,
        d.same_or_new(in_q),
        type=d.pick("avg", "avg", "max"),
        insize=list(shape[2:]),
    )
    return recipe


def dataconvert(d: Draw) -> Recipe:
    """Conversions between all types."""
    recipe = Recipe()
    recipe.inputs["x"] = (d.dtype, d.data(d.shape(8)), d.quant())
    other = d.pick(*TYPES)
    recipe.op("dataconvert", ["x"], "y", other, d.quant(other))
    return recipe


def binary(kind: str) -> Callable[[Draw], Recipe]:
    """Element-wise operations, with broadcast second operands."""

    def build(d: Draw) -> Recipe:
        recipe, shape = Recipe(), d.shape(16, 24)
        other = d.pick(
            shape, shape, (1, shape[1], 1, 1), (1, 1, 1, 1), (1, 1, 1, shape[3]), (1, 1, *shape[2:])
        )
        recipe.inputs["x"] = (d.dtype, d.data(shape), d.quant())
        recipe.inputs["z"] = (d.dtype, d.data(other), d.quant())
        recipe.op(kind, ["x", "z"], "y", d.dtype, d.quant())
        return recipe

    return build


def move(kind: str) -> Callable[[Draw], Recipe]:
    """Build data movement with equal or other quantization behind it."""

    def build(d: Draw) -> Recipe:
        recipe, in_q = Recipe(), d.quant()
        _, c, h, w = shape = (1, 4 * d.below(5), 2 * d.below(8, 2), 2 * d.below(8, 2))
        out_q = d.same_or_new(in_q)
        attrs: dict[str, Any] = {}
        if kind == "transpose":
            attrs["perm"] = [0, *(1 + d.rng.permutation(3)).tolist()]
        elif kind == "reshape":
            attrs["shape"] = d.pick([1, c * h * w], [1, c, h * w], [1, c * h, w], [1, h, c, w])
        elif kind == "slice":
            start = [0, *(d.below(n // 2, 0) for n in shape[1:])]
            attrs |= {
                "start": start,
                "length": [d.below(n - s) for n, s in zip(shape, start, strict=True)],
            }
        elif kind == "stridedslice":
            steps = [1, d.pick(1, 2), d.pick(1, 2, 3), d.pick(1, 2)]
            attrs |= {
                "begin": [0, d.below(2, 0), d.below(2, 0), 0],
                "end": list(shape),
                "strides": steps,
            }
        elif kind == "reverse":
            attrs["axis"] = [d.pick(1, 2, 3)]
        elif kind == "pad":
            attrs |= {
                "front": [0, 0, d.below(2, 0), d.below(3, 0)],
                "back": [0, 0, d.below(2, 0), d.below(3, 0)],
            }
            out_q = in_q
        elif kind == "space2depth":
            attrs["block"] = 2
        elif kind == "depth2space":
            attrs |= {"block": 2, "mode": d.pick("dcr", "crd")}
        elif kind == "shuffle":
            attrs |= {"group": d.pick(2, 4), "axis": 1}
        elif kind == "tile":
            attrs["multiples"] = [1, d.pick(1, 2), d.pick(1, 2), d.pick(1, 2)]
            out_q = in_q
        recipe.inputs["x"] = (d.dtype, d.data(shape), in_q)
        recipe.op(kind, ["x"], "y", d.dtype, out_q, **attrs)
        return recipe

    return build


def concat(d: Draw) -> Recipe:
    """Concatenations of two to four inputs, partly of another quantization."""
    recipe, axis, shape = Recipe(), d.pick(1, 1, 2, 3), [1, d.below(12), d.below(12), d.below(12)]
    q = d.quant()
    names = []
    for number in range(d.below(4, 2)):
        part = list(shape)
        part[axis] = d.below(10)
        names.append(f"x{number}")
        recipe.inputs[names[-1]] = (d.dtype, d.data(tuple(part)), d.same_or_new(q))
    recipe.op("concat", names, "y", d.dtype, d.same_or_new(q), axis=axis)
    return recipe


def split(d: Draw) -> Recipe:
    """Split in two parts."""
    recipe, q, axis = Recipe(), d.quant(), d.pick(1, 2, 3)
    shape = [1, d.below(12, 2), d.below(12, 2), d.below(12, 2)]
    first = d.below(shape[axis] - 1)
    recipe.inputs["x"] = (d.dtype, d.data(tuple(shape)), q)
    attrs = {"axis": axis, "slices": [first, shape[axis] - first]}
    recipe.ops.append(("split", ["x"], ["y", "y2"], attrs))
    recipe.quants |= {"y": (d.dtype, q), "y2": (d.dtype, q)}
    return recipe


def gather(d: Draw) -> Recipe:
    """Gathers of rows."""
    recipe, q = Recipe(), d.quant()
    shape = d.pick((20, 16), (7, 33), (d.below(30), d.below(30)))
    recipe.inputs["x"] = (d.dtype, d.data(shape), q)
    recipe.inputs["i"] = ("i32", d.rng.integers(0, shape[0], d.below(8)).astype(np.int32), None)
    recipe.op("gather", ["x", "i"], "y", d.dtype, q, axis=0)
    return recipe


def resize(d: Draw) -> Recipe:
    """Nearest and bilinear resizes, all coordinates, up and down."""
    recipe, q, shape = Recipe(), d.quant(), (1, d.below(5), d.below(12, 2), d.below(12, 2))
    h, w = shape[2:]
    factor = d.pick(2, 2, 3, 4)
    size = d.pick(
        (h * factor, w * factor), (d.below(24), d.below(24)), (max(1, h // 2), max(1, w // 2))
    )
    flags = d.pick({}, {}, {"align_corners": 1}, {"half_pixel": 1})
    mode = d.pick("nearest", "bilinear", "bilinear")
    recipe.inputs["x"] = (d.dtype, d.data(shape), q)
    out_q = d.same_or_new(q) if mode == "bilinear" else q
    recipe.op(
        "resize", ["x"], "y", d.dtype, out_q, height=size[0], width=size[1], mode=mode, **flags
    )
    return recipe


def softmax(kind: str) -> Callable[[Draw], Recipe]:
    """Softmax over the last axis of matrices and other axes of maps."""

    def build(d: Draw) -> Recipe:
        recipe, q = Recipe(), d.quant()
        shape = d.pick(
            (1, 10),
            (1, 100),
            (1, 1001),
            (1, d.below(300, 2)),
            (1, 5, 6, 8),
            (1, d.below(30, 2), d.below(9), d.below(9)),
        )
        axis = 1 if len(shape) == 2 else d.pick(1, 3)
        out_q = {"u8": d.oracle.asym(1 / 256), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(15)}
        if kind == "logsoftmax":
            out_q = {"u8": d.oracle.asym(0.05, 255), "i8": d.oracle.dfp(3), "i16": d.oracle.dfp(10)}
        recipe.inputs["x"] = (d.dtype, d.data(shape), q)
        recipe.op(kind, ["x"], "y", d.dtype, out_q.get(d.dtype), axis=axis)
        return recipe

    return build


def reduction(kind: str) -> Callable[[Draw], Recipe]:
    """Reductions over H and W, C, W or H."""

    def build(d: Draw) -> Recipe:
        recipe, q, shape = Recipe(), d.quant(), d.shape(16, 14)
        axis = d.pick([2, 3], [2, 3], [1], [3], [2])
        out_q = q if kind == "reduce_max" and d.below(2) == 1 else d.quant()
        if kind == "reduce_sum" and d.dtype == "u8":
            out_q = d.oracle.asym(scale_of(q) * d.rng.uniform(1, 8), d.below(255, 0))
        recipe.inputs["x"] = (d.dtype, d.data(shape), q)
        recipe.op(kind, ["x"], "y", d.dtype, out_q, axis=axis, keep=1)
        return recipe

    return build


def argmax(d: Draw) -> Recipe:
    """Index of the largest over channels or width."""
    recipe = Recipe()
    recipe.inputs["x"] = (d.dtype, d.data((1, d.below(20, 2), d.below(9), d.below(9))), d.quant())
    recipe.op("argmax", ["x"], "y", "i16" if d.dtype == "i16" else "i32", None, axis=1)
    return recipe


def matmul(d: Draw) -> Recipe:
    """Products of two inputs."""
    recipe, transposed = Recipe(), d.pick(0, 0, 1)
    m, k, n = d.below(20), d.below(40), d.below(20)
    a_q, b_q = d.quant(), d.quant()
    recipe.inputs["x"] = (d.dtype, d.data((1, m, k)), a_q)
    recipe.inputs["z"] = (d.dtype, d.data((1, n, k) if transposed else (1, k, n)), b_q)
    out_q = None
    if d.dtype == "u8":
        out_q = d.oracle.asym(scale_of(a_q) * scale_of(b_q) * np.sqrt(k) * 50, d.below(200, 50))
    elif d.dtype != "f16":
        bits = a_q[1] + b_q[1] - {"i8": 6, "i16": 14}[d.dtype] - int(np.log2(k) / 2)
        out_q = d.oracle.dfp(bits)
    recipe.op("matmul", ["x", "z"], "y", d.dtype, out_q, **({"tb": 1} if transposed else {}))
    return recipe


def norm(kind: str) -> Callable[[Draw], Recipe]:
    """Normalisations with random parameters."""

    def build(d: Draw) -> Recipe:
        recipe, q = Recipe(), d.quant()
        shape = (1, d.below(20), d.below(12, 2), d.below(12, 2))
        outs = {
            "u8": d.oracle.asym(0.025, d.below(160, 90)),
            "i8": d.oracle.dfp(5),
            "i16": d.oracle.dfp(12),
        }
        recipe.inputs["x"] = (d.dtype, d.data(shape), q)
        attrs: dict[str, Any] = {}
        out_q = outs.get(d.dtype)
        names = ["x"]
        sizes = {
            "batchnorm": [shape[1]] * 4,
            "instancenorm": [shape[1]] * 2,
            "layernorm": [shape[3]] * 2,
        }
        for position, size in enumerate(sizes.get(kind, [])):
            value = d.rng.uniform(0.5, 1.5, size) if position % 2 else d.rng.normal(0, 0.5, size)
            names.append(f"c{position}")
            recipe.constants[names[-1]] = (value.astype(f32), None)
        if kind == "l2norm":
            attrs["axis"] = 1
            out_q = {
                "u8": d.oracle.asym(1 / 127, 128),
                "i8": d.oracle.dfp(7),
                "i16": d.oracle.dfp(14),
            }.get(d.dtype)
        elif kind == "lrn":
            attrs = {
                "size": d.pick(3, 5, 7),
                "alpha": d.pick(0.01, 1e-4, 0.02),
                "beta": d.pick(0.75, 0.5),
                "bias": d.pick(1.0, 2.0),
                "axis": 1,
            }
            out_q = q
        elif kind == "layernorm":
            attrs["axis"] = 3
        recipe.op(kind, names, "y", d.dtype, out_q, **attrs)
        return recipe

    return build


def prelu(d: Draw) -> Recipe:
    """PRelu with constant slopes (u8 and f16; the simulator does not compile the others)."""
    recipe, q, shape = Recipe(), d.quant(), d.shape(12, 12)
    recipe.inputs["x"] = (d.dtype, d.data(shape), q)
    slope_q = d.oracle.asym(0.0047, 128) if d.dtype == "u8" else d.quant()
    recipe.constants["s"] = (d.data((shape[1], 1, 1)), slope_q)
    recipe.op("prelu", ["x", "s"], "y", d.dtype, d.same_or_new(q), axis=1)
    return recipe


def _number(low: float, high: float) -> Callable[[Draw], float]:
    return lambda d: round(float(d.rng.uniform(low, high)), 3)


FAMILIES: dict[str, Callable[[Draw], Recipe]] = {
    "conv2d": conv2d,
    "depthwise": depthwise,
    "grouped": grouped,
    "one_pixel": one_pixel,
    "fc": fc,
    "deconv2d": deconv2d,
    "pool2d": pool2d,
    "globalpool": globalpool,
    "dataconvert": dataconvert,
    "concat": concat,
    "split": split,
    "gather": gather,
    "resize": resize,
    "argmax": argmax,
    "matmul": matmul,
    "prelu": prelu,
    "leaky_relu": _unary("leaky_relu", alpha=lambda d: d.pick(0.1, 0.01, 0.2, 0.333)),
    "elu": _unary("elu"),
    "clip": _unary("clip", min=_number(-3, 0), max=_number(0.5, 8)),
    "hardsigmoid": _unary("hardsigmoid", alpha=lambda d: d.pick(0.2, 1 / 6), beta=lambda d: 0.5),
}
# erf: the simulator has none; gelu: its own default is the tanh form
FUNCTIONS = ops_named_in("golden", lambda d: is_function(d) and d.name not in ("erf", "gelu"))
FAMILIES |= {kind: _unary(kind) for kind in FUNCTIONS if kind not in FAMILIES}
FAMILIES |= {
    kind: binary(kind) for kind in ops_named_in("golden", lambda d: d.attrs is EltwiseAttrs)
}
MOVES = [kind for kind in ops_named_in("golden", lambda d: d.moves) if kind in TRANSLATIONS]
FAMILIES |= {
    kind: move(kind) for kind in (*MOVES, "stridedslice", "reverse") if kind not in FAMILIES
}
FAMILIES |= {kind: softmax(kind) for kind in ("softmax", "logsoftmax")}
FAMILIES |= {kind: reduction(kind) for kind in ("reduce_mean", "reduce_sum", "reduce_max")}
FAMILIES |= {
    kind: norm(kind) for kind in ["l2norm", "lrn", "batchnorm", "instancenorm", "layernorm"]
}
