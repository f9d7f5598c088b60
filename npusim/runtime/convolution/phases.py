"""What a convolution is to the runtime: stored weights, a store, and one or several phases.

Everything that accumulates products on the NN engine (convolution, fully connected, transposed
convolution, average pool) is put in these terms; ``convolution_step`` runs them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import (
    AffinePerChannel,
    Quant,
    Requant,
    Rounding,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec
from npusim.kernels.pack import geometry
from npusim.runtime.stored_requant import stored_requant

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One plain convolution over the input, writing a regular grid of output positions.

    Attributes
    ----------
    taps : tuple of (row, column)
        Kernel positions in the order of addition.
    places : tuple of (row, column)
        The input pixel each tap reads, from the start of the window.
    pad_before : (int, int)
        Rows above and columns left of the input; negative values crop.
    out_size : (int, int)
    out_step, out_start : (int, int)
        Where the outputs go: position * step + start.
    """

    taps: tuple[tuple[int, int], ...]
    places: tuple[tuple[int, int], ...]
    pad_before: tuple[int, int]
    out_size: tuple[int, int]
    out_step: tuple[int, int] = (1, 1)
    out_start: tuple[int, int] = (0, 0)


def plain_phase(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad_before: tuple[int, int],
    out_size: tuple[int, int],
) -> Phase:
    """Return the one phase of an ordinary convolution, in the NN engine's order of taps."""
    taps = tuple(geometry.accumulation_order(kernel, stride, dilation))
    return Phase(
        taps=taps,
        places=tuple((i * dilation[0], j * dilation[1]) for i, j in taps),
        pad_before=pad_before,
        out_size=out_size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution with stored weights.

    Attributes
    ----------
    where : str
        For messages: the layer.
    ifm, ofm : TensorSpec
        Element type and quantization count; the shapes are (N, C, H, W).
    weights : array (O, C/group, kh, kw)
        Codes.
    weights_quant : Quant
    bias : array (O,)
        Accumulator steps, float32 for float16.
    requant : Requant
        The store.
    scales : float64 (O,), optional
        Replaces the store's multiplier by one factor per output channel: the shader's store, which
        rounds after adding the zero point.
    """

    where: str
    ifm: TensorSpec
    ofm: TensorSpec
    weights: Array
    weights_quant: Quant
    bias: Array
    requant: Requant
    phases: tuple[Phase, ...]
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False
    scales: NDArray[np.float64] | None = field(default=None)

    @property
    def own_channels(self) -> bool:
        """Tell whether every output channel reads one input channel of its own."""
        return self.groups > 1 and self.weights.shape[1] == 1


def store_of(node: Node, graph: Graph) -> tuple[Requant, NDArray[np.float64] | None]:
    """Return how a node with weights stores its sums: requantization and the shader's scales.

    The shader multiplies by ``scale_in * scale_weights[o] / scale_out`` in double precision and
    rounds float16 to nearest. Source: measured, docs/arithmetic/shader.md rules 4.1 and 4.2.
    """
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    if node.engine is Engine.NN:
        return nn_store(node, ofm), None
    weights = graph.spec(node.inputs[1])
    if ofm.dtype.is_float:
        return Requant(rounding=Rounding.NEAREST_F16), None
    quant = weights.quant
    steps = quant.scales if isinstance(quant, AffinePerChannel) else (scale_of(quant),)
    factors = scale_of(ifm.quant) * np.array(steps, np.float64) / scale_of(ofm.quant)
    factors = np.broadcast_to(factors, (graph.constants[node.inputs[1]].shape[0],)).copy()
    return Requant(zero_point=zero_point_of(ofm.quant)), factors


def nn_store(node: Node, ofm: TensorSpec) -> Requant:
    """Return how a node on the NN engine stores its sums."""
    if ofm.dtype.is_float:
        return stored_requant(node, ofm, Rounding.TRUNCATE_F16, Rounding.NEAREST_F16)
    return stored_requant(node, ofm, Rounding.HALF_EVEN_BEFORE_ZERO_POINT)


def constant(node: Node, graph: Graph, position: int) -> Array:
    """Return the value of a constant input.

    Raises
    ------
    GraphError
        When the input is computed at run time.
    """
    name = node.inputs[position]
    if name not in graph.constants:
        raise GraphError(
            f"input {position} ({name!r}) of {node.op} is not a constant",
            where=f"layer {node.name!r}",
            rule="weights and bias are known when the network is loaded",
        )
    return graph.constants[name]
