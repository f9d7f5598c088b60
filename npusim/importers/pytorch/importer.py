"""TorchScript file or exported program -> Graph, by way of torch's own ONNX exporters."""

import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.extras import require
from npusim.importers.common.builder import read_bytes, sha256_of
from npusim.importers.onnx.importer import load_onnx
from npusim.importers.pytorch.outputs import flattened
from npusim.ir.graph import Graph
from npusim.plain import name_of
from npusim.reading.trust import check_owner

log = logging.getLogger("npusim")

MAX_FILE_BYTES = (1 << 31) - 1
OPSET = 13
PURPOSE = "reading PyTorch models"
_TRACE = (
    "load the weights into the network's Python class, then torch.jit.trace(net.eval(), "
    "torch.zeros(1, 3, 224, 224)).save('net.pt'), or torch.export.save(torch.export.export("
    "net.eval(), (torch.zeros(1, 3, 224, 224),)), 'net.pt2')"
)

Shapes = Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | None


def load_pytorch(
    path: str | Path,
    *,
    input_shapes: Shapes = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    trust: bool = False,
) -> Graph:
    """Read a TorchScript file (``torch.jit``, saved) or an exported program (``torch.export``).

    TorchScript: the file's own code runs once on zeros, as in any use of it; a line on the log says
    so before. Results may be tensors in tuples, lists and dictionaries of any depth: their tensors
    are the outputs, in order, under the keys of dictionaries. Pickled files are not opened.

    Parameters
    ----------
    path : str or Path
    input_shapes : sequence of shapes, or mapping
        With the batch, in the order of the network's arguments. A TorchScript file does not say
        them; an exported program has its own, and needs those that it leaves open.
    inputs, outputs : sequence of str, optional
        Tensors to begin and end at, by their names in the exported ONNX graph.
    trust : bool
        Load the file also when another user owns it.

    Raises
    ------
    MissingExtraError
        Without the extra ``torch``.
    ModelImportError
        Without shapes, for files with weights only, of another user, and what the exporter or the
        ONNX importer refuses.
    """
    path = Path(path)
    where = str(path)
    data, is_program = _checked(path)
    if not is_program and not input_shapes:
        raise ModelImportError(
            "the sizes of the inputs are not given",
            where=where,
            rule="a TorchScript file does not say them",
            remedy=f"give {words.shapes_given({'x': (1, 3, 224, 224)})}, one per input, in order",
        )
    remedy = f"look where it comes from; then {words.say('trust')}"
    check_owner(path, ModelImportError, remedy, trust=trust)
    torch = require("torch", extra="torch", purpose=PURPOSE)
    with tempfile.TemporaryDirectory(prefix="npusim-torch-") as folder:
        exported = Path(folder) / f"{name_of(path)}.onnx"
        if is_program:
            _export_program(torch, path, exported)
        else:
            given = input_shapes or ()
            shapes = list(given.values()) if isinstance(given, Mapping) else list(given)
            log.warning(
                "%s: loading a TorchScript file runs the code in it; open only files you trust",
                where,
            )
            _export_script(torch, path, exported, shapes)
        try:
            graph = load_onnx(
                exported,
                inputs=inputs,
                outputs=outputs,
                input_shapes=input_shapes if is_program else None,
            )
        except ModelImportError as error:
            place = error.where.replace(str(exported), where)
            moved = type(error)(error.what, where=place, rule=error.rule, remedy=error.remedy)
            if isinstance(error, UnsupportedOpError) and isinstance(moved, UnsupportedOpError):
                moved.find_rest = error.find_rest
            raise moved from None
    detail = f"torch {torch.__version__}, {graph.source.detail}"
    digest = sha256_of(data)
    source = replace(graph.source, framework="pytorch", path=where, sha256=digest, detail=detail)
    return graph.copy(source=source, name=name_of(path))


def _checked(path: Path) -> tuple[bytes, bool]:
    """Return the file's bytes, and whether it is an exported program.

    What is neither that nor TorchScript is refused without opening a pickle.
    """
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
            rule="TorchScript files and exported programs are zip archives",
            remedy="copy or save it again",
        ) from None
    # archive_format: since torch 2.8; the other name: before
    if any(n.endswith(("/archive_format", "serialized_exported_program.json")) for n in names):
        return data, True
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
    return data, False


def _quietly(path: Path, rule: str, remedy: str, work: Callable[[], None]) -> None:
    """Do what torch, its exporter and the network's own code may fail in with any exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces successors at every call
            work()
    except Exception as error:
        # torch, its exporter and the network's own code raise what they like
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelImportError(
            f"torch cannot export it: {lines[0]}", where=str(path), rule=rule, remedy=remedy
        ) from error


def _export_script(torch: Any, path: Path, exported: Path, shapes: Sequence[Sequence[int]]) -> None:
    zeros = tuple(torch.zeros(tuple(shape)) for shape in shapes)

    def work() -> None:
        module = torch.jit.load(str(path), map_location="cpu").eval()
        module, names = flattened(torch, module, zeros)
        torch.onnx.export(
            module, zeros, str(exported), dynamo=False, opset_version=OPSET, output_names=names
        )

    _quietly(
        path,
        f"a network that runs on {' and '.join(map(words.shape_text, shapes))} and has "
        f"ONNX counterparts in opset {OPSET}",
        f"check {words.say('input_shapes')}; or export it with torch.onnx.export and load that",
        work,
    )


def _export_program(torch: Any, path: Path, exported: Path) -> None:
    require("onnxscript", extra="torch", purpose="exporting torch.export programs to ONNX")

    def work() -> None:
        program = torch.export.load(str(path))
        torch.onnx.export(program, f=str(exported), dynamo=True, external_data=False, verbose=False)

    _quietly(
        path,
        f"a program that torch {torch.__version__} reads and that has ONNX counterparts",
        "export it where it was made, with torch.onnx.export(net, inputs, 'net.onnx', "
        "dynamo=True), and load that",
        work,
    )
