"""What the library says while a command runs, on standard error: each sentence once."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from npusim.plain import printable


class Once(logging.Handler):
    """Prints messages of the logger ``npusim`` from INFO on; warnings are called so."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._said: set[str] = set()
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message that was not printed before."""
        text = printable(record.getMessage(), lines=True).replace("\n", "\n  ")
        if text in self._said:
            return
        self._said.add(text)
        if record.levelno >= logging.WARNING:
            self.warnings.append(text)
        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        print(f"{mark}{text}", file=sys.stderr)


@contextmanager
def library_messages() -> Iterator[None]:
    """Print what the library says while a command runs."""
    logger, handler = logging.getLogger("npusim"), Once()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def warnings_so_far() -> tuple[str, ...]:
    """Return the warnings that the running command has printed."""
    handlers = logging.getLogger("npusim").handlers
    return tuple(text for one in handlers if isinstance(one, Once) for text in one.warnings)


@contextmanager
def without_library_messages() -> Iterator[None]:
    """Print nothing of the library itself while a script runs: its RKNN objects have own logs."""
    logger = logging.getLogger("npusim")
    handlers = [handler for handler in logger.handlers if isinstance(handler, Once)]
    level = logger.level
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.addHandler(handler)
