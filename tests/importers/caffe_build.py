"""Caffe files for tests: networks as text, weights written by protobuf from its own descriptors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from npusim.importers.caffe.importer import load_caffe
from npusim.ir.graph import Graph
from npusim.reference.evaluate import evaluate

Kind = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {
    "Shape": [("dim", 1, Kind.TYPE_INT64, True)],
    "Blob": [
        ("num", 1, Kind.TYPE_INT32, False),
        ("channels", 2, Kind.TYPE_INT32, False),
        ("height", 3, Kind.TYPE_INT32, False),
        ("width", 4, Kind.TYPE_INT32, False),
        ("data", 5, Kind.TYPE_FLOAT, True),
        ("diff", 6, Kind.TYPE_FLOAT, True),
        ("shape", 7, "Shape", False),
        ("double_data", 8, Kind.TYPE_DOUBLE, True),
        ("raw_data_type", 10, Kind.TYPE_INT32, False),
        ("raw_data", 12, Kind.TYPE_BYTES, False),
    ],
    "Layer": [
        ("name", 1, Kind.TYPE_STRING, False),
        ("type", 2, Kind.TYPE_STRING, False),
        ("bottom", 3, Kind.TYPE_STRING, True),
        ("blobs", 7, "Blob", True),
        ("phase", 10, Kind.TYPE_INT32, False),
    ],
    "V0": [("name", 1, Kind.TYPE_STRING, False), ("blobs", 50, "Blob", True)],
    "V1": [
        ("layer", 1, "V0", False),
        ("name", 4, Kind.TYPE_STRING, False),
        ("type", 5, Kind.TYPE_INT32, False),
        ("blobs", 6, "Blob", True),
    ],
    "Net": [
        ("name", 1, Kind.TYPE_STRING, False),
        ("layers", 2, "V1", True),
        ("layer", 100, "Layer", True),
    ],
}


def _classes(packed: bool) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"weights_{packed}.proto", package=f"weights{int(packed)}", syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            entry = message.field.add(name=field, number=number)
            entry.label = Kind.LABEL_REPEATED if repeated else Kind.LABEL_OPTIONAL
            if isinstance(kind, str):
                entry.type, entry.type_name = Kind.TYPE_MESSAGE, f".{file.package}.{kind}"
            else:
                entry.type = kind
                if packed and repeated and kind != Kind.TYPE_STRING:
                    entry.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
        for name in _MESSAGES
    }


PACKED, UNPACKED = _classes(True), _classes(False)


def weights(
    layers: Mapping[str, Sequence[Any]],
    *,
    legacy: bool = False,
    double: bool = False,
    form: str = "layer",
    packed: bool = True,
) -> bytes:
    """Return a .caffemodel with the blobs of layers."""
    classes = PACKED if packed else UNPACKED
    net = classes["Net"](name="net")
    for name, blobs in layers.items():
        if form == "layer":
            layer = net.layer.add(name=name, type="Any")
        else:
            layer = net.layers.add(name=name)
            layer = layer if form == "V1" else layer.layer
            layer.name = name
        for value in blobs:
            array = np.asarray(value, np.float32)
            blob = layer.blobs.add()
            (blob.double_data if double else blob.data).extend(array.reshape(-1).tolist())
            if legacy:
                sizes = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(array.shape)
    return bytes(net.SerializeToString())


def input_layer(name: str, shape: Sequence[int]) -> str:
    """Return an Input layer as text."""
    dims = " ".join(f"dim: {n}" for n in shape)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {dims} }} }} }}\n"
    )


def layer(
    kind: str, bottoms: Sequence[str] = ("x",), tops: Sequence[str] = ("y",), more: str = ""
) -> str:
    """Return a layer called l as text."""
    ends = [f'bottom: "{name}"' for name in bottoms] + [f'top: "{name}"' for name in tops]
    return f'layer {{ name: "l" type: "{kind}" {" ".join(ends)} {more} }}\n'


def load(folder: Path, text: str, content: bytes | None = None, **options: Any) -> Graph:
    """Write a network and its weights and load them."""
    path = folder / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    if content is None:
        return load_caffe(path, False, **options)
    (folder / "net.caffemodel").write_bytes(content)
    return load_caffe(path, folder / "net.caffemodel", **options)


def run(graph: Graph, *values: Any) -> list[Any]:
    """Return the outputs for inputs in order."""
    feeds = {
        name: np.asarray(value, np.float32)
        for name, value in zip(graph.inputs, values, strict=True)
    }
    results = evaluate(graph, feeds)
    return [results[name] for name in graph.outputs]
