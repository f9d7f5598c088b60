"""Read a folder of layer dumps, whoever wrote it, and find which layer each file is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.dump_files import MEMORY, NCHW, NHWC, DumpFile, dump_files
from npusim.analysis.metrics import cosine
from npusim.analysis.names import file_part
from npusim.analysis.recording import LayerOutput, Recording
from npusim.errors import ConfigError
from npusim.ops import op_def
from npusim.plain import number_in, printable

AUTO = "auto"
LAYOUTS = (AUTO, NHWC, NCHW)


@dataclass(frozen=True, slots=True)
class _Found:
    file: DumpFile
    like: LayerOutput | None


def read_dump(
    folder: str | Path, *, like: Recording | None = None, layout: str = AUTO, label: str = ""
) -> Recording:
    """Read layer dumps of npusim, a board, the vendor's simulator or accuracy_analysis.

    Parameters
    ----------
    folder : path
        See ``npusim.analysis.dump_files``; the root of a snapshot stands for ``entire_qnt``.
    like : Recording, optional
        A run of the same network: needed to know which layers a board's files are. They are found
        by index, by name, by number and size, or by order and size, the first that fits.
    layout : str
        Order of feature maps in files that do not say: ``"NHWC"``, ``"NCHW"`` (drivers), or
        ``"auto"``: whichever is nearer to ``like``; the notes say which.
    label : str
        Default: the folder.

    Returns
    -------
    Recording
        Real values as float32, in the source model's axis order, in execution order where known.

    Raises
    ------
    InputError
        When the folder holds no dump or a file is damaged.
    ConfigError
        When the layout is unknown.
    """
    known = {name.lower(): name for name in LAYOUTS}
    if layout.lower() not in known:
        raise ConfigError(f"layout {layout!r}", where="dump", rule=f"one of {', '.join(LAYOUTS)}")
    folder = Path(folder)
    found, notes = _resolve(dump_files(folder), like)
    order, said = _order(found, known[layout.lower()])
    layers = [_output(item, order) for item in found]
    blank = [
        item.file.path.name
        for item, row in zip(found, layers, strict=True)
        if item.like is not None and item.like.stored.any() and not row.stored.any()
    ]
    if blank:  # Source: measured, the vendor's simulator does so with float16 results
        said = (*said, f"only zeros in {', '.join(blank)}; drivers dump float16 results so")
    if like is not None:
        place = {row.tensor or row.layer: i for i, row in enumerate(like.layers)}
        layers.sort(key=lambda row: place.get(row.tensor or row.layer, len(place)))
    return Recording(label=label or str(folder), layers=tuple(layers), notes=(*notes, *said))


def _resolve(
    files: Sequence[DumpFile], like: Recording | None
) -> tuple[list[_Found], tuple[str, ...]]:
    if like is None or any(file.origin for file in files):
        return [_Found(file, _by_tensor(file, like)) for file in files], ()
    if any(file.layer for file in files):
        return [
            _Found(file, row) for file, row in zip(files, _by_name(files, like), strict=True)
        ], ()
    rows = _by_uid(files, like)
    if rows is not None:
        return [_Found(file, row) for file, row in zip(files, rows, strict=True)], ()
    rows = _by_order(files, like)
    matched = sum(row is not None for row in rows)
    note = (
        f"the dump's layer numbers are not npusim's: {matched} of {len(files)} files were lined up "
        "by order and size; check the pairs where several layers have one size"
    )
    return [_Found(file, row) for file, row in zip(files, rows, strict=True)], (note,)


def _by_tensor(file: DumpFile, like: Recording | None) -> LayerOutput | None:
    if like is None:
        return None
    return next(
        (
            row
            for row in like.layers
            if file.tensor
            and printable(row.tensor) == file.tensor
            and prod(row.stored.shape) == file.elements
        ),
        None,
    )


def _by_name(files: Sequence[DumpFile], like: Recording) -> list[LayerOutput | None]:
    """Find layers by ``<name>_<uid>``, else by a name that only one layer has.

    The vendor's numbers need not be npusim's. A fused group's files all have its result; the one
    that counts is the last layer's.
    """
    full = {(file_part(row.layer), row.output): row for row in like.layers}
    bare: dict[tuple[str, int], list[LayerOutput]] = {}
    for known in like.layers:
        name = file_part(known.layer.rpartition("_")[0])
        bare.setdefault((name, known.output), []).append(known)
    result: list[LayerOutput | None] = []
    for file in files:
        exact = full.get((file.layer, file.output))
        rows = bare.get((file.layer.rpartition("_")[0], file.output), [])
        row = exact or (rows[0] if len(rows) == 1 else None)
        fits = row is not None and prod(row.stored.shape) == file.elements
        result.append(row if fits else None)
    return result


def _by_uid(files: Sequence[DumpFile], like: Recording) -> list[LayerOutput | None] | None:
    """Find layers by number; None when the numbers are not npusim's."""
    known = {(_uid(row), row.output): row for row in like.layers}
    rows = [known.get((file.uid, file.output)) for file in files]
    fitting = [
        row is not None and prod(row.stored.shape) == file.elements and _same_kind(file, row)
        for file, row in zip(files, rows, strict=True)
    ]
    return rows if all(fitting) else None


def _by_order(files: Sequence[DumpFile], like: Recording) -> list[LayerOutput | None]:
    """Line up two sequences by size, the same kind of layer counting more, without crossings.

    Numbers may count from the input or from the output: the direction that fits more is taken.
    """
    forward, score = _lined_up(files, like.layers)
    backward, other = _lined_up(files[::-1], like.layers)
    return forward if score >= other else backward[::-1]


def _lined_up(
    files: Sequence[DumpFile], rows: Sequence[LayerOutput]
) -> tuple[list[LayerOutput | None], int]:
    """Return the row of each file by dynamic programming, and the total score."""
    best = np.zeros((len(files) + 1, len(rows) + 1), np.int64)
    gain = np.zeros((len(files), len(rows)), np.int64)
    for i, file in enumerate(files):
        for j, row in enumerate(rows):
            if prod(row.stored.shape) == file.elements:
                gain[i, j] = 1 + 2 * _same_kind(file, row)
            step = best[i, j] + gain[i, j] if gain[i, j] else 0
            best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], step)
    result: list[LayerOutput | None] = [None] * len(files)
    i, j = len(files), len(rows)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            result[i] = rows[j]
    return result, int(best[-1, -1])


def _uid(row: LayerOutput) -> int:
    found = number_in(row.layer.rpartition("_")[2])
    return -1 if found is None else found


def _same_kind(file: DumpFile, row: LayerOutput) -> bool:
    """Compare the driver's layer class with an operator; classes come in variants and versions."""
    own = op_def(row.op).layer_class.lower()
    other = file.kind.lower()
    return other in (own, "") or any(
        word in own and word in other
        for word in (
            "deconv",
            "convolutionrelu",
            "pooling",
            "fullyconnected",
            "transpose",
            "softmax",
        )
    )


def _order(found: Sequence[_Found], layout: str) -> tuple[str, tuple[str, ...]]:
    """Return the order of files that do not say, and a note on how it was found."""
    open_ones = [item for item in found if not item.file.order]
    if layout != AUTO or not open_ones:
        return (NHWC if layout == AUTO else layout), ()
    nearer = {NHWC: 0, NCHW: 0}
    total = {NHWC: 0.0, NCHW: 0.0}
    for item in open_ones:
        if item.like is None or item.like.stored.ndim != 4:
            continue
        _, c, h, w = item.like.stored.shape
        if c == 1 or h * w == 1:
            continue
        values = item.file.values()
        near = {
            order: cosine(_arranged(values, item.like.stored.shape, order), item.like.real)
            for order in total
        }
        if near[NHWC] != near[NCHW]:
            nearer[max(near, key=lambda order: near[order])] += 1
        for order in total:
            total[order] += near[order]
    maps = sum(nearer.values())
    if not maps:
        return NHWC, ("the files do not say their axis order; NHWC is assumed",)
    best = max(total, key=lambda order: total[order])  # a layer that is wrong has no clear opinion
    return best, (f"axis order {best}: nearer for {nearer[best]} of {maps} feature maps",)


def _arranged(
    values: NDArray[np.float32], shape: tuple[int, ...], order: str
) -> NDArray[np.float32]:
    """Return flat values in the logical shape (N, C, H, W)."""
    if len(shape) != 4 or order != NHWC:
        return values.reshape(shape)
    n, c, h, w = shape
    return values.reshape(n, h, w, c).transpose(0, 3, 1, 2)


def _output(item: _Found, order: str) -> LayerOutput:
    file, like = item.file, item.like
    order = file.order or order
    values = file.values()
    if like is not None:
        shape = like.stored.shape
    elif file.order == NHWC:
        shape = (file.shape[0], file.shape[3], file.shape[1], file.shape[2])
    elif not file.order:
        shape = (1, *file.shape)
    else:
        shape = file.shape
    layer = file.layer or file.path.stem
    origin, tensor = file.origin, file.tensor
    if like is not None and (not origin or printable(like.tensor) == tensor):
        origin, tensor = like.origin, like.tensor  # an index has names as printable text
    return LayerOutput(
        layer=layer,
        origin=origin or (layer,),
        tensor=tensor,
        output=file.output,
        stored=_arranged(values, shape, order if order != MEMORY else NCHW),
    )
