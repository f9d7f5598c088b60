"""Optional dependencies, imported where they are used."""

from importlib import import_module
from types import ModuleType

from npusim.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module or say which extra brings it.

    Parameters
    ----------
    module : str
        Name to import, for example ``"onnxruntime"``.
    extra : str
        The extra of this package that installs it.
    purpose : str
        What it is needed for, in a few words.

    Raises
    ------
    MissingExtraError
        When the module is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise missing(module, extra=extra, purpose=purpose) from error


def missing(module: str, *, extra: str, purpose: str) -> MissingExtraError:
    """Return the error that says which extra brings a module; see ``require``."""
    return MissingExtraError(
        f"{purpose} needs the package {module!r}, which is not installed",
        remedy=f"python -m pip install 'npusim[{extra}]'",
    )
