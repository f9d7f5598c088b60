"""Which nodes of an ONNX graph are needed, in which order, between which tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto

from npusim.errors import GraphError, ModelImportError
from npusim.importers.common.builder import suggestion
from npusim.ir.graph import Node, toposorted


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a graph to import.

    Attributes
    ----------
    nodes : tuple of NodeProto
        Needed nodes in execution order.
    inputs, outputs : tuple of str
        Tensors where the part begins and ends, in the order asked for.
    """

    nodes: tuple[NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def node_name(proto: NodeProto) -> str:
    """Return the node's name, or its first output's when it has none."""
    return str(proto.name) or next((str(o) for o in proto.output if o), "")


def graphs_of(proto: NodeProto) -> Iterator[GraphProto]:
    """Yield the sub-graphs of a node: branches, a loop's body."""
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_read(proto: NodeProto) -> Iterator[str]:
    """Yield the tensors a node reads, those that its sub-graphs take from outside included."""
    yield from map(str, proto.input)
    for inner in graphs_of(proto):
        made = {str(name) for node in inner.node for name in node.output}
        made.update(str(tensor.name) for tensor in inner.initializer)
        made.update(str(value.name) for value in inner.input)
        read = [name for node in inner.node for name in names_read(node)]
        yield from (n for n in (*read, *(str(o.name) for o in inner.output)) if n not in made)


def names_of(proto: NodeProto) -> Iterator[str]:
    """Yield every tensor name in a node and its sub-graphs."""
    yield from map(str, (*proto.input, *proto.output))
    for inner in graphs_of(proto):
        yield from (str(tensor.name) for tensor in inner.initializer)
        for node in inner.node:
            yield from names_of(node)


def cut_graph(
    graph: GraphProto,
    constants: set[str],
    inputs: Sequence[str] | None,
    outputs: Sequence[str] | None,
    where: str,
) -> Cut:
    """Choose the nodes between inputs and outputs.

    Parameters
    ----------
    constants : set of str
        Names of initializers; they are no inputs even when the file lists them as such.
    inputs, outputs : sequence of str or None
        Tensor names (for outputs also node names); None means the model's own.

    Raises
    ------
    ModelImportError
        For unknown names, duplicates, cycles, and inputs that do not cut all paths.
    """
    producer = _producers(graph, constants, where)
    own_inputs = [str(i.name) for i in graph.input if i.name not in constants]
    known = set(producer) | set(own_inputs) | constants
    ends = _outputs(graph, producer, known, outputs, where)
    starts = tuple(inputs) if inputs is not None else tuple(own_inputs)
    for name in starts:
        if name not in known or name in constants:
            raise ModelImportError(
                f"there is no tensor {name!r} to begin at",
                where=where,
                rule="inputs are names of tensors",
                remedy=suggestion(name, known - constants),
            )
    if len(set(starts)) != len(starts):
        raise ModelImportError(f"inputs {list(starts)} repeat a name", where=where)
    needed, reached = _needed(graph, producer, set(starts), ends)
    if inputs is not None:
        missing = [name for name in own_inputs if name in reached and name not in starts]
        unused = [name for name in starts if name not in reached]
        if missing:
            raise ModelImportError(
                f"the outputs {list(ends)} also need the model's inputs {missing}",
                where=where,
                rule="the inputs given must cut every path to the outputs",
                remedy=f"add {missing} to inputs, or choose other outputs",
            )
        if unused:
            raise ModelImportError(
                f"the outputs {list(ends)} do not depend on {unused}",
                where=where,
                remedy="remove them from inputs",
            )
    protos = [proto for index, proto in enumerate(graph.node) if index in needed]
    return Cut(nodes=_ordered(protos, set(starts) | constants, where), inputs=starts, outputs=ends)


def _producers(graph: GraphProto, constants: set[str], where: str) -> dict[str, int]:
    producer: dict[str, int] = {}
    listed: set[str] = set()
    for value in graph.input:
        if value.name in listed:
            raise ModelImportError(f"two inputs are called {value.name!r}", where=where)
        listed.add(value.name)
    fixed = listed | constants
    for index, proto in enumerate(graph.node):
        for name in proto.output:
            if name and (name in producer or name in fixed):
                raise ModelImportError(
                    f"tensor {name!r} is written twice",
                    where=f"{where}: node {node_name(proto)!r} ({proto.op_type})",
                    rule="every tensor has one producer",
                )
            if name:
                producer[name] = index
    return producer


def _outputs(
    graph: GraphProto,
    producer: dict[str, int],
    known: set[str],
    outputs: Sequence[str] | None,
    where: str,
) -> tuple[str, ...]:
    if outputs is None:
        names = [str(o.name) for o in graph.output]
        for name in names:
            if name not in known:
                raise ModelImportError(
                    f"output {name!r} is produced by nothing",
                    where=where,
                    rule="every output is a node's output, an input or an initializer",
                )
    else:
        by_node = {node_name(p): [str(o) for o in p.output if o] for p in graph.node}
        names = []
        for name in outputs:
            if name not in known and name not in by_node:
                raise ModelImportError(
                    f"there is no tensor or node {name!r} to end at",
                    where=where,
                    remedy=suggestion(name, set(producer) | set(by_node)),
                )
            names += [name] if name in known else by_node[name]
    if not names:
        raise ModelImportError("no outputs are asked for", where=where, rule="at least one")
    if len(set(names)) != len(names):
        raise ModelImportError(f"outputs {names} repeat a name", where=where)
    return tuple(names)


def _needed(
    graph: GraphProto, producer: dict[str, int], starts: set[str], ends: Sequence[str]
) -> tuple[set[int], set[str]]:
    """Return the indices of needed nodes and every tensor they touch."""
    needed: set[int] = set()
    reached: set[str] = set()
    pending = list(ends)
    while pending:
        name = pending.pop()
        if name in reached:
            continue
        reached.add(name)
        index = producer.get(name)
        if name in starts or index is None or index in needed:
            continue
        needed.add(index)
        pending += [i for i in names_read(graph.node[index]) if i]
    return needed, reached


def _ordered(protos: list[NodeProto], known: set[str], where: str) -> tuple[NodeProto, ...]:
    """Return nodes in execution order; files are nearly always in order already."""
    ready = set(known)
    for proto in protos:
        if any(name and name not in ready for name in names_read(proto)):
            break
        ready.update(proto.output)
    else:
        return tuple(protos)
    skeleton = [
        Node(
            name=f"{proto.op_type}_{node_name(proto)}",
            op=str(index),
            inputs=tuple(n for n in names_read(proto) if n),
            outputs=tuple(n for n in proto.output if n),
        )
        for index, proto in enumerate(protos)
    ]
    try:
        return tuple(protos[int(node.op)] for node in toposorted(skeleton, known))
    except GraphError as error:
        raise ModelImportError(error.what, where=where, rule=error.rule) from None
