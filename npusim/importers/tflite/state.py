"""Streaming models: what they remember between steps becomes extra inputs and outputs.

A variable ``v`` is read from the input ``state/v``, and its new value is the output
``next_state/v``: feed one step's output to the next step's input. The chip keeps nothing between
runs. The first step takes the values of ``initial_states``, which are 0 in nearly every model.
A variable that nothing assigns is no state: it is the constant that the file begins it with.
"""

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator, Subgraph
from npusim.importers.tflite.layout import physical
from npusim.importers.tflite.ops_conv import dequantized
from npusim.importers.tflite.table import converter

STATE, NEXT_STATE = "state", "next_state"


def variable_name(op: Operator) -> str:
    """Return the name of the variable that a VAR_HANDLE makes accessible."""
    parts = (op.option("Container", b"") or b"", op.option("SharedName", b"") or b"")
    return "/".join(part.decode("utf-8", "replace") for part in parts if part)


@converter("VAR_HANDLE")
def var_handle(op: Operator, context: TfliteContext) -> None:
    """Note which variable a handle stands for."""
    name = variable_name(op)
    if not name:
        raise ModelImportError("a variable has no name", rule="VAR_HANDLE has a shared_name")
    context.handles[op.outputs[0]] = name


@converter("CALL_ONCE")
def call_once(op: Operator, context: TfliteContext) -> None:
    """Skip: the initial values are read by ``initial_states``."""


@converter("READ_VARIABLE")
def read_variable(op: Operator, context: TfliteContext) -> None:
    """Give the input ``state/v``, or what this step has assigned already."""
    name, index = _variable(op, context), op.outputs[0]
    current = context.next_states.get(name, context.states.get(name))
    if current is None and name in context.unassigned:
        value = context.unassigned[name]
        if value is None:
            raise UnsupportedForm(
                f"variable {name!r} has no value in the file and nothing assigns it one",
                "the conversion lost the weights: convert the Keras model or the SavedModel",
            )
        if context.spec(index)[0].is_float:
            context.values[index] = value
            return
    if current is None:
        current = context.unused(f"{STATE}/{name}")
        dtype, quant = context.spec(index)
        shape = context.tensor(index).shape
        if min(shape, default=1) < 1:
            raise UnsupportedForm(f"a variable of shape {shape}", "convert with fixed sizes")
        context.builder.add_input(current, physical(shape), dtype, quant)
        context.states[name] = current
    context.alias(op, current)


@converter("ASSIGN_VARIABLE")
def assign_variable(op: Operator, context: TfliteContext) -> None:
    """Remember the new value; it becomes the output ``next_state/v``."""
    context.next_states[_variable(op, context)] = context.feature(op.inputs[1])


def _variable(op: Operator, context: TfliteContext) -> str:
    name = context.handles.get(op.inputs[0])
    if name is None:
        raise UnsupportedForm(
            "its variable is not known by a VAR_HANDLE", "convert with the resource variables kept"
        )
    return name


def initial_values(graphs: tuple[Subgraph, ...]) -> dict[str, Array]:
    """Return variable -> real initial value in source order, from what CALL_ONCE runs."""
    found: dict[str, Array] = {}
    for op in graphs[0].operators:
        if op.type != "CALL_ONCE":
            continue
        number = op.option("InitSubgraphIndex", -1)
        if not 0 < number < len(graphs):
            raise ModelImportError(f"graph {number} of CALL_ONCE does not exist")
        handles: dict[int, str] = {}
        for inner in graphs[number].operators:
            if inner.type == "VAR_HANDLE":
                handles[inner.outputs[0]] = variable_name(inner)
            elif inner.type == "ASSIGN_VARIABLE" and inner.inputs[0] in handles:
                tensor = graphs[number].tensors[inner.inputs[1]]
                if tensor.data is not None:
                    found[handles[inner.inputs[0]]] = dequantized(tensor.data, tensor.quant, 0)
    return found


def unassigned_variables(graphs: tuple[Subgraph, ...]) -> dict[str, Array | None]:
    """Return variable that the model only reads -> its value, None where the file has none."""
    handles: dict[int, str] = {}
    assigned = set()
    at_start = {op.option("InitSubgraphIndex", -1) for op in graphs[0].operators
                if op.type == "CALL_ONCE"}  # fmt: skip
    inside = any(
        op.type == "ASSIGN_VARIABLE"
        for number, graph in enumerate(graphs[1:], start=1)
        if number not in at_start
        for op in graph.operators
    )
    for op in graphs[0].operators:
        if op.type == "VAR_HANDLE":
            handles[op.outputs[0]] = variable_name(op)
        elif op.type == "ASSIGN_VARIABLE":
            assigned.add(handles.get(op.inputs[0]))
        elif op.type in ("WHILE", "IF", "CALL") and inside:
            assigned.update(map(handles.get, op.inputs))
    starts = initial_values(graphs)
    return {name: starts.get(name) for name in handles.values() if name not in assigned}
