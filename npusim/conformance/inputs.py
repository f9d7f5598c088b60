"""What a path holds: golden vectors, tables of the performance model, recorded models."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from npusim.conformance.forms import FLOAT
from npusim.conformance.importer_cases import ENDINGS, is_importer_cases
from npusim.conformance.importers import ImporterResult, replay_importers
from npusim.conformance.replay import Result, replay
from npusim.errors import InputError
from npusim.perfmodel.agreement import GroupError, table_errors, table_kind

TABLE_ENDINGS = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Replayed vectors, errors on tables and replayed models, each in the order of the paths."""

    golden: tuple[Result, ...]
    tables: tuple[GroupError, ...]
    models: tuple[ImporterResult, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether nothing differs more than granted, and every deviation has a reason."""
        kinds = (self.golden, self.tables, self.models)
        return all(found.ok for kind in kinds for found in kind)


def is_table(path: Path) -> bool:
    """Tell whether a file is named like a table."""
    return path.name.endswith(TABLE_ENDINGS)


def golden_files(paths: Iterable[str | Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Return npz files, tables and recorded models of files and folders, sorted within a folder.

    A folder is searched through; csv files in it that are no tables are passed over.

    Raises
    ------
    InputError
        When a path does not exist or a folder holds nothing to check.
    """
    vectors: list[Path] = []
    tables: list[Path] = []
    models: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            found = []
        elif path.is_dir():
            found = sorted(path.rglob("*.npz"))
            found += [p for p in sorted(path.rglob("*.csv*")) if is_table(p) and table_kind(p)]
            found += sorted(p for end in ENDINGS for p in path.rglob(f"*{end}"))
        else:
            found = [path]
        if not found:
            raise InputError(
                "no golden file and no table here",
                where=str(path),
                rule="an npz file, a csv table, a jsonl file of models or a folder of them",
            )
        tables += filter(is_table, found)
        models += filter(is_importer_cases, found)
        vectors += (p for p in found if not is_table(p) and not is_importer_cases(p))
    return vectors, tables, models


def conform(paths: Iterable[str | Path], form: str = FLOAT) -> Findings:
    """Replay golden vectors and models, and compare the performance model with tables.

    Parameters
    ----------
    paths : paths
        Files and folders.
    form : str
        What recorded models are run in: float, f16, u8, i8 or i16.

    Raises
    ------
    InputError
        When a path holds neither.
    ConfigError
        When there is no such format.
    ModelImportError
        When a table cannot be understood or its layer lists are missing.
    """
    vectors, tables, models = golden_files(paths)
    return Findings(
        golden=tuple(result for path in vectors for result in replay(path)),
        tables=tuple(error for path in tables for error in table_errors(path)),
        models=tuple(result for path in models for result in replay_importers(path, form)),
    )
