"""Parts of an output in words: the worst one makes the figure, all of them are named."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from npusim.analysis.metrics import Difference
from npusim.analysis.parts import PartDifference, worst_part

SHOWN = 6


class Measured(Protocol):
    """A layer with distances, and with those of its parts."""

    @property
    def tensor(self) -> str:
        """Name of the tensor."""

    @property
    def parts(self) -> Sequence[PartDifference]:
        """Its parts; empty where it is one."""


Row = TypeVar("Row", bound=Measured)


def figure(whole: Difference, parts: Sequence[PartDifference]) -> str:
    """Return the cosine that counts, with the name of the part it belongs to."""
    part = worst_part(tuple(parts))
    if part is None:
        return f"{whole.cosine:.6f}"
    return f"{part.difference.cosine:.6f} in its worst part, {part.name}"


def parts_line(row: Measured) -> str:
    """Return a sentence with the cosine and the SQNR of every part of an output, worst first."""
    order = sorted(row.parts, key=lambda part: part.difference.cosine)
    said = ", ".join(
        f"{part.name} {part.difference.cosine:.6f} ({part.difference.sqnr_db:.1f} dB)"
        for part in order[:SHOWN]
    )
    more = len(order) - SHOWN
    return (
        f"{row.tensor} holds {len(order)} kinds of values, which are measured apart: {said}"
        + (f" and {more} more" if more > 0 else "")
        + "."
    )


def output_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the last row of every set of parts: not those it was only moved from."""
    last = {tuple(part.name for part in row.parts): row for row in rows if row.parts}
    return list(last.values())
