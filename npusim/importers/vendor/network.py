"""The network in a vendor file: layers, links, constants and number formats.

Sizes in the file count from the innermost axis; everything here is in numpy's order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ContainerError, QuantizationError
from npusim.importers.common.layers import SourceLayer
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import Shape
from npusim.ir.vendor_file import (
    ELEMENTS,
    OPERATOR,
    QUANTIZATION,
    VendorFile,
    read_data,
    records,
)

Array = NDArray[Any]
MAX_PORTS = 4096
DAMAGE = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
)
"""What a description that contradicts itself makes of code that reads it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The number format of a tensor."""

    dtype: DType
    quant: Quant


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorLayer(SourceLayer):
    """A layer of the file.

    Attributes
    ----------
    name : str
        Layer id, ``lid`` in the file.
    type : str
        Operator without the vendor's prefix.
    uid : int
        The number that the layer id ends in.
    settings : mapping
        Parameters by record: ``{"conv2d": {"ksize": ..}}``.
    flags : mapping
        What the driver is told besides.
    formats : tuple of Stored
        Of the outputs.
    """

    uid: int
    settings: Mapping[str, Any]
    flags: Mapping[str, Any]
    formats: tuple[Stored, ...]

    @property
    def where(self) -> str:
        """Return how messages name the layer."""
        return f"layer {self.name!r} ({self.type})"

    def get(self, key: str, default: Any = None) -> Any:
        """Return a parameter, whichever record holds it.

        Raises
        ------
        ContainerError
            When there is none and no default.
        """
        for record in self.settings.values():
            if isinstance(record, Mapping) and key in record:
                return record[key]
        if default is None:
            raise ContainerError(f"parameter {key!r} is missing", where=self.where)
        return default

    def whole(self, key: str, default: int | None = None) -> int:
        """Return an integer parameter."""
        value = self.get(key, default)
        if not isinstance(value, int):
            raise ContainerError(f"{key} is {value!r}", where=self.where, rule="an integer")
        return int(value)

    def real(self, key: str, default: float | None = None) -> float:
        """Return a real parameter."""
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ContainerError(f"{key} is {value!r}", where=self.where, rule="a number")
        return float(value)

    def wholes(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return integers in the file's order, innermost axis first."""
        value = self.get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(n, int) for n in value):
            raise ContainerError(f"{key} is {value!r}", where=self.where, rule="integers")
        return tuple(int(n) for n in value)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """An input or output of the network."""

    name: str
    shape: Shape
    stored: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorNetwork:
    """Layers in execution order between inputs and outputs.

    Attributes
    ----------
    outputs : tuple of (str, End)
        Tensor, and what the file says of it.
    constants : mapping
        Tensor -> (array, number format).
    """

    inputs: tuple[End, ...]
    outputs: tuple[tuple[str, End], ...]
    layers: tuple[VendorLayer, ...]
    constants: Mapping[str, tuple[Array, Stored]]


def read_network(path: Path, file: VendorFile) -> VendorNetwork:
    """Return the network of an ordinary vendor file.

    Raises
    ------
    ContainerError
        When the description contradicts itself or points outside the data; names the layer.
    """
    try:
        return _network(str(path), file, read_data(path))
    except ContainerError as error:
        where = error.where
        if not where.startswith(str(path)):
            where = f"{path}: {where}" if where else str(path)
        raise ContainerError(
            error.what, where=where, rule=error.rule, remedy=error.remedy
        ) from None
    except DAMAGE as error:
        raise ContainerError(
            f"the description of the network is damaged ({type(error).__name__}: {error})",
            where=str(path),
            remedy="copy or build the file again",
        ) from error


def _network(where: str, file: VendorFile, data: memoryview) -> VendorNetwork:
    config = file.config
    nodes = records(config["nodes"])
    ends = {t["tensor_id"]: t for t in records(config["norm_tensor"])}
    inputs, outputs = (
        [
            ends[e["right_tensor_id"]]
            for e in sorted(records(config["graph"]), key=lambda e: int(e["left_tensor_id"]))
            if e["left"] == side
        ]
        for side in ("input", "output")
    )
    names = {t["tensor_id"]: _end_name(t, "input", i) for i, t in enumerate(inputs)}
    read: list[dict[int, str]] = [{} for _ in nodes]
    written: dict[int, str] = {}  # norm tensor -> the layer output that fills it
    formats: dict[tuple[int, int], Stored] = {
        (int(t["node_id"]), int(t["output_port"])): stored(t["dtype"], f"layer {t['node_id']}")
        for t in records(config["virtual_tensor"])
    }
    for link in records(config["connection"]):
        node, port, side = int(link["node_id"]), int(link["left_tensor_id"]), link["left"]
        if not (0 <= node < len(nodes) and 0 <= port < MAX_PORTS):
            raise ContainerError(f"a link names layer {node}, port {port}", where=where)
        target = link.get("right_tensor", {})
        if side == "output":
            end = ends[target["tensor_id"]]
            formats[node, port] = stored(end["dtype"], str(nodes[node].get("lid")))
            written[end["tensor_id"]] = _tensor(nodes, node, port)
        elif "right_node" in link:
            source = link["right_node"]
            read[node][port] = _tensor(nodes, int(source["node_id"]), int(source["tensor_id"]))
        elif target["type"] == "norm_tensor":
            read[node][port] = names[target["tensor_id"]]
        else:
            read[node][port] = f"const_{target['tensor_id']}"
    ports: dict[int, list[int]] = defaultdict(list)
    for owner, port in formats:
        ports[owner].append(port)
    return VendorNetwork(
        inputs=tuple(_end(t, names[t["tensor_id"]]) for t in inputs),
        outputs=tuple(
            (written[t["tensor_id"]], _end(t, _end_name(t, "output", i)))
            for i, t in enumerate(outputs)
        ),
        layers=tuple(
            _layer(node, number, nodes, read[number], formats, sorted(ports[number]))
            for number, node in enumerate(nodes)
        ),
        constants=dict(_constant(t, data) for t in records(config["const_tensor"])),
    )


def _layer(
    node: Mapping[str, Any],
    number: int,
    nodes: list[dict[str, Any]],
    read: Mapping[int, str],
    formats: Mapping[tuple[int, int], Stored],
    ports: Sequence[int],
) -> VendorLayer:
    lid, uid = str(node["lid"]), int(node["uid"])
    count = max(read, default=-1) + 1
    settings, flags = node.get("nn", {}), node.get("vx", {})
    return VendorLayer(
        name=lid,
        type=str(node["op"]).removeprefix(OPERATOR),
        layer=lid.removesuffix(f"_{uid}"),
        inputs=tuple(read.get(port, "") for port in range(count)),
        outputs=tuple(_tensor(nodes, number, port) for port in ports),
        line=number,
        uid=uid,
        settings=settings if isinstance(settings, Mapping) else {},
        flags=flags if isinstance(flags, Mapping) else {},
        formats=tuple(formats[number, port] for port in ports),
    )


def _tensor(nodes: list[dict[str, Any]], number: int, port: int) -> str:
    if not 0 <= number < len(nodes):
        raise ContainerError(f"a link reads layer {number}", rule=f"there are {len(nodes)}")
    lid = str(nodes[number]["lid"])
    return f"{lid}:{port}" if port else lid


def _end_name(tensor: Mapping[str, Any], side: str, number: int) -> str:
    return str(tensor.get("url") or f"{side}_{number}")


def _end(tensor: Mapping[str, Any], name: str) -> End:
    shape = tuple(int(n) for n in reversed(tensor["size"]))
    return End(name=name, shape=shape, stored=stored(tensor["dtype"], f"tensor {name!r}"))


def stored(record: Mapping[str, Any], where: str) -> Stored:
    """Return the number format that a record of the file states.

    Raises
    ------
    ContainerError
        For types and kinds of quantization that the chip's toolkit did not write.
    """
    word = str(record["vx_type"]).removeprefix(ELEMENTS.prefix)
    kind = str(record.get("qnt_type", "NONE")).removeprefix(QUANTIZATION)
    if word not in ELEMENTS.types:
        known = ", ".join(ELEMENTS.types)
        raise ContainerError(f"element type {word}", where=where, rule=f"one of {known}")
    quant: Quant
    if kind == "NONE":
        quant = Float()
    elif kind == "AFFINE_ASYMMETRIC":
        try:
            quant = Affine(scale=float(record["scale"]), zero_point=int(record["zero_point"]))
        except QuantizationError as error:
            raise ContainerError(error.what, where=where) from None
    elif kind == "DFP":
        try:
            quant = DynamicFixedPoint(fl=int(record["fl"]))
        except QuantizationError as error:
            raise ContainerError(error.what, where=where, rule=error.rule) from None
    else:
        raise ContainerError(
            f"quantization {kind}",
            where=where,
            rule="AFFINE_ASYMMETRIC, DFP or none: what toolkit 1.x writes",
        )
    return Stored(ELEMENTS.types[word], quant)


def _constant(tensor: Mapping[str, Any], data: memoryview) -> tuple[str, tuple[Array, Stored]]:
    name = f"const_{tensor['tensor_id']}"
    form = stored(tensor["dtype"], f"constant {name!r}")
    shape = tuple(int(n) for n in reversed(tensor["size"]))
    begin, count = int(tensor["offset"]), int(tensor["len"])
    if min(shape, default=1) < 1 or begin < 0 or count != prod(shape) * form.dtype.itemsize:
        raise ContainerError(
            f"constant {name!r} of shape {shape} has {count} bytes at {begin}",
            rule=f"{prod(shape)} elements of {form.dtype.itemsize} bytes",
        )
    if begin + count > len(data):
        raise ContainerError(
            f"constant {name!r} ends at byte {begin + count}", rule=f"{len(data)} bytes of data"
        )
    array = np.frombuffer(data[begin : begin + count], form.dtype.numpy).reshape(shape)
    return name, (array, form)
