"""TensorFlow frozen graph (``.pb``) -> Graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npusim import words
from npusim.errors import GraphError, ModelImportError, UnsupportedOpError
from npusim.importers.common.builder import GraphBuilder, suggestion
from npusim.importers.common.holes import leaving
from npusim.importers.common.orders import usual
from npusim.importers.common.quantized import absorb
from npusim.importers.common.quantized_types import through_u8
from npusim.importers.common.two_files import wanted_shape
from npusim.importers.tensorflow import (
    ops_conv,
    ops_lists,
    ops_math,
    ops_move,
    ops_norm,
    ops_quantized,
    ops_shape,
)
from npusim.importers.tensorflow.advice import cut_advice
from npusim.importers.tensorflow.context import TfContext, TfNode
from npusim.importers.tensorflow.custom import custom_part, with_custom_part
from npusim.importers.tensorflow.file import FREEZE, TYPES, GraphFile, read_graph, shape_of
from npusim.importers.tensorflow.frames import EXITS, with_functions
from npusim.importers.tensorflow.phase import phase_value
from npusim.importers.tensorflow.predefined import read_predefined
from npusim.importers.tensorflow.scope import Scope
from npusim.importers.tensorflow.walk import VARIABLES, Walk
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Source
from npusim.ir.holes import Hole
from npusim.plain import name_of

FAMILIES = (ops_conv, ops_lists, ops_math, ops_move, ops_norm, ops_quantized, ops_shape)
"""Importing them registers the converters."""

ShapesLike = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None
_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")
_NO_OUTPUTS = ("NoOp", "Const", "Assert", "Print", "PlaceholderWithDefault", *_PLACEHOLDERS)
_SCALAR_FROM = 22
"""From this producer version on an empty shape means a scalar. Source: measured, formats.md."""


def load_tensorflow(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
    predefined: str | Path | None = None,
    codes: bool = True,
) -> Graph:
    """Read a frozen TensorFlow graph.

    Feature maps with four axes are N, H, W, C in the file and N, C, H, W in the graph; outputs keep
    the file's order. Tensors are called as in TensorFlow, ``node:0``; inputs and outputs may be
    given without the number. Switches that constants decide are resolved, functions entered.

    Parameters
    ----------
    path : str or Path
    inputs : sequence of str, optional
        Nodes to begin at. Default: the placeholders. Truth values are no inputs: the training
        phase is switched off.
    input_shapes : mapping or sequence, optional
        Shapes by input, or in order, N, H, W, C; None keeps the file's size.
    outputs : sequence of str, optional
        Nodes to end at. Default: what no node reads and depends on an input.
    predefined : path, optional
        An ``.npz`` with values of nodes; ``/`` in names is written ``#``.
    codes : bool
        FakeQuant of 8 bits gives tensors their codes (a quantized graph); else it is written out in
        real numbers.

    Returns
    -------
    Graph
        Float, or quantized where the file holds FakeQuant.

    Raises
    ------
    UnsupportedOpError
        Listing every operator without a counterpart, with advice and a place to cut.
    ModelImportError
        For files that cannot be read, names that are not there and graphs that are not valid.
    """
    path = Path(path)
    where = str(path)
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(names, str):
            raise ModelImportError(
                f"{what} is a single string", where=where, rule="a list of names"
            )
    file = read_graph(path)
    scope = Scope(with_functions(file), file.functions, where)
    scope.check()
    context = TfContext(
        GraphBuilder(where=where),
        names={name for node in scope.nodes.values() for name in node.outputs},
        codes=codes,
    )
    for tensor, value in read_predefined(predefined, scope.nodes, where).items():
        context.values.store(tensor, value)
    given = None if inputs is None else _tensors(inputs, scope, "begin", context.notes, where)
    ends = _ends(scope, given, outputs, context, where)
    context.ends.update(ends)
    order = scope.ordered(ends, [*(given or ()), *context.values])
    if behind := custom_part(order):

        def front(tensors: list[str]) -> Graph:
            return load_tensorflow(
                path,
                inputs=inputs,
                input_shapes=input_shapes,
                outputs=tensors,
                predefined=predefined,
                codes=codes,
            )

        return with_custom_part(behind, order, ends, front)
    _refuse_variables(order, where)
    starts = _starts(context, scope, order, given, where)
    _add_inputs(context, file, scope, order, starts, input_shapes, where)
    walk = Walk(context, file)
    walk.run(scope, ends, [*starts, *context.values])
    _refuse_findings(walk, scope, order, ends, where)
    try:
        renames = context.finish_outputs(starts, ends)
        return context.builder.finish(
            name_of(path),
            starts,
            ends,
            renames=renames,
            source=Source(framework="tensorflow", path=where, sha256=file.fingerprint.hexdigest()),
            notes=context.notes,
            rewrite=lambda found: through_u8(absorb(found, context.builder.stored)),
        )
    except (GraphError, ModelImportError) as error:  # of the graph as a whole
        raise ModelImportError(
            error.what,
            where=error.where if error.where.startswith(where) else where,
            rule=error.rule,
            remedy=error.remedy,
        ) from None


def _tensors(
    names: Sequence[str], scope: Scope, verb: str, notes: list[str], where: str
) -> list[str]:
    """Return tensors for names of nodes, with or without the number of the result."""
    found = []
    for name in names:
        text = str(name)
        node, _, index = text.rpartition(":") if ":" in text else (text, "", "0")
        if text in scope.nodes:
            node, index = text, "0"
        known = scope.nodes.get(node)
        if known is None:
            raise _no_node(text, scope, verb, where)
        if f"{node}:{index}" not in known.outputs:
            raise ModelImportError(
                f"node {node!r} has no result {index!r}",
                where=where,
                rule=f"{known.type} has {len(known.outputs)} results",
                remedy=f"give {node!r}",
            )
        if text == f"{node}:0":
            notes.append(f"{text!r} is taken as node {node!r}")
        found.append(f"{node}:{index}")
    if len(set(found)) != len(found):
        raise ModelImportError(f"{list(names)} repeat a name", where=where, rule="all different")
    return found


def _no_node(name: str, scope: Scope, verb: str, where: str) -> ModelImportError:
    likely = _placeholders(scope) if verb == "begin" else _unread(scope)
    kinds = "placeholders" if verb == "begin" else "nodes that nothing reads"
    shown = ", ".join(map(repr, likely[:8])) + (", .." if len(likely) > 8 else "")
    return ModelImportError(
        f"there is no node {name!r} to {verb} at",
        where=where,
        rule=f"{kinds}: {shown or 'none'}",
        remedy=suggestion(name.partition(":")[0], scope.nodes),
    )


def _placeholders(scope: Scope) -> list[str]:
    return [node.name for node in scope.nodes.values() if node.type in _PLACEHOLDERS]


def _unread(scope: Scope) -> list[str]:
    """Return nodes whose results no node reads, but those that others wait for and ends of loops.

    What a loop leaves behind that nobody reads is mostly its counter.
    """
    read = {name for node in scope.nodes.values() for name in node.inputs}
    waited = {name for node in scope.nodes.values() for name in node.waits}
    found = [
        node.name
        for node in scope.nodes.values()
        if node.type not in _NO_OUTPUTS
        and "Summary" not in node.type
        and read.isdisjoint(node.outputs)
    ]
    for passed in (waited, {name for name in found if scope.nodes[name].type in EXITS}):
        found = [name for name in found if name not in passed] or found
    return found


def _ends(
    scope: Scope,
    given: Sequence[str] | None,
    outputs: Sequence[str] | None,
    context: TfContext,
    where: str,
) -> list[str]:
    if outputs is not None:
        found = _tensors(outputs, scope, "end", context.notes, where)
    else:
        depends = _dependent(scope, given)
        read = {name for node in scope.nodes.values() for name in node.inputs}
        found = []
        for name in _unread(scope):
            node = scope.nodes[name]
            if depends is None or depends.intersection(node.inputs):
                several = node.type in ("Split", "SplitV", "Unpack", "IdentityN", "TopKV2")
                found += node.outputs if several else node.outputs[:1]
        if given is not None and not found:
            found = [name for name in given if name not in read]
    if not found:
        raise ModelImportError(
            "the graph has no outputs" if outputs is None else "no outputs are asked for",
            where=where,
            rule="nodes that nothing reads and that depend on an input"
            if outputs is None
            else "at least one",
            remedy="name them with outputs=",
        )
    return found


def _dependent(scope: Scope, given: Sequence[str] | None) -> set[str] | None:
    """Return every tensor that depends on an input; None when the graph has none."""
    readers: dict[str, list[TfNode]] = {}
    for node in scope.nodes.values():
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    starts = given if given is not None else [f"{name}:0" for name in _placeholders(scope)]
    if not starts:
        return None
    reached, pending = set(starts), list(starts)
    while pending:
        for node in readers.get(pending.pop(), ()):
            fresh = [name for name in node.outputs if name not in reached]
            reached.update(fresh)
            pending += fresh
    return reached


def _refuse_variables(order: Sequence[TfNode], where: str) -> None:
    names = [node.name for node in order if node.type in VARIABLES]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise ModelImportError(
            f"node {names[0]!r}{more} is a variable: the graph is not frozen",
            where=where,
            rule="the weights are constants of the file",
            remedy=FREEZE,
        )


def _starts(
    context: TfContext,
    scope: Scope,
    order: Sequence[TfNode],
    given: Sequence[str] | None,
    where: str,
) -> list[str]:
    """Return the inputs; the training phase gets its value."""
    reached = [node for node in order if node.type in _PLACEHOLDERS]
    missing = []
    for node in reached:
        tensor = node.outputs[0]
        if tensor in context.values or tensor in (given or ()):
            continue
        value = phase_value(node, context.notes, needed=given is not None)
        if value is not None:
            context.values[tensor] = value
        elif given is not None:
            missing.append(node.name)
    if missing:
        raise ModelImportError(
            f"the outputs also need the placeholders {missing}",
            where=where,
            rule="the inputs given cut every path to the outputs",
            remedy=f"add them to inputs, or give their values in a predef_file: "
            f"numpy.savez('predef.npz', **{{{missing[0].replace('/', '#')!r}: ..}})",
        )
    if given is None:
        position = {name: i for i, name in enumerate(scope.nodes)}
        found = [n.outputs[0] for n in reached if n.outputs[0] not in context.values]
        return sorted(found, key=lambda name: position[name.rpartition(":")[0]])
    read = {name for node in order for name in node.inputs} | context.ends
    idle = [name.removesuffix(":0") for name in given if name not in read]
    if idle:
        raise ModelImportError(
            f"the outputs do not depend on {idle}", where=where, remedy="remove them from inputs"
        )
    return list(given)


def _add_inputs(
    context: TfContext,
    file: GraphFile,
    scope: Scope,
    order: Sequence[TfNode],
    starts: Sequence[str],
    shapes: ShapesLike,
    where: str,
) -> None:
    names = [name.removesuffix(":0") for name in starts]
    if isinstance(shapes, Mapping):
        shapes = {str(key).removesuffix(":0"): value for key, value in shapes.items()}
    for tensor, name in zip(starts, names, strict=True):
        node = scope.nodes[tensor.rpartition(":")[0]]
        own = _own_shape(node, file.producer)
        if own and own[0] == -1 and (shapes is None or not _gives(shapes, name, names)):
            own = (1, *own[1:])
            context.notes.append(f"the open batch of input {name!r} is 1")
        shape = _shape(name, own, shapes, names, where)
        dtype = _input_type(context, node, order, tensor)
        rank = len(shape)
        physical = tuple(shape[axis] for axis in usual(rank))
        context.builder.add_input(tensor, physical, dtype)
        context.hold(tensor, tensor, usual(rank))


def _gives(shapes: ShapesLike, name: str, names: Sequence[str]) -> bool:
    """Tell whether a batch is among the shapes given for an input."""
    if isinstance(shapes, Mapping):
        return bool(shapes.get(name)) and shapes[name][0] not in (None, -1)
    index = list(names).index(name)
    return shapes is not None and index < len(shapes) and shapes[index][0] not in (None, -1)


def _own_shape(node: TfNode, producer: int) -> tuple[int, ...] | None:
    shape = node.sizes("shape")
    if shape == () and producer < _SCALAR_FROM and node.type in _PLACEHOLDERS:
        return None
    if shape is None and "_output_shapes" in node.attrs:
        listed = node.attrs["_output_shapes"].list.shape
        shape = shape_of(listed[0]) if len(listed) else None
    return shape


def _shape(
    name: str,
    own: tuple[int, ...] | None,
    shapes: ShapesLike,
    names: Sequence[str],
    where: str,
) -> tuple[int, ...]:
    likely = (1, 224, 224, 3) if own is None else tuple(n if n > 0 else 224 for n in own)
    remedy = f"give {words.one_shape(name, likely)}"
    if own is not None and -1 in own:
        given = _given(name, shapes, names) or ()
        open_axes = [i for i, n in enumerate(own) if n == -1]
        filled = len(given) in (len(own), len(own) - 1)
        skipped = len(own) - len(given)
        if not filled or any(i >= skipped and given[i - skipped] in (None, -1) for i in open_axes):
            raise ModelImportError(
                f"sizes of input {name!r} are open: {own}",
                where=where,
                rule="the chip runs networks of fixed size",
                remedy=remedy,
            )
        own = tuple(1 if n == -1 else n for n in own)
    found = wanted_shape(name, own, shapes, names, where)
    if found is None:
        raise ModelImportError(
            f"input {name!r} has no shape in the file",
            where=where,
            rule="the chip runs networks of fixed size",
            remedy=remedy,
        )
    return found


def _given(name: str, shapes: ShapesLike, names: Sequence[str]) -> Sequence[Any] | None:
    if isinstance(shapes, Mapping):
        return shapes.get(name)
    index = list(names).index(name)
    return shapes[index] if shapes is not None and index < len(shapes) else None


def _input_type(context: TfContext, node: TfNode, order: Sequence[TfNode], tensor: str) -> DType:
    """Return the element type of an input: whole numbers that are only cast are real."""
    number = node.type_number("dtype") if node.type in _PLACEHOLDERS else 1
    kind = np.dtype(TYPES.get(number, np.float32)).kind
    if kind == "f":
        return DType.F32
    readers = {reader.type for reader in order if tensor in reader.inputs}
    if readers & {"Gather", "GatherV2", "ResourceGather", "OneHot"}:
        return DType.I32
    name = tensor.removesuffix(":0")
    context.notes.append(f"input {name!r} holds whole numbers: taken as real numbers")
    return DType.F32


def _refuse_findings(
    walk: Walk, scope: Scope, order: Sequence[TfNode], ends: Sequence[str], where: str
) -> None:
    """Raise what spoils the outputs; what only dead or unused branches hold does not matter."""
    dead = [name for name in ends if name in walk.dead]
    if dead:
        raise ModelImportError(
            f"output {dead[0].removesuffix(':0')!r} is in a branch that never runs",
            where=where,
            remedy="choose another output",
        )
    reasons = sorted(set().union(*(walk.lost.get(name, frozenset()) for name in ends)))
    if not reasons:
        return
    found = [walk.findings[index] for index in reasons]
    if found[0].error is not None:
        raise found[0].error
    lines = []
    for finding in found:
        if finding.error is not None:
            lines.append(f"{finding.node.where} is wrong in itself: {finding.reason}")
            break
        node = finding.node
        lines.append(f"node {node.name!r}: {node.type}, {finding.reason}; {finding.advice}")
    shown = lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], _kinds(found)]
    count = f"{len(lines)} unsupported node" + ("s" if len(lines) > 1 else "")
    cut = cut_advice(scope, order, {finding.node.name for finding in found})
    error = UnsupportedOpError(
        f"{count}:" + "".join(f"\n    {line}" for line in shown),
        where=where,
        rule="every node needs a counterpart on the chip; npusim ops lists them",
        remedy=cut or f"rewrite the nodes as advised, or cut the graph ({words.say('cut_both')})",
    )
    holes = [Hole(layer=f.node.name, op=f.node.type, why=f.reason) for f in found]
    raise leaving(error, walk.context.builder, holes, walk.unknown)


_MOST_LINES = 60


def _kinds(found: Sequence[Any]) -> str:
    """Return the operators of a long list with their counts."""
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.node.type] = counts.get(finding.node.type, 0) + 1
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    return f".. in all: {words}"
