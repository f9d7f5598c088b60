"""What commands do with what their parameters name, declared beside each: read, written, neither.

``Annotated[Path, typer.Option(..), WRITTEN]``. What a command writes is none of its other files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import typer

from npusim.api.overwriting import refuse_overwriting, refuse_unwritable

Given = Mapping[str, Any]
"""Parameter -> value, as the function of a command gets them."""


def _named(value: Any, given: Given) -> Iterable[Path]:
    del given
    values = value if isinstance(value, list) else [value]
    return [Path(one) for one in values if one]


@dataclass(frozen=True, slots=True)
class NoFile:
    """A parameter that names no file."""


@dataclass(frozen=True, slots=True)
class Read:
    """A parameter whose file or folder is read; ``words`` are values that name none."""

    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A parameter whose file or folder is written.

    ``files`` returns the paths for a value, where they are others than the value; it also gets
    everything that the command was given. ``is_folder``: the value is a folder, which is made where
    it is missing.
    """

    files: Callable[[Any, Given], Iterable[Path]] = _named
    is_folder: bool = False


NO_FILE, READ, WRITTEN = NoFile(), Read(), Written()
FOLDER = Written(is_folder=True)
KEPT = Written()
"""A file that its own command goes on with: read and written, yet no other file's."""


def folder_with(*patterns: str) -> Written:
    """Return the use of a folder in which files of these patterns are replaced or removed."""

    def files(folder: Path | None, given: Given) -> Iterable[Path]:
        del given
        return [folder, *(p for each in patterns for p in folder.glob(each))] if folder else []

    return Written(files, is_folder=True)


def declared(command: Callable[..., None]) -> dict[str, tuple[str, NoFile | Read | Written]]:
    """Return parameter -> (spelling, use) of the parameters of a command that declare one."""
    found = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        for use in getattr(hint, "__metadata__", ()):
            if isinstance(use, NoFile | Read | Written):
                found[name] = spelled(name, hint), use
    return found


def spelled(name: str, hint: Any) -> str:
    """Return a parameter as the command line shows it: ``MODEL``, ``--output``."""
    info = hint.__metadata__[0]
    # typer takes the first word of an annotated option for its default
    first = info.default if isinstance(info.default, str) else None
    first = first or next(iter(info.param_decls or ()), None)
    if isinstance(info, typer.models.ArgumentInfo):
        return info.metavar or name.upper()
    return first or f"--{name.replace('_', '-')}"


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that refuses to overwrite its own files before it does anything."""
    uses = declared(command)
    if not any(isinstance(use, Written) for _, use in uses.values()):
        return command

    @wraps(command)
    def call(**given: Any) -> None:
        refuse_overwriting(_read(uses, given), _written(uses, given))
        refuse_unwritable(_written(uses, given, folders=False), _folders(uses, given))
        command(**given)

    return call


def _read(uses: Mapping[str, Any], given: Given) -> Iterator[tuple[str, Path]]:
    for name, (shown, use) in uses.items():
        if isinstance(use, Read) and given.get(name) not in use.words:
            yield from ((shown, path) for path in _named(given.get(name), given))


def _folders(uses: Mapping[str, Any], given: Given) -> Iterator[tuple[str, Path]]:
    for name, (shown, use) in uses.items():
        if isinstance(use, Written) and use.is_folder and given.get(name):
            yield shown, Path(given[name])


def _written(
    uses: Mapping[str, Any], given: Given, *, folders: bool = True
) -> Iterator[tuple[str, Path]]:
    for name, (shown, use) in uses.items():
        if isinstance(use, Written) and (folders or not use.is_folder):
            yield from ((shown, path) for path in use.files(given.get(name), given))
