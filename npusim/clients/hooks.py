"""Change a module when a script imports it, and only then."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

Change = Callable[[ModuleType, ExitStack], None]
"""Changes a module; what has to be undone at the end goes onto the stack."""


class _Finder(MetaPathFinder):
    """Finds what the others find and lets the change happen behind it."""

    def __init__(self, changes: Mapping[str, Change], undo: ExitStack) -> None:
        self._changes, self._undo = changes, undo
        self._looking: set[str] = set()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        change = self._changes.get(fullname)
        if change is None or fullname in self._looking:
            return None
        self._looking.add(fullname)
        try:
            spec = _spec_of_others(self, fullname, path, target)
        finally:
            self._looking.discard(fullname)
        if spec is None or spec.loader is None:
            return spec
        load: Any = spec.loader.exec_module

        def loaded(module: ModuleType) -> None:
            load(module)
            change(module, self._undo)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def _spec_of_others(
    own: MetaPathFinder,
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> importlib.machinery.ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is own or find is None:
            continue
        spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
        if spec is not None:
            return spec
    return None


@contextmanager
def changed(changes: Mapping[str, Change]) -> Iterator[None]:
    """Apply changes to modules that are loaded, and to others when they are imported."""
    with ExitStack() as undo:
        finder = _Finder(changes, undo)
        for name, change in changes.items():
            if name in sys.modules:
                change(sys.modules[name], undo)
        sys.meta_path.insert(0, finder)
        undo.callback(sys.meta_path.remove, finder)
        yield


def put(module: Any, name: str, value: Any, undo: ExitStack) -> None:
    """Set an attribute of a module or class until the end."""
    missing = object()
    before = vars(module).get(name, missing)
    setattr(module, name, value)
    if before is missing:
        undo.callback(vars(module).pop, name, None) if isinstance(
            module, ModuleType
        ) else undo.callback(delattr, module, name)
    else:
        undo.callback(setattr, module, name, before)
