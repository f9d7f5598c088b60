"""Groups of tensors with one set of parameters: moves and concats tie them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from npusim.errors import ConfigError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ops import keeps_codes, op_def
from npusim.quantization.eras import DEFAULT_ERA, Era
from npusim.quantization.schemes import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tensors with one set of parameters, in execution order.

    Attributes
    ----------
    members : tuple of str
    leaders : tuple of str
        The members whose own ranges count: their union is the group's.
    concats : tuple of str
        Names of the concats that tie them; empty when only moves do.
    """

    members: tuple[str, ...]
    leaders: tuple[str, ...]
    concats: tuple[str, ...]

    def union(self, ranges: Mapping[str, Range]) -> Range | None:
        """Return the range that holds those of all leaders; None when none has one."""
        own = [ranges[name] for name in self.leaders if name in ranges]
        if not own:
            return None
        return min(low for low, _ in own), max(high for _, high in own)


def groups(
    graph: Graph, *, era: Era = DEFAULT_ERA, apart: Collection[str] = ()
) -> tuple[Group, ...]:
    """Return every group of two or more tensors.

    A move ties its outputs to its first input, a concat all its parts and its output, whoever else
    reads them. Where ``era.slices_rule`` holds, the output of a concat that slices read on their
    way to another concat belongs to the slices, not to its own parts.
    """
    ties = _Ties()
    concat_of: dict[str, Node] = {}
    following: set[str] = set()
    sliced = _sliced(graph) if era.slices_rule else {}
    for node in graph.nodes:
        if keeps_codes(node):
            known = graph.is_constant(node.inputs[0])  # stored as what is made of it
            for name in node.outputs:
                ties.tie(node.outputs[0] if known else node.inputs[0], name)
            following.update(() if known else node.outputs)
        elif node.op == "concat" and node.name not in apart:
            parts = graph.activations(node)
            for name in parts:
                ties.tie(parts[0], name)
            if node.outputs[0] not in sliced and parts:
                ties.tie(parts[0], node.outputs[0])
            if len(parts) == len(node.inputs):  # a constant part counts in the result's range only
                following.add(node.outputs[0])
            concat_of |= dict.fromkeys((*parts, node.outputs[0]), node)
        elif op_def(node.op).joins:
            for name in graph.activations(node):
                if graph.spec(name).dtype is not DType.BOOL:
                    ties.tie(node.outputs[0], name)
    following.difference_update(name for names in sliced.values() for name in names)
    found = []
    for members in ties.sets(graph):
        names = [concat_of[name].name for name in members if name in concat_of]
        found.append(
            Group(
                members=members,
                leaders=tuple(name for name in members if name not in following),
                concats=tuple(dict.fromkeys(names)),
            )
        )
    return tuple(found)


def named_concats(graph: Graph, names: Collection[str]) -> tuple[str, ...]:
    """Return the node names of concats given by name or layer id.

    Raises
    ------
    ConfigError
        When there is no concat of that name; those there are are listed.
    """
    known = {node.name: node.name for node in graph.nodes if node.op == "concat"}
    known |= {node.layer_id: node.name for node in graph.nodes if node.op == "concat"}
    for name in names:
        if name not in known:
            names_there = ", ".join(sorted(set(known.values())))
            raise ConfigError(
                f"no concat is called {name!r}",
                rule=f"the concats are {names_there}" if known else "the model has no concat",
            )
    return tuple(dict.fromkeys(known[name] for name in names))


def _sliced(graph: Graph) -> dict[str, list[str]]:
    """Return concat output -> the slices of it, through moves, that another concat joins."""
    users = graph.consumers()

    def slices_below(tensor: str) -> Iterator[str]:
        for user in users[tensor]:
            if not keeps_codes(user):
                continue
            for name in user.outputs:
                if user.op in ("slice", "split") and any(u.op == "concat" for u in users[name]):
                    yield name
                yield from slices_below(name)

    found = {
        node.outputs[0]: list(slices_below(node.outputs[0]))
        for node in graph.nodes
        if node.op == "concat"
    }
    return {name: slices for name, slices in found.items() if slices}


class _Ties:
    """Sets of names that grow together."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def _top(self, name: str) -> str:
        while (above := self._above.setdefault(name, name)) != name:
            self._above[name] = self._above[above]
            name = above
        return name

    def tie(self, one: str, other: str) -> None:
        """Put two names into one set."""
        self._above[self._top(other)] = self._top(one)

    def sets(self, graph: Graph) -> Iterator[tuple[str, ...]]:
        """Yield every set of two or more tensors in the order of the graph."""
        order = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
        found: dict[str, list[str]] = {}
        for name in order:
            if name in self._above:
                found.setdefault(self._top(name), []).append(name)
        yield from (tuple(members) for members in found.values() if len(members) > 1)
