"""TensorFlow Lite file -> Graph with concrete shapes, quantized where the model is."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from npusim import words
from npusim.errors import (
    ModelImportError,
    UnsupportedOpError,
)
from npusim.importers.common.builder import (
    Array,
    GraphBuilder,
    UnsupportedForm,
    suggestion,
)
from npusim.importers.common.quantized_types import through_u8
from npusim.importers.tflite import (
    ops_conv,
    ops_flow,
    ops_gather,
    ops_join,
    ops_known,
    ops_lstm,
    ops_math,
    ops_shape,
    ops_slice,
    state,
)
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Subgraph, read_tflite
from npusim.importers.tflite.layout import TO_NHWC, physical
from npusim.importers.tflite.state import NEXT_STATE, STATE, initial_values, unassigned_variables
from npusim.importers.tflite.walk import needed, refuse_findings, visit
from npusim.importers.tflite.whole import Whole
from npusim.ir.graph import Graph
from npusim.ir.names import distinct
from npusim.plain import name_of

FAMILIES = (
    ops_conv,
    ops_flow,
    ops_gather,
    ops_join,
    ops_known,
    ops_lstm,
    ops_math,
    ops_shape,
    ops_slice,
    state,
)
"""Importing them registers the converters."""


def load_tflite(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read a TensorFlow Lite model as a float or quantized graph.

    Inputs with four axes are N, C, H, W in the graph (the file has N, H, W, C); outputs keep the
    file's order. int8 and uint8 models keep their own scales and zero points; float16 weights
    become float32. What a streaming model remembers becomes the inputs ``state/..`` and the
    outputs ``next_state/..`` (``npusim.importers.tflite.state``).

    Parameters
    ----------
    path : str or Path
    inputs : sequence of str, optional
        Refused: TensorFlow Lite models are imported from their own inputs on.
    input_shapes : mapping or sequence, optional
        Shapes in the file's order (N, H, W, C), by name or in order; for open sizes.
    outputs : sequence of str, optional
        Tensors to end at. Default: the model's outputs.

    Raises
    ------
    MissingExtraError
        Without the extra ``tflite``.
    UnsupportedOpError
        Listing every operator without a counterpart, with advice.
    ModelImportError
        For files that cannot be read and graphs that are not valid.
    """
    path = Path(path)
    where = str(path)
    if inputs is not None:
        raise ModelImportError(
            "inputs is given", where=where, rule="a .tflite model begins at its own inputs"
        )
    graphs, source = read_tflite(path)
    graph = graphs[0]
    labels = distinct([tensor.name for tensor in graph.tensors], "tensor")
    ends = _ends(graph, labels, outputs, where)
    context = TfliteContext(GraphBuilder(where=where), graph, labels, whole=Whole(graphs))
    _add_inputs(context, input_shapes, where)
    context.unassigned = unassigned_variables(graphs)
    context.ends.update(ends)
    visit(context, needed(graph, ends))
    refuse_findings(context)
    try:
        names = [_finished(context, index) for index in ends]
    except UnsupportedForm as form:  # of an output that no operator makes
        raise UnsupportedOpError(form.reason, where=where, remedy=form.advice) from None
    if outputs is None:
        names += _next_states(context)
    _note_states(context, graphs)
    return context.builder.finish(
        name_of(path),
        [*(labels[index] for index in graph.inputs), *context.states.values()],
        names,
        renames={},
        source=source,
        notes=context.notes,
        rewrite=through_u8,
    )


def initial_states(path: str | Path) -> dict[str, Array]:
    """Return the inputs ``state/..`` of a streaming model for its first step.

    Returns
    -------
    dict
        Input name -> real float32 values in the graph's order (N, C, H, W with four axes), as
        ``Program.run`` takes them.
    """
    graphs, _ = read_tflite(Path(path))
    return {
        f"{STATE}/{name}": np.asarray(
            value.transpose(0, 3, 1, 2) if value.ndim == 4 else value, order="C"
        )
        for name, value in initial_values(graphs).items()
    }


def _ends(
    graph: Subgraph, labels: tuple[str, ...], outputs: Sequence[str] | None, where: str
) -> list[int]:
    if isinstance(outputs, str):
        raise ModelImportError("outputs is a single string", where=where, rule="a list of names")
    if outputs is None:
        ends = list(graph.outputs)
    else:
        by_name = {label: index for index, label in enumerate(labels)}
        for name in outputs:
            if name not in by_name:
                raise ModelImportError(
                    f"there is no tensor {name!r} to end at",
                    where=where,
                    remedy=suggestion(name, by_name),
                )
        ends = [by_name[name] for name in outputs]
    if not ends or len(set(ends)) != len(ends):
        raise ModelImportError("no outputs, or one of them twice", where=where)
    return ends


def _add_inputs(context: TfliteContext, shapes: Any, where: str) -> None:
    graph, labels = context.graph, context.labels
    given = _by_name([labels[i] for i in graph.inputs], shapes, where)
    open_sizes = []
    for index in graph.inputs:
        stated, label = graph.tensors[index].shape, labels[index]
        wanted = given.get(label, (None,) * len(stated))
        if len(wanted) != len(stated):
            raise ModelImportError(
                f"shape {tuple(wanted)} of input {label!r}",
                where=where,
                rule=f"{len(stated)} sizes as in the file: {stated}",
            )
        shape = tuple(
            own if size in (None, -1) else int(size)
            for own, size in zip(stated, wanted, strict=True)
        )
        if shape and shape[0] == -1:
            shape = (1, *shape[1:])
            context.notes.append(f"input {label!r}: the open batch {stated} is taken as 1")
        if min(shape, default=1) < 1:
            open_sizes.append(f"{label!r} {shape}")
            continue
        try:
            dtype, quant = context.spec(index)
        except UnsupportedForm as form:
            raise UnsupportedOpError(
                f"input {label!r}: {form.reason}", where=where, remedy=form.advice
            ) from None
        context.builder.add_input(label, physical(shape), dtype, quant)
        context.names[index] = label
    if open_sizes:
        raise ModelImportError(
            f"sizes are open: {', '.join(open_sizes)}",
            where=where,
            rule="the chip runs fixed sizes",
            remedy=f"give {words.say('input_shapes')}, or convert the model with a fixed input",
        )


def _by_name(names: list[str], shapes: Any, where: str) -> dict[str, Sequence[Any]]:
    if shapes is None:
        return {}
    if not isinstance(shapes, Mapping):
        if len(shapes) != len(names):
            raise ModelImportError(
                f"{len(shapes)} input shapes for {len(names)} inputs {names}", where=where
            )
        return dict(zip(names, shapes, strict=True))
    for name in shapes:
        if name not in names:
            raise ModelImportError(
                f"there is no input {name!r}", where=where, remedy=suggestion(name, names)
            )
    return {str(name): tuple(shape) for name, shape in shapes.items()}


def _finished(context: TfliteContext, index: int) -> str:
    """Return an output under its own name and in source order."""
    label = context.labels[index]
    name = context.feature(index)
    if name in (context.labels[i] for i in context.graph.inputs):  # a result needs its own name
        label = context.unused(f"{label}/copy")
    if len(context.builder.tensors[name].shape) == 4 and name != label:
        return in_source_order(context, name, label)
    if name != label:
        context.add(f"{label}/copy", "identity", (name,), label, origin=label)
    return label


def in_source_order(context: TfliteContext, name: str, label: str) -> str:
    """Append the step that turns a tensor with four axes back to N, H, W, C."""
    return context.turn(f"{label}/nhwc", name, label, TO_NHWC, origin=label)


def _next_states(context: TfliteContext) -> list[str]:
    names = []
    order = dict.fromkeys((*context.states, *context.next_states))
    for variable in order:
        name = context.next_states.get(variable)
        if name is None:
            continue
        label = context.unused(f"{NEXT_STATE}/{variable}")
        if len(context.builder.tensors[name].shape) == 4:
            in_source_order(context, name, label)
        else:
            context.add(label, "identity", (name,), label, origin=label)
        names.append(label)
    return names


def _note_states(context: TfliteContext, graphs: tuple[Subgraph, ...]) -> None:
    if not context.states:
        return
    starts = initial_values(graphs)
    other = [name for name, value in starts.items() if np.any(value)]
    sizes = sum(prod(context.builder.tensors[n].shape) for n in context.states.values())
    context.notes.append(
        f"streaming model: {len(context.states)} variables ({sizes} elements) are the inputs "
        f"{', '.join(context.states.values())}; feed the outputs {NEXT_STATE}/.. of one step to "
        f"them in the next. The first step takes "
        + (f"initial_states(path): {other} do not begin with 0" if other else "zeros")
    )
