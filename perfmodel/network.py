"""What the performance model sees of a network: operators, shapes, types; no arrays.

``from_graph`` describes a graph (quantized or not); ``npusim.perfmodel.layer_list`` reads layer
lists that have no weights at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import NO_ATTRS, Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import zero_point_of
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ops import node_macs

# Operators that only name their input's memory anew.
VIEW_OPS = frozenset(("identity", "reshape"))
# Share of weights that round to the zero point when nothing is known of them: normally distributed
# weights whose largest value is four standard deviations. Source: measured, perf tables.
UNKNOWN_ZERO_FRACTION = {8: 0.016, 16: 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator.

    Attributes
    ----------
    name, uid, op, attrs, engine
        As in ``npusim.ir.graph.Node``.
    inputs, outputs : tuple of str
        Activations only.
    weight_shape : tuple of int
        Shape of the weights, empty when there are none.
    constant_bytes : int
        Size of all constants (weights, bias, slopes), uncompressed.
    zero_fraction : float
        Share of weights equal to the zero point.
    macs : int
        For the tensors' own batch.
    in_place : bool
        Inputs and output share one quantization, so that a concatenation needs no copy.
    """

    name: str
    uid: int
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs = NO_ATTRS
    engine: Engine | None = None
    weight_shape: Shape = ()
    constant_bytes: int = 0
    zero_fraction: float = 0.0
    macs: int = 0
    in_place: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Layers in execution order with the shape and type of every activation."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, DType]
    target: str = "rk1808"
    batch: int = 1

    def tensor_bytes(self, name: str) -> int:
        """Return the dense size of an activation on the chip, for its own batch."""
        return prod(self.shapes[name]) * self.dtypes[name].itemsize

    def consumers(self) -> dict[str, list[Layer]]:
        """Return activation -> layers that read it."""
        users: dict[str, list[Layer]] = {name: [] for name in self.shapes}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                users[name].append(layer)
        return users

    def producers(self) -> dict[str, Layer]:
        """Return activation -> layer that writes it."""
        return {name: layer for layer in self.layers for name in layer.outputs}


def chip_dtype(dtype: DType) -> DType:
    """Return the type a tensor has on the chip: floats run as float16."""
    return DType.F16 if dtype is DType.F32 else dtype


def from_graph(graph: Graph, dtype: DType | None = None) -> Network:
    """Describe a graph.

    Parameters
    ----------
    graph : Graph
    dtype : DType, optional
        Prices the network as if its feature maps and weights had this type. Needed to see what
        quantization would bring to a float graph; by default every tensor keeps its own type.
    """
    shapes: dict[str, Shape] = {}
    dtypes: dict[str, DType] = {}
    for name, spec in graph.tensors.items():
        if name not in graph.constants:
            shapes[name] = spec.shape
            dtypes[name] = dtype or chip_dtype(spec.dtype)
    return Network(
        name=graph.name,
        layers=tuple(_layer(node, graph, dtype) for node in graph.nodes),
        inputs=graph.inputs,
        outputs=tuple(n for n in graph.outputs if n not in graph.constants),
        shapes=shapes,
        dtypes=dtypes,
        target=graph.target,
        batch=graph.batch,
    )


def images_of(shape: Shape) -> int:
    """Return the number of images in a tensor: its first axis, when it has others."""
    return shape[0] if len(shape) > 1 else 1


def _constant_bytes(spec: TensorSpec, dtype: DType | None) -> int:
    wanted = dtype or chip_dtype(spec.dtype)
    return spec.elements * (wanted.itemsize if spec.dtype.is_float else spec.dtype.itemsize)


_WEIGHTED = ("conv2d", "deconv2d", "fc")


def _layer(node: Node, graph: Graph, dtype: DType | None) -> Layer:
    constants = [name for name in node.inputs if name in graph.constants]
    specs = [graph.spec(name) for name in node.inputs]
    weight: TensorSpec | None = None
    zeros = 0.0
    if node.op in _WEIGHTED and node.inputs[1] in graph.constants:
        weight = specs[1]
        zeros = zero_share(graph.constants[weight.name], weight, dtype)
    return Layer(
        name=node.name,
        uid=node.uid,
        op=node.op,
        inputs=graph.activations(node),
        outputs=node.outputs,
        attrs=node.attrs,
        engine=node.engine,
        weight_shape=weight.shape if weight else (),
        constant_bytes=sum(_constant_bytes(graph.spec(name), dtype) for name in constants),
        zero_fraction=zeros,
        in_place=_in_place(node, graph),
        macs=node_macs(node, [s.shape for s in specs], graph.spec(node.outputs[0]).shape),
    )


def _in_place(node: Node, graph: Graph) -> bool:
    quants = [graph.spec(name).quant for name in (*graph.activations(node), *node.outputs)]
    return all(quant == quants[0] for quant in quants)


def zero_share(weights: NDArray[np.generic], spec: TensorSpec, dtype: DType | None = None) -> float:
    """Return the share of weights that the chip stores as zero.

    Float weights that are to be priced as ``dtype`` are counted as they would round with a step of
    their range over the type's range.
    """
    if not weights.size:
        return 0.0
    if spec.dtype.is_float and dtype is not None and not dtype.is_float:
        low, high = min(float(weights.min()), 0.0), max(float(weights.max()), 0.0)
        half_step = (high - low) / (dtype.max - dtype.min) / 2
        return float(np.count_nonzero(np.abs(weights) <= half_step)) / weights.size
    zero_points = getattr(spec.quant, "zero_points", None)
    if zero_points is not None:
        shape = [1] * weights.ndim
        shape[spec.quant.axis] = -1  # type: ignore[union-attr]
        zero: object = np.asarray(zero_points).reshape(shape)
    else:
        zero = zero_point_of(spec.quant)
    return 1.0 - float(np.count_nonzero(weights != zero)) / weights.size
