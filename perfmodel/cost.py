"""What an operation costs: cycles, traffic and the reason for the time."""

from dataclasses import dataclass, field
from enum import Enum


class Bound(Enum):
    """What limits an operation."""

    COMPUTE = "compute"
    DDR = "ddr"
    SRAM = "sram"
    OUTPUT = "output"
    DECODE = "coefficient decode"
    LAUNCH = "launch"
    FREE = "free"

    # Members are one of a kind; Enum's own hash calls Python at every look-up in a dict.
    __hash__ = object.__hash__


_ORDER = {bound: i for i, bound in enumerate(Bound)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes moved, by memory and kind."""

    ddr_image_bytes: float = 0.0
    ddr_kernel_bytes: float = 0.0
    ddr_command_bytes: float = 0.0
    ddr_write_bytes: float = 0.0
    sram_image_bytes: float = 0.0
    sram_kernel_bytes: float = 0.0
    sram_write_bytes: float = 0.0

    @property
    def ddr_read_bytes(self) -> float:
        """Return everything read from DDR."""
        return self.ddr_image_bytes + self.ddr_kernel_bytes + self.ddr_command_bytes

    @property
    def ddr_bytes(self) -> float:
        """Return everything that crosses the DDR bus."""
        return self.ddr_read_bytes + self.ddr_write_bytes

    @property
    def sram_bytes(self) -> float:
        """Return everything that on-chip memory delivers or takes instead of DDR."""
        return self.sram_image_bytes + self.sram_kernel_bytes + self.sram_write_bytes

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            ddr_image_bytes=self.ddr_image_bytes + other.ddr_image_bytes,
            ddr_kernel_bytes=self.ddr_kernel_bytes + other.ddr_kernel_bytes,
            ddr_command_bytes=self.ddr_command_bytes + other.ddr_command_bytes,
            ddr_write_bytes=self.ddr_write_bytes + other.ddr_write_bytes,
            sram_image_bytes=self.sram_image_bytes + other.sram_image_bytes,
            sram_kernel_bytes=self.sram_kernel_bytes + other.sram_kernel_bytes,
            sram_write_bytes=self.sram_write_bytes + other.sram_write_bytes,
        )

    def __mul__(self, count: float) -> "Traffic":
        return Traffic(**{name: getattr(self, name) * count for name in Traffic.__slots__})

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cycles and bytes of an operation, a layer or a network.

    Attributes
    ----------
    cycles : float
        Elapsed engine cycles.
    compute_cycles : float
        The arithmetic alone, as if memory were infinitely fast.
    traffic : Traffic
    bound_cycles : tuple of (Bound, float)
        Elapsed cycles by what limited them, largest first; they add up to ``cycles``.
    """

    cycles: float = 0.0
    compute_cycles: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    bound_cycles: tuple[tuple[Bound, float], ...] = ()

    @property
    def bound(self) -> Bound:
        """Return what limited most of the time."""
        return self.bound_cycles[0][0] if self.bound_cycles else Bound.FREE

    def __add__(self, other: "Cost") -> "Cost":
        by_bound = dict(self.bound_cycles)
        for bound, cycles in other.bound_cycles:
            by_bound[bound] = by_bound.get(bound, 0.0) + cycles
        return Cost(
            cycles=self.cycles + other.cycles,
            compute_cycles=self.compute_cycles + other.compute_cycles,
            traffic=self.traffic + other.traffic,
            bound_cycles=ranked(by_bound),
        )

    def __mul__(self, count: float) -> "Cost":
        return Cost(
            cycles=self.cycles * count,
            compute_cycles=self.compute_cycles * count,
            traffic=self.traffic * count,
            bound_cycles=tuple((b, c * count) for b, c in self.bound_cycles),
        )

    __rmul__ = __mul__


def ranked(by_bound: dict[Bound, float]) -> tuple[tuple[Bound, float], ...]:
    """Return the non-zero entries, largest first (ties in the order of ``Bound``)."""
    items = [(b, c) for b, c in by_bound.items() if c > 0]
    return tuple(sorted(items, key=lambda item: (-item[1], _ORDER[item[0]])))


def total(costs: "list[Cost] | tuple[Cost, ...]") -> Cost:
    """Return the sum of costs that follow one another."""
    if len(costs) == 1:
        return costs[0]
    result = Cost()
    for cost in costs:
        result = result + cost
    return result
