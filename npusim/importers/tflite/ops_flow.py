"""Loops, conditions and calls of the file's other functions, written out where they stand."""

from collections.abc import Sequence

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.names import claim
from npusim.importers.common.unroll import ADVICE, ON_DATA
from npusim.importers.tflite.context import TfliteContext, Waiting
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.table import converter
from npusim.importers.tflite.walk import needed, visit
from npusim.ir.names import distinct
from npusim.plain import LONGEST_COMPARED

_DEEPEST, _TURN = 32, "/turn"


@converter("WHILE")
def loop(op: Operator, context: TfliteContext) -> None:
    """Write a turn out as long as the condition, which must be known, is true."""
    if len(op.inputs) != len(op.outputs):
        raise ModelImportError(
            f"{len(op.inputs)} variables become {len(op.outputs)}", rule="as many results"
        )
    condition, body = op.option("CondSubgraphIndex", 0), op.option("BodySubgraphIndex", 0)
    base, turn = _base(op, context), 0
    holder, variables = context, op.inputs
    while _goes_on(op, holder, variables, condition, f"{base}/turn{turn}/condition", turn):
        inner = _entered(op, holder, variables, body, f"{base}/turn{turn}", turn)
        results = inner.graph.outputs
        if len(results) != len(variables):
            raise ModelImportError(
                f"its body gives {len(results)} results", rule=f"{len(variables)}, one a variable"
            )
        holder, variables, turn = inner, results, turn + 1
    for outer, inside in zip(op.outputs, variables, strict=True):
        _give(op, context, outer, holder, inside)


def _goes_on(
    op: Operator,
    holder: TfliteContext,
    variables: Sequence[int],
    condition: int,
    prefix: str,
    turn: int,
) -> bool:
    found = {line: list(names) for line, names in holder.whole.findings.items()}
    try:
        inner = _entered(op, holder, variables, condition, prefix, turn)
    except Waiting:
        if not _asks_data(holder, variables, condition):
            raise
        holder.whole.findings.clear()  # the loop is at fault, not how it asks
        holder.whole.findings.update(found)
        raise UnsupportedForm(ON_DATA, ADVICE) from None
    if len(inner.graph.outputs) != 1:
        raise ModelImportError(
            f"its condition gives {len(inner.graph.outputs)} results", rule="one"
        )
    (result,) = inner.graph.outputs
    if result in inner.stand_ins:
        raise Waiting
    value = inner.value(result)
    if value is None or value.size != 1:
        raise UnsupportedForm(ON_DATA, ADVICE)
    return bool(value.reshape(-1)[0])


def _asks_data(holder: TfliteContext, variables: Sequence[int], condition: int) -> bool:
    """Tell whether a condition reads a variable that is not known."""
    graph = holder.whole.graphs[condition]
    read = {index for op in needed(graph, graph.outputs) for index in op.inputs}
    return any(
        own in read and outer not in holder.stand_ins and holder.value(outer) is None
        for own, outer in zip(graph.inputs, variables, strict=True)
    )


@converter("IF")
def branch(op: Operator, context: TfliteContext) -> None:
    """Take the branch that a known condition chooses."""
    taken = context.fixed(op, 0, "its condition")
    if taken.size != 1:
        raise ModelImportError(f"a condition of shape {taken.shape}", rule="one truth value")
    word = "ThenSubgraphIndex" if taken.reshape(-1)[0] else "ElseSubgraphIndex"
    _put(op, context, op.inputs[1:], op.option(word, 0))


@converter("CALL")
def call(op: Operator, context: TfliteContext) -> None:
    """Put a function in the place of its call."""
    _put(op, context, op.inputs, op.option("Subgraph", 0))


def _put(op: Operator, context: TfliteContext, arguments: Sequence[int], number: int) -> None:
    inner = _entered(op, context, arguments, number, _base(op, context))
    if len(inner.graph.outputs) != len(op.outputs):
        raise ModelImportError(
            f"function {inner.graph.name!r} gives {len(inner.graph.outputs)} results",
            rule=f"{len(op.outputs)}",
        )
    for outer, inside in zip(op.outputs, inner.graph.outputs, strict=True):
        _give(op, context, outer, inner, inside)


def _base(op: Operator, context: TfliteContext) -> str:
    """Return what names of a function's tensors begin with; no other tensor's name does."""
    base, used = (
        context.labels[op.outputs[0]] if op.outputs else op.type.lower(),
        context.whole.bases,
    )
    if not used:  # the network itself; functions note theirs when they are entered
        used[""] = 1
        _note(context.labels, used)
    count = used.get(base, 0)
    name = f"{base}{count + 1}" if count else base
    while name in used:
        count += 1
        name = f"{base}{count + 1}"
    used[base] = count + 1
    used.setdefault(name, 1)
    return name


def _note(labels: Sequence[str], bases: dict[str, int]) -> None:
    for label in labels:
        place = label.find(_TURN, 0, LONGEST_COMPARED)
        while place >= 0:
            bases.setdefault(label[:place], 1)
            place = label.find(_TURN, place + 1, LONGEST_COMPARED)


def _entered(
    op: Operator,
    context: TfliteContext,
    arguments: Sequence[int],
    number: int,
    prefix: str,
    turn: int | None = None,
) -> TfliteContext:
    """Convert the operators of a function and return the context that holds its results.

    Parameters
    ----------
    arguments : sequence of int
        Tensors of the context.
    turn : int, optional
        Of a loop.
    """
    whole = context.whole
    if not 0 < number < len(whole.graphs):
        raise ModelImportError(f"function {number} does not exist", remedy="convert it again")
    graph = whole.graphs[number]
    if len(arguments) != len(graph.inputs):
        raise ModelImportError(
            f"{len(arguments)} arguments for function {graph.name!r}", rule=f"{len(graph.inputs)}"
        )
    if whole.depth >= _DEEPEST:
        raise UnsupportedForm("calls go too deep", "functions that call themselves")
    if turn is None:
        whole.budget.call(len(graph.operators), context.builder)
    else:
        whole.budget.turn(turn, len(graph.operators), context.builder)
    labels = _labels(prefix, context, graph.tensors)
    _note(labels, whole.bases)
    inner = context.inside(graph, labels)
    for outer, own in zip(arguments, graph.inputs, strict=True):
        _bind(inner, own, context, outer)
    before = sum(map(len, whole.findings.values()))
    whole.depth += 1
    try:
        visit(inner, needed(graph, graph.outputs))
    finally:
        whole.depth -= 1
    if sum(map(len, whole.findings.values())) > before:
        raise Waiting  # what is behind is looked at with stand-ins
    return inner


def _labels(prefix: str, context: TfliteContext, tensors: Sequence[object]) -> tuple[str, ...]:
    """Return the names of a function's tensors: not repeating the loop's name, all new."""
    repeated = prefix.split("/turn")[0] + "/"
    names = [getattr(tensor, "name").rpartition(repeated)[2] for tensor in tensors]  # noqa: B009
    return tuple(claim(f"{prefix}/{name}", context.taken) for name in distinct(names, "tensor"))


def _bind(inner: TfliteContext, own: int, outer: TfliteContext, index: int) -> None:
    """Let a tensor be one of another context."""
    if index in outer.stand_ins:
        inner.stand_ins.add(own)
    if index in outer.handles:
        inner.handles[own] = outer.handles[index]
    elif index in outer.names:
        inner.names[own] = outer.names[index]
    else:
        value = outer.value(index)
        if value is None:
            raise ModelImportError(
                f"tensor {outer.labels[index]!r} is read before it is written",
                rule="operators are in execution order",
            )
        if outer.is_quantized(index):  # codes stand for numbers by what the tensor says
            inner.names[own] = outer.feature(index)
        else:
            inner.values.share(own, value)


def _give(
    op: Operator, context: TfliteContext, outer: int, inner: TfliteContext, index: int
) -> None:
    """Let a result of a function be the result of what calls it."""
    if outer not in context.ends:
        _bind(context, outer, inner, index)
        return
    context.alias(op, inner.feature(index), output=op.outputs.index(outer))
