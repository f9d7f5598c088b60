"""Shapes and types of the inputs of an ONNX graph; symbolic sizes are filled in by the caller."""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import GraphProto, TensorProto, ValueInfoProto

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import check_elements, suggestion
from npusim.importers.onnx.tensor import element_type_name
from npusim.ir.dtypes import DType
from npusim.ir.tensor import Shape

IMAGE = (1, 3, 224, 224)  # a shape to show how shapes are written
_NO_BATCH = ("seq", "time", "len", "step")
"""Words in the symbols of first axes that are no batch: of recurrent networks."""

ShapesLike = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None

_TYPES: dict[int, DType] = {
    TensorProto.FLOAT: DType.F32,
    TensorProto.FLOAT16: DType.F32,
    TensorProto.BFLOAT16: DType.F32,
    TensorProto.DOUBLE: DType.F32,
    TensorProto.UINT8: DType.U8,
    TensorProto.INT8: DType.I8,
    TensorProto.INT16: DType.I16,
    TensorProto.INT32: DType.I32,
    TensorProto.INT64: DType.I64,
    TensorProto.BOOL: DType.BOOL,
}


def input_specs(
    graph: GraphProto, inputs: Sequence[str], shapes: ShapesLike, where: str, notes: list[str]
) -> dict[str, tuple[Shape, DType]]:
    """Return the concrete shape and the type of every input.

    A batch (axis 0 of two and more) that neither the file nor the caller gives is 1, as for the
    vendor's toolkit; a note says so.

    Parameters
    ----------
    inputs : sequence of str
        The inputs of the part that is imported.
    shapes : mapping or sequence
        Shapes by name, or in the order of ``inputs``. A shape may leave out the batch (then 1, or
        the model's own) and may have None or -1 where the model's own size is meant.

    Raises
    ------
    ModelImportError
        Naming the symbolic sizes that nobody fixed, or sizes that contradict the model.
    """
    given = _by_name(inputs, shapes, where)
    described = {str(v.name): v for v in [*graph.value_info, *graph.output, *graph.input]}
    sizes: dict[str, tuple[int | str, ...] | None] = {}
    bound: dict[str, int] = {}
    for name in inputs:
        model = _model_sizes(described.get(name), name, where)
        sizes[name] = _merged(name, model, given.get(name), bound, where)
    for name, shape in sizes.items():
        sizes[name] = _with_batch(name, shape, bound, notes)
    resolved = {
        name: None if shape is None else tuple(_filled(n, bound) for n in shape)
        for name, shape in sizes.items()
    }
    _refuse_symbolic(resolved, where)
    specs: dict[str, tuple[Shape, DType]] = {}
    for name, shape in resolved.items():
        concrete = tuple(int(n) for n in shape or ())
        check_elements(concrete, f"input {name!r}", where)
        if 0 in concrete:
            raise ModelImportError(f"input {name!r} has shape {concrete}, it is empty", where=where)
        specs[name] = (concrete, _model_type(described.get(name), name, where))
    return specs


def _with_batch(
    name: str, shape: tuple[int | str, ...] | None, bound: dict[str, int], notes: list[str]
) -> tuple[int | str, ...] | None:
    """Return a shape whose open batch is 1; its symbol is then 1 everywhere."""
    if shape is None or len(shape) < 2:
        return shape
    named = [i for i, n in enumerate(shape) if isinstance(n, str) and "batch" in n.lower()]
    axis = named[0] if named else 0
    symbol = shape[axis]
    if isinstance(symbol, int) or symbol in bound:
        return shape
    if not named and any(word in symbol.lower() for word in _NO_BATCH):
        return shape
    if symbol:
        bound[symbol] = 1
    called = f" (axis {axis}, {symbol!r})" if symbol else ""
    notes.append(f"input {name!r}: the batch{called} has no size in the file, 1 is taken")
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _filled(size: int | str, bound: Mapping[str, int]) -> int | str:
    """Return a size as a number where one is known, else its symbol or a question mark."""
    return size if isinstance(size, int) else bound.get(size, size or "?")


def listed(graph: GraphProto) -> list[str]:
    """Return a line for every input: name, sizes as far as the file says them, element type."""
    constants = {str(t.name) for t in graph.initializer}
    lines = []
    for value in graph.input:
        if value.name in constants:
            continue
        kind = value.type.WhichOneof("value") or "tensor_type"
        if kind != "tensor_type":
            lines.append(f"{value.name} ({kind})")
            continue
        shape = _model_sizes(value, str(value.name), "")
        word = element_type_name(value.type.tensor_type.elem_type).lower()
        size = "of unknown shape"
        if shape is not None:
            size = f"({', '.join(str(n or '?') for n in shape)})"
        lines.append(f"{value.name} {size} {word}")
    return lines


def _by_name(
    inputs: Sequence[str], shapes: ShapesLike, where: str
) -> dict[str, tuple[int | None, ...]]:
    if shapes is None:
        return {}
    if not isinstance(shapes, Mapping):
        if len(shapes) != len(inputs):
            raise ModelImportError(
                f"{len(shapes)} input shapes for {len(inputs)} inputs {list(inputs)}",
                where=where,
                rule="one shape per input, in order",
                remedy="or give a dictionary from input name to shape",
            )
        shapes = dict(zip(inputs, shapes, strict=True))
    result: dict[str, tuple[int | None, ...]] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise ModelImportError(
                f"{words.say('input_shapes')} names {name!r}, which is no input",
                where=where,
                rule=f"inputs: {', '.join(map(repr, inputs))}",
                remedy=suggestion(name, inputs),
            )
        try:
            values = tuple(None if n is None or int(n) == -1 else int(n) for n in shape)
        except (TypeError, ValueError):
            values = (0,)
        if any(n is not None and n < 1 for n in values):
            raise ModelImportError(
                f"the shape {shape!r} given for input {name!r} cannot be used",
                where=where,
                rule="a list of positive whole numbers; None or -1 keeps the model's own size",
            )
        result[name] = values
    return result


def _tensor_type(value: ValueInfoProto, name: str, where: str) -> TensorProto:
    if value.type.WhichOneof("value") not in ("tensor_type", None):
        raise ModelImportError(
            f"input {name!r} is a {value.type.WhichOneof('value')}",
            where=where,
            rule="inputs are dense tensors",
            remedy="sequences, maps and optional inputs have no counterpart; export without them",
        )
    return value.type.tensor_type


def _model_sizes(
    value: ValueInfoProto | None, name: str, where: str
) -> tuple[int | str, ...] | None:
    """Return sizes as numbers or symbols ('' when unnamed); None when nothing is known."""
    if value is None:
        return None
    kind = _tensor_type(value, name, where)
    if not kind.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else str(d.dim_param)
        for d in kind.shape.dim
    )


def _model_type(value: ValueInfoProto | None, name: str, where: str) -> DType:
    if value is None:
        return DType.F32
    kind = _tensor_type(value, name, where).elem_type
    if kind == TensorProto.UNDEFINED:
        return DType.F32
    if kind not in _TYPES:
        raise ModelImportError(
            f"input {name!r} has element type {element_type_name(kind)}",
            where=where,
            rule=f"inputs: {', '.join(element_type_name(t) for t in _TYPES)}",
            remedy=f"cut the graph behind it ({words.cut_at(inputs=['a tensor'])})",
        )
    return _TYPES[kind]


def _merged(
    name: str,
    model: tuple[int | str, ...] | None,
    given: tuple[int | None, ...] | None,
    bound: dict[str, int],
    where: str,
) -> tuple[int | str, ...] | None:
    if given is None:
        return model
    if model is None:
        return tuple("" if n is None else n for n in given)
    written = given
    if len(given) == len(model) - 1:
        given = (model[0] if isinstance(model[0], int) else 1, *given)
    if len(given) != len(model):
        raise _contradiction(name, written, model, where)
    merged: list[int | str] = []
    for own, wish in zip(model, given, strict=True):
        if wish is None:
            merged.append(own)
            continue
        if isinstance(own, int) and own != wish:
            raise _contradiction(name, written, model, where)
        if isinstance(own, str) and own not in ("", "?") and bound.setdefault(own, wish) != wish:
            raise ModelImportError(
                f"input {name!r} needs {own!r} = {wish}, another input has {bound[own]}",
                where=where,
                rule="one symbol has one value",
            )
        merged.append(wish)
    return tuple(merged)


def _contradiction(
    name: str, given: tuple[int | None, ...], model: tuple[int | str, ...], where: str
) -> ModelImportError:
    """Return the error for a shape, as it was given, that the model's own does not allow."""
    if len(given) == len(model):
        return ModelImportError(
            f"the shape {words.shape_text(given)} given for input {name!r} contradicts the model",
            where=where,
            rule=f"the model fixes it as {words.shape_text(model)}",
            remedy="export the model with the size you want, or with a symbolic size",
        )
    example = words.one_shape(name, _filled_in({name: model}).get(name, model))
    advice = f"give all {words.sizes(len(model))}, for example {example}"
    if all(isinstance(size, int) for size in model):
        advice = f"give {words.one_shape(name, model)}, or no shape: the model has its own"
    return ModelImportError(
        f"the shape {words.shape_text(given)} given for input {name!r} has "
        f"{words.sizes(len(given))}",
        where=where,
        rule=f"the model's has {words.sizes(len(model))}: {words.shape_text(model)}"
        f"{words.say('batch_rule')}",
        remedy=advice,
    )


def _refuse_symbolic(sizes: Mapping[str, tuple[int | str, ...] | None], where: str) -> None:
    unknown = {
        name: shape
        for name, shape in sizes.items()
        if shape is None or any(isinstance(n, str) for n in shape)
    }
    if not unknown:
        return
    texts = []
    for name, shape in unknown.items():
        if shape is None:
            texts.append(f"{name!r} has no shape at all")
            continue
        symbols = ", ".join(f"axis {i} is {n!r}" for i, n in enumerate(shape) if isinstance(n, str))
        texts.append(f"{name!r} ({', '.join(map(str, shape))}): {symbols}")
    raise ModelImportError(
        f"dynamic input sizes: {'; '.join(texts)}",
        where=where,
        rule="the chip runs networks of fixed size",
        remedy="give the sizes you want, for example "
        + words.shapes_given(_filled_in(sizes, all_of_them=words.front_end().takes_all_shapes)),
    )


def _filled_in(
    sizes: Mapping[str, tuple[int | str, ...] | None], *, all_of_them: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return usual shapes of the inputs with open sizes (or of all); a symbol has one value."""
    known: dict[str, int] = {}
    for shape in sizes.values():
        for i, size in enumerate(shape or ()):
            if isinstance(size, str) and size not in ("", "?"):
                usual = 1 if i == 0 else 3 if i == 1 and len(shape or ()) == 4 else 224
                known[size] = min(usual, known.get(size, usual))
    return {
        name: IMAGE
        if shape is None
        else tuple(
            n if isinstance(n, int) else known.get(n, 1 if i == 0 else 224)
            for i, n in enumerate(shape)
        )
        for name, shape in sizes.items()
        if all_of_them or shape is None or any(isinstance(n, str) for n in shape)
    }
