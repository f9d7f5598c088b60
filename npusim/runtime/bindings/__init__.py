"""Bindings, one module per family of operators; ``load_bindings`` registers them all."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules


@cache
def load_bindings() -> tuple[str, ...]:
    """Import every module of this package once and return their names.

    Kernel modules are imported with them but nothing is compiled before its first call.
    """
    names = tuple(sorted(module.name for module in iter_modules(__path__)))
    for name in names:
        import_module(f"{__name__}.{name}")
    return names
