"""NN_LAYER_DUMP: one file per executed layer output. Format: docs/dump-format.md."""

import csv
import hashlib
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.names import origin_text
from npusim.errors import ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.codes import dequantize
from npusim.ir.graph import Engine, HostLayer, Node
from npusim.ir.locks import Unfinished
from npusim.ir.quant import DynamicFixedPoint, Float, scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.ir.text import placement
from npusim.ops import op_def
from npusim.plain import cell
from npusim.runtime.program import Program

INDEX_NAME = "nn_layer_dump_index.csv"
INDEX_COLUMNS = (
    "uid", "layer", "origin", "op", "engine", "form", "tensor", "dtype", "scale", "zero_point",
    "fl", "multiplier", "shift", "rounding", "shape", "order", "batch", "file", "sha256",
)  # fmt: skip
LAYOUTS = ("NHWC", "NCHW")
TEXT, NPY = FILE_TYPES = ("txt", "npy")
HOST_FORM = "host layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpOptions:
    """How layer dumps are written.

    Attributes
    ----------
    layout : str
        ``"NHWC"`` (default) or ``"NCHW"``, the driver's own order.
    number_format : str
        printf format of one value; empty: at least six decimals and as many more as the exact
        float32 value needs.
    file_type : str
        ``"txt"`` (default), as the toolkit has it, or ``"npy"``: float32 in the file's order.
    """

    layout: str = "NHWC"
    number_format: str = ""
    file_type: str = TEXT

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(
                f"dump layout {self.layout!r}",
                where="NN_LAYER_DUMP_LAYOUT",
                rule=f"one of {', '.join(LAYOUTS)}",
            )
        if self.number_format and not re.fullmatch(
            r"%[-+ #0]*\d*(\.\d+)?[aefgAEFG]", self.number_format
        ):
            raise ConfigError(
                f"number format {self.number_format!r}",
                where="NN_LAYER_DUMP_FORMAT",
                rule="one printf conversion of a floating point number, for example %f or %.9g",
            )
        if self.file_type not in FILE_TYPES:
            raise ConfigError(
                f"dump file type {self.file_type!r}", rule=f"one of {', '.join(FILE_TYPES)}"
            )
        if self.number_format and self.file_type == NPY:
            raise ConfigError(
                f"number format {self.number_format!r}",
                rule="npy files hold the numbers themselves; a printf format is for text",
                remedy="write txt files, or leave the format away",
            )


def options_from_environment(environ: Mapping[str, str] = os.environ) -> DumpOptions | None:
    """Return the options when NN_LAYER_DUMP asks for a dump, else None.

    Reads ``NN_LAYER_DUMP`` (non-zero integer switches on), ``NN_LAYER_DUMP_LAYOUT`` and
    ``NN_LAYER_DUMP_FORMAT`` at call time.
    """
    switch = environ.get("NN_LAYER_DUMP", "").strip()
    try:
        wanted = int(switch or 0) != 0
    except ValueError:
        raise ConfigError(
            f"value {switch!r}", where="NN_LAYER_DUMP", rule="an integer; not 0 switches dumps on"
        ) from None
    if not wanted:
        return None
    return DumpOptions(
        layout=environ.get("NN_LAYER_DUMP_LAYOUT", "").strip().upper() or "NHWC",
        number_format=environ.get("NN_LAYER_DUMP_FORMAT", "").strip(),
    )


class LayerDump:
    """Writes one file per layer output while a program runs; pass ``observe`` to the run.

    Until ``close`` the folder is marked: readers refuse what a run that stops has left there. As a
    context manager it lets another dump into the folder when the run fails.

    Parameters
    ----------
    program : Program
    folder : path
        Created when missing.
    options : DumpOptions, optional

    Attributes
    ----------
    overwritten : int
        Files of an earlier dump that were replaced.

    Raises
    ------
    ConfigError
        When another dump is being written into the folder.
    OSError
        When the folder cannot be made or written.
    """

    def __init__(
        self, program: Program, folder: str | Path, options: DumpOptions | None = None
    ) -> None:
        self.graph = program.graph
        self.folder = Path(folder)
        self.options = options or DumpOptions()
        self.overwritten = 0
        self._rows: list[dict[str, object]] = []
        self._runs: dict[tuple[int, str], int] = {}
        self._mark = Unfinished(self.folder, "layer dump")

    def __enter__(self) -> "LayerDump":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._mark.stop()

    def observe(self, node: Node, tensor: str, value: NDArray[Any]) -> None:
        """Write one layer output (called by the program for every sample of the batch)."""
        spec = self.graph.spec(tensor)
        batch = self._runs.get((node.uid, tensor), 0)
        self._runs[node.uid, tensor] = batch + 1
        position = node.outputs.index(tensor)
        name = file_name(node, spec, batch=batch, output=position, suffix=self.options.file_type)
        order = self.options.layout if len(spec.shape) == 4 else "memory"
        if order == "NHWC":
            value = value.transpose(0, 2, 3, 1)
        if self.options.file_type == NPY:
            content = npy_bytes(dequantize(value, spec.quant))
        else:
            content = values_text(value, spec, self.options.number_format).encode()
        digest = self._write(name, content)
        self._rows.append(
            {
                "uid": node.uid,
                "layer": node.name,
                "origin": origin_text(node.origin),
                "op": node.op,
                **placement(node),
                "tensor": tensor,
                "dtype": spec.dtype.value,
                "scale": "" if isinstance(spec.quant, Float) else repr(scale_of(spec.quant)),
                "zero_point": "" if isinstance(spec.quant, Float) else zero_point_of(spec.quant),
                "fl": spec.quant.fl if isinstance(spec.quant, DynamicFixedPoint) else "",
                "shape": "x".join(map(str, value.shape)),
                "order": order,
                "batch": batch,
                "file": name,
                "sha256": digest,
            }
        )

    def _write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        self.overwritten += path.exists()
        with atomic_write(path) as file:
            file.write(content)
        return hashlib.sha256(content).hexdigest()

    def _host_result(
        self, number: int, layer: HostLayer, position: int, value: NDArray[Any]
    ) -> None:
        name = host_file_name(number, layer.op, position, suffix=self.options.file_type)
        real = value.astype(np.float32)
        if self.options.file_type == NPY:
            content = npy_bytes(real)
        else:
            content = "".join(f"{exact_text(v)}\n" for v in real.reshape(-1)).encode()
        digest = self._write(name, content)
        self._rows.append(
            dict.fromkeys(INDEX_COLUMNS, "")
            | {
                "layer": layer.name,
                "op": layer.op,
                "engine": Engine.CPU.value,
                "form": HOST_FORM,
                "tensor": layer.outputs[position],
                "dtype": "f32",
                "shape": "x".join(map(str, value.shape)),
                "order": "memory",
                "batch": 0,
                "file": name,
                "sha256": digest,
            }
        )

    def close(self, results: Mapping[str, NDArray[Any]] | None = None) -> Path:
        """Write what host layers made of the run and the index file; return the index's path.

        Parameters
        ----------
        results : mapping, optional
            What the run returned.
        """
        if self.graph.tail is not None and results is not None:
            for number, layer in enumerate(self.graph.tail.layers):
                for position, tensor in enumerate(layer.outputs):
                    if tensor in results:
                        self._host_result(number, layer, position, results[tensor])
        text = io.StringIO()
        writer = csv.DictWriter(text, INDEX_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: cell(v) for k, v in row.items()} for row in self._rows)
        path = self.folder / INDEX_NAME
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())
        self._mark.finish()
        return path


def npy_bytes(value: NDArray[Any]) -> bytes:
    """Return an array as the content of an npy file, in C order."""
    content = io.BytesIO()
    np.save(content, np.asarray(value, order="C"), allow_pickle=False)
    return content.getvalue()


FILE_NAMES = ("NodeID_*", "Host_*")
"""Patterns of the names below."""


def host_file_name(number: int, op: str, output: int, *, suffix: str = TEXT) -> str:
    """Return the name of the file of a host layer's result."""
    return f"Host_{number}_{op}_out_{output}.{suffix}"


def file_name(node: Node, spec: TensorSpec, *, batch: int, output: int, suffix: str = TEXT) -> str:
    """Return the dump file's name; nothing of the model's own names gets into it.

    Source: name pattern of 1.7 era driver dumps (docs/rknn-compat.md section 12). Tensors of other
    ranks are described by their sizes in memory order, innermost first.
    """
    layer = op_def(node.op).layer_class
    sizes = [*reversed(spec.shape[1:]), 1, 1, 1]
    width, height, depth = sizes[0], sizes[1], int(np.prod(sizes[2:], dtype=np.int64))
    place = f"w_{width}_h_{height}_d_{depth}_batchID_{batch}_out_{output}"
    return f"NodeID_{node.uid}_{layer}_{place}.{suffix}"


def values_text(value: NDArray[Any], spec: TensorSpec, number_format: str = "") -> str:
    """Return dequantized values, one a line, in the array's logical order.

    Every distinct stored value is formatted once: a u8 tensor has at most 256 of them.
    """
    flat = np.asarray(value, order="C").reshape(-1)
    codes = flat.view(np.uint16) if flat.dtype == np.float16 else flat
    if codes.dtype.itemsize == 1:  # sorting is slower than a table of all codes
        distinct = np.arange(256, dtype=np.uint8).view(codes.dtype)
        index: NDArray[Any] = codes.view(np.uint8)
    else:
        distinct, index = np.unique(codes, return_inverse=True)
    stored = distinct.view(np.float16) if flat.dtype == np.float16 else distinct
    real = dequantize(stored, spec.quant)
    if number_format:
        lines = [f"{number_format % float(v)}\n" for v in real]
    else:
        lines = [f"{exact_text(v)}\n" for v in real]
    return "".join(np.array(lines, dtype=object)[index].tolist()) if flat.size else ""


def exact_text(value: np.float32) -> str:
    """Return a float32 in positional notation: six decimals or as many as it exactly needs."""
    if not np.isfinite(value):
        return str(float(value))
    return np.format_float_positional(value, unique=True, min_digits=6, trim="k")
