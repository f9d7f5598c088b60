"""Bars of progress for ``progress=True``: tqdm's where it is installed, which notebooks draw."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Told = Callable[..., None]


@contextmanager
def bar(text: str) -> Iterator[Told]:
    """Yield what is called with (done, total or 0, ...) and draws a bar.

    Parameters
    ----------
    text : str
        Stands before the bar.
    """
    with _tqdm(text) if find_spec("tqdm") else _rich(text) as told:
        yield told


@contextmanager
def _tqdm(text: str) -> Iterator[Told]:
    drawn = import_module("tqdm.auto").tqdm(desc=text)

    def told(done: int, total: int = 0, *_: Any) -> None:
        drawn.total = total or None
        drawn.update(done - drawn.n)

    try:
        yield told
    finally:
        drawn.close()


@contextmanager
def _rich(text: str) -> Iterator[Told]:
    from rich.progress import Progress

    with Progress() as drawn:
        task = drawn.add_task(text, total=None)

        def told(done: int, total: int = 0, *_: Any) -> None:
            drawn.update(task, completed=done, total=total or None)

        yield told
