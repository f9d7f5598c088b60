"""Ask for the engine of the last layer of a small quantized network."""

import numpy as np

from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph
from npusim.passes.assign_engine import assign_engine
from npusim.testing import GraphBuilder, usual_quant


class Net(GraphBuilder):
    """A network of one element type with one input ``x``; tensors may be declared without data."""

    def __init__(self, dtype: DType, shape=(1, 8, 12, 12), *, quant=None) -> None:
        super().__init__(dtype, name="net")
        self.x = self.tensor("x", shape, quant)

    def tensor(self, name, shape, quant=None, dtype=None):
        return self.input(name, *shape, dtype=dtype, quant=quant)

    def known(self, name, shape, quant=None, dtype=None):
        """Add a constant of zeros."""
        dtype = dtype or self.dtype
        return self.constant(name, np.zeros(shape, dtype.numpy), quant or usual_quant(dtype))

    def op(self, op, *inputs, **more):
        return self.node(op, inputs, **more)

    def conv(self, x, out_c=8, kernel=1, **more):
        return super().conv(x, out_c, kernel, **more)

    def engine(self, *outputs) -> Engine | None:
        """Return the engine of the last node; the graph's outputs are ``outputs`` or its result."""
        engine = self.assigned(*outputs).nodes[-1].engine
        assert engine is not None
        return engine

    def assigned(self, *outputs) -> Graph:
        return assign_engine(self.done(*outputs))
