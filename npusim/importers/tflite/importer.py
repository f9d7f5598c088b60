"""TensorFlow Lite file -> Graph with concrete shapes, quantized where the model is."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from npusim import words
from npusim.errors import GraphError, ModelImportError, QuantizationError, UnsupportedOpError
from npusim.importers.common.builder import Array, GraphBuilder, UnsupportedForm, suggestion
from npusim.importers.common.quantized_types import through_u8
from npusim.importers.tflite import ops_conv, ops_math, ops_move, state
from npusim.importers.tflite.context import (
    TO_NHWC,
    TfliteContext,
    converter_of,
    convertible_ops,
    physical,
    same_memory,
)
from npusim.importers.tflite.file import Operator, Subgraph, read_tflite
from npusim.importers.tflite.state import NEXT_STATE, STATE, initial_values
from npusim.ir.attrs import ReshapeAttrs, TransposeAttrs
from npusim.ir.graph import Graph
from npusim.ir.tensor import Shape

FAMILIES = (ops_conv, ops_math, ops_move, state)
"""Importing them registers the converters."""

_CUT = "cut the model before it and run the rest on the CPU"
ADVICE = {
    **dict.fromkeys(
        ("WHILE", "IF", "CALL"), "convert without control flow: unroll loops over fixed lengths"
    ),
    **dict.fromkeys(
        ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "SVDF", "RNN"),
        "recurrent layers are not there yet: convert with unroll=True, or " + _CUT,
    ),
    **dict.fromkeys(
        ("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "EQUAL", "NOT_EQUAL", "SELECT",
         "SELECT_V2", "LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT"),
        "the chip has no comparisons; use Maximum, Minimum or a product with a constant mask",
    ),
    **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TOPK_V2", "WHERE"), _CUT),
    "CUSTOM TFLite_Detection_PostProcess": _CUT,
    "DENSIFY": "convert the model without sparse weights",
    "BROADCAST_TO": "write it as Tile",
    "CUMSUM": "write it as BatchMatMul with a constant triangular matrix",
}  # fmt: skip


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
    labels = _labels(graph)
    ends = _ends(graph, labels, outputs, where)
    context = TfliteContext(GraphBuilder(where=where), graph, labels)
    _add_inputs(context, input_shapes, where)
    context.nhwc_outputs.update(index for index in ends if len(graph.tensors[index].shape) == 4)
    _walk(context, _needed(graph, ends), where)
    names = [_finished(context, index) for index in ends]
    if outputs is None:
        names += _next_states(context)
    _note_states(context, graphs)
    return context.builder.finish(
        path.stem,
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
        f"{STATE}/{name}": np.ascontiguousarray(
            value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
        )
        for name, value in initial_values(graphs).items()
    }


def _labels(graph: Subgraph) -> tuple[str, ...]:
    """Return a name of its own for every tensor."""
    seen: set[str] = set()
    labels = []
    for index, tensor in enumerate(graph.tensors):
        name = tensor.name or f"tensor_{index}"
        if name in seen:
            name = f"{name}@{index}"
        seen.add(name)
        labels.append(name)
    return tuple(labels)


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
            shape = (1, *shape[1:])  # an open batch
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


def _needed(graph: Subgraph, ends: Sequence[int]) -> list[Operator]:
    """Return the operators that the ends or the variables need, in order."""
    needed = set(ends)
    kept = []
    for op in reversed(graph.operators):
        if op.type in ("ASSIGN_VARIABLE", "CALL_ONCE") or needed.intersection(op.outputs):
            kept.append(op)
            needed.update(op.inputs)
    return kept[::-1]


def _walk(context: TfliteContext, operators: Sequence[Operator], where: str) -> None:
    findings: dict[str, list[str]] = {}
    lost: set[int] = set()
    for op in operators:
        name = context.labels[op.outputs[0]] if op.outputs else "no output"
        waits = lost.intersection(op.inputs)
        convert = converter_of(op.type)
        try:
            if convert is None:
                raise UnsupportedForm("no counterpart")
            if not waits:
                convert(op, context)
        except UnsupportedForm as form:
            advice = form.advice or _advice(op.type)
            line = f"{op.type} version {op.version}, {form.reason}; {advice}: "
            findings.setdefault(line, []).append(repr(name))
            lost.update(op.outputs)
        except (GraphError, ModelImportError, QuantizationError) as error:
            place = f"{where}: layer {name!r} ({op.type})"
            raise ModelImportError(
                error.what, where=place, rule=error.rule, remedy=error.remedy
            ) from None
        except (ValueError, IndexError) as error:  # numpy on sizes that contradict each other
            raise ModelImportError(
                f"its sizes do not fit: {error}",
                where=f"{where}: layer {name!r} ({op.type})",
                remedy="the file is damaged; convert the model again",
            ) from None
        if waits:
            lost.update(op.outputs)
    if findings:
        count = sum(map(len, findings.values()))
        raise UnsupportedOpError(
            f"{count} unsupported operator{'s' if count > 1 else ''}:"
            + "".join(f"\n    {line}{', '.join(names)}" for line, names in findings.items()),
            where=where,
            rule="every operator needs a counterpart on the chip; npusim ops lists them",
            remedy=f"rewrite them as advised, or end the model before them "
            f"({words.say('cut_both')})",
        )


def _advice(word: str) -> str:
    if word in ADVICE:
        return ADVICE[word]
    if word.startswith("CUSTOM"):
        return "custom operators are not part of the format; " + _CUT
    if word in convertible_ops():
        return "use the operator's common form, or " + _CUT
    close = get_close_matches(word, convertible_ops(), n=1, cutoff=0.8)
    return f"the nearest supported one is {close[0]}" if close else _CUT


def _finished(context: TfliteContext, index: int) -> str:
    """Return an output under its own name and in source order."""
    label = context.labels[index]
    name = context.feature(index)
    if index in context.nhwc_outputs and name != label:
        return in_source_order(context, name, label)
    if name != label:
        context.add(f"{label}/copy", "identity", (name,), label, origin=label)
    return label


def in_source_order(context: TfliteContext, name: str, label: str) -> str:
    """Append the step that turns a tensor with four axes back to N, H, W, C."""
    shape: Shape = context.builder.tensors[name].shape
    target = tuple(shape[i] for i in TO_NHWC)
    layer = f"{label}/nhwc"
    if same_memory(shape):
        context.add(layer, "reshape", (name,), label, ReshapeAttrs(shape=target), origin=label)
    else:
        context.add(layer, "transpose", (name,), label, TransposeAttrs(perm=TO_NHWC), origin=label)
    return label


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
