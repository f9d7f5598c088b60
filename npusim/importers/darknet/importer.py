"""Darknet network (``.cfg`` and ``.weights``) -> float Graph."""

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import GraphBuilder, suggestion
from npusim.importers.common.two_files import (
    NO_WEIGHTS,
    WEIGHTS_FOUND,
    beside,
    two_files,
    wanted_shape,
)
from npusim.importers.darknet import ops_conv, ops_join, ops_map
from npusim.importers.darknet.cfg import Section, read_cfg
from npusim.importers.darknet.context import DarknetContext, converter
from npusim.importers.darknet.net import (
    CHOOSE_FORK,
    DETECTIONS,
    FORK,
    INPUT,
    ORIGINAL,
    DarknetLayer,
    Net,
    program_of,
    read_net,
)
from npusim.importers.darknet.weights_file import Numbers, WrongLength, open_weights
from npusim.ir.graph import Graph, Source
from npusim.plain import name_of

FAMILIES = (ops_conv, ops_join, ops_map)
"""Importing them registers the converters."""

ShapesLike = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None


def load_darknet(
    cfg: str | Path,
    weights: str | Path | bool | None = None,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
    program: str | None = None,
) -> Graph:
    """Read a Darknet network as a float graph, N, C, H, W.

    The input is called ``x``, the result of layer n ``<n>_<type>``. ``yolo``, ``region`` and
    ``detection`` layers decode boxes and are left out: the network ends in front of them, and a
    note keeps anchors, mask and classes of each.

    Parameters
    ----------
    cfg : str or Path
    weights : str, Path or False, optional
        The ``.weights``. None: the one of the same stem beside the configuration, if there is one.
        False, or none there: structure only, with seeded pseudo-random weights.
    inputs : sequence of str, optional
        Refused: the weights file is read from the first layer on.
    input_shapes : mapping or sequence, optional
        Another batch or size than the configuration's.
    outputs : sequence of str, optional
        Layers to end at (``16_yolo`` means what is in front of it). Default: in front of every
        detection layer, and the last layer.
    program : {"pjreddie", "alexeyab"}, optional
        Whose rules count where the original program and the YOLOv4 fork differ. Default: the fork
        when the files have something that only it knows, else the original.

    Raises
    ------
    UnsupportedOpError
        Listing every layer without a counterpart, with advice.
    ModelImportError
        For files that cannot be read, networks that are not valid, and weights files that are too
        short or too long.
    """
    path, weights = two_files(cfg, weights, ".weights", ".cfg")
    where = str(path)
    if inputs is not None:
        raise ModelImportError(
            "inputs is given", where=where, rule="a Darknet network begins at its own input"
        )
    if isinstance(outputs, str):
        raise ModelImportError("outputs is a single string", where=where, rule="a list of names")
    if program not in (None, ORIGINAL, FORK):
        raise ModelImportError(
            f"program is {program!r}", where=where, rule=f"{ORIGINAL!r} or {FORK!r}"
        )
    sections = read_cfg(path)
    net = read_net(sections)
    numbers, note = _weights(path, weights)
    revision = numbers.header.revision if numbers.path else None
    told = program or program_of(sections, revision)
    notes = [note] if note else []
    ends, cut = _ends(net, outputs)
    first_error: WrongLength | None = None
    for rules, offset in _readings(numbers, told):
        numbers.offset, numbers.wanted = offset, 0
        context = DarknetContext(
            GraphBuilder(where=where),
            names={layer.name for layer in net.layers} | {INPUT},
            notes=list(notes),
            numbers=numbers,
            program=rules,
        )
        try:
            _convert(net, context, input_shapes, cut)
            if cut == len(net.layers):
                _check_length(numbers, where)
        except WrongLength as error:
            first_error = first_error or error
            continue
        break
    else:
        assert first_error is not None
        raise first_error
    if not told and numbers.path:
        context.notes.append(
            f"the files do not tell which Darknet trained them: rules of {context.program!r} "
            f"(epsilon of batch_normalize); {CHOOSE_FORK} for the YOLOv4 fork"
        )
    names = _finish(net, context, ends)
    context.notes += _unread(sections)
    renames = context.finish_outputs([INPUT], names)
    return context.builder.finish(
        name_of(path),
        [INPUT],
        names,
        renames=renames,
        source=_source(path, numbers, context.program),
        notes=context.notes,
    )


def _source(path: Path, numbers: Numbers, program: str) -> Source:
    text = path.read_bytes()
    own = numbers.fingerprint.finish() if numbers.fingerprint else str
    detail = f"{program}, {numbers.path.name if numbers.path else 'structure only'}"
    return Source(
        framework="darknet",
        path=str(path),
        sha256=lambda: hashlib.sha256(text + own().encode()).hexdigest(),
        detail=detail,
    )


def _weights(path: Path, weights: str | Path | bool | None) -> tuple[Numbers, str]:
    """Return the weights and a line about where they come from."""
    found = beside(path, ".weights") if weights is None else None
    if isinstance(weights, str | Path):
        return open_weights(Path(weights)), ""
    if found is not None:
        return open_weights(found), f"{WEIGHTS_FOUND}{found.name}, beside the network"
    return Numbers(None), (
        f"{NO_WEIGHTS}: seeded pseudo-random numbers; speed can be measured, results mean nothing"
    )


def _readings(numbers: Numbers, told: str) -> list[tuple[str, int]]:
    """Return (program, bytes of the header) in the order to try; the length of the file decides."""
    programs = [told] if told else [ORIGINAL, FORK]
    if numbers.path is None:
        return [(programs[0], 0)]
    lengths = {p: numbers.header.length(p == ORIGINAL) for p in (ORIGINAL, FORK)}
    tries = [(p, lengths[p]) for p in programs]
    tries += [(p, length) for p in programs for length in lengths.values()]
    return list(dict.fromkeys(tries))


def _convert(net: Net, context: DarknetContext, shapes: ShapesLike, cut: int) -> None:
    """Emit the first ``cut`` layers."""
    boxes = {layer.name: layer for layer in net.layers if layer.type in DETECTIONS}
    for layer in net.layers[:cut]:
        for name in boxes.keys() & set(layer.inputs):
            raise ModelImportError(
                f"it reads the boxes of layer {name!r}",
                where=f"{net.where}: {layer.where}",
                rule="boxes are decoded on the CPU, nothing on the chip reads them",
                remedy=f"read {boxes[name].inputs[0]!r}, or end the network there: "
                f"{words.cut_at(outputs=[name])}",
            )
    shape = wanted_shape(INPUT, net.shape, shapes, [INPUT], net.where)
    assert shape is not None
    context.builder.add_input(INPUT, shape)
    converter.run(net.layers[:cut], context, advise, net.where)


def _check_length(numbers: Numbers, where: str) -> None:
    if numbers.path is not None and numbers.bytes != numbers.needed_bytes:
        raise WrongLength(
            f"the weights file has {numbers.bytes} bytes, the network needs {numbers.needed_bytes}",
            where=f"{where}: {numbers.path}",
            rule="a header, then all numbers of all layers and nothing else",
            remedy="take the .weights that was trained with this .cfg",
        )


def advise(layer: DarknetLayer) -> str:
    """Return what to do about a layer that has no counterpart."""
    if layer.type == "deconvolutional":
        return "use upsample and convolutional (Darknet cannot load its weights either)"
    if layer.type in ("rnn", "gru", "lstm", "crnn", "conv_lstm", "history"):
        return "recurrent layers keep a state; export one step as a feed-forward network"
    return (
        f"end the network before it ({words.cut_at(outputs=layer.inputs[:1])}), run it on the CPU"
    )


def _ends(net: Net, outputs: Sequence[str] | None) -> tuple[list[int], int]:
    """Return the layers that are outputs, and how many layers are needed for them."""
    if outputs is None:
        last = len(net.layers) - 1
        while last > 0 and net.layers[last].type == "cost":
            last -= 1
        ends = [layer.index for layer in net.layers if layer.type in DETECTIONS]
        return sorted({*ends, last}), len(net.layers)
    known = {layer.name: layer.index for layer in net.layers}
    ends = []
    for name in outputs:
        if name not in known:
            raise ModelImportError(
                f"there is no layer {name!r} to end at",
                where=net.where,
                remedy=suggestion(name, known),
            )
        ends.append(known[name])
    if not ends:
        raise ModelImportError("no outputs are asked for", where=net.where, rule="at least one")
    return ends, max(ends) + 1


def _finish(net: Net, context: DarknetContext, ends: Sequence[int]) -> list[str]:
    """Return the output tensors; detection layers give what is in front of them, with a note."""
    names = []
    for index in ends:
        layer = net.layers[index]
        name = layer.outputs[0]
        if layer.type in DETECTIONS:
            name = layer.inputs[0]
            context.notes.append(_detection_note(layer))
            if name == INPUT:
                name = f"{layer.name}/front"
                context.aliases[name] = INPUT
        names.append(name)
    return list(dict.fromkeys(names))


def _detection_note(layer: DarknetLayer) -> str:
    section = layer.section
    keys = ("mask", "anchors", "classes", "num", "coords", "scale_x_y", "new_coords", "softmax")
    given = "; ".join(f"{key}={section.options[key]}" for key in keys if key in section.options)
    return f"{layer.name} is left out, the output {layer.inputs[0]!r} is in front of it: {given}"


@converter(*DETECTIONS)
def detection(layer: DarknetLayer, context: DarknetContext) -> None:
    """Check that the layer in front has the channels that the boxes need; emit nothing."""
    section, shape = layer.section, context.shape(layer.inputs[0])
    if layer.type == "detection":
        return
    boxes = section.whole("num", 1)
    if layer.type != "region" and section.has("mask"):
        boxes = len(section.wholes("mask"))
    numbers = section.whole("coords", 4) if layer.type == "region" else DETECTIONS[layer.type]
    classes = section.whole("classes", 20)
    wanted = boxes * (classes + numbers + 1)
    if len(shape) != 4 or shape[1] != wanted:
        raise ModelImportError(
            f"its input {shape} does not have {wanted} channels",
            where=layer.where,
            rule=f"{boxes} boxes of {classes} classes and {numbers + 1} numbers",
            remedy=f"filters={wanted} in the convolutional layer before it",
        )


def _unread(sections: Sequence[Section]) -> list[str]:
    """Name options that look like misspelt ones of those that were read."""
    lines = []
    for section in sections[1:]:
        for key in section.options:
            close = suggestion(key, section.asked) if key not in section.asked else ""
            if close.startswith("did you mean") and _one_slip(key, section.asked):
                lines.append(f"line {section.lines[key]}: [{section.type}] has no {key!r}; {close}")
    return lines


def _one_slip(key: str, known: set[str]) -> bool:
    return bool(get_close_matches(key, known, n=1, cutoff=0.85))
