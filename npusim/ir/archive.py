"""npusim's model file: a graph as JSON and its constants as raw arrays.

Layout, little endian:

====== ===== =======================================================
offset bytes content
====== ===== =======================================================
0      8     magic ``NPUSIM`` 0 1
8      4     container version
12     4     zero
16     8     JSON bytes J
24     8     data bytes D
32     32    SHA-256 of the JSON
64     32    SHA-256 of the data
96     J     JSON, UTF-8
..     ..    zeros up to a multiple of 64
..     D     constants, C order, each on a multiple of 64
====== ===== =======================================================

The file ends with the data: a longer or shorter one is refused. Every byte counts: what neither
checksum covers has one allowed value. The data are read, not mapped: a file that is written again
later changes nothing that was loaded.
"""

import base64
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ContainerError, GraphError
from npusim.ir.atomic import atomic_write
from npusim.ir.codec import CodecError, decode, encode
from npusim.ir.dtypes import DType
from npusim.ir.graph import STRETCH, Graph, HostLayer, Node, Preprocess, Source, Tail, prune
from npusim.ir.tensor import MAX_TENSOR_ELEMENTS, TensorSpec
from npusim.ir.vendor_file import is_vendor_file, refusal
from npusim.ir.verify import verify
from npusim.plain import utf8
from npusim.reading.files import open_file
from npusim.reading.records import parse_json

MAGIC = b"NPUSIM\x00\x01"
VERSION = 3
"""2: placed nodes have a form; passes.pipeline.upgraded adds it to older graphs. 3: host layers;
files without them are written as version 2."""
ALIGNMENT = 64
BROKEN = (
    CodecError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
)
"""What a description that is none of ``graph_json`` makes of ``graph_from_json``."""
SUFFIXES = (".rknn", ".npusim")
OWN_FILE = "This is npusim's own file, which no stick or board loads; RKNN-Toolkit builds that one"
_HEAD = struct.Struct("<8sIIQQ32s32s")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a constant lies in the data block."""

    dtype: DType
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def save(graph: Graph, path: str | Path, *, meta: Mapping[str, Any] | None = None) -> None:
    """Write a graph to npusim's model file, completely or not at all.

    Parameters
    ----------
    graph : Graph
        Any stage: float, quantized or lowered. What no output needs is left out.
    path : path
        Replaced when it exists.
    meta : mapping, optional
        JSON values kept beside the graph; ``load_with_meta`` returns them.

    Raises
    ------
    ContainerError
        When the file cannot be written, or holds a batch that nobody would read again.
    """
    if not _is_batch(graph.batch):
        raise ContainerError(
            f"batch {graph.batch}",
            where=graph.name,
            rule=f"a whole number from 1 to {MAX_TENSOR_ELEMENTS}",
        )
    graph = prune(graph)
    places: dict[str, _Place] = {}
    end = 0
    for name, value in graph.constants.items():
        offset = _aligned(end)
        places[name] = _Place(DType.of(value.dtype), tuple(value.shape), offset)
        end = offset + value.nbytes
    content = {"graph": graph_json(graph), "constants": _places_json(places)}
    content["meta"] = dict(meta or {})
    text = utf8(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    data_digest = hashlib.sha256()
    try:
        with atomic_write(path) as file:
            file.write(bytes(_HEAD.size))
            file.write(text)
            file.write(bytes(_aligned(file.tell()) - file.tell()))
            written = 0
            for name, value in graph.constants.items():
                raw = np.asarray(value, order="C")
                gap = bytes(places[name].offset - written)
                for part in (gap, raw.reshape(-1).view(np.uint8).data):
                    file.write(part)
                    data_digest.update(part)
                    written += len(part)
            file.seek(0)
            head = (MAGIC, VERSION if graph.tail else VERSION - 1, 0, len(text), end)
            file.write(_HEAD.pack(*head, hashlib.sha256(text).digest(), data_digest.digest()))
    except OSError as error:
        raise ContainerError(
            f"the model file cannot be written: {error.strerror}",
            where=str(path),
            remedy="check that the folder exists and is writable, and the space left on it",
        ) from error


def load(path: str | Path) -> Graph:
    """Read a graph from npusim's model file; constants are read-only arrays.

    Raises
    ------
    ContainerError
        When the file is missing, truncated, damaged, of a newer version or not npusim's; it says
        what the file is.
    """
    return load_with_meta(path)[0]


def load_with_meta(path: str | Path) -> tuple[Graph, dict[str, Any]]:
    """Return the graph and what ``save`` was given as ``meta``; errors as in ``load``."""
    where = str(path)
    content, data = _open(path)
    try:
        places = {
            str(name): _Place(
                DType(entry["dtype"]), tuple(int(n) for n in entry["shape"]), int(entry["offset"])
            )
            for name, entry in content["constants"].items()
        }
        graph = graph_from_json(content["graph"])
    except BROKEN as error:
        raise ContainerError(f"the model description is not valid: {error}", where=where) from error
    for name, place in places.items():
        if min((place.offset, *place.shape)) < 0 or place.offset % ALIGNMENT:
            raise ContainerError(f"constant {name!r} has an impossible place", where=where)
        if place.offset + place.size_bytes > data.size:
            raise ContainerError(f"constant {name!r} lies beyond the end", where=where)
        raw = data[place.offset : place.offset + place.size_bytes]
        graph.constants[name] = raw.view(place.dtype.numpy).reshape(place.shape)
    try:
        verify(graph)
    except GraphError as error:
        raise ContainerError(f"the stored graph is not valid: {error}", where=where) from error
    meta = content.get("meta")
    return graph, meta if isinstance(meta, dict) else {}


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _open(path: str | Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return the checked JSON and the data block."""
    path = Path(path)
    try:
        with open_file(path) as file:
            return _read(file, path)
    except OSError as error:
        raise ContainerError(
            f"the model file cannot be read: {error.strerror}",
            where=str(path),
            remedy=f"check the path; {words.say('stores')} writes this file",
        ) from error


def _read(file: BufferedReader, path: Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    head = file.read(_HEAD.size)
    if not head.startswith(MAGIC):
        raise _foreign(path, head)
    if len(head) < _HEAD.size:
        raise ContainerError("the model file is truncated", where=str(path))
    _, version, reserved, json_bytes, data_bytes, json_digest, data_digest = _HEAD.unpack(head)
    if version > VERSION:
        raise ContainerError(
            f"the model file has container version {version}",
            where=str(path),
            rule=f"this npusim reads versions up to {VERSION}",
            remedy="update npusim, or export the model again with this one",
        )
    start = _aligned(_HEAD.size + json_bytes)
    size = os.fstat(file.fileno()).st_size
    if size != start + data_bytes:
        raise ContainerError(
            f"the model file is {'truncated' if size < start + data_bytes else 'too long'}: "
            f"{size} bytes",
            where=str(path),
            rule=f"its header announces {start + data_bytes} bytes",
            remedy="copy or export it again",
        )
    text = file.read(json_bytes)
    between = file.read(start - _HEAD.size - json_bytes)
    data = _aligned_array(data_bytes)
    file.readinto(data.data)
    data.flags.writeable = False
    sound = version > 0 and not reserved and not any(between)
    for part, digest in ((text, json_digest), (data.data, data_digest)):
        sound = sound and hashlib.sha256(part).digest() == digest
    if not sound:
        raise ContainerError(
            "the model file is damaged: its checksum does not match",
            where=str(path),
            remedy="copy or export it again",
        )
    content = parse_json(text, str(path), ContainerError)
    if not isinstance(content, dict):
        raise ContainerError("the model description is not an object", where=str(path))
    graph = content.get("graph")
    if isinstance(graph, dict) and ("tail" in graph) != (version == VERSION):
        raise ContainerError(
            f"the model file is damaged: container version {version}",
            where=str(path),
            rule=f"files with host layers, and only they, have version {VERSION}",
            remedy="copy or export it again",
        )
    return content, data


def _aligned_array(count: int) -> NDArray[np.uint8]:
    """Return uninitialised bytes that begin on a multiple of ``ALIGNMENT``."""
    room = np.empty(count + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    return room[begin : begin + count]


def _foreign(path: Path, head: bytes) -> ContainerError:
    if is_vendor_file(head):
        return refusal(path)
    if not head:
        what = "an empty file"
    elif MAGIC.startswith(head):
        what = "a truncated npusim model file"
    else:
        what = "no model file that npusim wrote"
    return ContainerError(
        f"this is {what}",
        where=str(path),
        rule=f"npusim reads the model files that {words.say('stores')} wrote",
        remedy=words.say("from_source"),
    )


def _places_json(places: Mapping[str, _Place]) -> dict[str, Any]:
    return {
        name: {"dtype": place.dtype.value, "shape": list(place.shape), "offset": place.offset}
        for name, place in places.items()
    }


def graph_json(graph: Graph) -> dict[str, Any]:
    """Return a graph without its constants as JSON."""
    tail = {} if graph.tail is None else {"tail": _tail_json(graph.tail)}
    return tail | {
        "name": graph.name,
        "inputs": encode(graph.inputs),
        "outputs": encode(graph.outputs),
        "nodes": encode(graph.nodes),
        "tensors": [encode(spec) for spec in graph.tensors.values()],
        "preprocess": {name: _encoded(how) for name, how in graph.preprocess.items()},
        "source": encode(graph.source),
        "target": graph.target,
        "batch": graph.batch,
        "notes": encode(graph.notes),
        "coded": encode(graph.coded),
    }


def _encoded(how: Preprocess) -> Any:
    """Return the record, readable by versions without ``fit`` where that says nothing new."""
    content = encode(how)
    if how.fit == STRETCH:
        del content["fit"]
    return content


def _spec(item: Any) -> TensorSpec:
    try:
        return decode(TensorSpec, item)
    except CodecError as error:
        name = item.get("name") if isinstance(item, dict) else None
        raise CodecError(f"tensor {name!r}: {error}") from error


def _is_batch(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_TENSOR_ELEMENTS


def graph_from_json(data: Mapping[str, Any]) -> Graph:
    """Return the graph of ``graph_json``, without constants.

    Raises
    ------
    one of ``BROKEN``
        When the data is something else.
    """
    specs = [_spec(item) for item in data["tensors"]]
    batch = data["batch"]
    if not _is_batch(batch):
        raise CodecError(f"batch {batch!r}")
    return Graph(
        name=str(data["name"]),
        nodes=tuple(decode(Node, item) for item in data["nodes"]),
        inputs=tuple(str(name) for name in data["inputs"]),
        outputs=tuple(str(name) for name in data["outputs"]),
        tensors={spec.name: spec for spec in specs},
        preprocess={str(k): decode(Preprocess, v) for k, v in data["preprocess"].items()},
        source=decode(Source, data["source"]),
        target=str(data["target"]),
        batch=batch,
        notes=tuple(str(note) for note in data["notes"]),
        coded=tuple(str(name) for name in data.get("coded", ())),  # version 2 had none at first
        tail=_tail_from_json(data["tail"]) if "tail" in data else None,
    )


def _tail_json(tail: Tail) -> dict[str, Any]:
    return {
        "model": base64.b64encode(tail.model).decode(),
        "inputs": encode(tail.inputs),
        "results": encode(tail.results),
        "layers": encode(tail.layers),
    }


def _tail_from_json(data: Mapping[str, Any]) -> Tail:
    return Tail(
        model=base64.b64decode(data["model"], validate=True),
        inputs=tuple(str(name) for name in data["inputs"]),
        results=tuple(str(name) for name in data["results"]),
        layers=tuple(decode(HostLayer, item) for item in data["layers"]),
    )
