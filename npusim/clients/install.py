"""Put the toolkit's module names into an environment, for scripts that are started as ever."""

import base64
import csv
import hashlib
import importlib.machinery
import io
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from npusim import __version__
from npusim.clients.script import ALIAS, NAMES
from npusim.errors import UNWRITABLE, ConfigError

DISTRIBUTION = "npusim-rknn-alias"
_INFO = f"{DISTRIBUTION.replace('-', '_')}-{__version__}.dist-info"
_REMOVE = "npusim exec --remove-alias"


def site_folder() -> Path:
    """Return where packages of the running Python are installed."""
    return Path(sysconfig.get_path("purelib"))


def install_alias(folder: Path | None = None) -> str:
    """Write the packages ``rknn`` and ``rknnlite`` and a record of them; return what was done.

    Parameters
    ----------
    folder : Path, optional
        Default: the running environment's packages.

    Raises
    ------
    ConfigError
        Packages of these names are there, or the folder cannot be written.
    """
    folder = site_folder() if folder is None else folder
    if _records(folder):
        _remove(folder)  # an earlier version's
    _refuse_others(folder)
    files = dict(_files())
    lines = [(name, _digest(data), str(len(data))) for name, data in files.items()]
    record = io.StringIO()
    csv.writer(record, lineterminator="\n").writerows([*lines, (f"{_INFO}/RECORD", "", "")])
    files[f"{_INFO}/RECORD"] = record.getvalue().encode()
    try:
        for name, data in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"the packages cannot be written: {error.strerror or error}",
            where=str(folder),
            remedy=UNWRITABLE,
        ) from None
    return (
        f"rknn.api and rknnlite.api in {folder} lead to npusim {__version__}; {_REMOVE} undoes it"
    )


def remove_alias(folder: Path | None = None) -> str:
    """Delete what ``install_alias`` wrote and nothing else; return what was done.

    Raises
    ------
    ConfigError
        Nothing was installed there.
    """
    folder = site_folder() if folder is None else folder
    if not _records(folder):
        raise ConfigError(
            "npusim has no alias of rknn and rknnlite here",
            where=str(folder),
            rule="npusim exec --install-alias writes one",
        )
    kept = _remove(folder)
    changed = f"; changed since and therefore kept: {', '.join(kept)}" if kept else ""
    return f"removed rknn and rknnlite of npusim from {folder}{changed}"


def _files() -> Iterator[tuple[str, bytes]]:
    """Return (path below the folder, content) of everything but the record."""
    for package in NAMES:
        for path in sorted((ALIAS / package).rglob("*.py")):
            yield path.relative_to(ALIAS).as_posix(), path.read_bytes()
    text = (
        f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {__version__}\n"
        "Summary: rknn.api and rknnlite.api, leading to npusim\nRequires-Dist: npusim\n"
    )
    yield f"{_INFO}/METADATA", text.encode()
    yield f"{_INFO}/INSTALLER", b"npusim\n"
    yield f"{_INFO}/top_level.txt", "".join(f"{name}\n" for name in NAMES).encode()


def _digest(data: bytes) -> str:
    code = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={code}"


def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{DISTRIBUTION.replace('-', '_')}-*.dist-info/RECORD"))


def _refuse_others(folder: Path) -> None:
    for name in NAMES:
        paths = [str(folder), *(p for p in sys.path if p and Path(p).resolve() != ALIAS)]
        spec = importlib.machinery.PathFinder.find_spec(name, paths)
        if spec is None:
            continue
        place = spec.origin or ", ".join(spec.submodule_search_locations or ())
        if spec.origin is None and not (folder / name).exists():
            continue  # a folder of that name somewhere on the path, such as one of models
        raise ConfigError(
            f"there is a package {name} that is not npusim's",
            where=place,
            rule="the vendor's toolkit is never replaced",
            remedy="npusim exec SCRIPT runs scripts without it, or install npusim into an "
            "environment of its own",
        )


def _remove(folder: Path) -> list[str]:
    """Delete the files of all records that are as they were written; return the others."""
    kept = []
    for record in _records(folder):
        rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
        folders: set[Path] = set()
        for name, digest, _ in rows:
            path = folder / name
            if not path.is_file():
                continue
            if digest and _digest(path.read_bytes()) != digest:
                kept.append(name)
                continue
            path.unlink()
            folders.update(p for p in path.parents if folder in p.parents)
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()
        for each in sorted(folders, key=lambda p: -len(p.parts)):
            for empty in (each / "__pycache__", each):
                if empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()
    return kept
