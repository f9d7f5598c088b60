"""Files that hold code which reading them runs: those of other users have to be trusted first."""

import os
from pathlib import Path

from npusim.environment import TRUST
from npusim.errors import NpusimError

HELP = "Also load TorchScript files that another user owns: loading one runs the code in it."
_trusted = False


def trust_files(wanted: bool) -> None:
    """Trust every file from now on; ``--trust`` of the command line."""
    global _trusted
    _trusted = _trusted or wanted


def check_owner(path: Path, error: type[NpusimError], remedy: str, *, trust: bool = False) -> None:
    """Refuse a file with code that belongs to another user, unless it is trusted.

    Systems whose files have no numbered owners (Windows) are not checked.

    Parameters
    ----------
    path : Path
        An existing file.
    error : type of NpusimError
        What is raised.
    remedy : str
        How the front end says that a file is trusted.
    trust : bool
        The caller trusts it. ``trust_files`` and the variable ``NPUSIM_TRUST`` do the same.

    Raises
    ------
    NpusimError
        Of the type ``error``.
    """
    if trust or _trusted or TRUST.read() == "1" or not hasattr(os, "geteuid"):
        return
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise error(
            f"the file belongs to another user (number {owner}), and loading it runs its code",
            where=str(path),
            rule="code of files that you do not own is run when you say so",
            remedy=remedy,
        )
