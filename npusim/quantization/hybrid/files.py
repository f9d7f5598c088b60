"""The ``.json`` and ``.data`` files of hybrid quantization: a float model and its ranges.

``.json`` holds the graph, ranges and settings; ``.data`` is an npz archive with the weights and no
pickled objects. The formats are npusim's own: the vendor's are not documented.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ContainerError, GraphError, NpusimError
from npusim.ir.archive import BROKEN, graph_from_json, graph_json
from npusim.ir.atomic import atomic_set
from npusim.ir.graph import Graph
from npusim.passes.driver import check
from npusim.plain import utf8
from npusim.quantization.eras import DEFAULT_ERA, Era, era_of
from npusim.quantization.schemes import Range, Scheme
from npusim.reading import arrays
from npusim.reading.files import open_file, read_bytes
from npusim.reading.records import parse_json

KIND = "npusim hybrid quantization"
VERSION = 1
_CFG = ".quantization.cfg"


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridModel:
    """A float model on its way to a quantized one.

    Attributes
    ----------
    source : Graph
        As imported, with preprocessing, target and batch.
    scheme, level
        Default number format and optimization level.
    ranges : dict
        Range of every activation of the optimized graph, joined where tensors share one.
    toolkit : Era
        Release whose rules count.
    no_join : tuple of str
        Concats whose parts keep ranges of their own, by name.
    notes : tuple of str
        How the ranges came about.
    targets : tuple of str
        Target platforms.
    """

    source: Graph
    scheme: Scheme
    level: int = 3
    ranges: Mapping[str, Range] = field(default_factory=dict)
    toolkit: Era = DEFAULT_ERA
    no_join: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


def file_names(stem: str) -> tuple[str, str, str]:
    """Return what the files of a model are called: json, data and cfg."""
    return f"{stem}.json", f"{stem}.data", f"{stem}{_CFG}"


def save_hybrid(
    model: HybridModel,
    json_path: str | Path,
    data_path: str | Path,
    cfg: tuple[str | Path, bytes] | None = None,
) -> None:
    """Write the files, all of them completely or none; without the json they are no set.

    Parameters
    ----------
    model : HybridModel
    json_path, data_path : path
    cfg : (path, bytes), optional
        The cfg file that belongs to them and its content.

    Raises
    ------
    ContainerError
        When one cannot be written.
    """
    names = {name: f"c{i}" for i, name in enumerate(model.source.constants)}
    content = {
        "kind": KIND,
        "version": VERSION,
        "graph": graph_json(model.source),
        "constants": names,
        "scheme": model.scheme.value,
        "optimization_level": model.level,
        "ranges": {name: list(bounds) for name, bounds in model.ranges.items()},
        "toolkit": model.toolkit.toolkit,
        "no_join": list(model.no_join),
        "notes": list(model.notes),
        "target_platform": list(model.targets),
    }
    values: dict[str, Any] = {names[k]: v for k, v in model.source.constants.items()}
    where = str(data_path)
    try:
        with atomic_set(json_path) as files:
            with files.write(data_path) as file:
                np.savez(file, **values)
                content["data_sha256"] = _digest_of(file)
            if cfg is not None:
                where = str(cfg[0])
                with files.write(cfg[0]) as file:
                    file.write(cfg[1])
            where = str(json_path)
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
            with files.write(json_path) as file:
                file.write(utf8(text))
    except OSError as error:
        raise ContainerError(
            f"the file cannot be written: {error.strerror}",
            where=where,
            remedy="check that the folder is writable, and the space left on it",
        ) from error


def load_hybrid(json_path: str | Path, data_path: str | Path) -> HybridModel:
    """Read both files.

    Raises
    ------
    ContainerError
        When one is missing, damaged, of another kind, or they do not belong together.
    """
    content = _json(Path(json_path))
    try:
        graph = graph_from_json(content["graph"])
        names = {str(k): str(v) for k, v in content["constants"].items()}
        ranges = {str(k): (float(low), float(high)) for k, (low, high) in content["ranges"].items()}
        model = HybridModel(
            source=graph,
            scheme=Scheme(content["scheme"]),
            level=int(content["optimization_level"]),
            ranges=ranges,
            toolkit=era_of(content.get("toolkit", DEFAULT_ERA)),
            no_join=tuple(str(name) for name in content.get("no_join", ())),
            notes=tuple(str(note) for note in content["notes"]),
            targets=tuple(str(name) for name in content["target_platform"]),
        )
    except (*BROKEN, NpusimError) as error:
        raise ContainerError(
            f"the description is not valid: {error}", where=str(json_path)
        ) from error
    graph.constants.update(
        _arrays(Path(data_path), Path(json_path), content.get("data_sha256"), names, graph)
    )
    try:
        check(graph)
    except GraphError as error:
        raise ContainerError(
            f"json and data do not fit: {error}",
            where=str(data_path),
            rule="both files come from one hybrid_quantization_step1",
        ) from error
    return model


def _instead(path: Path) -> str:
    """Return what step 1 may have called the file: the toolkit names it after an ONNX graph."""
    found = sorted(cfg.name.removesuffix(_CFG) for cfg in path.parent.glob(f"*{_CFG}"))
    return "; it wrote " + ", ".join(f"{stem}{path.suffix}" for stem in found) if found else ""


def _json(path: Path) -> dict[str, Any]:
    remedy = "hybrid_quantization_step1 writes this file" + _instead(path)
    text = read_bytes(path, ContainerError, remedy=remedy)
    content = parse_json(text, str(path), ContainerError)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ContainerError(
            "this is no file of npusim's hybrid quantization",
            where=str(path),
            rule="json and data files of the vendor's tool cannot be read: their format is not "
            "documented",
            remedy="run hybrid_quantization_step1 of npusim; the cfg file may be the vendor's",
        )
    if content.get("version") != VERSION:
        raise ContainerError(
            f"version {content.get('version')!r}",
            where=str(path),
            rule=f"this npusim reads version {VERSION}",
            remedy="run hybrid_quantization_step1 again",
        )
    return content


def _digest_of(file: BinaryIO) -> str:
    file.seek(0)
    found = hashlib.sha256()
    while part := file.read(1 << 20):
        found.update(part)
    return found.hexdigest()


def _arrays(
    path: Path, beside: Path, sha256: object, names: Mapping[str, str], graph: Graph
) -> dict[str, NDArray[Any]]:
    """Return the constants of a graph; each is read when its header is what the graph says."""
    found = {}
    try:
        with open_file(path) as file:
            # files of development versions have no digest
            if sha256 is not None and _digest_of(file) != sha256:
                raise ContainerError(
                    "these are not the weights that the json file was written with",
                    where=str(path),
                    rule=f"{beside} and this file come from one run",
                    remedy="run hybrid_quantization_step1 again",
                )
        with arrays.open_npz(path) as archive:
            for name, stored in names.items():
                if stored not in archive.names or name not in graph.tensors:
                    raise ContainerError(
                        f"weights {name!r} are missing",
                        where=str(path),
                        rule=f"{beside} and this file were written together",
                    )
                header, spec = archive.header(stored), graph.tensors[name]
                if (header.shape, header.dtype) != (spec.shape, spec.dtype.numpy):
                    raise ContainerError(
                        f"weights {name!r} are {header.dtype}{header.shape}, the description "
                        f"says {spec.dtype.value}{spec.shape}",
                        where=str(path),
                        rule=f"{beside} and this file were written together",
                    )
                found[name] = archive.read(stored)
    except arrays.DAMAGE as error:
        raise arrays.refusal(
            error,
            "the weights cannot be read",
            ContainerError,
            str(path),
            rule="an npz file that hybrid_quantization_step1 wrote",
            remedy="run hybrid_quantization_step1 again",
        ) from error
    return found
