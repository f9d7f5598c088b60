"""Caffe network (``.prototxt`` and ``.caffemodel``) -> float Graph."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.caffe import (
    ops_conv,
    ops_host,
    ops_join,
    ops_norm,
    ops_pool,
    ops_resize,
    ops_shape,
    ops_unary,
)
from npusim.importers.caffe.advice import advise
from npusim.importers.caffe.blobs import Blobs
from npusim.importers.caffe.context import CaffeContext, converter
from npusim.importers.caffe.net import CaffeLayer, Net, read_net
from npusim.importers.caffe.schema import read_record
from npusim.importers.caffe.text import parse_file
from npusim.importers.caffe.weights_file import WeightsFile, read_weights
from npusim.importers.common.builder import GraphBuilder, suggestion
from npusim.importers.common.two_files import WEIGHTS_FOUND, beside, two_files, wanted_shape
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Source
from npusim.plain import name_of

FAMILIES = (ops_conv, ops_host, ops_join, ops_norm, ops_pool, ops_resize, ops_shape, ops_unary)
"""Importing them registers the converters."""

ShapesLike = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None
_LEARNED = ("Convolution", "InnerProduct", "Deconvolution", "DepthwiseConvolution")


def load_caffe(
    prototxt: str | Path,
    weights: str | Path | bool | None = None,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read a Caffe network as a float graph, N, C, H, W, as it is at test.

    Tensors are called like blobs. Where layers work in place the last one gives the blob its
    tensor; those before are ``<blob>/<layer>``. Boxes of PriorBox layers are constants.

    Parameters
    ----------
    prototxt : str or Path
        The network, in the present form or an older one (``layers``, ``input_dim``).
    weights : str, Path or False, optional
        The ``.caffemodel``. None: the one of the same stem beside the network, if there is one.
        False, or none there: structure only, with seeded pseudo-random weights.
    inputs : sequence of str, optional
        Blobs to begin at; their shapes must be given.
    input_shapes : mapping or sequence, optional
        Shapes by input, or in order; the batch may be left out, None keeps the file's size.
    outputs : sequence of str, optional
        Blobs or layers to end at. Default: every blob that no layer reads, in the file's order.

    Raises
    ------
    UnsupportedOpError
        Listing every layer without a counterpart, with advice.
    ModelImportError
        For files that cannot be read and networks that are not valid.
    """
    path, weights = two_files(prototxt, weights, ".caffemodel", ".prototxt")
    where = str(path)
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(names, str):
            raise ModelImportError(
                f"{what} is a single string", where=where, rule="a list of names"
            )
    unknown: list[str] = []
    net = read_net(read_record(parse_file(path), "Net", where, unknown))
    file, note = _weights(path, weights)
    notes = [note] if note else []
    if unknown:
        notes.append(f"fields that are not known are ignored: {', '.join(unknown)}")
    context = CaffeContext(
        GraphBuilder(where=where),
        names={name for layer in net.layers for name in layer.outputs} | set(net.inputs),
        notes=[*notes, *net.notes],
        blobs=Blobs(file),
        structure_only=file is None and any(layer.type in _LEARNED for layer in net.layers),
    )
    starts, ends = _starts(net, inputs, where), _ends(net, outputs, where)
    layers = _needed(net, starts, ends, given=inputs is not None)
    if outputs is not None:  # inputs of what is cut off
        read = {name for layer in layers for name in layer.inputs} | set(ends)
        starts = [name for name in starts if name in read]
    _add_inputs(context, net, starts, input_shapes, layers, ends)
    converter.run(layers, context, advise, where)
    context.notes += context.blobs.notes()
    renames = context.finish_outputs(starts, ends)
    return context.builder.finish(
        net.name or name_of(path),
        starts,
        ends,
        renames=renames,
        source=_source(path, file),
        notes=context.notes,
    )


def _source(path: Path, file: WeightsFile | None) -> Source:
    digest = hashlib.sha256(path.read_bytes())
    if file is not None:
        digest.update(file.fingerprint.hexdigest().encode())
    detail = file.path.name if file else "structure only"
    return Source(framework="caffe", path=str(path), sha256=digest.hexdigest(), detail=detail)


def _weights(path: Path, weights: str | Path | bool | None) -> tuple[WeightsFile | None, str]:
    """Return the weights and a line about which file they come from."""
    if weights is None:
        found = beside(path, ".caffemodel")
        if found is None:
            return None, ""
        return read_weights(found), f"{WEIGHTS_FOUND}{found.name}, beside the network"
    if isinstance(weights, bool):
        return None, ""
    return read_weights(Path(weights)), ""


def _starts(net: Net, inputs: Sequence[str] | None, where: str) -> list[str]:
    if inputs is None:
        return list(net.inputs)
    for name in inputs:
        if name not in net.blobs:
            raise ModelImportError(
                f"there is no blob {name!r} to begin at",
                where=where,
                remedy=suggestion(name, net.blobs),
            )
    if len(set(inputs)) != len(inputs):
        raise ModelImportError(f"inputs {list(inputs)} repeat a name", where=where)
    return [name if name in net.inputs else net.blobs[name] for name in inputs]


def _ends(net: Net, outputs: Sequence[str] | None, where: str) -> list[str]:
    if outputs is None:
        found = net.outputs()
    else:
        by_layer = {layer.name: list(layer.outputs) for layer in net.layers}
        tensors = {name for layer in net.layers for name in layer.outputs} | set(net.inputs)
        found = []
        for name in outputs:
            if name in net.blobs:
                found.append(net.blobs[name])
            elif name in by_layer:
                found += by_layer[name]
            elif name in tensors:
                found.append(name)
            else:
                raise ModelImportError(
                    f"there is no blob or layer {name!r} to end at",
                    where=where,
                    remedy=suggestion(name, {*net.blobs, *by_layer}),
                )
    if not found or len(set(found)) != len(found):
        raise ModelImportError(
            f"the outputs are {found}" if found else "the network has no outputs",
            where=where,
            rule="at least one, all different",
        )
    return found


def _needed(
    net: Net, starts: Sequence[str], ends: Sequence[str], *, given: bool
) -> list[CaffeLayer]:
    """Return the layers between the inputs and the outputs."""
    reached, needed = set(ends), []
    for layer in reversed(net.layers):
        if any(name in reached and name not in starts for name in layer.outputs):
            needed.append(layer)
            reached.update(layer.inputs)
    missing = [name for name in net.inputs if name in reached and name not in starts]
    if missing:
        raise ModelImportError(
            f"the outputs {list(ends)} also need the inputs {missing}",
            where=net.where,
            rule="the inputs given must cut every path to the outputs",
            remedy=f"add {missing} to inputs",
        )
    idle = [name for name in starts if name not in reached]
    if given and idle:
        raise ModelImportError(
            f"the outputs {list(ends)} do not depend on {idle}",
            where=net.where,
            remedy="remove them from inputs",
        )
    return needed[::-1]


def _add_inputs(
    context: CaffeContext,
    net: Net,
    starts: list[str],
    shapes: ShapesLike,
    layers: Sequence[CaffeLayer],
    ends: Sequence[str],
) -> None:
    """Declare the inputs; those that nothing reads and have no shape vanish (labels)."""
    read = {name for layer in layers for name in layer.inputs} | set(ends)
    readers = {n: {layer.type for layer in layers if n in layer.inputs} for n in starts}
    names = list(starts)
    for name in names:
        shape = wanted_shape(name, net.inputs.get(name), shapes, names, net.where)
        if shape is None and name not in read:
            starts.remove(name)
            continue
        if shape is None:
            raise ModelImportError(
                f"input {name!r} has no size in the file",
                where=net.where,
                rule="the chip runs networks of fixed size",
                remedy=f"give {words.shapes_given({name: (1, 3, 224, 224)})}, or write an Input "
                "layer",
            )
        dtype = DType.I32 if readers[name] == {"Embed"} else DType.F32
        if dtype is DType.I32:
            context.notes.append(f"input {name!r} holds indices: whole numbers (int32)")
        context.builder.add_input(name, shape, dtype)
