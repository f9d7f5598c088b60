"""Pictures with boxes or masks: VOC, COCO and YOLO annotations, and masks of class numbers."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from os.path import isfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from npusim import words
from npusim.errors import DatasetError
from npusim.evaluation.labelled import Item, class_number, open_labelled
from npusim.quantization.images import SUFFIXES, image_size
from npusim.reading.files import read_bytes, read_text, refuse_pipe
from npusim.reading.pictures import DECODE_ERRORS
from npusim.reading.records import Record, parse_json

SHOWN = 10
MOST_NOTE = 1 << 24
"""Bytes of one picture's annotation."""

MOST_COCO = 1 << 30
"""Bytes of a set's annotations."""

RULE = (
    "a COCO json file; a folder with Annotations/ and JPEGImages/ (VOC) or images/ and labels/ "
    "(YOLO); or a list of 'picture annotation' lines, an .xml or .txt file each"
)
MASK_RULE = (
    "a folder with images/ and masks/, or a list of 'picture mask' lines; masks are png files of "
    "class numbers, 255 is left out"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box of the truth, in pixels of the picture.

    Attributes
    ----------
    label : int
        Index of the class.
    crowd : bool
        Neither found nor missed counts (COCO's iscrowd, VOC's difficult).
    """

    label: int
    left: float
    top: float
    right: float
    bottom: float
    crowd: bool = False


class _Misfit(Exception):
    """An annotation cannot be used."""


def open_boxes(
    path: str | Path, *, labels: Sequence[str] = (), images: str | Path | None = None
) -> tuple[Item, ...]:
    """Return pictures with the boxes that are in them; ``Item.truth`` holds size and boxes.

    Parameters
    ----------
    path : path
        See ``RULE``.
    labels : sequence of str
        Class names in the order of the network's classes. VOC needs them; COCO without takes its
        categories by their number.
    images : path, optional
        Folder of a COCO file's pictures.

    Raises
    ------
    DatasetError
        When there is nothing, or annotations cannot be used; the first are listed.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        found = _coco(path, labels, None if images is None else Path(images))
    else:
        found = _files(_pairs(path, ("JPEGImages", "Annotations"), ("images", "labels")), labels)
    return _items(path, found, RULE)


def open_masks(path: str | Path) -> tuple[Item, ...]:
    """Return pictures with their masks; ``Item.truth`` holds the png file in base64.

    Raises
    ------
    DatasetError
        As for ``open_boxes``.
    """
    path = Path(path)

    def read() -> Iterator[tuple[Item, str]]:
        for item in _pairs(path, ("images", "masks")):
            mask = Path(item.label)
            if mask.suffix.lower() != ".png":
                yield item, f"{mask.name} is no png file"
                continue
            try:
                truth = b64encode(read_bytes(mask, DatasetError)).decode()
            except DatasetError as error:
                yield item, f"{mask.name} {error.what}"
                continue
            yield replace(item, label=mask.name, truth=truth), ""

    return _items(path, read(), MASK_RULE)


def truth_of(size: tuple[int, int], boxes: Iterable[Box]) -> str:
    """Return ``Item.truth`` of a picture of (height, width)."""
    rows = [[b.label, b.left, b.top, b.right, b.bottom, int(b.crowd)] for b in boxes]
    return json.dumps({"size": list(size), "boxes": rows})


def _items(path: Path, found: Iterable[tuple[Item, str]], rule: str) -> tuple[Item, ...]:
    pairs = list(found)
    bad = [f"    {item.name}: {reason}" for item, reason in pairs if reason]
    if bad or not pairs:
        first = "\n".join(bad[:SHOWN])
        raise DatasetError(
            f"{len(bad)} annotations cannot be used:\n{first}" if bad else "the set has no sample",
            where=str(path),
            rule=rule,
            remedy="correct these: a set with holes gives a wrong accuracy" if bad else "",
        )
    return tuple(replace(item, index=i) for i, (item, _) in enumerate(pairs))


def _pairs(path: Path, *folders: tuple[str, str]) -> Iterator[Item]:
    """Yield pictures with the path of their annotation as label."""
    if not path.is_dir():
        for item in open_labelled(path):
            beside = [path.parent / item.label, Path(item.label)]
            note = next((str(f.absolute()) for f in beside if isfile(f)), item.label)
            yield replace(item, label=note)
        return
    for pictures, notes in folders:
        if not (path / pictures).is_dir() or not (path / notes).is_dir():
            continue
        known = {file.stem: file for file in sorted((path / notes).iterdir()) if file.is_file()}
        for file in sorted((path / pictures).iterdir()):
            if file.suffix.lower() in SUFFIXES and (file.stem in known or notes == "labels"):
                # YOLO has no file for pictures without boxes
                label = known.get(file.stem, path / notes / f"{file.stem}.txt")
                paths = (str(file.absolute()),)
                yield Item(index=0, name=file.name, paths=paths, label=str(label.absolute()))


def _files(items: Iterable[Item], labels: Sequence[str]) -> Iterator[tuple[Item, str]]:
    for item in items:
        note = Path(item.label)
        try:
            size = image_size(Path(item.paths[0]))
            boxes = list(_voc(note, labels) if note.suffix == ".xml" else _yolo(note, size, labels))
        except _Misfit as error:
            yield item, str(error)
        except DatasetError as error:
            yield item, f"{note.name}: {error.what}"
        except (*DECODE_ERRORS, ElementTree.ParseError, LookupError) as error:
            yield item, f"{note.name} or the picture cannot be read: {error}"
        else:
            said = f"{len(boxes)} boxes"
            yield replace(item, label=said, truth=truth_of(size, boxes)), ""


def _voc(path: Path, labels: Sequence[str]) -> Iterator[Box]:
    """Yield the boxes of a VOC file; its corners are pixels that belong to the box, from 1."""
    content = read_bytes(path, DatasetError, most=MOST_NOTE)
    _refuse_entities(content, path.name)
    for entry in ElementTree.fromstring(content).iter("object"):
        name = (entry.findtext("name") or "").strip()
        number = class_number(name, labels)
        if number is None:
            raise _Misfit(f"class {name!r} is not in {words.say('labels')}")
        corners = [
            (entry.findtext(f"bndbox/{k}") or "").strip() for k in ("xmin", "ymin", "xmax", "ymax")
        ]
        crowd = (entry.findtext("difficult") or "").strip() == "1"
        left, top, right, bottom = _numbers(corners, f"the bndbox of a {name}")
        yield Box(label=number, left=left - 1, top=top - 1, right=right, bottom=bottom, crowd=crowd)


def _refuse_entities(content: bytes, file: str) -> None:
    """Refuse texts that stand for others: a megabyte of them says a hundred."""

    def refuse(name: str, *_: object) -> None:
        raise _Misfit(f"{file} declares the entity {name!r}, and annotations have none")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    with suppress(expat.ExpatError):  # the reader says what and where
        parser.Parse(content, True)


def _yolo(path: Path, size: tuple[int, int], labels: Sequence[str]) -> Iterator[Box]:
    """Yield the boxes of a YOLO file: class, centre, width, height as parts of the picture."""
    if not path.exists():
        return
    height, width = size
    refuse_pipe(path, DatasetError)
    text = read_text(path, DatasetError, most=MOST_NOTE)
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, *numbers = line.split()
        x, y, w, h = _numbers(numbers, f"{path.name}, line {number}, after the class")
        label = class_number(name) if name.isdecimal() else class_number(name, labels)
        if label is None or (labels and label >= len(labels)):
            raise _Misfit(f"{path.name}, line {number}: no class {name!r}")
        yield Box(
            label=label,
            left=(x - w / 2) * width,
            top=(y - h / 2) * height,
            right=(x + w / 2) * width,
            bottom=(y + h / 2) * height,
        )


def _coco(path: Path, labels: Sequence[str], images: Path | None) -> Iterator[tuple[Item, str]]:
    def fail(what: str, rule: str) -> DatasetError:
        return DatasetError(f"this is no COCO file: {what}", where=str(path), rule=rule)

    content = read_bytes(path, DatasetError, most=MOST_COCO)
    record = Record(parse_json(content, str(path), DatasetError, rule=RULE), "", fail)
    categories = sorted(
        ((entry.whole("id"), entry.text("name")) for entry in record.records("categories")),
        key=lambda pair: pair[0],
    )
    numbers: dict[int, int | None] = {
        number: class_number(name, labels) if labels else i
        for i, (number, name) in enumerate(categories)
    }
    by_image: dict[int, list[tuple[int, Any, bool]]] = {}
    for note in record.records("annotations"):
        box = note.whole("category_id"), note.get("bbox"), bool(note.fields().get("iscrowd", 0))
        by_image.setdefault(note.whole("image_id"), []).append(box)
    pictures = [
        (entry.text("file_name"), entry.whole("id"), (entry.whole("height"), entry.whole("width")))
        for entry in record.records("images")
    ]
    tried = [images] if images else [path.parent, path.parent / "images", path.parent.parent]
    for name, number, size in pictures:
        file = next((f / name for f in tried if isfile(f / name)), None)
        where = str(file.absolute()) if file else name
        item = Item(index=0, name=name, paths=(where,), label="")
        own = by_image.get(number, [])
        unknown = [category for category, *_ in own if numbers.get(category) is None]
        if file is None:
            yield item, f"not in {' or '.join(map(str, tried))}; give {words.say('images')}"
        if unknown:
            yield item, f"category {unknown[0]} is not in {words.say('labels')}"
            continue
        try:
            boxes = [_coco_box(box, numbers[category] or 0, crowd) for category, box, crowd in own]
        except _Misfit as error:
            yield item, str(error)
            continue
        yield replace(item, label=f"{len(boxes)} boxes", truth=truth_of(size, boxes)), ""


def _coco_box(box: Any, label: int, crowd: bool) -> Box:
    left, top, width, height = _numbers(box, "a bbox")
    return Box(
        label=label, left=left, top=top, right=left + width, bottom=top + height, crowd=crowd
    )


def _numbers(words: Any, what: str) -> tuple[float, ...]:
    """Return the four finite numbers of a box."""
    try:
        found = tuple(float(word) for word in words)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != 4 or not all(map(isfinite, found)):
        raise _Misfit(f"{what}: {words!r} are not four numbers")
    return found
