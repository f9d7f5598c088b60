"""Choose engine and form of every node by the table of ``engine_rules``."""

from dataclasses import replace

from npusim.errors import GraphError
from npusim.ir.graph import Graph, Node
from npusim.passes.engine_rules import RULES, EngineRule, remedy
from npusim.passes.graph_view import GraphView


def engine_rule(node: Node, view: GraphView) -> EngineRule:
    """Return the first rule of the node's operator that applies.

    Raises
    ------
    GraphError
        When no rule applies; it names the layer, its types and the rules that exist.
    """
    rules = RULES.get(node.op, ())
    for rule in rules:
        if rule.when(node, view):
            return rule
    types = ", ".join(view.graph.spec(name).dtype.value for name in (*node.inputs, *node.outputs))
    raise GraphError(
        f"no engine runs {node.op} with types {types}",
        where=f"layer {node.name!r}",
        rule="; ".join(f"{rule.engine.value}: {rule.reason}" for rule in rules) or "no rules",
        remedy=remedy(node.op)
        or "quantize the graph, or convert to float16, before engines are assigned",
    )


def check_placement(graph: Graph) -> None:
    """Check that every placed node stands where some rule of its operator puts it.

    Raises
    ------
    GraphError
        Naming the layer and the places that its operator has.
    """
    for node in graph.nodes:
        places = {(rule.engine, rule.form): None for rule in RULES.get(node.op, ())}
        if node.engine and node.form and (node.engine, node.form) not in places:
            raise GraphError(
                f"{node.op} as {node.form.value} on {node.engine.value}",
                where=f"layer {node.name!r}",
                rule="; ".join(f"{form.value} on {engine.value}" for engine, form in places),
            )


def assign_engine(graph: Graph) -> Graph:
    """Return the graph with ``engine``, ``form`` and ``reason`` set on every node.

    Nothing later chooses again: bindings, performance model, dumps and reports read these fields.

    Raises
    ------
    GraphError
        When a node fits no engine.
    """
    view = GraphView(graph)
    nodes = []
    for node in graph.nodes:
        rule = engine_rule(node, view)
        placed = replace(node, engine=rule.engine, form=rule.form, reason=rule.reason)
        view.placed[node.name] = placed
        nodes.append(placed)
    return graph.copy(nodes=tuple(nodes))
