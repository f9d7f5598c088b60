"""The page that ``html=`` of the RKNN class asks for, which the vendor's toolkit does not have."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from npusim.api.overwriting import refuse_overwriting, refuse_unwritable
from npusim.api.reporting import finished
from npusim.errors import ConfigError
from npusim.reading.files import is_path
from npusim.report.page.contents import Contents
from npusim.report.page.write import require_templates
from npusim.rknn.log import Log


class HtmlPage:
    """A page to write when there is something to show; None is no page.

    Parameters
    ----------
    path : path or None
    log : Log
    read : iterable of (str, Path)
        What the call reads, which the page must not replace.

    Raises
    ------
    ConfigError
        When ``path`` is something else, or a file that is read.
    MissingExtraError
        Without Jinja2, before anything runs.
    """

    def __init__(self, path: Any, log: Log, read: Iterable[tuple[str, Path]]) -> None:
        if path is not None:
            if not is_path(path):
                raise ConfigError(f"html {path!r}", rule="the path of an HTML file to write")
            refuse_overwriting(read, [("html", Path(path))])
            refuse_unwritable([("html", Path(path))])
            require_templates()
        self._path, self._log, self._begin = path, log, time.perf_counter()

    def write(self, make: Callable[[], Contents]) -> None:
        """Write what ``make`` returns, when a page was asked for."""
        if self._path is None:
            return
        made = finished(make(), (), self._begin)
        self._log.info(f"{made.write(self._path)}: {made.verdict}")
