"""Float graph -> float16 graph, and what float16 weights cannot hold."""

import logging
from collections.abc import Container
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from npusim.explain import see
from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.passes.draft import Draft
from npusim.passes.driver import check_parameters
from npusim.passes.hidden import sides
from npusim.passes.rewrite import add_constant
from npusim.quantization.clamp import Clamp
from npusim.quantization.constants import float16_constants
from npusim.quantization.fits import check_constants
from npusim.quantization.schemes import Scheme

log = logging.getLogger("npusim")

SMALLEST_NORMAL = 2.0**-14
# Share of the energy that flushed weights may take away: float16's own rounding error, squared.
TOLERATED_LOSS = 2.0**-22
LARGEST_LIFT = 14


def to_float16(graph: Graph) -> Graph:
    """Return the graph with float16 activations and weights and float32 biases.

    Raises
    ------
    QuantizationError
        When constants exceed the largest float16; it names the layers.
    GraphError
        When a parameter of a layer is computed by the network.
    """
    check_parameters(graph)
    below = sides(graph)
    graph = lift_small_weights(graph.copy())
    check_constants(graph, lambda _: Scheme.F16)
    for name in [*graph.inputs, *(out for node in graph.nodes for out in node.outputs)]:
        spec = graph.spec(name)
        if spec.dtype is DType.F32:
            graph.tensors[name] = replace(spec, dtype=DType.F16)
    clamp = Clamp(below=below)
    nodes = [float16_constants(graph, clamp.fill(graph, node), clamp) for node in graph.nodes]
    return graph.copy(nodes=tuple(nodes), notes=(*graph.notes, *clamp.note()))


def lift_small_weights(graph: Graph, *, only: Container[str] | None = None) -> Graph:
    """Keep convolution weights out of the subnormal range of float16, which the NN engine drops.

    Folding a batch normalisation can push all weights of a channel below 2**-14; the engine reads
    those as 0 (docs/arithmetic/nn.md rule 1.4) and the layer is lost. Such a layer gets its weights
    and bias times a power of two per channel, and a depthwise 1x1 convolution behind it takes the
    factor out again: exact, at the price of one more pass. A warning names the layer.

    Parameters
    ----------
    graph : Graph
    only : container of str, optional
        Names of the layers to look at.
    """
    draft, uid = Draft(graph), max((node.uid for node in graph.nodes), default=0)
    for node in graph.nodes:
        if node.op not in ("conv2d", "deconv2d") or (only is not None and node.name not in only):
            continue
        weights = graph.constants.get(node.inputs[1])
        if weights is None or graph.spec(node.outputs[0]).dtype is not DType.F32:
            continue
        lift = channel_lifts(weights)
        if lift.any():
            log.warning(
                "layer %s: %d of %d output channels have weights below the smallest normal "
                "float16, which the chip reads as 0; npusim scales them up by powers of two and a "
                "layer behind scales back: scale them in the source model for a board %s",
                node.name,
                np.count_nonzero(lift),
                lift.size,
                see("small-weights-f16"),
            )
            uid += 1
            _lift(draft, node, lift, uid)
    return draft.done()


def channel_lifts(weights: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return per output channel the power of two that saves its weights.

    All 0 while the layer as a whole loses nothing that counts: channels that training has switched
    off have tiny weights in every network.
    """
    rows = np.abs(weights.reshape(weights.shape[0], -1).astype(np.float64))
    energy = (rows * rows).sum(1)
    lifts = np.zeros(len(rows), np.int64)
    if _lost(rows).sum() <= TOLERATED_LOSS * energy.sum():
        return lifts
    waiting = energy > 0
    for lift in range(LARGEST_LIFT + 1):
        saved = _lost(rows * 2.0**lift) <= TOLERATED_LOSS * energy * 4.0**lift
        lifts[waiting & saved] = lift
        waiting &= ~saved
    lifts[waiting] = LARGEST_LIFT
    return lifts


def _lost(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energy of each row that the NN engine would read as 0."""
    lost: NDArray[np.float64] = np.where(rows < SMALLEST_NORMAL, rows * rows, 0.0).sum(1)
    return lost


def _lift(draft: Draft, node: Node, lift: NDArray[np.int64], uid: int) -> None:
    graph = draft.graph
    factor = 2.0**lift
    weights, bias = (graph.constants[name].astype(np.float64) for name in node.inputs[1:3])
    column = factor.reshape(-1, *(1,) * (weights.ndim - 1))
    activation = getattr(node.attrs, "activation", Activation.NONE)
    (output,) = node.outputs
    inner = fresh(graph, f"{output}.lifted")
    graph.tensors[inner] = replace(graph.spec(output), name=inner)
    first = replace(
        node,
        name=f"{node.name}.lifted",
        inputs=(
            node.inputs[0],
            add_constant(graph, f"{node.inputs[1]}.lifted", weights * column),
            add_constant(graph, f"{node.inputs[2]}.lifted", bias * factor),
        ),
        outputs=(inner,),
        uid=uid,
        attrs=replace(node.attrs, activation=Activation.NONE),  # type: ignore[call-arg]
    )
    channels = lift.size
    back = replace(
        node,
        op="conv2d",
        inputs=(
            inner,
            add_constant(graph, f"{node.name}.scale", (1 / factor).reshape(channels, 1, 1, 1)),
            add_constant(graph, f"{node.name}.zero", np.zeros(channels)),
        ),
        attrs=Conv2dAttrs(group=channels, activation=activation),
    )
    draft.replace([node], first, back)
