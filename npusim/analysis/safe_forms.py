"""Forms of ONNX that ONNX Runtime does not survive or gets wrong, as others that mean the same.

Source: measured with ONNX Runtime 1.32.0. A BatchNormalization of opset 7 with unnamed outputs ends
its process, as does a Split or a Loop whose first output has no name; of two outputs of a branch or
a loop's body that are one tensor, one is not written.
"""

from collections.abc import Iterator

from onnx import GraphProto, helper

from npusim.ir.names import fresh_among

COUNTED = frozenset(("If", "Loop", "Scan", "Split"))


def to_safe_forms(graph: GraphProto) -> None:
    """Change a graph and those inside of its nodes, in place."""
    bodies = list(_bodies(graph))
    taken: set[str] = set()
    for part in (graph, *bodies):
        taken.update(item.name for item in (*part.input, *part.initializer))
        taken.update(name for node in part.node for name in (*node.input, *node.output))
    for part in (graph, *bodies):
        _name_counted(part, taken)
        _drop_unnamed(part)
    for body in bodies:
        _separate_outputs(body, taken)


def _bodies(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield branches and bodies of loops, those inside of others too."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from _bodies(inner)


def _name_counted(graph: GraphProto, taken: set[str]) -> None:
    """Name the outputs of operators whose number of outputs means something."""
    for node in graph.node:
        if node.op_type not in COUNTED:
            continue
        for position, name in enumerate(node.output):
            if not name:
                node.output[position] = fresh_among(taken, f"{node.op_type}/unread")
                taken.add(node.output[position])


def _drop_unnamed(graph: GraphProto) -> None:
    """Take away outputs without a name behind the last named one, which means the same."""
    for node in graph.node:
        while node.output and not node.output[-1]:
            del node.output[-1]


def _separate_outputs(body: GraphProto, taken: set[str]) -> None:
    """Make every output of a body a tensor of its own."""
    seen: set[str] = set()
    for item in body.output:
        if item.name in seen:
            name = fresh_among(taken, item.name)
            taken.add(name)
            body.node.append(helper.make_node("Identity", [item.name], [name]))
            item.name = name
        seen.add(item.name)
