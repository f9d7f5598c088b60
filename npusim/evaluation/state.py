"""What has been measured so far, on disk: an evaluation that stops goes on where it was.

One JSON object a line. The first line says what is measured; each other line is one sample's
record. Lines are appended and synchronised; a line that a crash cut short does not count and is
removed by the next run.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from npusim import words
from npusim.errors import UNWRITABLE, ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.locks import state_lock

FORMAT = "npusim evaluate 1"


class State:
    """Records of finished samples in a file.

    Parameters
    ----------
    path : path
    fingerprint : str
        Digest of the models, the task and the set.

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

    def __init__(self, path: str | Path, fingerprint: str) -> None:
        self.path = Path(path)
        self.records: dict[int, dict[str, Any]] = {}
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
        lines = self.path.read_bytes().split(b"\n")
        torn = lines.pop()  # what follows the last line end
        try:
            head = json.loads(lines[0])
            if head.get("format") != FORMAT:
                raise ValueError
        except (IndexError, ValueError, AttributeError):
            raise ConfigError(
                "this is no state file of npusim evaluate",
                where=str(self.path),
                remedy=f"give another {words.say('state')}; nothing was changed",
            ) from None
        if head["fingerprint"] != fingerprint:
            raise ConfigError(
                "the state belongs to another model, task or set",
                where=str(self.path),
                rule="a state goes on with exactly what it began with",
                remedy=f"remove the file, or give another {words.say('state')}",
            )
        for number, line in enumerate(lines[1:], start=2):
            try:
                record = json.loads(line)
                self.records[record["index"]] = record
            except (ValueError, KeyError, TypeError):
                raise ConfigError(
                    f"line {number} is damaged",
                    where=str(self.path),
                    remedy="remove this line: its sample is measured again",
                ) from None
        if torn:
            os.truncate(self.path, self.path.stat().st_size - len(torn))


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the state cannot be stored: {error.strerror}", where=str(path), remedy=UNWRITABLE
    )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
