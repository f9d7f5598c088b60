"""A network under construction for random graphs: layers, operations, views, joins."""

from typing import Any

import numpy as np
from random_layers import Draw, Recipe, layer, scale_of

from npusim.ops import TpTable, ops_named_in

Quant = Any
Shape = tuple[int, ...]
ACTIVATIONS = tuple(
    ops_named_in("golden", lambda d: d.activation and d.tp_table is TpTable.ACTIVATION)
)
RECTIFIERS = ("relu", "relu6")


class Chain:
    """A recipe under construction that remembers shapes and parameters of its tensors."""

    def __init__(self, d: Draw) -> None:
        self.d, self.recipe, self.started = d, Recipe(), 0
        shape = (1, d.below(12, 2), 2 * d.below(6, 2), 2 * d.below(6, 2))
        q = d.quant()
        self.recipe.inputs["x"] = (d.dtype, d.data(shape), q)
        self.known: dict[str, tuple[tuple[int, ...], Quant]] = {"x": (shape, q)}

    def conv(self, source: str, output: str, channels: int = 0, stride: int = 1) -> str:
        """Append a convolution of 1x1 or 3x3, or a depthwise one when channels allow."""
        (_, in_c, h, w), q = self.known[source]
        k = self.d.pick(1, 3) if stride == 1 else 3
        attrs = {"pad": [k // 2] * 4, "stride": [stride] * 2}
        if channels in (0, in_c) and in_c > 1 and self.d.below(4) == 1:
            channels, weights = in_c, (1, in_c, k, k)
            attrs |= {"mult": 1}
        else:
            channels = channels or self.d.below(12, 2)
            weights = (channels, in_c, k, k)
        out_q = layer(self.d, self.recipe, "conv2d", source, q, output, weights, channels, **attrs)
        size = [(n + stride - 1) // stride for n in (h, w)]
        self.known[output] = ((1, channels, *size), out_q)
        return output

    def op(
        self,
        kind: str,
        inputs: list[str],
        output: str,
        q: Quant = "same",
        shape: Any = None,
        **attrs: Any,
    ) -> str:
        """Append an operation; parameters and shape are those of its first input unless given."""
        first_shape, first_q = self.known[inputs[0]]
        q = first_q if q == "same" else q
        self.recipe.op(kind, inputs, output, self.d.dtype, q, **attrs)
        self.known[output] = (shape or first_shape, q)
        return output

    def near(self, name: str, factor: float = 1.0) -> Quant:
        """Return parameters of about ``factor`` times a tensor's scale, or the same ones."""
        q = self.known[name][1]
        if q is None:
            return None
        if self.d.below(3) == 1 and factor == 1.0:
            return q
        if q[0] == "asym":
            return self.d.oracle.asym(
                q[1] * factor * self.d.rng.uniform(0.6, 1.8), self.d.pick(0, self.d.below(255, 0))
            )
        return self.d.oracle.dfp(q[1] - round(np.log2(factor)) + self.d.below(1, -1))

    def branch(self, source: str, output: str, channels: int) -> str:
        """Append a convolution and, now and then, something behind it that keeps the shape."""
        kind = self.d.pick("conv", "conv", "act", "max", "avg", "mul", "convs")
        if kind == "conv":
            return self.conv(source, output, channels)
        inner = self.conv(source, f"{output}_in", channels)
        if kind == "convs":
            return self.conv(inner, output, channels)
        if kind == "act":
            act = self.d.pick(*ACTIVATIONS)
            attrs = {"alpha": 0.1} if act == "leaky_relu" else {}
            return self.op(act, [inner], output, self.near(inner), **attrs)
        if kind == "mul":
            other = self.conv(source, f"{output}_by", channels)
            a, b = (scale_of(self.known[n][1]) for n in (inner, other))
            q = self.known[inner][1]
            if q is not None and q[0] == "asym":
                q = self.d.oracle.asym(a * b * 60, self.d.below(255, 0))
            elif q is not None:
                q = self.d.oracle.dfp(-round(np.log2(a * b)) - {"i8": 6, "i16": 14}[self.d.dtype])
            return self.op("mul", [inner, other], output, q)
        return self.op(
            "pool2d", [inner], output, type=kind, ksize=[3, 3], stride=[1, 1], pad=[1] * 4
        )

    # ---- views and joins -----------------------------------------------------------------------
    def start(self, shape: Shape, q: Quant = "new") -> str:
        """Add another input of the graph."""
        self.started += 1
        name = f"x{self.started}"
        q = self.d.quant() if q == "new" else q
        self.recipe.inputs[name] = (self.d.dtype, self.d.data(shape), q)
        self.known[name] = (shape, q)
        return name

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape."""
        return self.known[name][0]

    def into(self, source: str, output: str, channels: int, q: Quant, kernel: int = 1) -> str:
        """Append a convolution that stores in given parameters, as the layers of a concat do."""
        _, in_c, h, w = self.shape(source)
        weights = (channels, in_c, kernel, kernel)
        pad = [kernel // 2] * 4
        own = self.known[source][1]
        made = layer(self.d, self.recipe, "conv2d", source, own, output, weights, channels, pad=pad)
        if q is not None:
            self._rescale(output, made, own, q)
        self.recipe.quants[output] = (self.d.dtype, q)
        self.known[output] = ((1, channels, h, w), q)
        return output

    def _rescale(self, output: str, made: Quant, own: Quant, q: Quant) -> None:
        """Give weights and bias scales with which sums fill ``q`` as they filled ``made``."""
        names = f"w_{output}", f"b_{output}"
        (weights, w_q), (bias, _) = (self.recipe.constants[name] for name in names)
        if q[0] == "asym":
            w_q = self.d.oracle.asym(w_q[1] * q[1] / made[1], w_q[2])
            b_q = self.d.oracle.asym(np.float32(own[1]) * np.float32(w_q[1]))
        else:
            w_q = self.d.oracle.dfp(w_q[1] + q[1] - made[1])
            b_q = self.d.oracle.dfp(own[1] + w_q[1])
        self.recipe.constants[names[0]] = (weights, w_q)
        self.recipe.constants[names[1]] = (bias, b_q)

    def activation(self, source: str, output: str, q: Quant = "same") -> str:
        """Append a table of TP."""
        kind = self.d.pick("sigmoid", "tanh", "leaky_relu", *RECTIFIERS)
        return self.op(
            kind, [source], output, q, **({"alpha": 0.1} if kind == "leaky_relu" else {})
        )

    def reshape(self, source: str, output: str, shape: Shape) -> str:
        """Append another name for a tensor's memory."""
        q = self.known[source][1]
        self.recipe.op("reshape", [source], output, self.d.dtype, q, shape=list(shape))
        self.known[output] = (shape, q)
        return output

    def permute(self, source: str, output: str, perm: tuple[int, ...]) -> str:
        """Append a transpose."""
        shape = tuple(self.shape(source)[axis] for axis in perm)
        return self.op("transpose", [source], output, shape=shape, perm=list(perm))

    def part(self, source: str, output: str, axis: int, first: int, length: int) -> str:
        """Append a slice along one axis, in either of the driver's two spellings."""
        whole = self.shape(source)
        shape = tuple(length if i == axis else n for i, n in enumerate(whole))
        begin = [first if i == axis else 0 for i in range(len(whole))]
        if self.d.below(2) == 1:
            return self.op("slice", [source], output, shape=shape, start=begin, length=list(shape))
        end = [b + n for b, n in zip(begin, shape, strict=True)]
        ones = [1] * len(whole)
        return self.op(
            "stridedslice", [source], output, shape=shape, begin=begin, end=end, strides=ones
        )

    def every_second(self, source: str, output: str, row: int, column: int) -> str:
        """Append a slice of every second pixel."""
        n, c, h, w = self.shape(source)
        return self.op(
            "stridedslice",
            [source],
            output,
            shape=(n, c, h // 2, w // 2),
            begin=[0, 0, row, column],
            end=[n, c, h, w],
            strides=[1, 1, 2, 2],
        )

    def split(self, source: str, output: str, axis: int, sizes: list[int]) -> list[str]:
        """Append a split; its results are numbered."""
        whole, q = self.known[source]
        names = [f"{output}{i}" for i in range(len(sizes))]
        self.recipe.ops.append(("split", [source], list(names), {"axis": axis, "slices": sizes}))
        for name, size in zip(names, sizes, strict=True):
            self.recipe.quants[name] = (self.d.dtype, q)
            self.known[name] = (tuple(size if i == axis else n for i, n in enumerate(whole)), q)
        return names

    def concat(self, parts: list[str], output: str, axis: int = 1, q: Quant = "same") -> str:
        """Append a concat, by default in the parameters of its first part."""
        shape = list(self.shape(parts[0]))
        shape[axis] = sum(self.shape(name)[axis] for name in parts)
        return self.op("concat", parts, output, q, tuple(shape), axis=axis)

    def joined(self, q: Quant) -> Quant:
        """Return the parameters of a concat of parts in ``q``: mostly the same, or others."""
        if q is None or self.d.below(4) > 1:
            return q
        if q[0] == "asym":
            return self.d.oracle.asym(q[1] * self.d.rng.uniform(1.1, 1.6), q[2])
        return self.d.oracle.dfp(q[1] - 1)
