"""What has been measured so far, on disk: an evaluation that stops goes on where it was.

One JSON object a line. The first line says what is measured; each other line is one sample's
record. Lines are appended and synchronised; a line that a crash cut short does not count and is
removed by the next run.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from npusim import words
from npusim.errors import UNWRITABLE, ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.locks import state_lock
from npusim.plain import utf8
from npusim.reading.files import read_bytes
from npusim.reading.records import Record, parse_json, too_deep

FORMAT = "npusim evaluate 1"
MOST_BYTES = 1 << 32


class State:
    """Records of finished samples in a file.

    Parameters
    ----------
    path : path
    fingerprint : str
        Digest of the models, the task and the set.
    check : callable, optional
        Refuses a record that is not what the evaluation writes.

    Attributes
    ----------
    records : dict of int to dict
        Finished samples by index.

    Raises
    ------
    ConfigError
        When the file belongs to another evaluation, is no state file, cannot be written, or another
        process uses it.
    """

    def __init__(
        self,
        path: str | Path,
        fingerprint: str,
        check: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self.path = Path(path)
        self.records: dict[int, dict[str, Any]] = {}
        self._check = check
        head = {"format": FORMAT, "fingerprint": fingerprint}
        try:
            self._lock = state_lock(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            self._begin(head)
        except BaseException:
            self._lock.free(remove=True)
            raise

    def _begin(self, head: dict[str, str]) -> None:
        try:
            if not self.path.exists():
                with atomic_write(self.path) as file:
                    file.write(_line(head))
            else:
                self._read(head["fingerprint"])
            self._file: BinaryIO | None = self.path.open("ab")
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Append finished samples and wait until they are on disk."""
        assert self._file is not None
        data = b""
        for record in records:
            self.records[record["index"]] = record
            data += _line(record)
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self, *, remove: bool = False) -> None:
        """Close the file; remove it when nothing is left to do."""
        if self._file is not None:
            with suppress(OSError):  # what add() could not write is still in the buffer
                self._file.close()
            self._file = None
        if remove:
            self.path.unlink(missing_ok=True)
        self._lock.free(remove=True)

    def _read(self, fingerprint: str) -> None:
        where = str(self.path)
        lines = read_bytes(self.path, ConfigError, most=MOST_BYTES).split(b"\n")
        torn = lines.pop()  # what follows the last line end
        remedy = f"give another {words.say('state')}; nothing was changed"

        none = "this is no state file of npusim evaluate"

        def fail(what: str, rule: str) -> ConfigError:
            return ConfigError(f"{none}: {what}", where=where, remedy=remedy)

        first = lines[0] if lines else b""
        head = Record(parse_json(first, where, ConfigError, what=none, remedy=remedy), "", fail)
        if head.text("format") != FORMAT:
            raise fail("another format", "")
        if head.text("fingerprint") != fingerprint:
            raise ConfigError(
                "the state belongs to another model, task or set",
                where=str(self.path),
                rule="a state goes on with exactly what it began with",
                remedy=f"remove the file, or give another {words.say('state')}",
            )
        for number, line in enumerate(lines[1:], start=2):
            record = self._record(line, number)
            self.records[record["index"]] = record
        if torn:
            os.truncate(self.path, self.path.stat().st_size - len(torn))

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        remedy = "remove this line: its sample is measured again"

        def fail(what: str, rule: str) -> ConfigError:
            return ConfigError(
                f"line {number} is damaged: {what}", where=str(self.path), remedy=remedy
            )

        try:
            content = json.loads(line)
            if too_deep(content):
                raise RecursionError("it is nested too deeply")
        except (ValueError, RecursionError) as error:
            raise fail(str(error), "") from None
        record = Record(content, "", fail)
        record.whole("index")
        self._check(record)
        return dict(record.fields())


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the state cannot be stored: {error.strerror}", where=str(path), remedy=UNWRITABLE
    )


def _line(value: dict[str, Any]) -> bytes:
    return utf8(json.dumps(value, ensure_ascii=False)) + b"\n"
