"""Recorded models of other frameworks: their files, inputs and what the real programs gave.

A case is a line of JSON (``.jsonl``, ``.jsonl.gz``): files, inputs, and outputs or the reason why
the program refuses the model. The format is told in the README beside the cases.
"""

import base64
import binascii
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import InputError
from npusim.reading.arrays import DAMAGE

Array = NDArray[Any]
ENDINGS = (".jsonl", ".jsonl.gz")
LONGEST_LINE = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class ImporterCase:
    """One recorded model.

    Attributes
    ----------
    layers : tuple of str
        Layer types that occur, as the framework names them.
    files : mapping
        File name -> content.
    inputs, outputs : mapping
        Name -> array; an input that is not here is all zeros.
    error : str
        Why the program refuses the model; empty when it does not.
    """

    framework: str
    label: str
    program: str
    layers: tuple[str, ...]
    files: Mapping[str, bytes]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    error: str

    def write(self, folder: Path) -> None:
        """Write the files of the model into a folder."""
        for name, content in self.files.items():
            (folder / Path(name).name).write_bytes(content)


def is_importer_cases(path: Path) -> bool:
    """Tell whether a file is named like recorded models."""
    return path.name.endswith(ENDINGS)


def read_cases(path: Path) -> Iterator[ImporterCase]:
    """Yield the cases of a file.

    Raises
    ------
    InputError
        When the file is missing, damaged or holds something else; names the line.
    """
    number = 0
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                yield _case(json.loads(line))
    except DAMAGE as error:
        raise InputError(
            f"cannot be read as recorded models ({type(error).__name__}: {error})",
            where=f"{path}: line {number}",
            rule="one JSON object a line: framework, files, inputs, outputs or error",
        ) from error


def _case(record: Mapping[str, Any]) -> ImporterCase:
    return ImporterCase(
        framework=str(record["framework"]),
        label=str(record["label"]),
        program=str(record["program"]),
        layers=tuple(record["layers"]),
        files={name: _content(value) for name, value in record["files"].items()},
        inputs={name: _array(value) for name, value in record.get("inputs", {}).items()},
        outputs={name: _array(value) for name, value in record.get("outputs", {}).items()},
        error=str(record.get("error", "")),
    )


def _content(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    try:
        return base64.b64decode(value["base64"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"a file is no base64: {error}") from error


def _array(value: Mapping[str, Any]) -> Array:
    dtype = np.dtype(value.get("dtype", "float32"))
    numbers = [float(n) if dtype.kind == "f" else n for n in value["data"]]
    return np.array(numbers, dtype).reshape(value["shape"])
