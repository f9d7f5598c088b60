"""Loops of version 1: frames of Enter, Merge, Switch and Exit become functions of a While.

A variable of a loop is an Enter, a Merge of it with a NextIteration, a Switch by the frame's
LoopCond, and an Exit; an Enter without a Merge is a value that all turns read. What the LoopCond
needs is the condition's function, what the NextIterations need the body's. A frame that is not
like that stays as it is, and is refused node by node.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from npusim.importers.common.names import claim
from npusim.importers.tensorflow.file import GraphFile, GraphFunction, GraphNode
from npusim.importers.tensorflow.schema import message

_ENTERS = ("Enter", "RefEnter")
_MERGES = ("Merge", "RefMerge")
_SWITCHES = ("Switch", "RefSwitch")
_NEXT = ("NextIteration", "RefNextIteration")
EXITS = ("Exit", "RefExit")
_CONTEXT = "/while_context"
"""What TensorFlow puts behind the names of its frames."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A loop that can be written as functions.

    Attributes
    ----------
    begins : list of str
        What enters: of every variable, then of what all turns read.
    ends : list of str
        What becomes of every variable in a turn.
    known : mapping
        Reference in the file -> argument that stands for it.
    exits : mapping
        Name of an Exit -> its variable.
    inside : set of str
        All nodes of the frame; of a frame inside, what it has become.
    """

    name: str
    begins: list[str]
    ends: list[str]
    condition: str
    known: Mapping[str, str]
    exits: Mapping[str, int]
    inside: set[str]


def with_functions(file: GraphFile) -> list[GraphNode]:
    """Return the nodes of a graph with a While for each frame; functions are added to the file."""
    nodes = {node.name: node for node in file.nodes}
    if len(nodes) != len(file.nodes):  # refused later on
        return file.nodes
    waiting = _frames(nodes)
    while waiting:
        ready = [name for name in waiting if not _others(name, waiting, nodes)]
        if not ready:
            break
        for name in ready:
            frame = _understood(name, waiting.pop(name), nodes)
            if frame is not None:
                nodes = _lowered(frame, nodes, file.functions)
    return list(nodes.values())


def _frames(nodes: Mapping[str, GraphNode]) -> dict[str, list[str]]:
    """Return frame -> its Enters."""
    found: dict[str, list[str]] = {}
    for node in nodes.values():
        if node.op in _ENTERS and "frame_name" in node.attrs:
            name = node.attrs["frame_name"].s.decode("utf-8", "replace")
            found.setdefault(name, []).append(node.name)
    return found


def _source(word: str) -> str:
    """Return the node that a reference means."""
    return word.removeprefix("^").partition(":")[0]


def _plain(word: str) -> str:
    """Return a reference without the number 0."""
    return word.removesuffix(":0")


def _data(node: GraphNode) -> list[str]:
    return [word for word in node.inputs if not word.startswith("^")]


def _leaves(node: GraphNode, nodes: Mapping[str, GraphNode]) -> bool:
    """Tell whether a node is the Exit of a frame that is no While yet."""
    if node.op not in EXITS:
        return False
    source = nodes.get(_source(node.inputs[0])) if node.inputs else None
    return source is None or source.op != "While"


def _behind(begin: Iterable[str], nodes: Mapping[str, GraphNode]) -> set[str]:
    """Return the nodes of a frame: all behind its Enters, up to its Exits, which belong to it."""
    readers: dict[str, list[GraphNode]] = {}
    for node in nodes.values():
        for word in node.inputs:
            readers.setdefault(_source(word), []).append(node)
    reached = set(begin)
    pending = list(reached)
    while pending:
        for node in readers.get(pending.pop(), ()):
            if node.name not in reached:
                reached.add(node.name)
                if not _leaves(node, nodes):
                    pending.append(node.name)
    return reached


def _others(
    name: str, waiting: Mapping[str, Sequence[str]], nodes: Mapping[str, GraphNode]
) -> bool:
    """Tell whether a frame has another one inside."""
    inside = _behind(waiting[name], nodes)
    return any(enter in inside for other in waiting if other != name for enter in waiting[other])


def _understood(name: str, enters: Sequence[str], nodes: Mapping[str, GraphNode]) -> _Frame | None:
    inside = _behind(enters, nodes)
    merges, ends, known = {}, [], {}
    for node in (nodes[word] for word in inside):
        if node.op in _MERGES:
            sources = {nodes[_source(w)].op: w for w in _data(node) if _source(w) in nodes}
            entered = next((w for w in _data(node) if _source(w) in enters), None)
            again = next((w for op, w in sources.items() if op in _NEXT), None)
            if entered is not None and again is not None:
                merges[node.name] = (_source(entered), _data(nodes[_source(again)]))
    conditions = [word for word in inside if nodes[word].op == "LoopCond"]
    if len(conditions) != 1 or not merges or any(len(end) != 1 for _, end in merges.values()):
        return None
    order = {merge: number for number, merge in enumerate(sorted(merges))}
    begins = [_data(nodes[merges[merge][0]])[0] for merge in order]
    ends = [merges[merge][1][0] for merge in order]
    known = {merge: f"variable {number}" for merge, number in order.items()}
    used = {merges[merge][0] for merge in order}
    for enter in enters:
        if enter not in used:
            known[enter] = f"variable {len(begins)}"
            begins.append(_data(nodes[enter])[0])
    exits = {}
    for word in inside:
        node = nodes[word]
        if node.op in _SWITCHES and _source(_data(node)[1]) == conditions[0]:
            number = order.get(_source(_data(node)[0]))
            if number is None:
                return None
            known[word] = known[f"{word}:1"] = f"variable {number}"
    for word in inside:
        if _leaves(nodes[word], nodes):
            variable = known.get(_plain(_data(nodes[word])[0]))
            if variable is None:
                return None
            exits[word] = int(variable.rpartition(" ")[2])
    condition = _data(nodes[conditions[0]])[0]
    return _Frame(name, begins, ends, condition, known, exits, inside)


def _lowered(
    frame: _Frame, nodes: dict[str, GraphNode], functions: dict[str, GraphFunction]
) -> dict[str, GraphNode]:
    """Return the nodes with a While in place of a frame."""
    taken = {*nodes, *functions} - frame.inside
    name = claim(frame.name.removesuffix(_CONTEXT), taken)
    arguments = [f"variable {number}" for number in range(len(frame.begins))]
    ends = [*frame.ends, *arguments[len(frame.ends) :]]
    for word, results in (("cond", [frame.condition]), ("body", ends)):
        key = f"{name} {word}"
        functions[key] = _function(key, arguments, results, frame.known, nodes)
    attrs = {word: message("Value")() for word in ("cond", "body", "T")}
    attrs["cond"].func.name = functions[f"{name} cond"].name.encode()
    attrs["body"].func.name = functions[f"{name} body"].name.encode()
    attrs["T"].list.type.extend([1] * len(arguments))
    loop = GraphNode(name, "While", tuple(frame.begins), attrs)
    found: dict[str, GraphNode] = {}
    for word, node in nodes.items():
        if word in frame.exits:
            found.setdefault(name, loop)
            found[word] = GraphNode(word, "Exit", (f"{name}:{frame.exits[word]}",), {})
        elif word not in frame.inside:
            found[word] = node
    return found


def _function(
    name: str,
    arguments: Sequence[str],
    results: Sequence[str],
    known: Mapping[str, str],
    nodes: Mapping[str, GraphNode],
) -> GraphFunction:
    """Return a function of what results need up to the arguments."""
    needed: dict[str, GraphNode] = {}
    pending = list(results)
    while pending:
        word = pending.pop()
        source = _source(word)
        if _plain(word) in known or word in arguments or source in needed or source not in nodes:
            continue
        needed[source] = nodes[source]
        pending += _data(nodes[source])

    def told(word: str) -> str:
        return known.get(_plain(word), word)

    inner = tuple(
        GraphNode(node.name, node.op, tuple(map(told, node.inputs)), node.attrs, node.tensor)
        for node in needed.values()
    )
    return GraphFunction(
        name=name,
        arguments=tuple(arguments),
        results=tuple(f"result {number}" for number in range(len(results))),
        returns={f"result {number}": told(word) for number, word in enumerate(results)},
        nodes=inner,
    )
