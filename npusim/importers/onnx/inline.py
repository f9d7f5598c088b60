"""A model's own functions, put in place of the nodes that call them."""

from collections.abc import Iterable

import onnx
import onnx.inliner

from npusim.errors import ModelImportError
from npusim.importers.common.builder import MAX_LAYERS
from npusim.importers.onnx.cut import graphs_of

Key = tuple[str, str, str]
"""Domain, name and overload of a function."""


def inlined(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return a model without functions.

    Raises
    ------
    ModelImportError
        For two functions of one name, functions that call themselves, calls that do not fit, and
        more than ``MAX_LAYERS`` nodes: functions that call each other twice double with each step.
    """
    functions: dict[Key, onnx.FunctionProto] = {}
    for function in model.functions:
        key = _key(function.domain, function.name, function.overload)
        if key in functions:
            raise ModelImportError(
                f"two functions are called {function.name!r}",
                where=where,
                rule="every function of a domain has a name of its own",
            )
        functions[key] = function
    count = _Count(functions, where)
    total = sum(count.of(node) for node in nodes_of(model.graph.node))
    if total > MAX_LAYERS:
        raise ModelImportError(
            f"with its functions written out the model has {total} nodes",
            where=where,
            rule=f"at most {MAX_LAYERS}",
        )
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # of several types, some of C++
        raise ModelImportError(
            f"its functions cannot be written out: {error}",
            where=where,
            rule="a node gives at most the inputs and outputs that the function has",
            remedy="export the model again with a current exporter",
        ) from error


def nodes_of(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    """Yield nodes and those in their sub-graphs."""
    for node in nodes:
        yield node
        for inner in graphs_of(node):
            yield from nodes_of(inner.node)


class _Count:
    """How many nodes stand for a node when functions are written out, calls counted as well."""

    def __init__(self, functions: dict[Key, onnx.FunctionProto], where: str) -> None:
        self._calls = {key: list(map(_called, nodes_of(f.node))) for key, f in functions.items()}
        self._where = where
        self._known: dict[Key, int] = {}

    def of(self, node: onnx.NodeProto) -> int:
        """Return the number for a call or any other node."""
        key = _called(node)
        if key not in self._calls:
            return 1
        if key not in self._known:
            self._follow(key)
        return self._known[key]

    def _follow(self, key: Key) -> None:
        stack, inside = [(key, iter(self._calls[key]))], {key}
        while stack:  # no recursion: a chain of functions may be long
            last, calls = stack[-1]
            fresh = (k for k in calls if k in self._calls and k not in self._known)
            inner = next(fresh, None)
            if inner is None:
                self._known[last] = 1 + sum(self._known.get(k, 1) for k in self._calls[last])
                inside.discard(last)
                stack.pop()
            elif inner in inside:
                raise ModelImportError(
                    f"function {inner[1]!r} calls itself",
                    where=self._where,
                    rule="functions are written out; what calls itself has no end",
                )
            else:
                inside.add(inner)
                stack.append((inner, iter(self._calls[inner])))


def _called(node: onnx.NodeProto) -> Key:
    return _key(node.domain, node.op_type, node.overload)


def _key(domain: str, name: str, overload: str) -> Key:
    return "" if domain == "ai.onnx" else domain, name, overload
