"""Cross-layer equalization: the ranges of neighbouring weights made alike, channel by channel.

One scale for a whole weight tensor ruins layers whose channels differ in range by orders of
magnitude; depthwise convolutions are the usual case. Where a channel runs from one layer through
positively homogeneous functions (relu, pooling) into the next, the first layer's weights and bias
can be divided by any positive factor and the next layer's weights multiplied by it without a change
of the network's function. The factor ``sqrt(range_1 / range_2)`` makes both ranges equal.

Source: Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization
and Bias Correction, ICCV 2019, sections 4.1 and 4.1.3.

relu6 is not homogeneous. ``Relu6.RESTRICT`` (default) touches only channels that never reached 6 on
the samples, and only so far that they still do not; ``Relu6.REPLACE`` does what the paper does and
makes it a relu, which changes the function wherever 6 was exceeded; ``Relu6.KEEP`` leaves such
pairs alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Activation, PadAttrs, PadMode
from npusim.ir.graph import Graph, Node
from npusim.ir.names import by_name
from npusim.ops import op_def
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import add_constant
from npusim.quantization.changed import EQUALIZED
from npusim.quantization.channel_stats import ChannelStats

Vector = NDArray[np.float64]
ROUNDS = 40
CONVERGED = 1e-3
SIX = 6.0


class Relu6(Enum):
    """What to do with pairs of layers that have relu6 between them."""

    KEEP = "keep"
    RESTRICT = "restrict"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two layers and what lies between them."""

    first: str
    second: str
    relu6: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalization:
    """What was done.

    Attributes
    ----------
    graph : Graph
        With the new weights; layers and tensors keep their names.
    pairs : tuple of Pair
        Neighbours whose ranges were made alike.
    rounds : int
        Passes over all pairs until nothing moved any more.
    spread_before, spread_after : float
        Geometric mean over the first layers of (widest channel / median channel).
    replaced : tuple of str
        relu6 layers that became relu.
    restricted_channels, channels : int
        Channels that relu6 kept from their best factor, of all channels between pairs.
    left_pairs : int
        Neighbours left alone because of the relu6 between them.
    """

    graph: Graph
    pairs: tuple[Pair, ...]
    rounds: int
    spread_before: float
    spread_after: float
    replaced: tuple[str, ...]
    restricted_channels: int
    channels: int
    left_pairs: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the graph left out."""
        return {
            "pairs": len(self.pairs),
            "rounds": self.rounds,
            "spread_before": self.spread_before,
            "spread_after": self.spread_after,
            "relu6_replaced": list(self.replaced),
            "channels": self.channels,
            "channels_held_by_relu6": self.restricted_channels,
            "pairs_left_because_of_relu6": self.left_pairs,
        }

    @property
    def note(self) -> str:
        """Return one line for logs and the graph's notes."""
        relu6 = f", {len(self.replaced)} relu6 replaced by relu" if self.replaced else ""
        return (
            f"{EQUALIZED} {len(self.pairs)} pairs of layers: widest over median "
            f"channel {self.spread_before:.3g} before, {self.spread_after:.3g} after{relu6}"
        )


def relu6_inputs(graph: Graph) -> tuple[str, ...]:
    """Return the tensors whose channel maxima ``Relu6.RESTRICT`` needs."""
    named = by_name(graph)
    return tuple(
        named[pair.relu6].inputs[0] for pair in find_pairs(graph) if pair.relu6 is not None
    )


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """Return all neighbours that can be equalized, relu6 or not, in execution order."""
    view = GraphView(graph)
    found = []
    for node in graph.nodes:
        if not _scalable(graph, node):
            continue
        current, relu6 = node, None
        while (user := view.only_user(current.outputs[0])) is not None:
            if _scalable(graph, user) and user.inputs[0] == current.outputs[0]:
                found.append(Pair(first=node.name, second=user.name, relu6=relu6))
                break
            if user.op == "relu6" and relu6 is None:
                relu6 = user.name
            elif not _homogeneous(graph, user):
                break
            current = user
    return tuple(found)


def _scalable(graph: Graph, node: Node) -> bool:
    """Tell whether a layer's channels can be scaled: constant weights, whole or by channel."""
    if not op_def(node.op).weighted or not all(graph.is_constant(name) for name in node.inputs[1:]):
        return False
    activation = getattr(node.attrs, "activation", Activation.NONE)
    if activation is Activation.RELU6:
        return False
    if node.op == "fc":
        return len(graph.spec(node.inputs[0]).shape) == 2
    group = getattr(node.attrs, "group", 1)
    out_c, group_c = graph.spec(node.inputs[1]).shape[:2]
    return group == 1 or (group_c == 1 and out_c == group)


def _homogeneous(graph: Graph, node: Node) -> bool:
    """Tell whether f(s * x) = s * f(x) for s > 0, each channel by itself."""
    if node.op == "pad":
        attrs: Any = node.attrs
        assert isinstance(attrs, PadAttrs)
        return (attrs.front[:2], attrs.back[:2]) == ((0, 0), (0, 0)) and (
            attrs.mode is not PadMode.CONSTANT or attrs.value == 0.0
        )
    return op_def(node.op).homogeneous and all(graph.is_constant(n) for n in node.inputs[1:])


def equalize(
    graph: Graph,
    *,
    relu6: Relu6 = Relu6.RESTRICT,
    stats: Mapping[str, ChannelStats] | None = None,
    rounds: int = ROUNDS,
) -> Equalization:
    """Return the graph with equalized weights.

    Parameters
    ----------
    graph : Graph
        Float graph after the float passes.
    relu6 : Relu6
        ``RESTRICT`` without ``stats`` acts like ``KEEP``.
    stats : mapping, optional
        Statistics of ``relu6_inputs(graph)`` over the calibration samples.
    rounds : int
        Most passes over all pairs.
    """
    graph = graph.copy()
    neighbours, named = find_pairs(graph), by_name(graph)
    pairs = [
        pair
        for pair in neighbours
        if pair.relu6 is None
        or relu6 is Relu6.REPLACE
        or (relu6 is Relu6.RESTRICT and named[pair.relu6].inputs[0] in (stats or {}))
    ]
    replaced: tuple[str, ...] = ()
    if relu6 is Relu6.REPLACE:
        replaced = tuple(dict.fromkeys(p.relu6 for p in pairs if p.relu6 is not None))
        graph = _with_relu(graph, replaced)
    work = _Weights(graph, pairs)
    before = work.spread()
    reach = {
        pair: stats[named[pair.relu6].inputs[0]].high.copy()
        for pair in pairs
        if pair.relu6 is not None and relu6 is Relu6.RESTRICT and stats is not None
    }
    done, held, moved = 0, 0, np.inf
    while done < rounds and moved > CONVERGED:
        moved, held = 0.0, 0
        for pair in pairs:
            factor = work.factor(pair)
            if pair in reach:
                lowest = np.where(reach[pair] < SIX, np.maximum(reach[pair], 0) / SIX, 1.0)
                bounded = np.where(reach[pair] < SIX, np.maximum(factor, lowest), 1.0)
                held += int((bounded != factor).sum())
                factor = bounded
                reach[pair] = reach[pair] / factor
            work.scale(pair, factor)
            moved = max(moved, float(np.abs(np.log(factor)).max(initial=0.0)))
        done += 1
    return Equalization(
        graph=work.written(),
        pairs=tuple(pairs),
        rounds=done,
        spread_before=before,
        spread_after=work.spread(),
        replaced=replaced,
        restricted_channels=held,
        channels=sum(work.bias[pair.first].size for pair in pairs),
        left_pairs=len(neighbours) - len(pairs),
    )


class _Weights:
    """The weights of all pairs in float64 while they are scaled."""

    def __init__(self, graph: Graph, pairs: list[Pair]) -> None:
        self.graph, self.pairs = graph, pairs
        named = by_name(graph)
        self.nodes = {n: named[n] for pair in pairs for n in (pair.first, pair.second)}
        self.value = {n: self._constant(n, 1) for n in self.nodes}
        self.bias = {n: self._constant(n, 2) for n in self.nodes}

    def _constant(self, name: str, position: int) -> Vector:
        return self.graph.constants[self.nodes[name].inputs[position]].astype(np.float64)

    def _by_channel(self, name: str) -> bool:
        """Tell whether a layer has one filter per channel."""
        return getattr(self.nodes[name].attrs, "group", 1) > 1

    def out_ranges(self, name: str) -> Vector:
        """Return the reach of each output channel's weights."""
        weights = self.value[name]
        return np.asarray(np.abs(weights).reshape(weights.shape[0], -1).max(1))

    def in_ranges(self, name: str) -> Vector:
        """Return the reach of the weights that read each input channel."""
        if self._by_channel(name):
            return self.out_ranges(name)
        moved = np.abs(self.value[name]).swapaxes(0, 1)
        return np.asarray(moved.reshape(moved.shape[0], -1).max(1))

    def factor(self, pair: Pair) -> Vector:
        """Return by what each channel of the first layer is to be divided; 1 for dead ones."""
        first, second = self.out_ranges(pair.first), self.in_ranges(pair.second)
        alive = (first > 0) & (second > 0)
        ratio = np.divide(first, second, out=np.ones_like(first), where=alive)
        return np.asarray(np.sqrt(ratio))

    def scale(self, pair: Pair, factor: Vector) -> None:
        """Divide the first layer's channels by a factor each and multiply the second's."""
        weights = self.value[pair.first]
        weights /= factor.reshape(-1, *(1,) * (weights.ndim - 1))
        self.bias[pair.first] /= factor
        weights = self.value[pair.second]
        along = (-1,) if self._by_channel(pair.second) else (1, -1)
        weights *= factor.reshape(*along, *(1,) * (weights.ndim - len(along)))

    def spread(self) -> float:
        """Return the geometric mean over the first layers of widest over median channel."""
        logs = []
        for name in dict.fromkeys(pair.first for pair in self.pairs):
            reach = self.out_ranges(name)
            reach = reach[reach > 0]
            if reach.size:
                logs.append(np.log(reach.max() / np.median(reach)))
        return float(np.exp(np.mean(logs))) if logs else 1.0

    def written(self) -> Graph:
        """Return the graph with the scaled weights."""
        graph = self.graph
        nodes = []
        for node in graph.nodes:
            if node.name in self.nodes:
                data, weights, bias = node.inputs
                weights = add_constant(graph, f"{weights}.equalized", self.value[node.name])
                bias = add_constant(graph, f"{bias}.equalized", self.bias[node.name])
                node = replace(node, inputs=(data, weights, bias))
            nodes.append(node)
        return graph.copy(nodes=tuple(nodes))


def _with_relu(graph: Graph, names: tuple[str, ...]) -> Graph:
    return graph.copy(
        nodes=tuple(replace(n, op="relu") if n.name in names else n for n in graph.nodes)
    )
