"""Tables: csv files, gzipped or not."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from npusim.errors import NpusimError
from npusim.reading.files import MOST_TEXT, as_text, read_bytes


def read_table(path: str | Path, error: type[NpusimError]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, column -> text) for every row; columns without a title are left out.

    Raises
    ------
    NpusimError
        Of the type ``error``, when the file cannot be read, unpacks to more than ``MOST_TEXT``
        bytes or is no table.
    """
    content = read_bytes(path, error)
    if str(path).endswith(".gz"):
        content = _unpacked(content, str(path), error)
    text = as_text(content, str(path), error, "a csv table")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, {key: value or "" for key, value in row.items() if key}
    except csv.Error as reason:
        raise error(
            f"this is no table: {reason}", where=f"{path}:{reader.line_num}", rule="a csv table"
        ) from reason


def _unpacked(content: bytes, where: str, error: type[NpusimError]) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as file:
            found = file.read(MOST_TEXT + 1)
    except (OSError, EOFError, zlib.error) as reason:
        raise error(f"cannot be unpacked: {reason}", where=where, rule="a gzip file") from reason
    if len(found) > MOST_TEXT:
        raise error("it unpacks to too much", where=where, rule=f"at most {MOST_TEXT} bytes")
    return bytes(found)
