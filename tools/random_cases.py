"""Random graphs of one operation each, in the terms of the chip vendor's simulator.

Every function takes a ``Draw`` (random choices for one element type) and returns a ``Recipe``:
inputs, constants, operations. Output shapes are left to ``fuzz_arithmetic``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NUMPY = {"u8": np.uint8, "i8": np.int8, "i16": np.int16, "f16": np.float16}
TYPES = tuple(NUMPY)
FRACTION_BITS = {"i8": (2, 8), "i16": (3, 15)}
f32 = np.float32


@dataclass(slots=True)
class Recipe:
    """A graph to record: tensors with values, and operations on them, outputs named in order."""

    inputs: dict[str, tuple[str, Array, Any]] = field(default_factory=dict)
    constants: dict[str, tuple[Array, Any]] = field(default_factory=dict)
    ops: list[tuple[str, list[str], list[str], dict[str, Any]]] = field(default_factory=list)
    quants: dict[str, tuple[str, Any]] = field(default_factory=dict)  # of computed tensors

    def op(self, kind: str, inputs: Sequence[str], output: str, dtype: str, q: Any, **attrs: Any) -> None:  # fmt: skip
        """Append an operation with one result."""
        self.ops.append((kind, list(inputs), [output], attrs))
        self.quants[output] = (dtype, q)


class Draw:
    """Random choices for one element type."""

    def __init__(self, oracle: Any, rng: np.random.Generator, dtype: str) -> None:
        self.oracle, self.rng, self.dtype = oracle, rng, dtype

    def pick(self, *options: Any) -> Any:
        """Return one of the options."""
        return options[int(self.rng.integers(len(options)))]

    def below(self, high: int, low: int = 1) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def shape(self, channels: int = 40, size: int = 20) -> tuple[int, int, int, int]:
        """Return a random feature map's shape."""
        return 1, self.below(channels), self.below(size), self.below(size)

    def quant(self, dtype: str | None = None) -> Any:
        """Return quantization parameters; zero points at both ends now and then."""
        dtype = dtype or self.dtype
        if dtype == "f16":
            return None
        if dtype == "u8":
            zero = self.pick(0, 255, 128, *(self.below(255, 0) for _ in range(4)))
            return self.oracle.asym(10 ** self.rng.uniform(-2.3, -1), zero)
        low, high = FRACTION_BITS[dtype]
        return self.oracle.dfp(self.rng.integers(low, high))

    def data(self, shape: tuple[int, ...], dtype: str | None = None) -> Array:
        """Return random codes over the whole type; f16: normal, with magnitudes of many kinds."""
        dtype = dtype or self.dtype
        if dtype == "f16":
            size = 2.0 ** self.rng.integers(-3, 4)
            return (self.rng.standard_normal(shape) * size).astype(np.float16)
        info = np.iinfo(NUMPY[dtype])
        return self.rng.integers(info.min, info.max + 1, shape).astype(NUMPY[dtype])

    def same_or_new(self, q: Any) -> Any:
        """Return the parameters, or others."""
        return self.pick(q, self.quant())


def scale_of(q: Any) -> np.float32:
    """Return the scale of oracle parameters."""
    return f32(1) if q is None else f32(q[1]) if q[0] == "asym" else f32(2.0 ** -q[1])


def weighted(d: Draw, kind: str, x: Array, weights: tuple[int, ...], outputs: int, **attrs: Any) -> Recipe:  # fmt: skip
    """Return a layer with weights and bias whose results fill the output's range."""
    recipe, dtype = Recipe(), d.dtype
    in_q = d.quant()
    recipe.inputs["x"] = (dtype, x, in_q)
    fan_in = int(np.prod(weights[1:])) if not attrs.get("mult") else int(np.prod(weights[2:]))
    if kind == "deconv2d":
        fan_in = weights[0] * 4
    spread = np.sqrt(fan_in)
    if dtype == "f16":
        recipe.constants["w"] = (d.data(weights), None)
        recipe.constants["b"] = (d.rng.standard_normal(outputs).astype(f32), None)
        recipe.op(kind, ["x", "w", "b"], "y", "f16", None, **attrs)
        return recipe
    w_q = d.quant()
    if dtype == "u8":
        w_q = d.oracle.asym(10 ** d.rng.uniform(-2.7, -1.5), d.pick(0, 255, *(d.below(200, 60) for _ in range(5))))  # fmt: skip
    codes = d.data(weights)
    recipe.constants["w"] = (codes, w_q)
    size = {"u8": 128, "i8": 128, "i16": 32768}[dtype]
    accumulator = spread * size * size / 3 * 10 ** d.rng.uniform(-0.7, 0.5)
    bias = d.rng.integers(-int(accumulator), int(accumulator) + 1, outputs)
    scale = f32(scale_of(in_q) * scale_of(w_q))
    if dtype == "u8":
        bias_q = d.oracle.asym(scale)
        out_q = d.oracle.asym(scale * accumulator / 100, d.pick(0, 255, d.below(255, 0), d.below(255, 0)))  # fmt: skip
        recipe.constants["b"] = (bias.astype(np.int32), bias_q)
    else:
        bits = in_q[1] + w_q[1]
        out_q = d.oracle.dfp(bits - max(0, int(np.log2(accumulator / size)) + d.below(1, -1)))
        stored = bias.astype(np.int32) if dtype == "i8" else bias
        recipe.constants["b"] = (stored, d.oracle.dfp(bits))
    recipe.op(kind, ["x", "w", "b"], "y", dtype, out_q, **attrs)
    return recipe


def conv2d(d: Draw) -> Recipe:
    """Ordinary convolutions: kernels to 11, strides to 4, dilation, uneven padding, batch."""
    kernel = d.pick((1, 1), (1, 1), (3, 3), (3, 3), (5, 5), (7, 7), (2, 2), (1, 3), (3, 1), (4, 4), (d.below(6), d.below(6)), (11, 11))  # fmt: skip
    stride = d.pick(1, 1, 1, 2, 2, 3, 4)
    strides = (stride, stride) if d.below(6) > 1 else (d.below(3), d.below(3))
    dilation = d.pick(1, 1, 1, 2, 3) if strides == (1, 1) and max(kernel) < 6 else 1
    extent = [(k - 1) * dilation + 1 for k in kernel]
    pad = d.pick([0] * 4, [e // 2 for e in extent for _ in (0, 1)], [d.below(e // 2, 0) for e in extent for _ in (0, 1)])  # fmt: skip
    height, width = (e + d.below(16, 0) for e in extent)
    x = d.data((d.pick(1, 1, 1, 1, 2), d.below(d.pick(4, 40, 100)), height, width))
    out_c = d.below(d.pick(3, 24, 60))
    shape = (out_c, x.shape[1], *kernel)
    return weighted(d, "conv2d", x, shape, out_c, pad=list(pad), stride=list(strides), dilation=[dilation] * 2)  # fmt: skip


def depthwise(d: Draw) -> Recipe:
    """Depthwise convolutions with and without multiplier."""
    k, stride, mult = d.pick(2, 3, 3, 5, 7), d.pick(1, 1, 2, 3), d.pick(1, 1, 1, 2, 3)
    dilation = d.pick(1, 1, 2) if stride == 1 else 1
    extent = (k - 1) * dilation + 1
    x = d.data((1, d.below(40), extent + d.below(14, 0), extent + d.below(14, 0)))
    outputs = x.shape[1] * mult
    pad = [d.pick(0, extent // 2)] * 4
    return weighted(d, "conv2d", x, (1, outputs, k, k), outputs, pad=pad, stride=[stride] * 2, dilation=[dilation] * 2, mult=mult)  # fmt: skip


def grouped(d: Draw) -> Recipe:
    """Grouped convolutions."""
    group, k = d.pick(2, 3, 4), d.pick(1, 3)
    per_in, per_out = d.below(8, 2), d.below(6)
    x = d.data((1, group * per_in, 3 + d.below(10), 3 + d.below(10)))
    return weighted(d, "gconv2d", x, (group * per_out, per_in, k, k), group * per_out, pad=[k // 2] * 4, group=group)  # fmt: skip


def one_pixel(d: Draw) -> Recipe:
    """Convolutions whose kernel covers the whole input."""
    k = d.pick(1, 2, 3, 5, 7)
    x = d.data((1, d.below(90), k, k))
    units = d.below(70, 1)
    return weighted(d, "conv2d", x, (units, x.shape[1], k, k), units)


def fc(d: Draw) -> Recipe:
    """Fully connected layers."""
    x = d.data((d.pick(1, 1, 1, 2, 5), d.below(d.pick(80, 600, 2000))))
    units = d.below(120)
    return weighted(d, "fc", x, (units, x.shape[1]), units, axis=1, units=units)


def deconv2d(d: Draw) -> Recipe:
    """Transposed convolutions."""
    k, stride, pad, out = d.pick((2, 2, 0, 0), (4, 2, 1, 0), (3, 2, 1, 1), (3, 1, 1, 0), (3, 2, 0, 0), (8, 4, 2, 0), (3, 3, 0, 0), (5, 2, 2, 1), (4, 4, 0, 0), (6, 2, 2, 0), (2, 1, 0, 0))  # fmt: skip
    x = d.data((1, d.below(12), d.below(10, 2), d.below(10, 2)))
    outputs = d.below(8)
    return weighted(d, "deconv2d", x, (outputs, x.shape[1], k, k), outputs, oc=outputs, ksize=[k, k], stride=[stride] * 2, pad=[pad] * 4, outpad=[out] * 2)  # fmt: skip


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
    recipe.op("pool2d", ["x"], "y", d.dtype, d.same_or_new(in_q), type=kind, ksize=list(size), stride=[stride] * 2, pad=[pad] * 4, round=how)  # fmt: skip
    return recipe


def globalpool(d: Draw) -> Recipe:
    """Global averages and maxima."""
    recipe, in_q, shape = Recipe(), d.quant(), d.shape(30, 20)
    recipe.inputs["x"] = (d.dtype, d.data(shape), in_q)
    recipe.op("globalpool", ["x"], "y", d.dtype, d.same_or_new(in_q), type=d.pick("avg", "avg", "max"), insize=list(shape[2:]))  # fmt: skip
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
        other = d.pick(shape, shape, (1, shape[1], 1, 1), (1, 1, 1, 1), (1, 1, 1, shape[3]), (1, 1, *shape[2:]))  # fmt: skip
        recipe.inputs["x"] = (d.dtype, d.data(shape), d.quant())
        recipe.inputs["z"] = (d.dtype, d.data(other), d.quant())
        recipe.op(kind, ["x", "z"], "y", d.dtype, d.quant())
        return recipe

    return build


def move(kind: str) -> Callable[[Draw], Recipe]:
    """Data movement with equal or other quantization behind it."""

    def build(d: Draw) -> Recipe:
        recipe, in_q = Recipe(), d.quant()
        n, c, h, w = shape = (1, 4 * d.below(5), 2 * d.below(8, 2), 2 * d.below(8, 2))
        out_q = d.same_or_new(in_q)
        attrs: dict[str, Any] = {}
        if kind == "transpose":
            attrs["perm"] = [0, *(1 + d.rng.permutation(3)).tolist()]
        elif kind == "reshape":
            attrs["shape"] = d.pick([1, c * h * w], [1, c, h * w], [1, c * h, w], [1, h, c, w])
        elif kind == "slice":
            start = [0, *(d.below(n // 2, 0) for n in shape[1:])]
            attrs |= {"start": start, "length": [d.below(n - s) for n, s in zip(shape, start, strict=True)]}  # fmt: skip
        elif kind == "stridedslice":
            steps = [1, d.pick(1, 2), d.pick(1, 2, 3), d.pick(1, 2)]
            attrs |= {"begin": [0, d.below(2, 0), d.below(2, 0), 0], "end": list(shape), "strides": steps}  # fmt: skip
        elif kind == "reverse":
            attrs["axis"] = [d.pick(1, 2, 3)]
        elif kind == "pad":
            attrs |= {"front": [0, 0, d.below(2, 0), d.below(3, 0)], "back": [0, 0, d.below(2, 0), d.below(3, 0)]}  # fmt: skip
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
    """Splits in two parts."""
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
    size = d.pick((h * factor, w * factor), (d.below(24), d.below(24)), (max(1, h // 2), max(1, w // 2)))  # fmt: skip
    flags = d.pick({}, {}, {"align_corners": 1}, {"half_pixel": 1})
    mode = d.pick("nearest", "bilinear", "bilinear")
    recipe.inputs["x"] = (d.dtype, d.data(shape), q)
    out_q = d.same_or_new(q) if mode == "bilinear" else q
    recipe.op("resize", ["x"], "y", d.dtype, out_q, height=size[0], width=size[1], mode=mode, **flags)  # fmt: skip
    return recipe


def softmax(kind: str) -> Callable[[Draw], Recipe]:
    """Softmax over the last axis of matrices and other axes of maps."""

    def build(d: Draw) -> Recipe:
        recipe, q = Recipe(), d.quant()
        shape = d.pick((1, 10), (1, 100), (1, 1001), (1, d.below(300, 2)), (1, 5, 6, 8), (1, d.below(30, 2), d.below(9), d.below(9)))  # fmt: skip
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
        outs = {"u8": d.oracle.asym(0.025, d.below(160, 90)), "i8": d.oracle.dfp(5), "i16": d.oracle.dfp(12)}  # fmt: skip
        recipe.inputs["x"] = (d.dtype, d.data(shape), q)
        attrs: dict[str, Any] = {}
        out_q = outs.get(d.dtype)
        names = ["x"]
        sizes = {"batchnorm": [shape[1]] * 4, "instancenorm": [shape[1]] * 2, "layernorm": [shape[3]] * 2}  # fmt: skip
        for position, size in enumerate(sizes.get(kind, [])):
            value = d.rng.uniform(0.5, 1.5, size) if position % 2 else d.rng.normal(0, 0.5, size)
            names.append(f"c{position}")
            recipe.constants[names[-1]] = (value.astype(f32), None)
        if kind == "l2norm":
            attrs["axis"] = 1
            out_q = {"u8": d.oracle.asym(1 / 127, 128), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(14)}.get(d.dtype)  # fmt: skip
        elif kind == "lrn":
            attrs = {"size": d.pick(3, 5, 7), "alpha": d.pick(0.01, 1e-4, 0.02), "beta": d.pick(0.75, 0.5), "bias": d.pick(1.0, 2.0), "axis": 1}  # fmt: skip
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
FAMILIES |= {kind: _unary(kind) for kind in (
    "relu relu1 relu6 sigmoid tanh hardswish swish abs square mish neg log softplus exp sqrt rsqrt "
    "floor"
).split()}  # fmt: skip
FAMILIES |= {kind: binary(kind) for kind in "add sub mul div max min pow".split()}
FAMILIES |= {kind: move(kind) for kind in (
    "transpose reshape slice stridedslice reverse pad space2depth depth2space shuffle tile"
).split()}  # fmt: skip
FAMILIES |= {kind: softmax(kind) for kind in ("softmax", "logsoftmax")}
FAMILIES |= {kind: reduction(kind) for kind in ("reduce_mean", "reduce_sum", "reduce_max")}
FAMILIES |= {kind: norm(kind) for kind in "l2norm lrn batchnorm instancenorm layernorm".split()}
