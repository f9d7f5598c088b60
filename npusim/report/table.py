"""The one table of all commands: numbers stay whole, names give way, then whole columns do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from npusim.plain import printable
from npusim.report.names import Name

NARROWEST_NAME = 14  # before columns are left out for the sake of names
LEAST_NAME = 8
LEAST_PROSE = 24
LEGEND = {
    "NN": "convolution cores",
    "TP": "tensor processor (tables and moving data)",
    "SH": "shader",
    "launch": "starting the operation",
    "compute": "the engine's arithmetic",
    "ddr": "external memory",
    "sram": "memory on the chip",
    "output": "writing results",
    "decode": "unpacking weights",
    "free": "needs no operation",
    "steps": "largest error in steps of the number format",
    "alone": "this layer quantized, fed with float results",
    "entire": "the whole network quantized",
    "clipped": "elements beyond the low and the high end of the range",
    "peak": "share of the engine's highest rate",
    "saturated": "elements at the ends of the number format",
}


class Kind(Enum):
    """What a column holds, and so what may happen to it."""

    NUMBER = "number"  # whole, to the right
    WORD = "word"  # whole, to the left
    NAME = "name"  # shortened in its middle
    PROSE = "prose"  # goes on in the next line


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    heading : str
        May have several lines.
    kind : Kind
    priority : int
        0 is always there; where width is lacking, the highest goes first.
    """

    heading: str
    kind: Kind = Kind.NUMBER
    priority: int = 0

    @property
    def title(self) -> str:
        """Return the heading in one line."""
        return self.heading.replace("\n", " ")


@dataclass(slots=True)
class Sheet:
    """Rows under columns, drawn in the width there is.

    Closer columns first, then fewer of them (the line below names what is left out), and where
    even those that must be there have no room, a line per figure.

    Attributes
    ----------
    columns : sequence of Column
    title : str
    legend : sequence of str
        Words of ``LEGEND`` to explain below.
    notes : list of str
        Further lines below.
    """

    columns: Sequence[Column]
    title: str = ""
    legend: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)
    rows: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    sections: set[int] = field(default_factory=set)

    def add(self, *cells: object, style: str = "") -> None:
        """Add a row: a cell per column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        kinds = (column.kind is not Kind.NAME for column in self.columns)
        said = tuple(printable(str(c), lines=k) for c, k in zip(cells, kinds, strict=True))
        self.rows.append((said, style))

    def add_section(self) -> None:
        """Draw a line after the rows so far."""
        self.sections.add(len(self.rows))

    @property
    def row_count(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, gap = self._fitting(options.max_width)
        if self.title:
            yield Text(printable(self.title, lines=True), style="bold")
        if shown:
            yield self._table(shown, gap, options.max_width)
        else:
            yield from self._stacked()
        hidden = [c.title for n, c in enumerate(self.columns) if shown and n not in shown]
        if hidden:
            yield Text(f"no room here for: {', '.join(hidden)} (COLUMNS=160 shows more)", "dim")
        if self.legend:
            yield Text("; ".join(f"{word}: {LEGEND[word]}" for word in self.legend), style="dim")
        yield from (Text(printable(note, lines=True)) for note in self.notes)

    def _width(self, number: int) -> int:
        column = self.columns[number]
        lines = [*column.heading.split("\n")]
        for cells, _ in self.rows:
            lines += cells[number].split("\n")
        return max(map(cell_len, lines), default=0)

    def _least(self, number: int, name: int) -> int:
        """Return the width that a column must have when names get at least ``name``."""
        width, kind = self._width(number), self.columns[number].kind
        heading = max(map(cell_len, self.columns[number].heading.split("\n")))
        if kind is Kind.NAME:
            return min(width, max(name, heading))
        return min(width, LEAST_PROSE) if kind is Kind.PROSE else width

    def _fitting(self, room: int) -> tuple[list[int], int]:
        """Return the numbers of the columns that fit, and the gap; none where too few do."""
        levels = sorted({c.priority for c in self.columns}, reverse=True)
        for name in (NARROWEST_NAME, LEAST_NAME):
            for level in levels if name == NARROWEST_NAME else levels[-1:]:
                shown = [n for n, c in enumerate(self.columns) if c.priority <= level]
                needed = sum(self._least(n, name) for n in shown)
                for gap in (2, 1):
                    if needed + gap * (len(shown) - 1) <= room:
                        return shown, gap
        return [], 0

    def _table(self, shown: list[int], gap: int, room: int) -> Table:
        table = Table(box=SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False)
        widths = self._widths(shown, room - gap * (len(shown) - 1))
        for number in shown:
            column = self.columns[number]
            right = column.kind is Kind.NUMBER
            prose = column.kind is Kind.PROSE
            table.add_column(
                Text(column.heading, justify="right" if right else "left"),
                justify="right" if right else "left",
                width=widths[number],
                no_wrap=not prose,
                overflow="fold" if prose else "crop",
            )
        for done, (cells, style) in enumerate(self.rows):
            table.add_row(
                *(
                    Name(cells[n]) if self.columns[n].kind is Kind.NAME else Text(cells[n])
                    for n in shown
                ),
                style=style,
                end_section=done + 1 in self.sections,
            )
        return table

    def _widths(self, shown: list[int], room: int) -> dict[int, int]:
        """Return the widths of columns: what is left goes to names, then to prose."""
        for least in (NARROWEST_NAME, LEAST_NAME):
            widths = {n: self._least(n, least) for n in shown}
            if sum(widths.values()) <= room:
                break
        left = room - sum(widths.values())
        for kind in (Kind.NAME, Kind.PROSE):
            waiting = [n for n in shown if self.columns[n].kind is kind]
            for place, number in enumerate(waiting):
                more = min(left // (len(waiting) - place), self._width(number) - widths[number])
                widths[number] += more
                left -= more
        return widths

    def _stacked(self) -> Iterable[Text]:
        """Yield a line per figure, rows apart."""
        titles = [column.title for column in self.columns]
        for done, (cells, style) in enumerate(self.rows):
            if done:
                yield Text("")
            for title, cell in zip(titles, cells, strict=True):
                yield Text(f"{title}: {cell}" if title else cell, style=style, overflow="fold")


def legend_of(words: Iterable[str]) -> tuple[str, ...]:
    """Return the words of ``LEGEND`` among some, each once, in the legend's order."""
    used = set(words)
    return tuple(word for word in LEGEND if word in used)


def names(*headings: str, priority: int = 0) -> list[Column]:
    """Return columns of names."""
    return [Column(heading, Kind.NAME, priority) for heading in headings]


def words(*headings: str, priority: int = 0) -> list[Column]:
    """Return columns of single words."""
    return [Column(heading, Kind.WORD, priority) for heading in headings]


def numbers(*headings: str, priority: int = 0) -> list[Column]:
    """Return columns of numbers."""
    return [Column(heading, Kind.NUMBER, priority) for heading in headings]


def prose(*headings: str, priority: int = 0) -> list[Column]:
    """Return columns of sentences."""
    return [Column(heading, Kind.PROSE, priority) for heading in headings]
