"""What can be read of the vendor's own ``.rknn`` files: the JSON at their end.

Little endian: ``RKNN``, four zero bytes, u64 container version, u64 data size D, for versions from
2 with D > 0 a block of 40 bytes, D bytes of data, u64 JSON size, JSON. Encrypted files start with
``CYPTRKNN``. Source: public readers of the format, verified on published files.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from npusim import words
from npusim.errors import UNREADABLE, ContainerError
from npusim.ir.dtypes import DType
from npusim.reading.files import open_file
from npusim.reading.records import too_deep

VENDORS_TOOLKIT = "RKNN-Toolkit"  # the framework of graphs that come from its files
PLAIN = b"RKNN"
ENCRYPTED = b"CYPTRKNN"
NETWORK_BINARY = b"VPMN"
_HEAD = struct.Struct("<4sIQQ")
_U64 = struct.Struct("<Q")
_EXTRA_BLOCK_BYTES = 40
MAX_JSON_BYTES = 1 << 28
OPERATOR, QUANTIZATION = "VSI_NN_OP_", "VSI_NN_QNT_TYPE_"
PRECOMPILED_LAYER = f"{OPERATOR}NBG"
TOOLKIT_2 = 6  # container version


@dataclass(frozen=True, slots=True)
class _Elements:
    """Words for element types behind their prefix."""

    prefix: str
    types: dict[str, DType]


ELEMENTS = _Elements(
    "VSI_NN_TYPE_",
    {
        "UINT8": DType.U8,
        "INT8": DType.I8,
        "INT16": DType.I16,
        "INT32": DType.I32,
        "INT64": DType.I64,
        "FLOAT16": DType.F16,
        "FLOAT32": DType.F32,
        "BOOL8": DType.BOOL,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorTensor:
    """An input or output as the file describes it; ``shape`` in numpy order."""

    direction: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFile:
    """The readable part of a vendor file."""

    version: int
    precompiled: bool
    config: dict[str, Any]
    data_begin: int
    data_bytes: int

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the target platforms in the file, upper case."""
        found = self.config.get("target_platform") or []
        names = found if isinstance(found, list) else [found]
        return tuple(str(name).upper() for name in names if isinstance(name, str))

    def tensors(self) -> tuple[VendorTensor, ...]:
        """Return the model's inputs, then its outputs."""
        by_id = {t.get("tensor_id"): t for t in records(self.config.get("norm_tensor"))}
        found = []
        for end in records(self.config.get("graph")):
            tensor, place = by_id.get(end.get("right_tensor_id")), end.get("left_tensor_id", 0)
            if tensor and end.get("left") in ("input", "output") and isinstance(place, int):
                found.append((end["left"], place, _tensor(end["left"], place, tensor)))
        return tuple(tensor for _, _, tensor in sorted(found, key=lambda row: row[:2]))

    @property
    def preparation(self) -> dict[str, list[Any]]:
        """Return mean, std and channel order of all inputs as the file lists them.

        Releases up to 1.4 have no std: behind the means of an input stands its scale.
        """
        words = {"mean": "mean_value", "std": "std_value", "reorder": "reorder"}
        values = {word: self.config.get(key) for word, key in words.items()}
        return {word: value for word, value in values.items() if isinstance(value, list) and value}

    def lines(self) -> list[str]:
        """Return inputs, outputs and preparation, one line each."""
        ends = [
            f"{t.direction:<6} {t.name}: {t.dtype} {list(t.shape)} {t.quantization}".rstrip()
            for t in self.tensors()
        ]
        listed = [
            f"{word} {' '.join(map(str, numbers))}" for word, numbers in self.preparation.items()
        ]
        return ends + ([f"prepared with {', '.join(listed)}"] if listed else [])


def records(value: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON list; nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _tensor(direction: str, place: int, data: dict[str, Any]) -> VendorTensor:
    kind, size = data.get("dtype"), data.get("size")
    kind = kind if isinstance(kind, dict) else {}
    quantization = ""
    how = str(kind.get("qnt_type")).removeprefix(QUANTIZATION)
    if how == "AFFINE_ASYMMETRIC":
        quantization = f"scale {kind.get('scale')} zero_point {kind.get('zero_point')}"
    elif how == "DFP":
        quantization = f"fl {kind.get('fl')}"
    sizes = size if isinstance(size, list) else []
    return VendorTensor(
        direction=direction,
        name=str(data.get("url") or f"{direction}_{place}"),
        shape=tuple(n for n in reversed(sizes) if isinstance(n, int)),
        dtype=str(kind.get("vx_type", "unknown type")).removeprefix(ELEMENTS.prefix),
        quantization=quantization,
    )


def is_vendor_file(head: bytes) -> bool:
    """Tell from a file's first eight bytes whether the vendor's toolkit wrote it."""
    return head.startswith(PLAIN) or head.startswith(ENCRYPTED)


def read_vendor_file(path: str | Path) -> VendorFile:
    """Read the JSON of a vendor file.

    Raises
    ------
    ContainerError
        When the file is encrypted, damaged or not a vendor file.
    """
    path = Path(path)
    try:
        with open_file(path) as file:
            size = path.stat().st_size
            return _read(file, size, str(path))
    except OSError as error:
        raise ContainerError(
            f"cannot be read: {error.strerror}", where=str(path), remedy=UNREADABLE
        ) from error


def _read(file: BinaryIO, size: int, where: str) -> VendorFile:
    head = file.read(_HEAD.size)
    if head.startswith(ENCRYPTED):
        raise ContainerError(
            "this is an encrypted vendor model; nothing of it can be read",
            where=where,
            remedy=words.say("from_source"),
        )
    if not head.startswith(PLAIN):
        raise ContainerError("this is not a vendor model file", where=where)
    if len(head) < _HEAD.size:
        raise ContainerError("the vendor model file is truncated", where=where)
    _, _, version, data_bytes = _HEAD.unpack(head)
    if version == TOOLKIT_2:
        raise ContainerError(
            "this is a model of RKNN-Toolkit2 (container version 6), for chips of another family",
            where=where,
            rule="npusim computes the RK1808, RK1806, RK3399Pro, RV1126 and RV1109, whose toolkit "
            "is 1.x",
            remedy=words.say("from_source"),
        )
    starts = [_HEAD.size]
    if version >= 2 and data_bytes:
        starts.insert(0, _HEAD.size + _EXTRA_BLOCK_BYTES)
    for start in starts:
        config = _config_at(file, start + data_bytes, size)
        if config is not None:
            file.seek(start)
            binary = file.read(4) == NETWORK_BINARY
            return VendorFile(
                version=version,
                precompiled=binary
                or bool(config.get("pre_compile"))
                or any(n.get("op") == PRECOMPILED_LAYER for n in records(config.get("nodes"))),
                config=config,
                data_begin=start,
                data_bytes=data_bytes,
            )
    raise ContainerError(
        f"the vendor model file (container version {version}) is truncated or damaged",
        where=where,
        rule=f"{data_bytes} bytes of data and a JSON description must fit in {size} bytes",
    )


def read_data(path: str | Path) -> memoryview:
    """Return the data block of a vendor file: its constants.

    Raises
    ------
    ContainerError
        As ``read_vendor_file``.
    """
    found = read_vendor_file(path)
    with Path(path).open("rb") as file:
        file.seek(found.data_begin)
        return memoryview(file.read(found.data_bytes))


def _config_at(file: BinaryIO, offset: int, size: int) -> dict[str, Any] | None:
    if offset + _U64.size > size:
        return None
    file.seek(offset)
    (length,) = _U64.unpack(file.read(_U64.size))
    if length > min(size - offset - _U64.size, MAX_JSON_BYTES):
        return None
    try:
        found = json.loads(file.read(length))
    except (ValueError, RecursionError, MemoryError):  # not JSON, not UTF-8, nested without end
        return None
    return found if isinstance(found, dict) and not too_deep(found) else None


def refusal(path: str | Path) -> ContainerError:
    """Return the error that explains why a vendor file cannot be simulated."""
    try:
        found = read_vendor_file(path)
    except ContainerError as error:
        return error
    kind = "pre-compiled vendor model" if found.precompiled else "vendor model"
    why = (
        "a pre-compiled file holds machine code for one driver version instead of the network"
        if found.precompiled
        else f"npusim reads the model files that {words.say('stores')} wrote"
    )
    table = "\n".join(f"    {line}" for line in found.lines())
    return ContainerError(
        f"this is a {kind} (container version {found.version}, target "
        f"{', '.join(found.targets) or 'not given'})" + (f" with\n{table}" if table else ""),
        where=str(path),
        rule=why,
        remedy=words.say("from_source"),
    )
