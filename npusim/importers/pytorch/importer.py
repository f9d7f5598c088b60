"""TorchScript file -> Graph, by way of torch's own ONNX exporter."""

import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ModelImportError
from npusim.extras import require
from npusim.importers.common.builder import read_bytes, sha256_of
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.graph import Graph

MAX_FILE_BYTES = (1 << 31) - 1
OPSET = 13
_TRACE = (
    "load the weights into the network's Python class, then torch.jit.trace(net.eval(), "
    "torch.zeros(1, 3, 224, 224)).save('net.pt')"
)


def load_pytorch(
    path: str | Path,
    *,
    input_shapes: Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read a TorchScript file (``torch.jit.trace`` or ``torch.jit.script``, saved).

    The file's own code runs once on zeros, as in any use of it; pickled files are not opened.

    Parameters
    ----------
    path : str or Path
    input_shapes : sequence of shapes, or mapping
        With the batch, in the order of the network's arguments; the file does not say them.
    inputs, outputs : sequence of str, optional
        Tensors to begin and end at, by their names in the exported ONNX graph.

    Raises
    ------
    MissingExtraError
        Without the extra ``torch``.
    ModelImportError
        Without shapes, for files with weights only, and what the exporter or the ONNX importer
        refuses.
    """
    path = Path(path)
    where = str(path)
    shapes = list(input_shapes.values()) if isinstance(input_shapes, Mapping) else input_shapes
    if not shapes:
        raise ModelImportError(
            "the sizes of the inputs are not given",
            where=where,
            rule="a TorchScript file does not say them",
            remedy=f"give {words.shapes_given({'x': (1, 3, 224, 224)})}, one per input, in order",
        )
    digest = sha256_of(_checked(path))
    torch = require("torch", extra="torch", purpose="reading PyTorch models")
    with tempfile.TemporaryDirectory(prefix="npusim-torch-") as folder:
        exported = Path(folder) / f"{path.stem}.onnx"
        _export(torch, path, exported, shapes)
        try:
            graph = load_onnx(exported, inputs=inputs, outputs=outputs)
        except ModelImportError as error:
            place = error.where.replace(str(exported), where)
            raise type(error)(
                error.what, where=place, rule=error.rule, remedy=error.remedy
            ) from None
    detail = f"torch {torch.__version__}, {graph.source.detail}"
    source = replace(graph.source, framework="pytorch", path=where, sha256=digest, detail=detail)
    return graph.copy(source=source, name=path.stem)


def _checked(path: Path) -> bytes:
    """Return the file's bytes; refuse what is no TorchScript without opening a pickle."""
    data = read_bytes(path, MAX_FILE_BYTES)
    where = str(path)
    if data[:2] in (b"\x80\x02", b"\x80\x04"):
        raise ModelImportError(
            "the file is a Python pickle with weights, not a network",
            where=where,
            rule="a TorchScript file holds the network's code and its weights",
            remedy=_TRACE,
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        raise ModelImportError(
            "this is no PyTorch file, or it is damaged",
            where=where,
            rule="a TorchScript file is a zip archive",
            remedy="copy or save it again",
        ) from None
    if not any("/code/" in name for name in names):
        kind = "weights only (a state dict) or a pickled module"
        if any(name.endswith("data.pkl") for name in names):
            raise ModelImportError(
                f"the file holds {kind}, not a network",
                where=where,
                rule="a TorchScript file holds the network's code and its weights",
                remedy=_TRACE,
            )
        raise ModelImportError("this zip archive is no PyTorch file", where=where, remedy=_TRACE)
    return data


def _export(torch: Any, path: Path, exported: Path, shapes: Sequence[Sequence[int]]) -> None:
    zeros = tuple(torch.zeros(tuple(shape)) for shape in shapes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces successors at every call
            module = torch.jit.load(str(path), map_location="cpu").eval()
            torch.onnx.export(module, zeros, str(exported), dynamo=False, opset_version=OPSET)
    except Exception as error:
        # torch, its exporter and the network's own code raise what they like
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelImportError(
            f"torch cannot export it: {lines[0]}",
            where=str(path),
            rule=f"a network that runs on {' and '.join(map(words.shape_text, shapes))} and has "
            f"ONNX counterparts in opset {OPSET}",
            remedy=f"check {words.say('input_shapes')}; or export it with torch.onnx.export "
            "and load that",
        ) from error
