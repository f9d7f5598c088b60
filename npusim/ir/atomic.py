"""Write a file completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path`` for writing; it takes the name when all went well.

    Parameters
    ----------
    path : path
        Final name; an existing file is replaced. A link keeps pointing to its target.

    Yields
    ------
    BinaryIO
        Removed again when the block raises, so ``path`` never holds half a file.

    Raises
    ------
    OSError
        When the folder is missing or not writable.
    """
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".{final.name}.{token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
