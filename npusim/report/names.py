"""Long names in tables: fused layers are called by all their parts."""

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

NARROWEST = 14
_GAP = "…"
_PART = re.compile(r" \+ |[/;,:._~ +-]")  # where layers, scopes and fused origins are joined
_DIGITS = re.compile(r"\d+")


def shorten(name: str, width: int) -> str:
    """Return a name of at most ``width`` characters, with its middle left out.

    The end, where names differ and the uid is, gets two thirds. The name is cut where its parts
    are joined when that leaves most of the room in use, and never inside a number.

    >>> shorten("backbone/block_12/conv1/BiasAdd_and_Relu6_417", 40)
    'backbone/…/conv1/BiasAdd_and_Relu6_417'
    >>> shorten("backbone/block_12/conv1/BiasAdd_and_Relu6_417", 10)
    'bac…_417'
    """
    if len(name) <= width:
        return name
    if width < 1:
        return ""
    tail_room = (width - 1) * 2 // 3
    head_room = width - 1 - tail_room
    head = _whole_numbers(name, _nearest(name, head_room, before=True), before=True)
    start = _nearest(name, len(name) - (width - 1 - head), before=False)
    start = _whole_numbers(name, start, before=False)
    return f"{name[:head]}{_GAP}{name[start:]}"


def _nearest(name: str, at: int, *, before: bool) -> int:
    """Return a joint near a position on its own side; the position when joints are far away."""
    joints = [m.end() if before else m.start() for m in _PART.finditer(name)]
    fitting = [j for j in joints if (j <= at if before else j >= at)]
    if not fitting:
        return at
    nearest = max(fitting) if before else min(fitting)
    room = at if before else len(name) - at
    return nearest if abs(nearest - at) <= room // 2 else at


def _whole_numbers(name: str, at: int, *, before: bool) -> int:
    """Return the position, or the end of a number that it would cut, on its own side."""
    for match in _DIGITS.finditer(name):
        if match.start() < at < match.end():
            return match.start() if before else match.end()
    return at


class Name:
    """A name in a table's cell: shortened to the width that its column gets.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shorten(self.text, options.max_width), no_wrap=True, overflow="crop")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max(1, len(self.text))
        return Measurement(min(longest, NARROWEST), longest).with_maximum(options.max_width)
