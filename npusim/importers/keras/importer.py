"""Keras model (``.h5``, ``.keras``) -> float Graph."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import GraphError, ModelImportError, UnsupportedOpError
from npusim.importers.common.builder import (
    MISFITS,
    GraphBuilder,
    UnsupportedForm,
    misfit,
    suggestion,
)
from npusim.importers.common.holes import leaving
from npusim.importers.common.orders import usual
from npusim.importers.common.two_files import wanted_shape
from npusim.importers.common.unroll import Budget
from npusim.importers.keras import (
    attention,
    layers_conv,
    layers_norm,
    layers_pool,
    layers_shape,
    operations,
    recurrent,
)
from npusim.importers.keras.config import Call, Layer, Model, Reference, read_model, shape_in
from npusim.importers.keras.context import (
    KerasContext,
    KerasNode,
    Tensor,
    converter_of,
    convertible_layers,
)
from npusim.importers.keras.file import read_keras
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Source
from npusim.ir.holes import Hole
from npusim.plain import name_of, number_in

FAMILIES = (
    attention,
    layers_conv,
    layers_norm,
    layers_pool,
    layers_shape,
    operations,
    recurrent,
)
"""Importing them registers the converters."""

ShapesLike = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None
_DEEPEST, _MOST_RESULTS = 4096, 1 << 18


def load_keras(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read a Keras model as a float graph, as it is at inference.

    Feature maps with four axes are N, H, W, C in the file and N, C, H, W in the graph; outputs keep
    the file's order. Tensors are called like the layers that make them (``layer_1`` the second
    call's), tensors of a model inside ``model/layer``. No code of the file is run.

    Parameters
    ----------
    path : str or Path
    inputs : sequence of str, optional
        Refused: a Keras model is imported from its own inputs on.
    input_shapes : mapping or sequence, optional
        Shapes by input, or in order, N, H, W, C; None keeps the file's size.
    outputs : sequence of str, optional
        Layers to end at. Default: the model's outputs.

    Raises
    ------
    MissingExtraError
        Without the extra ``keras``.
    UnsupportedOpError
        Listing every layer without a counterpart, with advice.
    ModelImportError
        For files that cannot be read and models that are not valid.
    """
    path = Path(path)
    where = str(path)
    if inputs is not None:
        raise ModelImportError(
            "inputs is given", where=where, rule="a Keras model begins at its own inputs"
        )
    if isinstance(outputs, str):
        raise ModelImportError("outputs is a single string", where=where, rule="a list of names")
    file = read_keras(path)
    context = KerasContext(GraphBuilder(where=where), weights=file.weights, era=file.era)
    walk = _Walk(context, where)
    try:
        model = read_model(file.config, file.era, where)
        ends, names = _ends(model, outputs, where)
        starts = _add_inputs(context, model, input_shapes, where)
    except MISFITS as error:
        raise ModelImportError(
            f"its description contradicts itself: {error}",
            where=where,
            rule="layers, inputs and outputs as Keras writes them",
            remedy="save the model again",
        ) from error
    context.ends.update(names)
    walk.scopes.append(_Scope(model, "", dict(zip(model.inputs, starts, strict=True)), names, ends))
    made = [walk.tensor(walk.scopes[0], reference) for reference in ends]
    walk.refuse()
    for name, tensor in zip(names, made, strict=True):
        if name != tensor:
            context.alias(name, tensor)
    try:
        renames = context.finish_outputs(starts, names)
        return context.builder.finish(
            model.name or name_of(path),
            starts,
            names,
            renames=renames,
            source=Source(
                framework="keras",
                path=where,
                sha256=file.fingerprint.hexdigest(),
                detail=f"Keras {file.version}" if file.version else "Keras 1",
            ),
            notes=context.notes,
        )
    except (GraphError, ModelImportError) as error:
        raise ModelImportError(
            error.what,
            where=error.where if error.where.startswith(where) else where,
            rule=error.rule,
            remedy=error.remedy,
        ) from None


def _add_inputs(context: KerasContext, model: Model, shapes: ShapesLike, where: str) -> list[str]:
    names = []
    for reference in model.inputs:
        layer = model.layers.get(reference.layer)
        if layer is None or layer.type != "InputLayer":
            raise ModelImportError(
                f"input {reference.layer!r} is no input layer", where=where, rule="an InputLayer"
            )
        names.append(layer.name)
    if len(set(names)) != len(names):
        raise ModelImportError(f"inputs {names} repeat a name", where=where)
    for name in names:
        config = model.layers[name].config
        stated = shape_in(config)
        own = None
        if isinstance(stated, list | tuple):
            own = tuple(-1 if n is None else int(n) for n in stated)
        shape = _settled(context, name, own, shapes, names, where)
        dtype = _type_of(model, config, name, context)
        order = usual(len(shape))
        context.builder.add_input(name, tuple(shape[axis] for axis in order), dtype)
        context.hold(name, name, order)
    return names


def _settled(
    context: KerasContext,
    name: str,
    own: tuple[int, ...] | None,
    shapes: ShapesLike,
    names: Sequence[str],
    where: str,
) -> tuple[int, ...]:
    """Return an input's shape: an open batch is 1, other open sizes must be given."""
    filled = own
    if own is not None:
        if own[:1] == (-1,):
            filled = (1, *own[1:])
            context.notes.append(f"the open batch of input {name!r} is 1")
        filled = tuple(0 if n == -1 else n for n in filled or ())
    found: tuple[int, ...] | None
    try:
        found = wanted_shape(name, filled, shapes, names, where)
    except ModelImportError:
        if own is None or -1 not in own[1:] or shapes is not None:
            raise
        found = None
    if found is None:
        raise ModelImportError(
            f"sizes of input {name!r} are open: {own}",
            where=where,
            rule="the chip runs networks of fixed size",
            remedy=f"give {words.one_shape(name, (1, 224, 224, 3))}",
        )
    return found


def _type_of(model: Model, config: Mapping[str, Any], name: str, context: KerasContext) -> DType:
    """Return an input's type: what an embedding reads are whole numbers."""
    readers = {
        layer.type
        for layer in model.layers.values()
        for call in layer.calls
        if any(ref.layer == name for ref in call.references)
    }
    if readers == {"Embedding"}:
        context.notes.append(f"input {name!r} holds indices: whole numbers (int32)")
        return DType.I32
    kind = config.get("dtype", "float32")
    if isinstance(kind, str) and "int" in kind:
        context.notes.append(f"input {name!r} holds whole numbers: taken as real numbers")
    return DType.F32


def _ends(
    model: Model, outputs: Sequence[str] | None, where: str
) -> tuple[list[Reference], list[str]]:
    """Return the tensors to end at and what they are called."""
    references = list(model.outputs)
    if outputs is not None:
        references = []
        for text in outputs:
            name, _, index = str(text).rpartition(":") if ":" in str(text) else (str(text), "", "0")
            layer = model.layers.get(name)
            if layer is None or (number := number_in(index)) is None:
                raise ModelImportError(
                    f"there is no layer {text!r} to end at",
                    where=where,
                    remedy=suggestion(str(text), model.layers),
                )
            references.append(Reference(name, len(layer.calls) - 1, number))
    names: list[str] = []
    for reference in references:
        base = reference.layer if not reference.index else f"{reference.layer}:{reference.index}"
        name, count = base, 0
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    if not names:
        raise ModelImportError("no outputs are asked for", where=where, rule="at least one")
    return references, names


class _Scope:
    """One use of a model: its tensors, and the names of the outer model's outputs."""

    def __init__(
        self,
        model: Model,
        prefix: str,
        known: dict[Reference, str],
        names: Sequence[str] = (),
        ends: Sequence[Reference] = (),
    ) -> None:
        self.model, self.prefix, self.known = model, prefix, known
        self.wished = dict(zip(ends, names, strict=False))
        self.open: set[tuple[str, int]] = set()
        self.last: dict[tuple[str, int], int] = {}  # result of a call that is read
        calls = (call for layer in model.layers.values() for call in layer.calls)
        read = (reference for call in calls for reference in call.references)
        for reference in (*read, *model.outputs, *self.wished):
            key = reference.layer, reference.call
            self.last[key] = max(reference.index, self.last.get(key, 0))


class _Walk:
    """From the outputs back to the inputs, then forward: every call becomes operators."""

    def __init__(self, context: KerasContext, where: str) -> None:
        self.context, self.where = context, where
        self.scopes: list[_Scope] = []
        self.findings: list[str] = []
        self.holes: list[Hole] = []
        self.unknown: list[str] = []
        self.wrong: ModelImportError | None = None
        self.lost: set[str] = set()
        self.budget = Budget()
        self.results = 0

    def tensor(self, scope: _Scope, wanted: Reference) -> str:
        """Return the tensor of a reference; its calls are converted first."""
        pending = [wanted]
        while pending:
            reference = pending[-1]
            if reference in scope.known:
                pending.pop()
                continue
            call = self._call(scope, reference)
            missing = [r for r in call.references if r not in scope.known]
            key = (reference.layer, reference.call)
            if missing and key not in scope.open:
                scope.open.add(key)
                pending += missing[::-1]
                continue
            if missing:
                raise ModelImportError(
                    f"layer {reference.layer!r} reads itself",
                    where=self.where,
                    rule="layers form no loop",
                )
            self._convert(scope, reference, call)
            pending.pop()
        return scope.known[wanted]

    def _call(self, scope: _Scope, reference: Reference) -> Call:
        layer = scope.model.layers.get(reference.layer)
        if layer is None:
            raise ModelImportError(
                f"a layer reads {reference.layer!r}, which is not there",
                where=self.where,
                rule="every connection names a layer of the model",
            )
        if reference.call >= len(layer.calls):
            raise ModelImportError(
                f"layer {layer.name!r} is called {len(layer.calls)} times, use "
                f"{reference.call + 1} is read",
                where=self.where,
            )
        return layer.calls[reference.call]

    def _convert(self, scope: _Scope, reference: Reference, call: Call) -> None:
        layer = scope.model.layers[reference.layer]
        if layer.type == "InputLayer":
            raise ModelImportError(
                f"layer {layer.name!r} is an input that the model does not list, or has no result "
                f"{reference.index}",
                where=self.where,
                rule="input_layers names every input, each has one result",
            )
        args = tuple(_named(scope, value) for value in call.args)
        kwargs = {key: _named(scope, value) for key, value in call.kwargs.items()}
        sources = tuple(scope.known[r] for r in call.references)
        name = f"{scope.prefix}{layer.name}" + (f"_{reference.call}" if reference.call else "")
        if layer.model is not None:
            self._enter(scope, reference, layer, sources, name)
            return
        outputs = self._outputs(scope, reference, layer, name)
        node = KerasNode(
            name=name,
            type=_known_as(layer.type),
            inputs=sources,
            outputs=outputs,
            source=layer,
            args=args,
            kwargs=kwargs,
        )
        for source in sources:
            self.context.readers[source] = self.context.readers.get(source, 0) + 1
        self._run(node)
        for index, output in enumerate(outputs):
            scope.known[Reference(reference.layer, reference.call, index)] = output
        if reference not in scope.known:
            raise ModelImportError(
                f"layer {layer.name!r} has no result {reference.index}", where=self.where
            )

    def _outputs(
        self, scope: _Scope, reference: Reference, layer: Layer, name: str
    ) -> tuple[str, ...]:
        """Return names for the results that are read, and those before them."""
        names = []
        last = min(scope.last.get((reference.layer, reference.call), 0), _DEEPEST)
        self.results += last
        if self.results > _MOST_RESULTS:
            raise ModelImportError(
                f"result {last} of layer {layer.name!r} is read",
                where=self.where,
                rule=f"at most {_MOST_RESULTS} further results of all layers together",
            )
        for index in range(last + 1):
            own = Reference(reference.layer, reference.call, index)
            wished = scope.wished.get(own)
            base = name if not index else f"{name}:{index}"
            names.append(wished or self.context.unused(base))
            self.context.names.add(names[-1])
        return tuple(names)

    def _enter(
        self, scope: _Scope, reference: Reference, layer: Layer, sources: Sequence[str], name: str
    ) -> None:
        """Convert a model in the place of a layer."""
        model = layer.model
        assert model is not None
        if len(sources) != len(model.inputs):
            raise ModelImportError(
                f"model {layer.name!r} gets {len(sources)} tensors",
                where=self.where,
                rule=f"it has {len(model.inputs)} inputs",
            )
        try:
            self.budget.call(len(model.layers), self.context.builder)
        except UnsupportedForm as form:
            raise ModelImportError(
                f"model {name!r}: {form.reason}", where=self.where, rule=form.advice
            ) from None
        inner = _Scope(model, f"{name}/", dict(zip(model.inputs, sources, strict=True)))
        for index, end in enumerate(model.outputs):
            made = self.tensor(inner, end)
            scope.known[Reference(layer.name, reference.call, index)] = made
        if reference not in scope.known:
            raise ModelImportError(
                f"model {layer.name!r} has no output {reference.index}", where=self.where
            )

    def _run(self, node: KerasNode) -> None:
        """Convert one call, or note why it cannot be."""
        convert = converter_of(node.type)
        waits = self.lost.intersection(node.inputs)
        try:
            if convert is None:
                raise UnsupportedForm("no counterpart", _advice(node))
            if not waits and self.wrong is None:
                convert(node, self.context)
                self._check_results(node)
        except UnsupportedForm as form:
            advice = form.advice or _advice(node)
            self.findings.append(f"layer {node.name!r}: {node.type}, {form.reason}; {advice}")
            self.holes.append(Hole(layer=node.name, op=node.type, why=form.reason))
            self.lost.update(node.outputs)
            return
        except (GraphError, ModelImportError) as error:
            self._is_wrong(node, error.what, error.rule, error.remedy, error.where)
        except MISFITS as error:
            self._is_wrong(node, misfit(error), "", "", "")
        if waits or self.wrong is not None:
            self.lost.update(node.outputs)
            self.unknown.append(node.name)

    def _check_results(self, node: KerasNode) -> None:
        """Refuse a result that is read and that the layer does not make."""
        made = (self.context.held, self.context.values)
        missing = [i for i, n in enumerate(node.outputs) if not any(n in known for known in made)]
        if missing:
            raise ModelImportError(
                f"its result {missing[0]} is read",
                where=node.where,
                rule=f"it has {len(node.outputs) - len(missing)}",
            )

    def _is_wrong(self, node: KerasNode, what: str, rule: str, remedy: str, own: str) -> None:
        if self.wrong is None:
            place = own if "layer '" in own else node.where
            place = place.removeprefix(self.where).lstrip(": ")
            where = f"{self.where}: {place}"
            self.wrong = ModelImportError(what, where=where, rule=rule, remedy=remedy)
            if self.findings:
                self.findings.append(f"{node.where} is wrong in itself: {what}")

    def refuse(self) -> None:
        """Raise what was found, all of it."""
        if not self.findings and self.wrong is not None:
            raise self.wrong
        if self.findings:
            count = f"{len(self.findings)} unsupported layer" + "s" * (len(self.findings) > 1)
            error = UnsupportedOpError(
                f"{count}:" + "".join(f"\n    {line}" for line in self.findings),
                where=self.where,
                rule="every layer needs a counterpart on the chip; npusim ops lists them",
                remedy="rewrite the layers as advised, or end in front of them with outputs=",
            )
            raise leaving(error, self.context.builder, self.holes, self.unknown)


def _named(scope: _Scope, value: Any) -> Any:
    """Return an argument with names for references."""
    if isinstance(value, Reference):
        return Tensor(scope.known[value])
    if isinstance(value, Mapping):
        return {key: _named(scope, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(scope, item) for item in value]
    return value


def _known_as(word: str) -> str:
    """Return the word of a converter: .h5 files do not say that a class is an operation."""
    operation = f"ops.{word}"
    only = converter_of(word) is None and converter_of(operation) is not None
    return operation if only else word


def _advice(node: KerasNode) -> str:
    known = [name for name in convertible_layers() if "." not in name]
    close = get_close_matches(node.type, known, n=1, cutoff=0.85)
    if close and close[0] != node.type:
        return f"the nearest supported one is {close[0]}"
    ends = [str(name) for name in node.inputs]
    return f"end the model before it with outputs={ends} and run it on the CPU"
