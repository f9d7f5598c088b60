"""Random layers with weights, and what random graphs are made of.

Every function takes a ``Draw`` (random choices for one element type) and returns a ``Recipe``:
inputs, constants, operations. Output shapes are left to ``fuzz_arithmetic``.
"""

from collections.abc import Sequence
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

    def op(
        self, kind: str, inputs: Sequence[str], output: str, dtype: str, q: Any, **attrs: Any
    ) -> None:
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


def weighted(
    d: Draw,
    kind: str,
    x: Array,
    weights: tuple[int, ...],
    outputs: int,
    **attrs: Any,
) -> Recipe:
    """Return a layer with weights and bias whose results fill the output's range."""
    recipe, in_q = Recipe(), d.quant()
    recipe.inputs["x"] = (d.dtype, x, in_q)
    layer(d, recipe, kind, "x", in_q, "y", weights, outputs, **attrs)
    return recipe


def layer(
    d: Draw,
    recipe: Recipe,
    kind: str,
    source: str,
    in_q: Any,
    output: str,
    weights: tuple[int, ...],
    outputs: int,
    **attrs: Any,
) -> Any:
    """Append a layer with weights and bias to a recipe; return its output's parameters."""
    names = [source, f"w_{output}", f"b_{output}"]
    if d.dtype == "f16":
        codes = d.data(weights)
        if source != "x":
            codes = (codes / max(1, np.sqrt(np.prod(weights[1:])))).astype(np.float16)
        recipe.constants[names[1]] = (codes, None)
        recipe.constants[names[2]] = (d.rng.standard_normal(outputs).astype(f32), None)
        recipe.op(kind, names, output, "f16", None, **attrs)
        return None
    fan_in = int(np.prod(weights[1:])) if not attrs.get("mult") else int(np.prod(weights[2:]))
    if kind == "deconv2d":
        fan_in = weights[0] * 4
    size = {"u8": 128, "i8": 128, "i16": 32768}[d.dtype]
    accumulator = np.sqrt(fan_in) * size * size / 3 * 10 ** d.rng.uniform(-0.7, 0.5)
    shift = max(0, int(np.log2(accumulator / size)) + d.below(1, -1))
    if d.dtype == "u8":
        zero = d.pick(0, 255, *(d.below(200, 60) for _ in range(5)))
        w_q = d.oracle.asym(10 ** d.rng.uniform(-2.7, -1.5), zero)
    else:
        w_q = d.oracle.dfp(d.quant()[1] + shift - in_q[1])
    recipe.constants[names[1]] = (d.data(weights), w_q)
    bias = d.rng.integers(-int(accumulator), int(accumulator) + 1, outputs)
    scale = f32(scale_of(in_q) * scale_of(w_q))
    if d.dtype == "u8":
        bias_q = d.oracle.asym(scale)
        zero = d.pick(0, 255, d.below(255, 0), d.below(255, 0))
        out_q = d.oracle.asym(scale * accumulator / 100, zero)
        recipe.constants[names[2]] = (bias.astype(np.int32), bias_q)
    else:
        bits = in_q[1] + w_q[1]
        out_q = d.oracle.dfp(bits - shift)
        stored = bias.astype(np.int32) if d.dtype == "i8" else bias
        recipe.constants[names[2]] = (stored, d.oracle.dfp(bits))
    recipe.op(kind, names, output, d.dtype, out_q, **attrs)
    return out_q


def conv2d(d: Draw) -> Recipe:
    """Ordinary convolutions: kernels to 11, strides to 4, dilation, uneven padding, batch."""
    kernel = d.pick(
        (1, 1),
        (1, 1),
        (3, 3),
        (3, 3),
        (5, 5),
        (7, 7),
        (2, 2),
        (1, 3),
        (3, 1),
        (4, 4),
        (d.below(6), d.below(6)),
        (11, 11),
    )
    stride = d.pick(1, 1, 1, 2, 2, 3, 4)
    strides = (stride, stride) if d.below(6) > 1 else (d.below(3), d.below(3))
    dilation = d.pick(1, 1, 1, 2, 3) if strides == (1, 1) and max(kernel) < 6 else 1
    extent = [(k - 1) * dilation + 1 for k in kernel]
    pad = d.pick(
        [0] * 4,
        [e // 2 for e in extent for _ in (0, 1)],
        [d.below(e // 2, 0) for e in extent for _ in (0, 1)],
    )
    height, width = (e + d.below(16, 0) for e in extent)
    x = d.data((d.pick(1, 1, 1, 1, 2), d.below(d.pick(4, 40, 100)), height, width))
    out_c = d.below(d.pick(3, 24, 60))
    shape = (out_c, x.shape[1], *kernel)
    return weighted(
        d, "conv2d", x, shape, out_c, pad=list(pad), stride=list(strides), dilation=[dilation] * 2
    )


def depthwise(d: Draw) -> Recipe:
    """Depthwise convolutions with and without multiplier."""
    k, stride, mult = d.pick(2, 3, 3, 5, 7), d.pick(1, 1, 2, 3), d.pick(1, 1, 1, 2, 3)
    dilation = d.pick(1, 1, 2) if stride == 1 else 1
    extent = (k - 1) * dilation + 1
    x = d.data((1, d.below(40), extent + d.below(14, 0), extent + d.below(14, 0)))
    outputs = x.shape[1] * mult
    pad = [d.pick(0, extent // 2)] * 4
    return weighted(
        d,
        "conv2d",
        x,
        (1, outputs, k, k),
        outputs,
        pad=pad,
        stride=[stride] * 2,
        dilation=[dilation] * 2,
        mult=mult,
    )


def grouped(d: Draw) -> Recipe:
    """Draw grouped convolutions."""
    group, k = d.pick(2, 3, 4), d.pick(1, 3)
    per_in, per_out = d.below(8, 2), d.below(6)
    x = d.data((1, group * per_in, 3 + d.below(10), 3 + d.below(10)))
    return weighted(
        d,
        "gconv2d",
        x,
        (group * per_out, per_in, k, k),
        group * per_out,
        pad=[k // 2] * 4,
        group=group,
    )


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
    k, stride, pad, out = d.pick(
        (2, 2, 0, 0),
        (4, 2, 1, 0),
        (3, 2, 1, 1),
        (3, 1, 1, 0),
        (3, 2, 0, 0),
        (8, 4, 2, 0),
        (3, 3, 0, 0),
        (5, 2, 2, 1),
        (4, 4, 0, 0),
        (6, 2, 2, 0),
        (2, 1, 0, 0),
    )
    x = d.data((1, d.below(12), d.below(10, 2), d.below(10, 2)))
    outputs = d.below(8)
    return weighted(
        d,
        "deconv2d",
        x,
        (outputs, x.shape[1], k, k),
        outputs,
        oc=outputs,
        ksize=[k, k],
        stride=[stride] * 2,
        pad=[pad] * 4,
        outpad=[out] * 2,
    )
