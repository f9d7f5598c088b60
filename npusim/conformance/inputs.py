"""What a path holds: golden vectors, reference tables of the performance model, or both."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from npusim.conformance.replay import Result, replay
from npusim.errors import InputError
from npusim.perfmodel.agreement import GroupError, table_errors, table_kind

TABLE_ENDINGS = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Replayed golden vectors and errors on tables, each in the order of the paths."""

    golden: tuple[Result, ...]
    tables: tuple[GroupError, ...]

    @property
    def ok(self) -> bool:
        """Tell whether vectors differ no more than granted and errors are within the targets."""
        return all(r.ok for r in self.golden) and all(e.ok for e in self.tables)


def is_table(path: Path) -> bool:
    """Tell whether a file is named like a table."""
    return path.name.endswith(TABLE_ENDINGS)


def golden_files(paths: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """Return the npz files and the tables of files and folders, sorted within a folder.

    A folder is searched through; csv files in it that are no tables are passed over.

    Raises
    ------
    InputError
        When a path does not exist or a folder holds nothing to check.
    """
    vectors: list[Path] = []
    tables: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            found = []
        elif path.is_dir():
            found = sorted(path.rglob("*.npz"))
            found += [p for p in sorted(path.rglob("*.csv*")) if is_table(p) and table_kind(p)]
        else:
            found = [path]
        if not found:
            raise InputError(
                "no golden file and no table here",
                where=str(path),
                rule="an npz file, a csv table or a folder of them",
            )
        tables += filter(is_table, found)
        vectors += (p for p in found if not is_table(p))
    return vectors, tables


def conform(paths: Iterable[str | Path]) -> Findings:
    """Replay golden vectors and compare the performance model with tables.

    Raises
    ------
    InputError
        When a path holds neither.
    ModelImportError
        When a table cannot be understood or its layer lists are missing.
    """
    vectors, tables = golden_files(paths)
    return Findings(
        golden=tuple(result for path in vectors for result in replay(path)),
        tables=tuple(error for path in tables for error in table_errors(path)),
    )
