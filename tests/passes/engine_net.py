"""Build small quantized networks and ask for the engine of their last layer."""

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import TensorSpec
from npusim.ops import infer_shapes
from npusim.passes.assign_engine import assign_engine

QUANT: dict[DType, Quant] = {
    DType.U8: Affine(scale=0.05, zero_point=128),
    DType.I8: DynamicFixedPoint(fl=5),
    DType.I16: DynamicFixedPoint(fl=12),
    DType.F16: Float(),
}


class Net:
    """A network of one element type, built node by node."""

    def __init__(self, dtype: DType, shape=(1, 8, 12, 12), *, quant=None) -> None:
        self.dtype = dtype
        self.tensors: dict[str, TensorSpec] = {}
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.x = self.tensor("x", shape, quant)

    def tensor(self, name, shape, quant=None, dtype=None):
        dtype = dtype or self.dtype
        self.tensors[name] = TensorSpec(
            name=name, shape=tuple(shape), dtype=dtype, quant=quant or QUANT.get(dtype, Float())
        )
        return name

    def known(self, name, shape, quant=None, dtype=None):
        """Add a constant of zeros."""
        self.tensor(name, shape, quant, dtype)
        self.constants[name] = np.zeros(shape, self.tensors[name].dtype.numpy)
        return name

    def op(self, op, *inputs, attrs=None, quant=None, dtype=None):
        number = len(self.nodes)
        more = {"attrs": attrs} if attrs else {}
        node = Node(name=f"n{number}", op=op, inputs=inputs, outputs=(f"t{number}",), **more)
        shapes = infer_shapes(node, [self.tensors[name] for name in inputs])
        self.nodes.append(node)
        return self.tensor(f"t{number}", shapes[0], quant, dtype)

    def conv(self, x, out_c=8, kernel=1, *, stride=1, quant=None, weight_quant=None, dtype=None):
        in_c, number = self.tensors[x].shape[1], len(self.nodes)
        weights = self.known(f"w{number}", (out_c, in_c, kernel, kernel), weight_quant)
        bias = self.known(f"b{number}", (out_c,), Float(), DType.I32)
        attrs = Conv2dAttrs(stride=(stride, stride), pad=(kernel // 2,) * 4)
        return self.op("conv2d", x, weights, bias, attrs=attrs, quant=quant, dtype=dtype)

    def engine(self, *outputs) -> Engine | None:
        """Return the engine of the last node; the graph's outputs are ``outputs`` or its result."""
        engine = self.assigned(*outputs).nodes[-1].engine
        assert engine is not None
        return engine

    def assigned(self, *outputs) -> Graph:
        known = {name for node in self.nodes for name in node.outputs} | set(self.constants)
        return assign_engine(
            Graph(
                name="net",
                nodes=tuple(self.nodes),
                inputs=tuple(name for name in self.tensors if name not in known),
                constants=self.constants,
                outputs=outputs or self.nodes[-1].outputs,
                tensors=self.tensors,
            )
        )
