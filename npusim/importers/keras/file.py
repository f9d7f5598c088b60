"""Keras files: the description of the model and its weights, without Keras.

``.keras`` is a zip archive of ``config.json`` and ``model.weights.h5``; ``.h5`` holds both as
attributes and groups. No code of a file is run.
"""

import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npusim.errors import ModelImportError
from npusim.extras import require
from npusim.foreign.child import asked
from npusim.foreign.runtimes import HDF5
from npusim.foreign.side import Refused
from npusim.importers.common.builder import refuse_absent
from npusim.importers.common.two_files import Fingerprint
from npusim.importers.keras.weights import UNREADABLE, ArchiveWeights, NamedWeights, Weights
from npusim.ir.tensor import MAX_TENSOR_ELEMENTS
from npusim.plain import number_in
from npusim.reading.records import parse_json

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_CONFIG, _MOST_WEIGHTS = 1 << 28, 1 << 33
_DAMAGED = (
    *UNREADABLE, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError
)  # fmt: skip
_RULE = "a whole model: model.save('net.keras') or model.save('net.h5')"


@dataclass(slots=True)
class KerasFile:
    """What a file holds.

    Attributes
    ----------
    config : dict
        class_name and config of the model.
    version : str
        Of the Keras that wrote it; empty before 2.0.
    """

    path: Path
    config: dict[str, Any]
    version: str
    weights: Weights
    fingerprint: Fingerprint

    @property
    def era(self) -> int:
        """Return 1, 2 or 3."""
        first = self.version.partition(".")[0]
        return number_in(first) or 1


def read_keras(path: Path) -> KerasFile:
    """Read a model.

    Raises
    ------
    MissingExtraError
        Without the extra ``keras``.
    ModelImportError
        When the file cannot be read, holds weights only or is something else.
    NpusimError
        When the HDF5 library dies or hangs with it.
    """
    refuse_absent(path)
    h5py = require("h5py", extra="keras", purpose="reading Keras models")
    try:
        if zipfile.is_zipfile(path):
            return _archive(path, h5py)
        return _hdf5(path, h5py)
    except _DAMAGED as error:
        raise ModelImportError(
            f"cannot be read: {error}",
            where=str(path),
            rule=_RULE,
            remedy="the file is cut off or something else; copy or save it again",
        ) from error


def _archive(path: Path, h5py: Any) -> KerasFile:
    where, fingerprint = str(path), Fingerprint(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for wanted in (_CONFIG, _WEIGHTS):
            if wanted not in names:
                raise ModelImportError(
                    f"the archive has no {wanted}",
                    where=where,
                    rule=f"{_CONFIG} and {_WEIGHTS}; it has {', '.join(names[:6]) or 'nothing'}",
                    remedy="save the whole model with model.save('net.keras')",
                )
        config = _json(_member(archive, _CONFIG, _MOST_CONFIG, where), where)
        about = (
            _json(_member(archive, _METADATA, _MOST_CONFIG, where), where)
            if _METADATA in names
            else {}
        )
        content = _member(archive, _WEIGHTS, _MOST_WEIGHTS, where)
    _walk(path, content)
    weights = ArchiveWeights(h5py.File(io.BytesIO(content), "r"), where)
    return KerasFile(path, config, str(about.get("keras_version", "3")), weights, fingerprint)


def _member(archive: zipfile.ZipFile, name: str, most: int, where: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > most or (
        info.file_size > 1 << 20 and (info.file_size > 1100 * max(info.compress_size, 1))
    ):
        raise ModelImportError(
            f"{name} says it has {info.file_size} bytes in {info.compress_size}",
            where=where,
            rule=f"at most {most} bytes",
            remedy="the archive is damaged; save the model again",
        )
    return archive.read(name)


def _hdf5(path: Path, h5py: Any) -> KerasFile:
    where, fingerprint = str(path), Fingerprint(path)
    if not h5py.is_hdf5(path):
        raise ModelImportError(
            "it is neither a zip archive nor an HDF5 file", where=where, rule=_RULE
        )
    _walk(path)
    file = h5py.File(path, "r")
    raw = file.attrs.get("model_config")
    if raw is None:
        kinds = (
            "layer_names" in file.attrs
            or "layers" in file
            or "_layer_checkpoint" in str(list(file))
        )
        raise ModelImportError(
            "the file holds weights only" if kinds else "the file holds no Keras model",
            where=where,
            rule=_RULE,
            remedy="build the model in Keras, load_weights, then model.save('net.keras')",
        )
    group = file.get("model_weights", file)
    version = _text(group.attrs.get("keras_version", file.attrs.get("keras_version", "")))
    weights = NamedWeights(group, where)
    return KerasFile(path, _json(raw, where), version, weights, fingerprint)


def _walk(path: Path, content: bytes = b"") -> None:
    """Have another process read the file: the library may not come back from a damaged one."""
    again = "the file is damaged; copy or save it again"
    question = "walked", os.fsencode(path.absolute()), content, MAX_TENSOR_ELEMENTS
    try:
        outside = asked(HDF5, *question, where=str(path), remedy=again)
    except Refused as error:
        raise ModelImportError(f"{error}", where=str(path), rule=_RULE, remedy=again) from error
    if outside:
        raise ModelImportError(
            f"{outside!r} leads to another file",
            where=str(path),
            rule="a Keras file holds its weights itself",
            remedy="save the model again",
        )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _json(text: Any, where: str) -> dict[str, Any]:
    found = parse_json(text, where, ModelImportError, rule=_RULE)
    if not isinstance(found, dict):
        raise ModelImportError("its description is no model", where=where, rule=_RULE)
    return found
