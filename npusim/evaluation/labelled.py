"""A labelled set: one folder per class, or a list of ``path label`` lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path

from npusim import words
from npusim.errors import DatasetError
from npusim.quantization.sample_files import KNOWN_SUFFIXES, columns, wrong_count
from npusim.reading.files import read_text

SHOWN = 10
LONGEST_NUMBER = 9  # digits of a class

_kept: tuple[tuple[str, ...] | None, Mapping[str, int]] = None, {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One labelled sample.

    Attributes
    ----------
    index : int
        Position in the set.
    name : str
        The path as the set writes it; names the sample in reports.
    paths : tuple of str
        One file per model input.
    label : str
        As written: a class number, or a name from the list of labels, or what a custom task wants.
    truth : str
        What the task measures against, where that is more than the label: boxes, a mask.
    contents : tuple of bytes
        The files themselves, when whoever runs the sample may not see the paths.
    """

    index: int
    name: str
    paths: tuple[str, ...]
    label: str
    truth: str = ""
    contents: tuple[bytes, ...] = ()


def open_labelled(path: str | Path, *, inputs: int = 1) -> tuple[Item, ...]:
    """Return the samples of a labelled set, in a fixed order.

    Parameters
    ----------
    path : path
        A folder with one folder per class: its name is the label when all names are numbers, else
        the label is its place among the sorted names. Or a text file, one sample a line: the paths
        of its files (beside the list, else in the working directory) and then the label; a path
        with blanks goes in double quotes.
    inputs : int
        Files per sample.

    Raises
    ------
    DatasetError
        When there is nothing, or lines cannot be used; they are listed with their numbers.
    """
    path = Path(path)
    items = _folder(path, inputs) if path.is_dir() else _list(path, inputs)
    if not items:
        raise DatasetError(
            "the set has no sample",
            where=str(path),
            rule="a folder per class with images, or a text file of 'path label' lines",
        )
    return tuple(items)


def check_classes(
    items: Sequence[Item], classes: int, *, labels: Sequence[str] = (), offset: int = 0
) -> None:
    """Check that every label is one of the network's classes, by number or by name.

    Raises
    ------
    DatasetError
        Naming the first samples whose label is neither.
    """
    bad = []
    for item in items:
        number = class_number(item.label, labels, offset)
        if number is None or not 0 <= number < classes:
            bad.append(f"    {item.name}: {item.label!r}")
    if bad:
        first = "\n".join(bad[:SHOWN])
        raise DatasetError(
            f"{len(bad)} labels are no class of the network:\n{first}",
            rule=f"a number 0 .. {classes - 1 - offset}, or a name from {words.say('labels')}",
            remedy=f"give {words.say('labels')}, one class name a line in the order of the "
            f"network's classes; {words.say('label_offset')} when class 0 is the background",
        )


def class_number(label: str, labels: Sequence[str] = (), offset: int = 0) -> int | None:
    """Return the index of a label among the network's classes; None when it is none."""
    if (place := _places(labels).get(label)) is not None:
        return place + offset
    numbered = label.isdecimal() and len(label) <= LONGEST_NUMBER and not labels
    return int(label) + offset if numbered else None


def _places(labels: Sequence[str]) -> Mapping[str, int]:
    """Return name -> its first place; of a tuple, which stays as it is, the last one is kept."""
    global _kept
    known, places = _kept
    if known is not labels:
        places = {}
        for place, name in enumerate(labels):
            places.setdefault(name, place)
        if isinstance(labels, tuple):
            _kept = labels, places
    return places


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return class names, one a line, in the order of the network's classes.

    Raises
    ------
    DatasetError
        When the file cannot be read.
    """
    text = read_text(path, DatasetError, rule="a text file of class names")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def named_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return class names that are given, or stand in a file; errors as in ``read_labels``."""
    return read_labels(labels) if isinstance(labels, str | Path) else tuple(labels)


def _folder(path: Path, inputs: int) -> list[Item]:
    if inputs != 1:
        raise DatasetError(
            f"a folder holds one file per sample, the model has {inputs} inputs",
            where=str(path),
            remedy="give a list: the files of a sample and its label on each line",
        )
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
    numbered = all(entry.name.isdecimal() for entry in classes)
    items: list[Item] = []
    for place, folder in enumerate(classes):
        label = str(int(folder.name)) if numbered else str(place)
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in KNOWN_SUFFIXES and file.is_file():
                items.append(
                    Item(
                        index=len(items),
                        name=f"{folder.name}/{file.name}",
                        paths=(str(file.absolute()),),
                        label=label,
                    )
                )
    return items


def _list(path: Path, inputs: int) -> list[Item]:
    text = read_text(path, DatasetError, rule="a text file of 'path label' lines")
    items: list[Item] = []
    bad: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found_columns = columns(line)
        if not found_columns:
            continue
        if len(found_columns) != inputs + 1:
            bad.append(f"line {number}: {wrong_count(line, inputs + 1)}")
            continue
        *names, label = found_columns
        found = [_beside(path.parent, name) for name in names]
        missing = [name for name, file in zip(names, found, strict=True) if file is None]
        if missing:
            bad.append(f"line {number}: {', '.join(missing)} does not exist")
            continue
        items.append(
            Item(
                index=len(items),
                name=" ".join(names),
                paths=tuple(str(file) for file in found),
                label=label,
            )
        )
    if bad:
        first = "\n".join(f"    {reason}" for reason in bad[:SHOWN])
        raise DatasetError(
            f"{len(bad)} lines cannot be used:\n{first}",
            where=str(path),
            rule=f"{inputs} path{'s' if inputs > 1 else ''} and a label on each line",
            remedy="correct these lines: a set with holes gives a wrong accuracy",
        )
    return items


def _beside(folder: Path, name: str) -> Path | None:
    return next((p.absolute() for p in (folder / name, Path(name)) if isfile(p)), None)
