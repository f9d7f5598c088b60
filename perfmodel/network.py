"""What the performance model sees of a network: operators, shapes, types, places; no arrays.

``from_graph`` describes a graph of any stage; ``npusim.perfmodel.layer_list`` reads layer lists
that have no weights at all. Both take the passes' word for where a layer runs and in what form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError
from npusim.ir.attrs import NO_ATTRS, Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form, Graph, Node, layer_id
from npusim.ir.quant import zero_point_of
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ops import node_macs, op_def
from npusim.passes.pipeline import place
from npusim.passes.uniform import uniform

AttrsKind = TypeVar("AttrsKind", bound=Attrs)

# Share of weights that round to the zero point when nothing is known of them: normally distributed
# weights whose largest value is four standard deviations. Source: measured, perf tables.
UNKNOWN_ZERO_FRACTION = {8: 0.016, 16: 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator.

    Attributes
    ----------
    name, uid, op, attrs, engine, form
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
    """

    name: str
    uid: int
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    engine: Engine
    form: Form
    attrs: Attrs = NO_ATTRS
    weight_shape: Shape = ()
    constant_bytes: int = 0
    zero_fraction: float = 0.0
    macs: int = 0

    @property
    def layer_id(self) -> str:
        """Return name and uid, as in ``Node.layer_id``."""
        return layer_id(self.name, self.uid)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layers in execution order with the shape and type of every activation.

    ``host_layers`` names what the CPU runs behind them, which has no price.
    """

    name: str
    layers: tuple[Layer, ...] = field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape] = field(repr=False)
    dtypes: Mapping[str, DType] = field(repr=False)
    target: str = "rk1808"
    batch: int = 1
    host_layers: tuple[str, ...] = ()

    def tensor_bytes(self, name: str) -> int:
        """Return the dense size of an activation on the chip, for its own batch."""
        return prod(self.shapes[name]) * self.dtypes[name].itemsize

    def maps(self, name: str) -> Shape:
        """Return the shape of an activation as N, C, H, W."""
        return nchw(self.shapes[name])

    def image_bytes(self, *names: str) -> int:
        """Return the bytes of activations for one image."""
        return sum(prod(self.maps(name)[1:]) * self.dtypes[name].itemsize for name in names)

    @cached_property
    def consumers(self) -> dict[str, list[Layer]]:
        """Return activation -> layers that read it."""
        users: dict[str, list[Layer]] = {name: [] for name in self.shapes}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                users[name].append(layer)
        return users

    @cached_property
    def producers(self) -> dict[str, Layer]:
        """Return activation -> layer that writes it."""
        return {name: layer for layer in self.layers for name in layer.outputs}

    def copied_parts(self, layer: Layer) -> tuple[str, ...]:
        """Return the inputs of a concat in place that no layer could write where they belong.

        Parts of other tensors, repeated inputs and what lies in an earlier such concat already.
        Source: measured (operation lists of small networks).
        """
        copied = []
        for position, name in enumerate(layer.inputs):
            first = next(user for user in self.consumers[name] if user.form is Form.IN_PLACE)
            view = self.producers[name].form is Form.VIEW
            if view or first is not layer or name in layer.inputs[:position]:
                copied.append(name)
        return tuple(copied)


def attrs_of(layer: Layer, kind: type[AttrsKind]) -> AttrsKind:
    """Return a layer's attributes, which must be of the kind its operator has."""
    if not isinstance(layer.attrs, kind):
        raise GraphError(
            f"{layer.op} has {type(layer.attrs).__name__}",
            where=f"layer {layer.name!r}",
            rule=f"its attributes are {kind.__name__}",
        )
    return layer.attrs


def nchw(shape: Shape) -> Shape:
    """Return a shape with four axes: the second is channels, all after the third are one."""
    if len(shape) >= 4:
        return (shape[0], shape[1], shape[2], prod(shape[3:]))
    if len(shape) == 3:
        return (shape[0], shape[1], 1, shape[2])
    return (*shape, *(1,) * (4 - len(shape)))


def chip_dtype(dtype: DType) -> DType:
    """Return the type a tensor has on the chip: floats run as float16."""
    return DType.F16 if dtype is DType.F32 else dtype


def from_graph(
    graph: Graph, dtype: DType | None = None, zero_fractions: Mapping[str, float] | None = None
) -> Network:
    """Describe a graph.

    Parameters
    ----------
    graph : Graph
        Lowered: taken as it is. Quantized: placed first. Float: placed as float16.
    dtype : DType, optional
        Prices the network as if it had this number format throughout, all activations in one
        quantization (``npusim.passes.uniform``), whatever it was placed as before.
    zero_fractions : mapping, optional
        Weight tensor -> share of zeros, instead of counting them.
    """
    placed = _placed(graph, dtype)
    zero_fractions = _zero_fractions(graph, dtype, zero_fractions or {})
    shapes: dict[str, Shape] = {}
    dtypes: dict[str, DType] = {}
    for name, spec in placed.tensors.items():
        if name not in placed.constants:
            shapes[name] = spec.shape
            dtypes[name] = chip_dtype(spec.dtype)
    return Network(
        name=placed.name,
        layers=tuple(_layer(node, placed, zero_fractions) for node in placed.nodes),
        inputs=placed.inputs,
        outputs=tuple(n for n in placed.outputs if n not in placed.constants),
        shapes=shapes,
        dtypes=dtypes,
        target=placed.target,
        batch=placed.batch,
        host_layers=tuple(f"{x.name} ({x.op})" for x in graph.tail.layers) if graph.tail else (),
    )


def _placed(graph: Graph, dtype: DType | None) -> Graph:
    if dtype is not None:
        return place(uniform(graph, dtype))
    if graph.is_lowered:
        return graph
    real = any(graph.spec(name).dtype is DType.F32 for name in graph.inputs)
    return place(graph if graph.is_quantized or not real else uniform(graph, DType.F16))


def images_of(shape: Shape) -> int:
    """Return the number of images in a tensor: its first axis, when it has others."""
    return shape[0] if len(shape) > 1 else 1


def _constant_bytes(spec: TensorSpec) -> int:
    return spec.elements * chip_dtype(spec.dtype).itemsize


def _layer(node: Node, graph: Graph, zero_fractions: Mapping[str, float]) -> Layer:
    specs = [graph.spec(name) for name in node.inputs]
    weights = specs[1] if _weights_known(node, graph) else None
    assert node.engine is not None  # the graph is placed
    assert node.form is not None
    return Layer(
        name=node.name,
        uid=node.uid,
        op=node.op,
        inputs=graph.activations(node),
        outputs=node.outputs,
        attrs=node.attrs,
        engine=node.engine,
        form=node.form,
        weight_shape=weights.shape if weights else (),
        constant_bytes=sum(_constant_bytes(s) for s in specs if s.name in graph.constants),
        zero_fraction=zero_fractions[weights.name] if weights else 0.0,
        macs=node_macs(node, [s.shape for s in specs], graph.spec(node.outputs[0]).shape),
    )


def weights_of(graph: Graph) -> dict[str, str]:
    """Return layer -> its weights, of the layers that have any."""
    return {node.name: node.inputs[1] for node in graph.nodes if op_def(node.op).weighted}


def _weights_known(node: Node, graph: Graph) -> bool:
    return op_def(node.op).weighted and node.inputs[1] in graph.constants


def _zero_fractions(
    graph: Graph, dtype: DType | None, known: Mapping[str, float]
) -> dict[str, float]:
    weights = dict.fromkeys(n.inputs[1] for n in graph.nodes if _weights_known(n, graph))
    return dict(known) | {
        name: zero_share(graph.constants[name], graph.spec(name), dtype)
        for name in weights
        if name not in known
    }


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
