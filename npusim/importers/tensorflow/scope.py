"""Names of nodes and tensors: of the graph, and of functions that are called."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from npusim.errors import ModelImportError
from npusim.importers.tensorflow.context import TfNode
from npusim.importers.tensorflow.file import GraphFunction, GraphNode

_RESULTS: dict[str, tuple[str, ...]] = {
    "Switch": ("output_false", "output_true"),
    "RefSwitch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "TopKV2": ("values", "indices"),
    "TopK": ("values", "indices"),
    "Unique": ("y", "idx"),
    "Moments": ("mean", "variance"),
    "TensorArrayV3": ("handle", "flow"),
    "TensorArrayConcatV3": ("value", "lengths"),
    "TensorListConcat": ("tensor", "lengths"),
    "TensorListConcatV2": ("tensor", "lengths"),
    "TensorListPopBack": ("output_handle", "tensor"),
}
_NORM = ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2")
_RESULTS |= {"FusedBatchNorm": _NORM, "FusedBatchNormV2": _NORM}
_RESULTS["FusedBatchNormV3"] = (*_NORM, "reserve_space_3")
"""Operators whose results have names of their own; others have one result, or a list of them."""
_COUNTED = {"Split": "num_split", "SplitV": "num_split", "Unpack": "num", "ShapeN": "N"}
_COUNTED["_SwitchN"] = "num_outs"
_LISTED = {
    "IdentityN": "T",
    "PartitionedCall": "Tout",
    "StatefulPartitionedCall": "Tout",
    "If": "Tout",
    "StatelessIf": "Tout",
    "While": "T",
    "StatelessWhile": "T",
    "Case": "Tout",
    "StatelessCase": "Tout",
}
_MOST = 1 << 16
_PIVOTS = ("Identity", "Switch", "_SwitchN")
"""What tells inside of a conditional which branch one is in."""


def result_count(node: GraphNode, functions: Mapping[str, GraphFunction]) -> int:
    """Return how many tensors a node makes."""
    if node.op in _RESULTS:
        return len(_RESULTS[node.op])
    if node.op in functions:
        return len(functions[node.op].results)
    count = 1
    if node.op in _COUNTED and _COUNTED[node.op] in node.attrs:
        count = int(node.attrs[_COUNTED[node.op]].i)
    elif node.op in _LISTED and _LISTED[node.op] in node.attrs:
        count = len(node.attrs[_LISTED[node.op]].list.type)
    return max(0, min(count, _MOST))


class Scope:
    """The nodes of the graph or of one call of a function.

    Parameters
    ----------
    nodes : sequence of GraphNode
    where : str
        The file, for errors.
    prefix : str
        In front of the names of the call's nodes.
    arguments : mapping, optional
        Argument of the function -> tensor.
    caller : str
        A name that the names of the call's nodes do not repeat: what Keras calls
        ``lstm/while/cell`` in the body of ``lstm/while`` is ``cell`` behind the prefix.
    """

    def __init__(
        self,
        nodes: Sequence[GraphNode],
        functions: Mapping[str, GraphFunction],
        where: str,
        *,
        prefix: str = "",
        arguments: Mapping[str, str] | None = None,
        caller: str = "",
    ) -> None:
        self.where, self.prefix = where, prefix
        self.inner = arguments is not None
        self.arguments = dict(arguments or {})
        self._functions = functions
        self._files: dict[str, GraphNode] = {}
        for node in nodes:
            if node.name in self._files:
                raise ModelImportError(
                    f"two nodes are called {node.name!r}", where=where, rule="one node a name"
                )
            self._files[node.name] = node
        self._short = self._without(f"{caller}/") if caller else {}
        self.nodes = {name: self._taken(node) for name, node in self._files.items()}
        self._makers = {node.name: node for node in self.nodes.values()}

    def _without(self, repeated: str) -> dict[str, str]:
        """Return names without what they repeat; empty when that makes two equal."""
        short = {name: name.rpartition(repeated)[2] or name for name in self._files}
        return short if len(set(short.values())) == len(short) else {}

    def _taken(self, node: GraphNode) -> TfNode:
        name = self.prefix + self._short.get(node.name, node.name)
        count = result_count(node, self._functions)
        data = [word for word in node.inputs if not word.startswith("^")]
        return TfNode(
            name=name,
            type=node.op,
            inputs=tuple(self.tensor(word) for word in data),
            outputs=tuple(f"{name}:{i}" for i in range(count)),
            own=node.name,
            waits=tuple(word[1:] for word in node.inputs if word.startswith("^")),
            attrs=node.attrs,
            tensor=node.tensor,
        )

    def tensor(self, word: str) -> str:
        """Return the tensor that a reference in the file means."""
        if word in self.arguments:
            return self.arguments[word]
        name, _, rest = word.partition(":")
        if not self.inner:
            return f"{name}:{_number(rest)}"
        kind, _, index = rest.rpartition(":")
        node = self._files.get(name)
        place = _number(index)
        if node is not None and kind:
            if node.op in _RESULTS and kind in _RESULTS[node.op]:
                place += _RESULTS[node.op].index(kind)
            elif node.op in self._functions and kind in self._functions[node.op].results:
                place += self._functions[node.op].results.index(kind)
        return f"{self.prefix}{self._short.get(name, name)}:{place}"

    def node_of(self, tensor: str) -> TfNode | None:
        """Return the node of this scope that makes a tensor."""
        return self._makers.get(tensor.rpartition(":")[0])

    def check(self) -> None:
        """Refuse nodes that read what no node makes."""
        for node in self.nodes.values():
            for name in node.inputs:
                maker = self._required(name, node.where)
                if name not in maker.outputs:
                    raise ModelImportError(
                        f"it reads {name!r}, but {maker.where} has {len(maker.outputs)} results",
                        where=f"{self.where}: {node.where}",
                        remedy="the file is damaged; freeze the graph again",
                    )

    def ordered(self, ends: Iterable[str], known: Iterable[str]) -> list[TfNode]:
        """Return the nodes that tensors need, in an order in which they can run.

        Parameters
        ----------
        known : iterable of str
            Tensors that exist already.

        Raises
        ------
        ModelImportError
            For references to nodes that are not there. Loops end the search without an error:
            what waits for itself is found by the caller.
        """
        have, done, result = set(known), set(), []
        pending: list[tuple[TfNode, bool]] = []
        open_nodes: set[str] = set()

        def want(node: TfNode | None) -> None:
            if node is not None and node.name not in done and node.name not in open_nodes:
                pending.append((node, False))

        for tensor in ends:
            if tensor not in have:
                want(self._required(tensor, "the outputs"))
            while pending:
                node, ready = pending.pop()
                if ready:
                    open_nodes.discard(node.name)
                    if node.name not in done:
                        done.add(node.name)
                        result.append(node)
                    continue
                if node.name in done or node.name in open_nodes:
                    continue
                open_nodes.add(node.name)
                pending.append((node, True))
                for name in node.inputs:
                    if name not in have and name not in self.arguments.values():
                        want(self._required(name, node.where))
                for name in node.waits:
                    want(self._pivot(name))
        return result

    def _required(self, tensor: str, who: str) -> TfNode:
        node = self.node_of(tensor)
        if node is None:
            raise ModelImportError(
                f"{who} reads {tensor.rpartition(':')[0]!r}, which no node makes",
                where=self.where,
                rule="every input is a node of the graph",
                remedy="the file is damaged or was cut; freeze the graph again",
            )
        return node

    def _pivot(self, name: str) -> TfNode | None:
        node = self.nodes.get(name)
        return node if node is not None and node.type in _PIVOTS else None

    def waits_for(self, node: TfNode) -> Iterator[TfNode]:
        """Yield the nodes that say in which branch a node is."""
        for name in node.waits:
            found = self._pivot(name)
            if found is not None:
                yield found


def _number(text: str) -> int:
    return min(int(text), _MOST) if text.isascii() and text.isdigit() else 0
