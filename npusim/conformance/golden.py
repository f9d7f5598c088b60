"""Read golden vectors: npz files of cases recorded from the reference.

Array ``meta`` is a JSON list of cases; the arrays of case k are stored as ``k.<tensor name>``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim.errors import InputError
from npusim.reading.arrays import DAMAGE, Npz, open_npz
from npusim.reading.records import parse_json

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenOp:
    """One recorded operation, in the recorder's own words."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One recorded graph with its arrays.

    Attributes
    ----------
    tensors : mapping
        Name -> record with ``role`` (input, const, output, transient), ``shape``, ``dtype``, ``q``.
    arrays : mapping
        Values of inputs, constants and outputs.
    engines : tuple of str
        What the driver ran, for example ``NN:convolution``.
    """

    file: str
    index: int
    name: str
    tensors: Mapping[str, Mapping[str, Any]]
    ops: tuple[GoldenOp, ...]
    engines: tuple[str, ...]
    arrays: Mapping[str, Array]

    @property
    def where(self) -> str:
        """Return ``file, case k (name)`` for messages."""
        return f"{self.file}, case {self.index} ({self.name})"

    def named(self, role: str) -> tuple[str, ...]:
        """Return the tensors of a role, in order."""
        return tuple(name for name, record in self.tensors.items() if record["role"] == role)


def read_golden(path: str | Path) -> Iterator[GoldenCase]:
    """Yield the cases of a file.

    Raises
    ------
    InputError
        When the file is missing, damaged or no golden file.
    """
    path = Path(path)
    try:
        with open_npz(path) as stored:
            cases = parse_json(stored.text("meta"), str(path), InputError)
            for index, record in enumerate(cases):
                yield _case(path.name, index, record, stored)
    except DAMAGE as error:
        raise InputError(
            f"cannot be read as golden vectors ({type(error).__name__}: {error})",
            where=str(path),
            rule="an npz with a JSON list 'meta' and arrays named 'k.tensor', no pickles",
        ) from error


def _case(file: str, index: int, record: Mapping[str, Any], stored: Npz) -> GoldenCase:
    tensors = record["tensors"]
    for op in record["ops"]:
        if not isinstance(op["kind"], str) or not op["inputs"] or not op["outputs"]:
            raise ValueError(f"case {index} has an operation without kind, inputs or outputs")
        if lost := [name for name in (*op["inputs"], *op["outputs"]) if name not in tensors]:
            raise ValueError(f"case {index} has no tensors {lost}")
    arrays = {
        name: stored.read(f"{index}.{name}")
        for name, tensor in tensors.items()
        if tensor["role"] != "transient"
    }
    ops = tuple(
        GoldenOp(
            kind=op["kind"],
            inputs=tuple(op["inputs"]),
            outputs=tuple(op["outputs"]),
            attrs=op["attrs"],
        )
        for op in record["ops"]
    )
    return GoldenCase(
        file=file,
        index=index,
        name=str(record.get("name", "")),
        tensors=tensors,
        ops=ops,
        engines=tuple(record["engines"]),
        arrays=arrays,
    )
