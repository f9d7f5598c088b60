"""Small graphs, built layer by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Activation, Attrs, Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ops import infer_shapes, op_def

_ACTIVATIONS: dict[DType, Quant] = {
    DType.U8: Affine(scale=0.05, zero_point=128),
    DType.I8: DynamicFixedPoint(fl=5),
    DType.I16: DynamicFixedPoint(fl=12),
}
_WEIGHTS: dict[DType, Quant] = {
    DType.U8: Affine(scale=0.01, zero_point=128),
    DType.I8: DynamicFixedPoint(fl=7),
    DType.I16: DynamicFixedPoint(fl=14),
}


def usual_quant(dtype: DType, *, weights: bool = False) -> Quant:
    """Return the parameters a builder gives to tensors of a type; `Float` for other types."""
    return (_WEIGHTS if weights else _ACTIVATIONS).get(dtype, Float())


def random_codes(rng: np.random.Generator, shape: Shape, dtype: DType) -> NDArray[Any]:
    """Return seeded noise: every code of an integer type, normal numbers times 3 of a float."""
    if dtype.is_float:
        return np.asarray(rng.standard_normal(shape) * 3).astype(dtype.numpy)
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.integers(dtype.min, dtype.max, shape, endpoint=True).astype(dtype.numpy)


class GraphBuilder:
    """Adds inputs, constants and layers; shapes come from the operators' rules.

    Parameters
    ----------
    dtype : DType
        Element type of inputs and results where nothing else is said.
    quant : Quant, optional
        Their quantization; `usual_quant` of the type by default.
    name : str
        Name of the graph.
    seed : int
        Of the weights that `conv` draws.
    """

    def __init__(
        self,
        dtype: DType = DType.F32,
        quant: Quant | None = None,
        *,
        name: str = "toy",
        seed: int = 0,
    ) -> None:
        self.dtype = dtype
        self.quant = usual_quant(dtype) if quant is None else quant
        self.rng = np.random.default_rng(seed)
        self.graph = Graph(name=name, nodes=(), inputs=(), outputs=(), tensors={})

    def shape(self, tensor: str) -> Shape:
        """Return the shape of a tensor."""
        return self.graph.spec(tensor).shape

    def input(
        self, name: str, *shape: int, dtype: DType | None = None, quant: Quant | None = None
    ) -> str:
        """Add a graph input; return its name."""
        self.graph.inputs = (*self.graph.inputs, name)
        return self._tensor(name, shape, dtype, quant)

    def constant(self, name: str, value: object, quant: Quant | None = None) -> str:
        """Add a known value, real unless ``quant`` is given; float64 becomes float32."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.graph.constants[name] = array
        return self._tensor(name, array.shape, DType.of(array.dtype), quant or Float())

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        output: str = "",
        attrs: Attrs | None = None,
        others: Sequence[str] = (),
        *,
        dtype: DType | None = None,
        quant: Quant | None = None,
        **changes: Any,
    ) -> str:
        """Add a layer ``n_<output>``; return its (first) output.

        Parameters
        ----------
        op : str
            Name of the operator.
        inputs : sequence of str
            Tensors that exist already.
        output : str
            Name of the result; by default a new one.
        attrs : Attrs, optional
            The operator's defaults when None.
        others : sequence of str
            Names of further results.
        dtype, quant : optional
            Format of the results, the builder's by default.
        **changes
            Other fields of the `Node`: engine, name, uid, origin.
        """
        output = output or f"t{len(self.graph.nodes)}"
        outputs = (output, *others)
        fields: dict[str, Any] = {
            "name": f"n_{output}",
            "attrs": op_def(op).attrs() if attrs is None else attrs,
            "uid": len(self.graph.nodes) + 1,
            "origin": (output,),
        }
        node = Node(op=op, inputs=tuple(inputs), outputs=outputs, **(fields | changes))
        shapes = infer_shapes(node, [self.graph.spec(name) for name in inputs])
        for name, shape in zip(outputs, shapes, strict=True):
            self._tensor(name, shape, dtype, quant)
        self.graph.nodes = (*self.graph.nodes, node)
        return output

    def conv(
        self,
        x: str,
        out_c: int,
        kernel: int = 3,
        output: str = "",
        *,
        stride: int = 1,
        pad: int | None = None,
        group: int = 1,
        activation: Activation = Activation.NONE,
        weight_quant: Quant | None = None,
        **changes: Any,
    ) -> str:
        """Add a convolution with random weights and biases; return its output.

        ``pad`` is the same on all sides and keeps odd kernels' maps by default; ``changes`` as in
        `node`.
        """
        output = output or f"t{len(self.graph.nodes)}"
        shape = (out_c, self.shape(x)[1] // group, kernel, kernel)
        # normal numbers over the square root of the products keep the size of the activations
        real = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        bias = self.rng.standard_normal(out_c) / 4
        if self.dtype.is_float:
            weights = self.constant(f"{output}.weights", real.astype(self.dtype.numpy))
            biases = self.constant(f"{output}.bias", bias.astype(np.float32))
        else:
            codes = random_codes(self.rng, shape, self.dtype)
            stored = weight_quant or usual_quant(self.dtype, weights=True)
            weights = self.constant(f"{output}.weights", codes, stored)
            biases = self.constant(f"{output}.bias", np.rint(bias * 1000).astype(np.int32))
        attrs = Conv2dAttrs(
            stride=(stride, stride),
            pad=(kernel // 2 if pad is None else pad,) * 4,
            group=group,
            activation=activation,
        )
        return self.node("conv2d", [x, weights, biases], output, attrs, **changes)

    def done(self, *outputs: str, batch: int = 1) -> Graph:
        """Return the graph; its outputs are ``outputs`` or those of the last layer."""
        self.graph.outputs = outputs or self.graph.nodes[-1].outputs
        self.graph.batch = batch
        return self.graph

    def _tensor(self, name: str, shape: Shape, dtype: DType | None, quant: Quant | None) -> str:
        if quant is None:
            quant = self.quant if dtype in (None, self.dtype) else usual_quant(dtype)
        self.graph.tensors[name] = TensorSpec(
            name=name, shape=tuple(shape), dtype=dtype or self.dtype, quant=quant
        )
        return name
