"""Build small float graphs by hand."""

from collections.abc import Sequence

import numpy as np

from npusim.ir.attrs import Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.ops import infer_shapes, op_def


class Builder:
    """Adds inputs, constants and nodes; shapes come from the operator rules."""

    def __init__(self, name: str = "toy") -> None:
        self.graph = Graph(name=name, nodes=(), inputs=(), outputs=(), tensors={})

    def input(self, name: str, *shape: int) -> str:
        self.graph.tensors[name] = TensorSpec(name=name, shape=shape)
        self.graph.inputs = (*self.graph.inputs, name)
        return name

    def constant(self, name: str, value: object) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.graph.constants[name] = array
        self.graph.tensors[name] = TensorSpec(
            name=name, shape=array.shape, dtype=DType.of(array.dtype)
        )
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        attrs: Attrs | None = None,
        others: Sequence[str] = (),
    ) -> str:
        outputs = (output, *others)
        node = Node(
            name=f"n_{output}",
            op=op,
            inputs=tuple(inputs),
            outputs=outputs,
            attrs=attrs or op_def(op).attrs(),
            uid=len(self.graph.nodes) + 1,
            origin=(output,),
        )
        shapes = infer_shapes(node, [self.graph.spec(name) for name in inputs])
        for name, shape in zip(outputs, shapes, strict=True):
            self.graph.tensors[name] = TensorSpec(name=name, shape=shape)
        self.graph.nodes = (*self.graph.nodes, node)
        return output

    def done(self, *outputs: str) -> Graph:
        self.graph.outputs = outputs
        return self.graph
