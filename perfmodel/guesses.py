"""Which constants of an estimate nobody has measured, documented or fitted on its chip."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from npusim.ir.dtypes import DType
from npusim.perfmodel.machine import Machine

ENGINE_SECTIONS = ("nn", "tp", "shader", "memory")
OF_16_BITS = ("16bit", "float")
NAMED = 6  # guesses that a line names; more are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A constant that is a guess. ``taken_from`` is the chip it was found on, empty for none."""

    constant: str
    value: float | tuple[float, ...]
    source: str
    taken_from: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "constant": self.constant,
            "value": list(self.value) if isinstance(self.value, tuple) else self.value,
            "source": self.source,
            "taken_from": self.taken_from or None,
        }


def guesses_of(machine: Machine, profile: str, dtypes: Iterable[DType]) -> tuple[Guess, ...]:
    """Return the guesses that an estimate rests on, a chip's own before those taken over.

    Constants of 16-bit formats count when one of ``dtypes`` is such a format, the host's link when
    the chip has one.
    """
    wide = any(dtype.bits == 16 for dtype in dtypes)
    sections = [*ENGINE_SECTIONS, profile, *["host"] * bool(machine.host.link_bytes_per_s)]
    found = []
    for constant, provenance in machine.provenance.items():
        section, _, key = constant.partition(".")
        if provenance.confidence != "guess" or section not in sections:
            continue
        if not wide and any(mark in key for mark in OF_16_BITS):
            continue
        found.append(
            Guess(
                constant=constant,
                value=getattr(getattr(machine, section), key),
                source=provenance.source,
                taken_from=provenance.taken_from,
            )
        )
    return tuple(sorted(found, key=lambda guess: bool(guess.taken_from)))


def guesses_line(machine: Machine, guesses: Iterable[Guess]) -> str:
    """Return a line that names the guesses; nothing without any."""
    own: list[str] = []
    taken: dict[str, int] = {}
    for guess in guesses:
        if guess.taken_from:
            taken[guess.taken_from] = taken.get(guess.taken_from, 0) + 1
        else:
            own.append(guess.constant)
    words = own[:NAMED] + [f"{len(own) - NAMED} more"] * (len(own) > NAMED)
    words += [f"{count} constants taken over from {chip}" for chip, count in taken.items()]
    return f"guessed for {machine.name}: {', '.join(words)}" if words else ""
