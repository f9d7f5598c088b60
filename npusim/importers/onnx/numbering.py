"""Numbers of layers, as the toolkit's ONNX importer gives them: ids of dumps and cfg files agree.

Source: three real files, 312 of 312 layers: tests/importers/test_onnx_numbering.py.
"""

from collections import deque
from dataclasses import replace

from npusim.ir.graph import Graph, Node
from npusim.ops import op_def
from npusim.passes.fuse_patterns import hard_swish
from npusim.passes.graph_view import GraphView


def numbered(graph: Graph) -> Graph:
    """Return the graph with ``uid`` set on every node.

    The outputs themselves have 0, 1, ..; then layers are taken from a list of what is wanted: first
    the layers of the outputs, the last output first. A layer that is taken gets the next number,
    and what it reads is put behind the list. When the next of the list has a number already, the
    list's *last* entry is taken in its place. Graph inputs are never taken: theirs are the numbers
    after all others. A layer with several outputs waits until each has been asked for. A constant
    operand is a layer of its own for each of its readers. A hard-swish spelled out in four
    operators is one layer, the last of them; the others get numbers behind all.
    """
    view = GraphView(graph)
    wholes = {node.name: found for node in graph.nodes if (found := hard_swish(view, node))}
    waiting = deque(reversed(graph.outputs))
    asked = set(waiting)
    numbers: dict[str, int] = {}
    number = len(graph.outputs)

    def takes(name: str) -> bool:
        node = view.producers.get(name)
        if node is None:
            return name not in graph.inputs  # a constant
        used = [out for out in node.outputs if view.consumers[out] or out in graph.outputs]
        return node.name not in numbers and asked.issuperset(used)

    while waiting:
        name = waiting.popleft()
        while waiting and not takes(name):
            name = waiting.pop()
        if not takes(name):
            break
        node = view.producers.get(name)
        if node is not None:
            numbers[node.name] = number
            whole = wholes.get(node.name)
            # the pattern reads its input twice
            wanted = (whole[2], whole[2]) if whole else _wanted(graph, node)
            waiting.extend(wanted)
            asked.update(wanted)
        number += 1
    number += len(graph.inputs)
    for node in reversed(graph.nodes):
        if node.name not in numbers:  # inside of a hard-swish: no layer in the toolkit
            numbers[node.name] = number
            number += 1
    return graph.copy(nodes=tuple(replace(n, uid=numbers[n.name]) for n in graph.nodes))


def _wanted(graph: Graph, node: Node) -> tuple[str, ...]:
    """Return what a layer reads from layers: weights and parameters belong to the layer itself."""
    operand = op_def(node.op).elementwise or node.op in ("concat", "matmul")
    return tuple(name for name in node.inputs if operand or not graph.is_constant(name))
