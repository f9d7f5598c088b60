"""The calibration list: one sample a line, one file per model input.

A line holds the paths of one sample's files, separated by blanks, in the order of the model's
inputs; a path with blanks goes in double quotes. Relative paths are looked up beside the list
first, then in the working directory. Files: ``npusim.quantization.sample_files``.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import DatasetError, InputError
from npusim.explain import see
from npusim.ir.graph import STRETCH, Graph, Preprocess
from npusim.ir.quant import Float
from npusim.quantization.input_text import file_text, fit_of, input_text
from npusim.quantization.sample_files import (
    Misfit,
    Unusable,
    check_file,
    columns,
    find_file,
    read_file,
    wrong_count,
)
from npusim.reading.files import read_text
from npusim.runtime.ahead import read_ahead
from npusim.runtime.ends import codes_in_doubt
from npusim.runtime.program import preprocess

log = logging.getLogger("npusim")

Array = NDArray[Any]
ASPECT_CHANGE = 1.1
SHOWN = 10  # bad lines written out one by one


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list that can be used."""

    label: str
    paths: tuple[Path, ...]


@dataclass(slots=True)
class Dataset:
    """Samples of a list, read one at a time; made by ``open_dataset``.

    Iterating yields (label, feeds): feeds hold float32 arrays after reorder, mean and std, in the
    graph's shapes. A file that turns out to be damaged is left out with a warning.
    """

    path: Path
    graph: Graph
    entries: tuple[Entry, ...]
    limit: int | None = None
    says: bool = True
    _warned: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        """Return the number of samples, as far as the files' headers tell."""
        return min(len(self.entries), self.limit or len(self.entries))

    def __iter__(self) -> Iterator[tuple[str, dict[str, Array]]]:
        """Yield (label, feeds) for every sample that can be read."""
        used = 0
        reasons: list[str] = []
        with closing(read_ahead(self._read, self.entries)) as reading:
            for entry, files in reading:
                try:
                    feeds = {
                        name: self._prepared(*file, path, name, entry.label)
                        for name, path, file in zip(
                            self.graph.inputs, entry.paths, files(), strict=True
                        )
                    }
                except Unusable as error:
                    reasons.append(f"{entry.label}: {error}")
                    left_out = see("samples-left-out")
                    log.warning("%s; this sample is left out %s", reasons[-1], left_out)
                    continue
                yield entry.label, feeds
                used += 1
                if used == self.limit:
                    break
        if not used:
            raise _nothing_left(self.path, reasons)

    def load(self, path: Path, name: str, label: str) -> Array:
        """Return the preprocessed content of one checked file for input ``name``."""
        return self._prepared(*self._file(path, name), path, name, label)

    def _read(self, entry: Entry) -> list[tuple[Array, bool]]:
        """Return what ``read_file`` makes of the files of a sample; runs in any thread."""
        return [
            self._file(path, name)
            for name, path in zip(self.graph.inputs, entry.paths, strict=True)
        ]

    def _file(self, path: Path, name: str) -> tuple[Array, bool]:
        return read_file(path, self.graph.spec(name), fit_of(self.graph.preprocess.get(name)))

    def _prepared(self, data: Array, converted: bool, path: Path, name: str, label: str) -> Array:
        spec, how = self.graph.spec(name), self.graph.preprocess.get(name)
        if converted:
            kind = "grey" if spec.shape[1] == 1 else "red, green, blue"
            self._warn_once(
                f"colour {name}", f"{label}: image converted to {kind} for input {name!r}"
            )
        where = f"{label} (input {name!r})"
        if not np.isfinite(data).all():
            raise DatasetError(
                "the array holds NaN or infinity",
                where=where,
                rule="calibration needs finite samples",
                remedy="replace this sample",
            )
        self._warn_of_scale(name, how, data)
        if doubt := codes_in_doubt(self.graph, name, data, how):
            self._warn_once(f"codes {name}", doubt)
        self._say_once(input_text(name, spec, how, file_text(path, spec, how)))
        if spec.dtype.is_float or not isinstance(spec.quant, Float):
            try:
                return np.asarray(preprocess(data, how, where=f"input {name!r}"), order="C")
            except InputError as error:
                raise DatasetError(error.what, where=where, rule=error.rule) from error
        with np.errstate(invalid="ignore"):
            integers = np.asarray(data.astype(spec.dtype.numpy), order="C")
        if (integers != data).any():
            raise DatasetError(
                f"the array holds values that are not {spec.dtype.numpy}",
                where=where,
                rule="this input of the model takes integers",
            )
        return integers

    def _warn_of_scale(self, name: str, how: Preprocess | None, data: Array) -> None:
        """Warn of means and stds meant for 0..1 when the samples go up to 255."""
        if how is None or data.max(initial=0) <= 1:
            return
        small_std = bool(how.std) and all(abs(s) < 1 for s in how.std)
        small_mean = any(how.mean) and all(abs(m) <= 1 for m in how.mean)
        if small_std or small_mean:
            self._warn_once(
                f"scale {name}",
                f"input {name!r}: mean {how.mean or 0} and std {how.std or 1} look like values for "
                f"0..1, but the samples go up to {data.max():g}; multiply mean and std by 255 "
                f"{see('mean-for-0-1')}",
            )

    def _say_once(self, text: str) -> None:
        if self.says and text not in self._warned:
            self._warned.add(text)
            log.info("%s", text)

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            log.warning("%s", text)


def open_dataset(path: str | Path, graph: Graph, *, limit: int | None = None) -> Dataset:
    """Check a calibration list against a model and return its samples.

    Every line is checked before any sample is read: number of columns, suffix, existence and the
    header of each file. Lines with unusable files are left out with a warning.

    Parameters
    ----------
    path : path
        Text file, UTF-8.
    graph : Graph
        The model: shapes and order of its inputs, ``graph.preprocess``.
    limit : int, optional
        Use only so many samples.

    Raises
    ------
    DatasetError
        When the list cannot be read, a line does not fit the model, or no line can be used; the
        first bad lines are listed with their numbers.
    """
    path = Path(path)
    entries: list[Entry] = []
    unusable: list[str] = []
    misfits: list[str] = []
    stretched: list[str] = []
    blank = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            blank += 1
            continue
        label = f"{path.name}:{number}"
        try:
            files = _check_line(line, path.parent, graph, label, stretched)
        except Unusable as error:
            unusable.append(f"{label}: {error}")
        except Misfit as error:
            misfits.append(f"{label}: {error}")
        else:
            entries.append(Entry(" ".join([label, *(file.name for file in files)]), files))
    if misfits:
        wanted = ", ".join(f"{name!r} {graph.spec(name).shape}" for name in graph.inputs)
        raise DatasetError(
            f"{len(misfits)} lines do not fit the model:\n{_first(misfits)}",
            where=str(path),
            rule=f"one file for each input of the model, in this order: {wanted}",
        )
    if not entries:
        raise _nothing_left(path, unusable, blank=blank)
    _warn_of_lines(path, unusable, stretched, blank)
    return Dataset(path, graph, tuple(entries), limit)


def load_sample(
    paths: Sequence[str | Path], graph: Graph, *, said: bool = False
) -> dict[str, Array]:
    """Read one sample from files, as a line of a list would.

    Parameters
    ----------
    paths : sequence of path
        One file per input of the model, in order.
    graph : Graph
    said : bool
        What goes into the inputs was said already.

    Returns
    -------
    dict
        Input name -> float32 array after reorder, mean and std, in the graph's shape.

    Raises
    ------
    DatasetError
        Naming the file.
    """
    source = Dataset(Path(), graph, (), says=not said)
    return _from_files(paths, graph, lambda path, name: source.load(path, name, path.name))


def load_raw(paths: Sequence[str | Path], graph: Graph) -> dict[str, Array]:
    """Read one sample as it is in its files: neither reorder nor mean nor std; errors as above.

    Returns
    -------
    dict
        Input name -> array of the file's own type, in the graph's shape.
    """

    def read(path: Path, name: str) -> Array:
        return read_file(path, graph.spec(name), fit_of(graph.preprocess.get(name)))[0]

    return _from_files(paths, graph, read)


def _from_files(
    paths: Sequence[str | Path], graph: Graph, read: Callable[[Path, str], Array]
) -> dict[str, Array]:
    wanted = ", ".join(f"{name!r} {graph.spec(name).shape}" for name in graph.inputs)
    files = [Path(path) for path in paths]
    if len(files) != len(graph.inputs):
        raise DatasetError(f"{len(files)} files are given", rule=f"one per input: {wanted}")
    feeds = {}
    for name, file in zip(graph.inputs, files, strict=True):
        try:
            found = find_file(str(file), Path())
            check_file(found, graph.spec(name))
            feeds[name] = read(found, name)
        except (Unusable, Misfit) as error:
            raise DatasetError(str(error), where=str(file), rule=f"inputs: {wanted}") from error
    return feeds


def _lines(path: Path) -> list[str]:
    if not path.exists():
        raise DatasetError(
            "the dataset file does not exist",
            where=str(path),
            remedy=f"write one sample a line, or {words.say('without_dataset')}",
        )
    rule = "a dataset file lists paths of images or npy files, one sample a line"
    lines = read_text(path, DatasetError, rule=rule).split("\n")
    return lines if lines[-1] else lines[:-1]


def _check_line(
    line: str, folder: Path, graph: Graph, label: str, stretched: list[str]
) -> tuple[Path, ...]:
    if line.count('"') % 2:
        raise Unusable("a double quote is not closed")
    names = columns(line)
    if len(names) != len(graph.inputs):
        raise Misfit(wrong_count(line, len(graph.inputs)))
    files = []
    for column, name in zip(names, graph.inputs, strict=True):
        spec = graph.spec(name)
        files.append(find_file(column, folder))
        if (size := check_file(files[-1], spec)) is not None:
            (in_h, in_w), (height, width) = size, spec.shape[2:]
            kept = fit_of(graph.preprocess.get(name)) != STRETCH
            if (
                not kept
                and not 1 / ASPECT_CHANGE <= in_w * height / (in_h * width) <= ASPECT_CHANGE
            ):
                stretched.append(f"{label}: {in_w}x{in_h} to {width}x{height}")
    return tuple(files)


def _first(reasons: list[str]) -> str:
    more = len(reasons) - SHOWN
    shown = [f"    {reason}" for reason in reasons[:SHOWN]]
    return "\n".join(shown + ([f"    and {more} more"] if more > 0 else []))


def _nothing_left(path: Path, reasons: list[str], *, blank: int = 0) -> DatasetError:
    if reasons:
        what = f"none of the {len(reasons)} samples can be used:\n{_first(reasons)}"
    elif blank:
        what = f"the list has only {blank} blank lines"
    else:
        what = "the list is empty"
    return DatasetError(
        what,
        where=str(path),
        rule="one sample a line: paths of jpg, jpeg, png, bmp or npy files",
        remedy="correct the list; 200 to 500 samples are usual",
    )


def _warn_of_lines(path: Path, unusable: list[str], stretched: list[str], blank: int) -> None:
    for reason in unusable[:SHOWN]:
        log.warning("%s; this line is left out %s", reason, see("samples-left-out"))
    if len(unusable) > SHOWN:
        more, page = len(unusable) - SHOWN, see("samples-left-out")
        log.warning("%s: %d more lines are left out %s", path.name, more, page)
    if blank:
        log.warning("%s: %d blank lines ignored", path.name, blank)
    if stretched:
        log.warning(
            "%d images change their proportions by more than 10 %% when stretched, the first is "
            "%s; crop or pad them as for training %s",
            len(stretched),
            stretched[0],
            see("stretched-images"),
        )
