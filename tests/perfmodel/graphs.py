"""Small graphs for tests of the performance model."""

import numpy as np

from npusim.ir.attrs import Activation, Conv2dAttrs, GlobalPoolAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, Float
from npusim.ir.tensor import TensorSpec


class GraphBuilder:
    """Adds layers one after another; weights are seeded noise."""

    def __init__(self, shape, dtype=DType.U8, seed=0):
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.tensors, self.constants, self.nodes = {}, {}, []
        self.last = self.tensor("input", shape)

    def tensor(self, name, shape, dtype=None, quant=None):
        dtype = dtype or self.dtype
        quant = quant or (Float() if dtype.is_float else Affine(scale=0.02, zero_point=128))
        self.tensors[name] = TensorSpec(name=name, shape=shape, dtype=dtype, quant=quant)
        return name

    def constant(self, name, value):
        quant = Affine(scale=0.01, zero_point=128) if value.dtype == np.uint8 else None
        if value.dtype == np.int32:
            quant = Affine(scale=0.0002)
        self.constants[name] = value
        return self.tensor(name, value.shape, DType.of(value.dtype), quant)

    def add(self, op, inputs, shape, attrs=None, **changes):
        name = f"{op}_{len(self.nodes)}"
        out = self.tensor(f"{name}:out", shape)
        attrs = {} if attrs is None else {"attrs": attrs}
        self.nodes.append(
            Node(
                name=name, op=op, inputs=tuple(inputs), outputs=(out,), uid=len(self.nodes) + 1,
                **attrs, **changes,
            )
        )  # fmt: skip
        self.last = out
        return out

    def conv(self, out_c, kernel, stride=1, group=1, zeros=0.0, **changes):
        _, in_c, in_h, in_w = self.tensors[self.last].shape
        shape = (out_c, in_c // group, kernel, kernel)
        if self.dtype.is_float:
            weights = self.rng.normal(size=shape).astype(np.float16)
        else:
            weights = self.rng.integers(0, 256, shape).astype(np.uint8)
            weights[self.rng.random(shape) < zeros] = 128
        index = len(self.nodes)
        pad = kernel // 2
        out = [(n + 2 * pad - kernel) // stride + 1 for n in (in_h, in_w)]
        bias_type = np.float32 if self.dtype.is_float else np.int32
        return self.add(
            "conv2d",
            [
                self.last,
                self.constant(f"weights_{index}", weights),
                self.constant(f"bias_{index}", np.zeros(out_c, bias_type)),
            ],
            (1, out_c, *out),
            Conv2dAttrs(
                stride=(stride, stride), pad=(pad,) * 4, group=group, activation=Activation.RELU
            ),
            **changes,
        )

    def max_pool(self, kernel, stride, pad=0):
        n, c, h, w = self.tensors[self.last].shape
        out = [(x + 2 * pad - kernel) // stride + 1 for x in (h, w)]
        attrs = Pool2dAttrs(
            kind=PoolKind.MAX, kernel=(kernel, kernel), stride=(stride, stride), pad=(pad,) * 4
        )
        return self.add("pool2d", [self.last], (n, c, *out), attrs)

    def global_pool(self):
        n, c, _, _ = self.tensors[self.last].shape
        return self.add(
            "global_pool", [self.last], (n, c, 1, 1), GlobalPoolAttrs(kind=PoolKind.AVG)
        )

    def graph(self, batch=1):
        return Graph(
            name="small",
            nodes=tuple(self.nodes),
            inputs=("input",),
            outputs=(self.last,),
            tensors=self.tensors,
            constants=self.constants,
            batch=batch,
        )


def mobile_block(size=112, channels=32, dtype=DType.U8, batch=1):
    """Stem, depthwise, pointwise and global pooling."""
    builder = GraphBuilder((1, 3, 2 * size, 2 * size), dtype)
    builder.conv(channels, 3, 2)
    builder.conv(channels, 3, 1, group=channels)
    builder.conv(2 * channels, 1)
    builder.global_pool()
    return builder.graph(batch)
