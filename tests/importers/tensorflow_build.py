"""Tiny frozen graphs, written with the importer's own descriptors (TensorFlow is not needed)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.importers.tensorflow.file import TYPES
from npusim.importers.tensorflow.importer import load_tensorflow
from npusim.importers.tensorflow.schema import message
from npusim.ir.graph import Graph
from npusim.reference.evaluate import evaluate

Array = NDArray[Any]
NUMBERS = {np.dtype(kind): number for number, kind in TYPES.items()}


class Type(int):
    """The number of an element type."""


FLOAT, INT32, BOOL = Type(1), Type(3), Type(10)


def _set(entry: Any, value: Any) -> None:
    """Write an attribute by the kind of its value; a list of sizes in a tuple is a shape."""
    if isinstance(value, bool):
        entry.b = value
    elif isinstance(value, Type):
        entry.type = value
    elif isinstance(value, int):
        entry.i = value
    elif isinstance(value, float):
        entry.f = value
    elif isinstance(value, Function):
        entry.func.name = value.encode()
    elif isinstance(value, str):
        entry.s = value.encode()
    elif isinstance(value, tuple):
        entry.shape.SetInParent()
        for size in value:
            entry.shape.dim.add(size=size)
    elif isinstance(value, np.ndarray | np.generic):
        tensor(entry.tensor, np.asarray(value))
    elif isinstance(value, list):
        entry.list.SetInParent()
        for item in value:
            if isinstance(item, Type):
                entry.list.type.append(item)
            elif isinstance(item, int):
                entry.list.i.append(item)
            else:
                entry.list.s.append(item.encode())
    else:
        raise TypeError(f"{value!r}")


class Function(str):
    """The name of a library function."""


def tensor(proto: Any, value: Array) -> None:
    """Write a tensor with its content as bytes."""
    proto.dtype = NUMBERS[value.dtype]
    proto.tensor_shape.SetInParent()
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_content = np.ascontiguousarray(value).tobytes()


class Net:
    """A graph being written.

    ``net.op("y", "Relu", "x")`` adds a node and returns its name; arrays as inputs become
    constants.
    """

    def __init__(self, producer: int = 1645) -> None:
        self.proto = message("Graph")()
        self.proto.versions.producer = producer
        self._nodes = self.proto.node

    def op(self, name: str, op: str, *inputs: Any, **attrs: Any) -> str:
        """Add a node."""
        names = [
            self.const(f"{name}/in{i}", value) if not isinstance(value, str) else value
            for i, value in enumerate(inputs)
        ]
        node = self._nodes.add(name=name.encode(), op=op.encode())
        node.input.extend(text.encode() for text in names)
        for key, value in attrs.items():
            entry = node.attr.add(key=key.encode())
            _set(entry.value, value)
        return name

    def const(self, name: str, value: Any) -> str:
        """Add a constant; floats become float32, whole numbers int32."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        elif array.dtype == np.int64:
            array = array.astype(np.int32)
        return self.op(name, "Const", dtype=Type(NUMBERS[array.dtype]), value=array)

    def input(self, name: str, shape: Sequence[int] | None, dtype: Type = FLOAT) -> str:
        """Add a placeholder; without a shape its rank is unknown."""
        attrs: dict[str, Any] = {"dtype": dtype}
        if shape is not None:
            attrs["shape"] = tuple(shape)
        return self.op(name, "Placeholder", **attrs)

    def function(
        self, name: str, arguments: Sequence[str], returns: Mapping[str, str], inner: "Net"
    ) -> Function:
        """Add a library function made of the nodes of another graph."""
        made = self.proto.library.function.add()
        made.signature.name = name.encode()
        for argument in arguments:
            made.signature.input_arg.add(name=argument.encode())
        for result, source in returns.items():
            made.signature.output_arg.add(name=result.encode())
            made.ret.add(key=result.encode(), value=source.encode())
        made.node_def.extend(inner.proto.node)
        return Function(name)

    def save(self, folder: Path, name: str = "net.pb") -> Path:
        """Write the file."""
        path = folder / name
        path.write_bytes(self.proto.SerializeToString())
        return path

    def load(self, folder: Path, **options: Any) -> Graph:
        """Write and import."""
        return load_tensorflow(self.save(folder), **options)


def run(graph: Graph, *values: Any) -> list[Array]:
    """Return the outputs for inputs in order, in source order (N, H, W, C)."""
    feeds = {}
    for name, value in zip(graph.inputs, values, strict=True):
        array = np.asarray(value, graph.spec(name).dtype.numpy)
        feeds[name] = np.ascontiguousarray(
            array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
        )
    results = evaluate(graph, feeds)
    return [results[name] for name in graph.outputs]
