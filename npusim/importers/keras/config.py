"""Models as Keras describes them: layers and the calls that connect them.

Three forms of connections exist: lists of names (Keras 1 and 2), arguments with tensors inside
(Keras 3), and none in Sequential models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from npusim.errors import ModelImportError
from npusim.importers.keras.legacy import upgraded
from npusim.importers.keras.weights import Place, archive_keys

MODELS = ("Functional", "Model", "Sequential")
_OPERATIONS = ("keras.src.ops", "keras.ops")
_MERGES = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Reference:
    """A tensor: result ``index`` of a layer's call ``call``."""

    layer: str
    call: int
    index: int


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a layer: arguments may hold references at any depth."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    references: tuple[Reference, ...] = field(init=False, repr=False, compare=False)
    """The tensors it reads, in order."""

    def __post_init__(self) -> None:
        """Look for references once: nested models are entered for every call."""
        found = (*found_in(self.args), *found_in(self.kwargs))
        object.__setattr__(self, "references", found)


@dataclass(slots=True)
class Layer:
    """A layer, or a model in its place.

    Attributes
    ----------
    type : str
        The class; of operations on tensors ``ops.Multiply``, of older ones ``tf.math.multiply``.
    model : Model or None
        What a nested model holds.
    """

    name: str
    type: str
    config: dict[str, Any]
    place: Place
    calls: list[Call] = field(default_factory=list)
    model: "Model | None" = None


@dataclass(slots=True)
class Model:
    """Layers, and where the model begins and ends."""

    name: str
    layers: dict[str, Layer]
    inputs: list[Reference]
    outputs: list[Reference]


def found_in(value: Any) -> Iterator[Reference]:
    """Yield the references in nested arguments."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from found_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from found_in(item)


def read_model(
    record: Mapping[str, Any], era: int, where: str, *, path: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
) -> Model:  # fmt: skip
    """Return a model from its description.

    Raises
    ------
    ModelImportError
        When the description contradicts itself or is no model of layers.
    """
    kind, config = record.get("class_name"), record.get("config")
    if len(path) > _DEEPEST:
        raise ModelImportError("models are nested too deeply", where=where, rule=f"{_DEEPEST}")
    if kind == "Sequential" and isinstance(config, list):  # Keras 1 and early 2
        config = {"name": "sequential", "layers": config}
    listed = config.get("layers") if isinstance(config, Mapping) else None
    if not isinstance(listed, list) or not all(isinstance(x, Mapping) for x in listed):
        raise ModelImportError(
            f"class {kind!r} is no list of layers",
            where=where,
            rule=f"{' or '.join(MODELS)}",
            remedy="a subclassed model keeps its structure in Python code: rebuild it with the "
            "functional API, or export it to a frozen TensorFlow graph",
        )
    assert isinstance(config, Mapping)
    sequential = kind == "Sequential"
    records = [upgraded(item, era) for item in listed]
    names = archive_keys(records, sequential=sequential)
    layers: dict[str, Layer] = {}
    for item, key in zip(records, names, strict=True):
        layer = _layer(item, era, where, path, (*keys, key))
        if layer.name in layers:
            raise ModelImportError(
                f"two layers are called {layer.name!r}", where=where, rule="one layer a name"
            )
        layers[layer.name] = layer
    name = str(config.get("name", ""))
    if sequential:
        return _chained(name, layers, config, era, where)
    model = Model(name, layers, [], [])
    for item in records:
        layer = layers[_name(item, where)]
        layer.calls = list(_calls(item, where))
        # .h5 files call the operation Add(x, 3) as they call the layer Add([x, y])
        given = [value for call in layer.calls for value in call.args]
        merges = layer.type in _MERGES and any(isinstance(value, int | float) for value in given)
        if merges or (
            layer.type == "Reshape" and {"target_shape", "dims"}.isdisjoint(layer.config)
        ):
            layer.type = f"ops.{layer.type}"
    model.inputs = _ends(config.get("input_layers"), where)
    model.outputs = _ends(config.get("output_layers"), where)
    _settle_calls(model, where)
    return model


def _name(item: Mapping[str, Any], where: str) -> str:
    config = item.get("config")
    name = item.get("name") or (config.get("name") if isinstance(config, Mapping) else None)
    if not isinstance(name, str) or not name:
        raise ModelImportError(
            f"a layer of class {item.get('class_name')!r} has no name", where=where, rule="a name"
        )
    return name


def _layer(
    item: Mapping[str, Any], era: int, where: str, path: tuple[str, ...], keys: tuple[str, ...]
) -> Layer:
    name, kind, config = _name(item, where), str(item.get("class_name", "")), item.get("config")
    if str(item.get("module") or "").startswith(_OPERATIONS):
        kind = f"ops.{kind}"
    elif kind in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer") and isinstance(
        config, Mapping
    ):
        kind = f"tf.{config.get('function', config.get('name', kind))}"
    own = (*path, name)
    layer = Layer(name, kind, dict(config) if isinstance(config, Mapping) else {}, Place(own, keys))
    if kind in MODELS:
        layer.model = read_model(item, era, where, path=own, keys=keys)
    return layer


def _chained(
    name: str, layers: dict[str, Layer], config: Mapping[str, Any], era: int, where: str
) -> Model:
    """Return a Sequential model: every layer reads the one in front of it."""
    listed = list(layers.values())
    if not listed:
        raise ModelImportError("a Sequential model has no layers", where=where, rule="one or more")
    first = listed[0]
    if first.type != "InputLayer":
        shape = first.config.get("batch_input_shape") or config.get("build_input_shape")
        start = first.model and first.model.inputs
        if shape is None and start and first.model is not None:
            shape = shape_in(first.model.layers[start[0].layer].config)
        word = "input"
        while word in layers:
            word += "_"
        given = {"batch_shape": shape, "dtype": first.config.get("dtype")}
        first = Layer(word, "InputLayer", given, Place((word,), ("",)))
        listed = [first, *listed]
        layers = {layer.name: layer for layer in listed}
    first.calls = [Call((), {})]
    for before, layer in pairwise(listed):
        layer.calls = [Call((Reference(before.name, 0, 0),), {})]
    return Model(name, layers, [Reference(first.name, 0, 0)], [Reference(listed[-1].name, 0, 0)])


def shape_in(config: Mapping[str, Any]) -> Any:
    """Return the shape with the batch that an input layer's description has."""
    for key in ("batch_shape", "batch_input_shape"):
        if config.get(key) is not None:
            return config[key]
    shape = config.get("shape") or config.get("input_shape")
    return None if shape is None else [None, *shape]


# ---- connections
def _ends(value: Any, where: str) -> list[Reference]:
    """Return inputs or outputs: one tensor, a list, or a mapping of them."""
    if isinstance(value, Mapping):
        return [ref for item in value.values() for ref in _ends(item, where)]
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [_reference(value, where)]
    if isinstance(value, list) and value:
        return [ref for item in value for ref in _ends(item, where)]
    raise ModelImportError(
        f"inputs or outputs are {value!r}", where=where, rule="lists of layer, call, result"
    )


def _reference(value: Sequence[Any], where: str) -> Reference:
    try:
        name, call, index = value[0], int(value[1]), int(value[2])
    except (IndexError, TypeError, ValueError):
        name = None
    if not isinstance(name, str) or min(call, index) < 0:
        raise ModelImportError(
            f"a connection is {str(value)[:80]}", where=where, rule="layer, call, result"
        )
    return Reference(name, call, index)


def _calls(item: Mapping[str, Any], where: str) -> Iterator[Call]:
    nodes = item.get("inbound_nodes") or []
    if not isinstance(nodes, list):
        raise ModelImportError("inbound_nodes is no list", where=where, rule="a list of calls")
    if not nodes:
        yield Call((), {})
    for node in nodes:
        if isinstance(node, Mapping):
            yield Call(
                tuple(_filled(arg, where) for arg in node.get("args", ())),
                {k: _filled(v, where) for k, v in (node.get("kwargs") or {}).items()},
            )
        elif isinstance(node, list):
            yield _older_call(node, where)
        else:
            raise ModelImportError(
                f"a call is {str(node)[:80]}", where=where, rule="a list or a mapping"
            )


def _older_call(node: list[Any], where: str) -> Call:
    """Return a call of Keras 1 and 2: [[layer, call, result, kwargs], ..]."""
    entries = [node] if node and isinstance(node[0], str) else node
    references: list[Any] = []
    kwargs: dict[str, Any] = {}
    for entry in entries:
        if isinstance(entry, Mapping):  # arguments by name
            kwargs |= {k: _older_value(v, where) for k, v in entry.items()}
            continue
        if not isinstance(entry, list) or len(entry) < 3:
            raise ModelImportError(
                f"a call reads {str(entry)[:80]}", where=where, rule="layer, call, result"
            )
        more = entry[3] if len(entry) > 3 else None
        if entry[0] == "_CONSTANT_VALUE":
            references.append(entry[2])
        else:
            references.append(_reference(entry, where))
        if isinstance(more, Mapping):
            kwargs |= {k: _older_value(v, where) for k, v in more.items()}
    if len(references) > 1:
        return Call((references,), kwargs)
    return Call(tuple(references), kwargs)


def _older_value(value: Any, where: str) -> Any:
    if isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str):
        if value[0] == "_CONSTANT_VALUE":
            return value[2]
        if isinstance(value[1], int) and isinstance(value[2], int):
            return _reference(value, where)
    return value


def _filled(value: Any, where: str) -> Any:
    """Return an argument with references for tensors."""
    if isinstance(value, Mapping):
        kind, config = value.get("class_name"), value.get("config")
        if kind == "__keras_tensor__" and isinstance(config, Mapping):
            return _reference(config.get("keras_history") or (), where)
        if kind in ("__tensor__", "__numpy__") and isinstance(config, Mapping):
            return config.get("value")
        if kind == "__slice__" and isinstance(config, Mapping):
            return slice(config.get("start"), config.get("stop"), config.get("step"))
        if kind == "__ellipsis__":
            return ...
        return {k: _filled(v, where) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(item, where) for item in value]
    return value


MOST_CALLS = 1 << 10
"""Of a nested model, elsewhere, before the file was saved."""


def _settle_calls(model: Model, where: str) -> None:
    """Count the calls of nested models from 0: older files count the model's own as the first."""
    highest_of: dict[str, int] = {}
    calls = (call for layer in model.layers.values() for call in layer.calls)
    for read in (*(ref for call in calls for ref in call.references), *model.outputs):
        highest_of[read.layer] = max(read.call, highest_of.get(read.layer, 0))
    for name, layer in model.layers.items():
        highest = highest_of.get(name, 0)
        if layer.model is None or highest < len(layer.calls):
            continue
        spare = highest - len(layer.calls) + 1
        if spare > MOST_CALLS:
            raise ModelImportError(
                f"call {highest} of model {name!r}",
                where=where,
                rule=f"at most {MOST_CALLS} calls before those of the file",
                remedy="the file is damaged; save the model again",
            )
        layer.calls = [layer.calls[0]] * spare + layer.calls
