"""A network description as layers on tensors that are written once, as Caffe sees it at test."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from npusim.errors import ModelImportError
from npusim.importers.caffe.schema import Record
from npusim.importers.caffe.upgrade import upgraded
from npusim.importers.common.builder import suggestion
from npusim.importers.common.layers import SourceLayer
from npusim.ir.names import fresh_among

DATA_LAYERS = {
    "Input",
    "Data",
    "ImageData",
    "HDF5Data",
    "MemoryData",
    "WindowData",
    "AnnotatedData",
    "VideoData",
}
"""Layers that bring data from outside: their tops are inputs of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaffeLayer(SourceLayer):
    """A layer with its parameters."""

    params: Record

    def parameters(self, *names: str) -> Record:
        """Return the first parameter message that is given, else an empty one of the first name."""
        for name in names:
            if self.params.has(name):
                return self.params.record(name)
        return self.params.record(names[0])


@dataclass(slots=True)
class Net:
    """Layers of the test phase in the order of the file.

    Attributes
    ----------
    inputs : dict
        Input -> its shape, None when the file gives none.
    blobs : dict
        Blob -> the tensor that holds it at the end.
    """

    name: str
    where: str
    layers: list[CaffeLayer] = field(default_factory=list)
    inputs: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def outputs(self) -> list[str]:
        """Return what no layer reads, in the order it is made; inputs only if there is no other."""
        read = {name for layer in self.layers for name in layer.inputs}
        made = [n for layer in self.layers for n in layer.outputs if n not in read]
        return made or [name for name in self.inputs if name not in read]


def read_net(record: Record) -> Net:
    """Return the network of a description.

    Raises
    ------
    ModelImportError
        For blobs that nothing makes or that are made twice, and contradicting forms.
    """
    net = Net(record.text("name"), record.where)
    layers = [layer for layer in upgraded(record) if _takes_part(layer, record)]
    layers = _without_training(layers, net)
    _declared_inputs(record, net)
    writers = Counter(top for layer in layers for top in layer.texts("top"))
    writers.update(list(net.inputs))
    known = {*writers, *(layer.text("name") for layer in layers)}
    current = {name: name for name in net.inputs}
    written: Counter[str] = Counter(list(net.inputs))
    names: set[str] = set()
    for layer in layers:
        _add(layer, net, current, written, writers, known, names)
    net.blobs = current
    return net


def _add(
    record: Record,
    net: Net,
    current: dict[str, str],
    written: Counter[str],
    writers: Counter[str],
    known: set[str],
    names: set[str],
) -> None:
    """Append a layer, or the inputs that it stands for.

    Parameters
    ----------
    current : dict
        Blob -> its tensor so far.
    written, writers : Counter
        How often a blob was and will be written.
    known, names : set
        Names of tensors and of layers that are taken.
    """
    name, kind = record.text("name"), record.text("type")
    where = f"{net.where}: line {record.line}: layer {name!r} ({kind})"
    bottoms, tops = record.texts("bottom"), record.texts("top")
    for bottom in bottoms:
        if bottom not in current:
            raise ModelImportError(
                f"its bottom {bottom!r} is made by no layer before it",
                where=where,
                rule="a bottom is an input or the top of a layer above",
                remedy=suggestion(bottom, current),
            )
    inputs = tuple(current[bottom] for bottom in bottoms)
    outputs = []
    for index, top in enumerate(tops):
        in_place = index < len(bottoms) and bottoms[index] == top
        if top in current and not in_place:
            raise ModelImportError(
                f"its top {top!r} is made by another layer too",
                where=where,
                rule="two layers make the same blob only when the second works in place "
                "(bottom and top of one name)",
                remedy="give the top another name",
            )
        written[top] += 1
        last = written[top] == writers[top] and top not in net.inputs
        tensor = top if last or kind in DATA_LAYERS else fresh_among(known, f"{top}/{name}")
        current[top] = tensor
        known.add(tensor)
        outputs.append(tensor)
    if kind in DATA_LAYERS:
        _data_inputs(record, tuple(outputs), net, where)
        return
    layer = fresh_among(names, f"{kind}_{name}")
    names.add(layer)
    net.layers.append(
        CaffeLayer(
            name=name,
            type=kind,
            layer=layer,
            inputs=inputs,
            outputs=tuple(outputs),
            line=record.line,
            params=record,
        )
    )


def _declared_inputs(record: Record, net: Net) -> None:
    """Add the inputs of the older form, ``input`` with ``input_dim`` or ``input_shape``."""
    names, shapes = record.texts("input"), record.records("input_shape")
    flat = record.wholes("input_dim")
    sizes = [shape.wholes("dim") for shape in shapes] or [
        flat[i : i + 4] for i in range(0, len(flat), 4)
    ]
    if len(set(names)) != len(names):
        raise ModelImportError(f"inputs {list(names)} repeat a name", where=net.where)
    if (sizes and len(sizes) != len(names)) or len(flat) % 4:
        first = names[0] if names else "data"
        dims = " ".join(f"dim: {n}" for n in (sizes[0] if sizes else (1, 3, 224, 224)))
        raise ModelImportError(
            f"{len(names)} inputs have {len(flat)} input_dim and {len(shapes)} input_shape",
            where=net.where,
            rule="four input_dim or one input_shape for each input",
            remedy=f'layer {{ name: "{first}" type: "Input" top: "{first}" '
            f"input_param {{ shape {{ {dims} }} }} }}",
        )
    for index, name in enumerate(names):
        net.inputs[name] = sizes[index] if sizes else None


def _data_inputs(record: Record, tops: Sequence[str], net: Net, where: str) -> None:
    shapes = [shape.wholes("dim") for shape in record.record("input_param").records("shape")]
    memory = record.record("memory_data_param")
    if memory.has("channels"):
        keys = ("batch_size", "channels", "height", "width")
        shapes = [tuple(memory.whole(key) for key in keys)]
    if len(shapes) == 1 and record.text("type") == "Input":
        shapes *= len(tops)
    if shapes and record.text("type") == "Input" and len(shapes) != len(tops):
        raise ModelImportError(
            f"{len(shapes)} shapes for {len(tops)} tops", where=where, rule="one for all, or each"
        )
    for index, top in enumerate(tops):
        net.inputs[top] = shapes[index] if index < len(shapes) else None


def _takes_part(layer: Record, net: Record) -> bool:
    """Tell whether a layer is in the network at test."""
    include, exclude = layer.records("include"), layer.records("exclude")
    state = net.record("state")
    if include and exclude:
        raise ModelImportError(
            "both include and exclude are given",
            where=f"{net.where}: line {layer.line}: layer {layer.text('name')!r} "
            f"({layer.text('type')})",
            rule="one of the two",
        )
    if include:
        return any(_meets(rule, state) for rule in include)
    return not any(_meets(rule, state) for rule in exclude)


def _meets(rule: Record, state: Record) -> bool:
    level, stages = state.whole("level", 0), set(state.texts("stage"))
    return (
        rule.text("phase", "TEST") == "TEST"
        and rule.whole("min_level", level) <= level
        and rule.whole("max_level", level) >= level
        and stages.issuperset(rule.texts("stage"))
        and not stages.intersection(rule.texts("not_stage"))
    )


def _without_training(layers: list[Record], net: Net) -> list[Record]:
    """Leave out losses, measures and sinks, and say so."""
    kept = []
    for layer in layers:
        kind = layer.text("type")
        measures = kind in ("Accuracy", "DetectionEvaluate", "HDF5Output")
        if measures or kind.endswith("Loss"):
            net.notes.append(
                f"layer {layer.text('name')!r} ({kind}) is for training and is left out; "
                f"its input {layer.text('bottom')!r} may become an output"
            )
        else:
            kept.append(layer)
    return kept
