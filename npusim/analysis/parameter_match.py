"""Which layer of one quantized model is which layer of another, whoever built them.

Layers are matched by id, then by the source node that the toolkit puts into its layer names
(``Conv_<node>``), then by position: layers with weights by shape and weights, the others by what
they read.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from npusim.ir.codes import dequantize
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import AffinePerChannel
from npusim.ops import op_def

ALIKE = 0.5  # correlation of weights from which two layers of one shape are taken for the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A layer and its counterpart.

    Attributes
    ----------
    how : str
        id, name or position.
    inner : bool
        One of both stands for a later layer of the other model too (a convolution fused with its
        relu): constants can be compared, results cannot.
    """

    first: Node
    second: Node
    how: str
    inner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Counterparts of one model's layers and tensors in another.

    Attributes
    ----------
    pairs : tuple of Pair
        In execution order of the model with more layers.
    tensors : mapping
        Tensor -> tensor with the same meaning.
    """

    pairs: tuple[Pair, ...]
    tensors: Mapping[str, str]


def counterparts(first: Graph, second: Graph) -> Match:
    """Return the counterparts of ``first``'s layers in ``second``."""
    if len(second.nodes) > len(first.nodes):
        found = counterparts(second, first)
        return Match(
            pairs=tuple(
                Pair(first=pair.second, second=pair.first, how=pair.how, inner=pair.inner)
                for pair in found.pairs
            ),
            tensors={other: name for name, other in found.tensors.items()},
        )
    found_names: dict[str, tuple[str, str]] = {}
    _by_name(first, second, found_names)
    _by_weights(first, second, found_names)
    tensors = dict(zip(first.inputs, second.inputs, strict=False))
    _by_position(first, second, found_names, tensors)
    last = {other: name for name, (other, _) in found_names.items()}
    named = {node.name: node for node in second.nodes}
    pairs = []
    for node in first.nodes:
        if node.name in found_names:
            name, how = found_names[node.name]
            inner = last[name] != node.name
            pairs.append(Pair(first=node, second=named[name], how=how, inner=inner))
            if not inner:
                tensors |= zip(node.outputs, named[name].outputs, strict=False)
    return Match(pairs=tuple(pairs), tensors=tensors)


def named_like(graph: Graph, source: Graph) -> Graph:
    """Return a quantized graph with the tensor names and origins of the model it was built from.

    Parameters
    ----------
    graph : Graph
        Quantized, before it is lowered.
    source : Graph
        Float graph of the same network.
    """
    found = counterparts(graph, source)
    kept = {name for name in graph.tensors if name not in found.tensors}
    names = {old: new for old, new in found.tensors.items() if new not in kept}
    origins = {pair.first.name: pair.second.origin for pair in found.pairs}

    def renamed(tensors: Iterable[str]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in tensors)

    return graph.copy(
        nodes=tuple(
            replace(
                node,
                inputs=renamed(node.inputs),
                outputs=renamed(node.outputs),
                origin=origins.get(node.name, node.origin),
            )
            for node in graph.nodes
        ),
        inputs=renamed(graph.inputs),
        outputs=renamed(graph.outputs),
        tensors={
            names.get(name, name): replace(spec, name=names.get(name, name))
            for name, spec in graph.tensors.items()
        },
        preprocess={names.get(name, name): how for name, how in graph.preprocess.items()},
    )


def _keys(node: Node) -> Iterator[str]:
    """Yield what a layer may be called by: its name, and every source node it stands for."""
    yield node.name
    yield from node.origin


def _ends(name: str) -> Iterator[str]:
    """Yield a name and what is left of it without its first parts: ``Conv_a_1``, ``a_1``, ``1``."""
    yield name
    for place, sign in enumerate(name):
        if sign == "_":
            yield name[place + 1 :]


def _by_name(first: Graph, second: Graph, found: dict[str, tuple[str, str]]) -> None:
    ids = {node.layer_id: node.name for node in second.nodes}
    known: dict[str, list[Node]] = defaultdict(list)
    for node in second.nodes:
        for key in dict.fromkeys(_keys(node)):
            known[key].append(node)
    ends: dict[str, list[Node]] = defaultdict(list)
    for node in second.nodes:
        for end in _ends(node.name):
            ends[end].append(node)
    for node in first.nodes:
        if node.layer_id in ids:
            found[node.name] = (ids[node.layer_id], "id")
            continue
        candidates = (known[end] for end in _ends(node.name) if end in known)
        backward = (ends[key] for key in _keys(node) if key in ends)
        one = _only(next(candidates, [])) or _only(next(backward, []))
        if one is not None:
            found[node.name] = (one.name, "name")


def _only(nodes: list[Node]) -> Node | None:
    """Return the node where there is no doubt."""
    return nodes[0] if len({node.name for node in nodes}) == 1 else None


def _weights(graph: Graph, node: Node) -> NDArray[np.float32] | None:
    if not op_def(node.op).weighted or not graph.is_constant(node.inputs[1]):
        return None
    spec = graph.spec(node.inputs[1])
    value = graph.constants[node.inputs[1]]
    real = value if isinstance(spec.quant, AffinePerChannel) else dequantize(value, spec.quant)
    return real.astype(np.float32).reshape(len(value), -1)


def _by_weights(first: Graph, second: Graph, found: dict[str, tuple[str, str]]) -> None:
    taken = {name for name, _ in found.values()}
    left = [node for node in first.nodes if node.name not in found]
    free = {
        node.name: value
        for node in second.nodes
        if node.name not in taken and (value := _weights(second, node)) is not None
    }
    for node in left:
        value = _weights(first, node)
        if value is None:
            continue
        same = [name for name, other in free.items() if other.shape == value.shape]
        alike = [_correlation(value, free[name]) for name in same]
        if same and max(alike) >= ALIKE:
            name = same[int(np.argmax(alike))]
            found[node.name] = (name, "position")
            del free[name]


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    one, other = one - one.mean(), other - other.mean()
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if not lengths:  # constant weights: equal ones belong together
        return float(np.array_equal(one, other))
    return float(np.vdot(one, other)) / lengths


def _by_position(
    first: Graph, second: Graph, found: dict[str, tuple[str, str]], ends: Mapping[str, str]
) -> None:
    """Match what reads counterparts: same operator and shape, or a relu that the other fused."""
    same = dict(ends)
    named = {node.name: node for node in second.nodes}
    readers = second.consumers()
    taken = {name for name, _ in found.values()}
    makers = first.producers()
    for node in first.nodes:
        if node.name not in found:
            one = _reader(first, node, second, same, readers, taken)
            fused = op_def(node.op).rectifier or node.op in ("relu6", "clip")
            if one is None and fused and (maker := makers.get(node.inputs[0])) is not None:
                one = named.get(found.get(maker.name, ("", ""))[0])
                activation = getattr(one.attrs, "activation", None) if one else None
                one = one if activation is not None and activation.value != "none" else None
            if one is not None:
                found[node.name] = (one.name, "position")
                taken.add(one.name)
        if node.name in found:
            other = named[found[node.name][0]]
            same |= zip(node.outputs, other.outputs, strict=False)


def _reader(
    first: Graph,
    node: Node,
    second: Graph,
    same: Mapping[str, str],
    readers: Mapping[str, list[Node]],
    taken: set[str],
) -> Node | None:
    sources = [same.get(name) for name in first.activations(node)]
    if not sources or None in sources:
        return None
    shape = first.spec(node.outputs[0]).shape
    for other in readers.get(str(sources[0]), []):
        if (
            other.name not in taken
            and other.op == node.op
            and list(second.activations(other)) == sources
            and second.spec(other.outputs[0]).shape == shape
        ):
            return other
    return None
