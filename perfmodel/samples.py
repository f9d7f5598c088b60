"""Measured times of networks, and what the model says of them for any board constants.

A table of times is a csv file with the columns network (a layer list's path from the table's
folder), target, dtype, clock_mhz and ms; trust and source are optional.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npusim.errors import ModelImportError, NpusimError
from npusim.ir.dtypes import DType
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.lowering import lower
from npusim.perfmodel.machine import Machine, Profile, load_machine
from npusim.perfmodel.network import Network, images_of
from npusim.perfmodel.pricing import Setting, price
from npusim.perfmodel.residence import Kept, Residence
from npusim.perfmodel.workload import Work
from npusim.reading.files import refuse_pipe
from npusim.reading.tables import read_table

WEIGHTS = {"high": 1.0, "medium": 0.5, "low": 0.1}
REMEDY = "correct the row, or measure the table anew (tools/board_recipe.py)"
FAMILY = re.compile(r"[A-Za-z]+v\d+|[A-Za-z]+")
LEAST, MOST = 1e-6, 1e9
COLUMNS = ("network", "target", "dtype", "clock_mhz", "ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measured time.

    ``works`` counts the network's operations with what each finds and leaves on the chip, every
    image of the batch.
    """

    name: str
    family: str
    machine: Machine = field(repr=False)
    clock_hz: float
    time_ms: float
    trust: str = "high"
    source: str = ""
    works: Counter[tuple[Work, Kept]] = field(repr=False)

    @property
    def weight(self) -> float:
        """Return how much the time counts."""
        return WEIGHTS[self.trust]

    @property
    def label(self) -> str:
        """Return what the time is of, and where it was measured."""
        return f"{self.name}@{self.machine.name}"

    def predicted_ms(self, board: Profile) -> float:
        """Return the time with other board constants; the clock is the sample's."""
        setting = Setting(
            machine=self.machine,
            profile=board,
            vendor=False,
            clock_hz=self.clock_hz,
            ddr_bytes_per_s=board.ddr_bytes_per_s,
        )
        cycles = sum(
            price(work, setting, kept).cost.cycles * count
            for (work, kept), count in self.works.items()
        )
        return cycles / self.clock_hz * 1e3


def works_of(network: Network, maps_kept_bytes: int) -> Counter[tuple[Work, Kept]]:
    """Return how often each engine operation runs, and what of its maps stays on the chip."""
    found: Counter[tuple[Work, Kept]] = Counter()
    layers = lower(network)
    residence = Residence(network, layers, maps_kept_bytes)
    for lowered in layers:
        if lowered.works:
            images = network.batch * images_of(network.shapes[lowered.layer.outputs[0]])
            for own in zip(lowered.works, residence.kept(lowered), strict=True):
                found[own] += images
    return found


def family_of(name: str) -> str:
    """Return a network's family: its name up to sizes; versions ("v5") are families of their own.

    Members of a family err alike, so that they are left out together.
    """
    found = FAMILY.match(name)
    return found[0] if found else name


def load_samples(
    path: str | Path, targets: Iterable[str] = (), machine: Machine | None = None
) -> list[Sample]:
    """Read a table of times; with ``targets`` the rows of these chips only.

    With ``machine`` all rows must be of it, and its description holds.

    Raises
    ------
    ModelImportError
        When the table, a row or a layer list cannot be read; it names file and line.
    """
    base, wanted = Path(path).parent, tuple(targets)
    networks: dict[tuple[str, str], Network] = {}
    works: dict[tuple[str, str, int], Counter[tuple[Work, Kept]]] = {}
    samples = []
    for line, row in read_table(path, ModelImportError):
        spot = f"{path}, line {line}"
        if missing := [key for key in COLUMNS if not row.get(key)]:
            raise ModelImportError(
                f"lacks {', '.join(missing)}",
                where=spot,
                rule=f"columns {', '.join(COLUMNS)}; trust and source are optional",
                remedy=REMEDY,
            )
        if wanted and row["target"] not in wanted:
            continue
        if machine is not None and row["target"] != machine.name:
            raise ModelImportError(
                f"target {row['target'][:40]!r}",
                where=spot,
                rule=f"times of {machine.name}, the chip that is calibrated",
                remedy="leave other chips' rows out, or name their chip as the target",
            )
        key = (row["network"], row["dtype"])
        try:
            if key not in networks:
                refuse_pipe(base / key[0], ModelImportError)
                networks[key] = load_layer_list(base / key[0], _dtype(key[1], spot))
            chip = machine or load_machine(row["target"])
            priced = (*key, chip.board.maps_kept_bytes)
            if priced not in works:
                works[priced] = works_of(networks[key], chip.board.maps_kept_bytes)
        except NpusimError as error:
            raise ModelImportError(
                error.what, where=f"{spot}: {error.where}", rule=error.rule, remedy=REMEDY
            ) from error
        samples.append(
            Sample(
                name=Path(key[0]).stem,
                family=family_of(Path(key[0]).stem),
                machine=chip,
                clock_hz=positive(row, "clock_mhz", spot) * 1e6,
                time_ms=positive(row, "ms", spot),
                trust=_trust(row.get("trust") or "high", spot),
                source=row.get("source") or "",
                works=works[priced],
            )
        )
    return samples


def positive(row: dict[str, str], key: str, spot: str) -> float:
    """Return a number of a row: a time in ms or a clock in MHz, which a network can have."""
    try:
        value = float(row[key])
    except ValueError:
        value = 0.0
    if not LEAST <= value < MOST:
        raise ModelImportError(
            f"{key} = {row[key][:40]!r}",
            where=spot,
            rule=f"a number from {LEAST:g}, below {MOST:g}",
            remedy=REMEDY,
        )
    return value


def _dtype(text: str, spot: str) -> DType:
    try:
        return DType(text)
    except ValueError:
        raise ModelImportError(
            f"dtype {text[:40]!r}", where=spot, rule="u8, i8, i16 or f16", remedy=REMEDY
        ) from None


def _trust(text: str, spot: str) -> str:
    if text not in WEIGHTS:
        raise ModelImportError(
            f"trust {text[:40]!r}",
            where=spot,
            rule=f"one of {', '.join(WEIGHTS)}",
            remedy=REMEDY,
        )
    return text


def errors(samples: Sequence[Sample], boards: Sequence[Profile]) -> list[float]:
    """Return predicted over measured times, less one."""
    return [
        sample.predicted_ms(board) / sample.time_ms - 1
        for sample, board in zip(samples, boards, strict=True)
    ]
