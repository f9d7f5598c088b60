"""The folder that ``RKNN.accuracy_analysis`` writes, with the vendor's tree, names and columns.

Source: docs/rknn-compat.md section 11. Format: docs/accuracy-analysis.md.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.analyze import Analysis
from npusim.analysis.dump import values_text
from npusim.analysis.metrics import Difference, difference
from npusim.analysis.names import file_part, origin_text
from npusim.analysis.recording import LayerOutput
from npusim.errors import ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.locks import Unfinished
from npusim.ir.tensor import TensorSpec

Array = NDArray[Any]
FILE_TYPES = ("tensor", "npy")
FLOAT, ENTIRE, INDIVIDUAL, ON_NPU = "fp32", "entire_qnt", "individual_qnt", "qnt_npu_dump"
FOLDERS = (FLOAT, ENTIRE, INDIVIDUAL, ON_NPU)
ORDER_NAME = "order.txt"
ENTIRE_ERRORS = "entire_qnt_error_analysis.txt"
INDIVIDUAL_ERRORS = "individual_qnt_error_analysis.txt"
NPU_ERRORS = "individual_qnt_error_analysis_on_npu.txt"
NAME_COLUMNS = 60
TYPE_WORDS = {DType.F16: "fp16", DType.F32: "fp32"}  # integers by npusim's own names: u8, i8, i16
NUMBER_FORMAT = "%.9g"  # reads back as the same float32
TEXT_CHUNK = 10_000  # numbers formatted at a time
FILE_GLOB = "*_out*_nhwc_*"
FILE_PATTERN = re.compile(
    r"(?P<layer>.+)_out(?P<output>\d+)_nhwc_(?P<sizes>\d+(?:_\d+)*)\.(?P<type>tensor|npy)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of the reports: one layer of the vendor's list.

    A fused group has a line for its carrier (the convolution) and one for its last layer (the
    relu), with the same numbers.
    """

    layer: str
    entire: tuple[LayerOutput, ...]
    individual: tuple[LayerOutput, ...]


def write_snapshot(
    analysis: Analysis,
    graph: Graph,
    folder: str | Path,
    *,
    file_type: str = "tensor",
    errors: bool = True,
    on_npu: bool = False,
    more: Callable[[], object] | None = None,
) -> int:
    """Write the tree; files of an earlier one in the same folders are removed first.

    Until it is whole the folder is marked, and readers refuse it.

    Parameters
    ----------
    analysis : Analysis
    graph : Graph
        The float source that was analysed.
    folder : path
        Created when missing.
    file_type : str
        ``"tensor"`` (text, one value a line) or ``"npy"``.
    errors : bool
        False: only ``fp32`` and ``entire_qnt``, no layer-by-layer run and no error files.
    on_npu : bool
        Also write what a run on a board adds; the simulated chip gives the same bits.
    more : callable, optional
        Writes what else belongs to the tree.

    Returns
    -------
    int
        Number of files of an earlier tree that were removed.

    Raises
    ------
    ConfigError
        When the file type is unknown, or another run is writing into the folder.
    """
    check_file_type(file_type)
    folder = Path(folder)
    with Unfinished(folder, "accuracy analysis"):
        removed = _write_tree(analysis, graph, folder, file_type, errors=errors, on_npu=on_npu)
        if more is not None:
            more()
    return removed


def _write_tree(
    analysis: Analysis, graph: Graph, folder: Path, file_type: str, *, errors: bool, on_npu: bool
) -> int:
    removed = sum(_clean(folder / name) for name in FOLDERS)
    rows = list(_rows(analysis, graph))
    _write_float(analysis, graph, rows, folder / FLOAT, file_type)
    _write_outputs(folder / ENTIRE, rows, file_type, individual=False)
    if not errors:
        return removed
    _write_outputs(folder / INDIVIDUAL, rows, file_type, individual=True)
    whole = {row.tensor: row.entire for row in analysis.layers}
    lines = [
        error_line(file_name(row.layer, first, file_type), first.dtype, found)
        for row in rows
        if (found := whole[(first := row.entire[0]).tensor]) is not None
    ]
    _write_text(folder / ENTIRE_ERRORS, lines)
    measured = {row.tensor for row in analysis.layers if row.individual is not None}
    alone = [
        error_line(origin_text((row.layer,)), row.individual[0].dtype, found)
        for row in rows
        if row.individual[0].tensor in measured
        and (found := _own(row.individual, analysis.values)) is not None
    ]
    _write_text(folder / INDIVIDUAL_ERRORS, alone)
    if on_npu:
        _write_outputs(folder / ON_NPU, rows, file_type, individual=False)
        _write_text(folder / NPU_ERRORS, alone)
    return removed


def check_file_type(file_type: Any) -> None:
    """Raise a ConfigError when there is no such file type."""
    if file_type not in FILE_TYPES:
        raise ConfigError(f"dump_file_type {file_type!r}", rule=f"one of {', '.join(FILE_TYPES)}")


def error_line(name: str, dtype: DType, found: Difference) -> str:
    """Return one line of an error file, spelt as release 1.7.5 spells it.

    Name, type and two distances. A tensor of zeros against one that is not has no cosine: ``nan``.
    Source: 375 lines of real files, docs/accuracy-analysis.md.
    """
    word = TYPE_WORDS.get(dtype, dtype.value)
    vanished = found.euclidean_norm == 1.0 and found.cosine == 0.0
    cosine = nan if vanished else found.cosine
    return (
        f"{name:<{NAME_COLUMNS}} \t{word}\teculidean_norm={found.euclidean_norm:.6f}"
        f"\tcosine_norm={cosine:.6f}"
    )


def file_name(layer: str, output: LayerOutput, file_type: str) -> str:
    """Return ``<layer>_out<k>_nhwc_<sizes>.<type>``; sizes in the order of the file."""
    sizes = "_".join(map(str, _in_file_order(output.stored).shape)) or "1"
    return f"{file_part(layer)}_out{output.output}_nhwc_{sizes}.{file_type}"


def _in_file_order(value: Array) -> Array:
    return value.transpose(0, 2, 3, 1) if value.ndim == 4 else value


def _rows(analysis: Analysis, graph: Graph) -> Iterator[_Row]:
    carriers = _carriers(analysis.entire.layers, graph)
    alone = {row.tensor: row for row in analysis.individual.layers}
    grouped: dict[str, list[LayerOutput]] = {}
    for output in analysis.entire.layers:
        grouped.setdefault(output.layer, []).append(output)
    for layer, outputs in grouped.items():
        individual = tuple(alone[output.tensor] for output in outputs)
        for name in dict.fromkeys((carriers.get(layer, layer), layer)):
            yield _Row(layer=name, entire=tuple(outputs), individual=individual)


def _carriers(outputs: Sequence[LayerOutput], graph: Graph) -> dict[str, str]:
    """Return fused layer -> the source layer whose operator it is."""
    by_origin: dict[str, list[tuple[str, str]]] = {}
    for node in graph.nodes:
        for name in node.origin:
            by_origin.setdefault(name, []).append((node.op, node.layer_id))
    found: dict[str, str] = {}
    for output in outputs:
        for name in output.origin:
            for op, layer in by_origin.get(name, ()):
                if op == output.op:
                    found.setdefault(output.layer, layer)
    return found


def _write_float(
    analysis: Analysis, graph: Graph, rows: Sequence[_Row], folder: Path, file_type: str
) -> None:
    """Write the float layers: those of a fused group hold the group's result.

    Layers that vanish inside of a group (a folded normalisation) have no file.
    """
    results = {
        row.layer: [(output, analysis.values.get(output.tensor)) for output in row.entire]
        for row in rows
    }
    own = {(output.layer, output.output): output for output in analysis.source.layers}
    inside = {name for output in analysis.entire.layers for name in output.origin[:-1]}
    folder.mkdir(parents=True, exist_ok=True)
    writer, order = _LayerWriter(), []
    for node in graph.nodes:
        found = results.get(node.layer_id)
        if found is None and any(name in inside for name in node.origin):
            continue
        for k in range(len(node.outputs)):
            output = own.get((node.layer_id, k))
            value = output.real if output is not None else None
            if found is not None and k < len(found) and found[k][1] is not None:
                output, value = found[k]
            if output is None or value is None:
                continue
            name = file_name(node.layer_id, output, file_type)
            writer.write(folder / name, value, TensorSpec(name=name, shape=value.shape))
            order.append(name)
    _write_text(folder / ORDER_NAME, order)


def _write_outputs(folder: Path, rows: Sequence[_Row], file_type: str, *, individual: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = _LayerWriter()
    for row in rows:
        for output in row.individual if individual else row.entire:
            spec = TensorSpec(
                name=output.tensor,
                shape=output.stored.shape,
                dtype=output.dtype,
                quant=output.quant,
            )
            writer.write(folder / file_name(row.layer, output, file_type), output.stored, spec)


class _LayerWriter:
    """Writes layer files; the two files of a fused group are formatted once."""

    def __init__(self) -> None:
        self._value: Array | None = None
        self._data = b""

    def write(self, path: Path, value: Array, spec: TensorSpec) -> None:
        if value is not self._value:
            self._value, self._data = value, _encoded(value, spec, path.suffix)
        with atomic_write(path) as file:
            file.write(self._data)


def _encoded(value: Array, spec: TensorSpec, suffix: str) -> bytes:
    """Return the content of a layer file: real values in the file's order."""
    value = np.asarray(_in_file_order(value), order="C")
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, dequantize(value, spec.quant), allow_pickle=False)
        return buffer.getvalue()
    if value.dtype == np.float32:  # few values repeat: no table of texts
        return _float_lines(value.reshape(-1)).encode()
    return values_text(value, spec, NUMBER_FORMAT).encode()


def _float_lines(flat: NDArray[np.float32]) -> str:
    parts = [flat[i : i + TEXT_CHUNK].tolist() for i in range(0, flat.size, TEXT_CHUNK)]
    line = f"{NUMBER_FORMAT}\n"
    return "".join(line * len(part) % tuple(part) for part in parts)


def _own(outputs: Sequence[LayerOutput], values: Mapping[str, Array]) -> Difference | None:
    """Return the difference of a layer over all its outputs."""
    if any(output.tensor not in values for output in outputs):
        return None
    return difference(
        np.concatenate([output.real.reshape(-1) for output in outputs]),
        np.concatenate([values[output.tensor].reshape(-1) for output in outputs]),
    )


def _write_text(path: Path, lines: Sequence[str]) -> None:
    with atomic_write(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def _clean(folder: Path) -> int:
    """Remove layer files of an earlier tree; anything else stays."""
    old = [p for p in folder.glob(FILE_GLOB) if FILE_PATTERN.fullmatch(p.name)]
    for path in old:
        path.unlink()
    return len(old)
