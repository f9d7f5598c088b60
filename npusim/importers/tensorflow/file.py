"""Frozen graph files: nodes, library functions and constants, numbers read where they stand.

Small nodes are parsed as they are. Of a constant with much content only the frame is parsed; its
bytes stay in the file until somebody asks for the value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import isfile
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, check_elements, refuse_absent
from npusim.importers.common.stretch import FileBytes, read_numbers
from npusim.importers.common.two_files import Fingerprint
from npusim.importers.common.wire import BYTES, Wire
from npusim.importers.tensorflow.schema import message

_GRAPH_NODE, _GRAPH_LIBRARY, _GRAPH_VERSIONS = 1, 2, 4
_NODE_ATTR, _ENTRY_VALUE, _VALUE_TENSOR, _TENSOR_CONTENT = 5, 2, 8, 4
_LARGE = 4096
TYPES: Mapping[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
BFLOAT16, STRING, RESOURCE = 14, 7, 20
TYPE_NAMES = {
    **{number: np.dtype(kind).name for number, kind in TYPES.items()},
    BFLOAT16: "bfloat16",
    STRING: "string",
    RESOURCE: "resource",
    8: "complex64",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    18: "complex128",
    21: "variant",
}
_FIELDS = {1: "float_val", 2: "double_val", 9: "int64_val", 10: "bool_val", 19: "half_val"}
_FIELDS |= {22: "uint32_val", 23: "uint64_val", BFLOAT16: "half_val"}
FREEZE = (
    "freeze it: from tensorflow.python.framework.convert_to_constants import "
    "convert_variables_to_constants_v2 as freeze; "
    "f = tf.saved_model.load(DIR).signatures['serving_default']; "
    "tf.io.write_graph(freeze(f).graph.as_graph_def(), '.', 'frozen.pb', as_text=False)"
)


@dataclass(slots=True)
class StoredTensor:
    """A tensor of the file: its frame, and where its content stands.

    Attributes
    ----------
    frame : message
        ``Tensor`` without large content.
    file : Path or None
        The file with large content; None when the frame holds it.
    begin, end : int
        Where large content stands.
    """

    frame: Any
    file: Path | None = None
    begin: int = 0
    end: int = 0

    def value(self, what: str, where: str) -> Array:
        """Return the numbers.

        Raises
        ------
        ModelImportError
            For types without numbers and sizes that do not fit.
        """
        frame = self.frame
        shape = shape_of(frame.tensor_shape)
        if shape is None or min(shape, default=0) < 0:
            raise ModelImportError(f"{what} has no shape", where=where, rule="known sizes")
        kind = frame.dtype
        if kind not in TYPES and kind != BFLOAT16:
            raise ModelImportError(
                f"{what} has element type {TYPE_NAMES.get(kind, kind)}",
                where=where,
                rule="numbers and truth values",
                remedy="cut the graph behind it with inputs=",
            )
        count = check_elements(shape, what, where)
        dtype = np.dtype(np.uint16 if kind == BFLOAT16 else TYPES[kind]).newbyteorder("<")
        content = frame.tensor_content
        size = self.end - self.begin if self.file else len(content)
        if size:
            if size != count * dtype.itemsize:
                raise ModelImportError(
                    f"{what} of shape {shape} has {size} bytes",
                    where=where,
                    rule=f"{count * dtype.itemsize} bytes",
                    remedy="the file is damaged; copy or freeze the graph again",
                )
            if self.file:
                flat = read_numbers(self.file, self.begin, count, dtype)
            else:
                flat = np.frombuffer(content, dtype)
        else:
            flat = self._listed(count, dtype, what, where)
        if kind == BFLOAT16:
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.reshape(shape)

    def _listed(self, count: int, dtype: np.dtype[Any], what: str, where: str) -> Array:
        """Return values that are written one by one; the last one stands for all that follow."""
        given = getattr(self.frame, _FIELDS.get(self.frame.dtype, "int_val"))
        if len(given) > count:
            raise ModelImportError(
                f"{what} has {len(given)} values", where=where, rule=f"at most {count}"
            )
        raw = np.uint16 if dtype.itemsize == 2 and dtype.kind in "fu" else dtype
        values = np.array(given, np.int64 if raw is np.uint16 else dtype).astype(raw)
        if raw is np.uint16 and dtype.kind == "f":
            values = values.view(dtype)
        if len(values) < count:
            fill = values[-1] if len(values) else dtype.type(0)
            values = np.concatenate([values, np.broadcast_to(fill, count - len(values))])
        return values


def shape_of(proto: Any) -> tuple[int, ...] | None:
    """Return sizes, -1 where open; None for an unknown rank."""
    return None if proto.unknown_rank else tuple(int(dim.size) for dim in proto.dim)


@dataclass(slots=True)
class GraphNode:
    """A node of the file.

    Attributes
    ----------
    inputs : tuple of str
        As in the file: ``node``, ``node:1``, ``^node`` for order only.
    attrs : dict
        Name -> ``Value`` message.
    tensor : StoredTensor or None
        The attribute ``value`` of a constant.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: dict[str, Any]
    tensor: StoredTensor | None = None


@dataclass(frozen=True, slots=True)
class GraphFunction:
    """A function of the library.

    Attributes
    ----------
    arguments, results : tuple of str
    returns : dict
        Result -> tensor inside.
    """

    name: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    returns: Mapping[str, str]
    nodes: tuple[GraphNode, ...]


@dataclass(slots=True)
class GraphFile:
    """What a file holds."""

    path: Path
    fingerprint: Fingerprint
    producer: int = 0
    nodes: list[GraphNode] = field(default_factory=list)
    functions: dict[str, GraphFunction] = field(default_factory=dict)


def read_graph(path: Path) -> GraphFile:
    """Read a frozen graph.

    Raises
    ------
    ModelImportError
        When the file cannot be read, is truncated, a SavedModel or something else.
    """
    where = str(path)
    if isfile(path / "saved_model.pb") or isfile(path / "saved_model.pbtxt"):
        raise saved_model(where)
    refuse_absent(path)
    try:
        found, data = GraphFile(path, Fingerprint(path)), FileBytes(path)
    except OSError as error:
        raise ModelImportError(f"cannot be read: {error.strerror}", where=where) from error
    if not len(data):
        raise ModelImportError("the file is empty", where=where, rule="a TensorFlow graph")
    return _read(found, data)


def saved_model(where: str) -> ModelImportError:
    """Return the error for a SavedModel."""
    return ModelImportError(
        "a SavedModel keeps its weights in variables",
        where=where,
        rule="a frozen graph (.pb), variables made constants",
        remedy=FREEZE,
    )


def _read(found: GraphFile, data: FileBytes) -> GraphFile:
    where = str(found.path)
    if data.byte(0) == 8:  # saved_model_schema_version, in front of its graphs
        raise saved_model(where)
    wire = Wire(data, where, "a TensorFlow graph")
    try:
        for number, kind, begin, end in wire.fields(0, len(data)):
            if kind != BYTES:
                continue
            if number == _GRAPH_NODE:
                found.nodes.append(_node(wire, begin, end))
            elif number == _GRAPH_LIBRARY:
                library = message("Library").FromString(data.stretch(begin, end))
                for proto in library.function:
                    function = _function(proto)
                    found.functions[function.name] = function
            elif number == _GRAPH_VERSIONS:
                found.producer = message("Versions").FromString(data.stretch(begin, end)).producer
    except (DecodeError, UnicodeDecodeError) as error:
        raise ModelImportError(
            "it is no TensorFlow graph, or damaged",
            where=where,
            rule="a frozen graph as tf.io.write_graph(.., as_text=False) writes it",
            remedy="copy or freeze it again",
        ) from error
    if not found.nodes or not all(node.name and node.op for node in found.nodes):
        raise ModelImportError(
            "the file holds no nodes" if not found.nodes else "a node has no name or no operator",
            where=where,
            rule="a frozen graph (GraphDef)",
            remedy="for a checkpoint or a SavedModel " + FREEZE,
        )
    return found


def _node(wire: Wire, begin: int, end: int) -> GraphNode:
    part = wire.data.stretch
    large = _content(wire, begin, end) if end - begin > _LARGE else None
    if large is None:
        return _parsed(message("Node").FromString(part(begin, end)))
    entry, tensor, content = large
    frame = message("Tensor").FromString(part(tensor[0], content[0]) + part(content[1], tensor[1]))
    rest = message("Node").FromString(part(begin, entry[0]) + part(entry[1], end))
    node = _parsed(rest)
    node.tensor = StoredTensor(frame, wire.data.path, content[2], content[1])
    return node


def _content(
    wire: Wire, begin: int, end: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int]] | None:
    """Return where a constant's attribute, its tensor and the tensor's content stand, with tags."""
    start = begin
    for number, kind, a, b in wire.fields(begin, end):
        if number == _NODE_ATTR and kind == BYTES and b - a > _LARGE:
            for n2, k2, c, d in wire.fields(a, b):
                if n2 != _ENTRY_VALUE or k2 != BYTES:
                    continue
                for n3, k3, e, f in wire.fields(c, d):
                    if n3 != _VALUE_TENSOR or k3 != BYTES:
                        continue
                    before = e
                    for n4, k4, g, h in wire.fields(e, f):
                        if n4 == _TENSOR_CONTENT and k4 == BYTES:
                            return (start, b), (e, f), (before, h, g)
                        before = h
        start = b
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8")


def _parsed(proto: Any) -> GraphNode:
    attrs = {_text(entry.key): entry.value for entry in proto.attr}
    op = _text(proto.op)
    tensor = None
    if op == "Const" and "value" in attrs:
        tensor = StoredTensor(attrs["value"].tensor)
    return GraphNode(_text(proto.name), op, tuple(map(_text, proto.input)), attrs, tensor)


def _function(proto: Any) -> GraphFunction:
    signature = proto.signature
    return GraphFunction(
        name=_text(signature.name),
        arguments=tuple(_text(arg.name) for arg in signature.input_arg),
        results=tuple(_text(arg.name) for arg in signature.output_arg),
        returns={_text(entry.key): _text(entry.value) for entry in proto.ret},
        nodes=tuple(map(_parsed, proto.node_def)),
    )
