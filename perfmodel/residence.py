"""Feature maps that stay in the AXI SRAM between layers.

Source: the chip has 1984 KiB of AXI SRAM and its driver can keep feature maps there (software
tiling); the vendor's estimator never does. How much holds maps on boards, and in which order they
are taken, is what published times of 28 networks fit (docs/board-times.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from npusim.perfmodel.cost import Bound, Cost, ranked
from npusim.perfmodel.engines import nn, nn_time
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.lowering import LoweredLayer
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.memory import Buffer, live_ranges, lowest_gap, owners
from npusim.perfmodel.network import Network
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Shares (0 to 1) of an operation's input and output that are in the SRAM."""

    image: float = 0.0
    write: float = 0.0

    @property
    def anything(self) -> bool:
        """Tell whether the SRAM holds any of it."""
        return self.image > 0 or self.write > 0


NOTHING_KEPT = Kept()


class Residence:
    """Which buffers of a network stay in the SRAM.

    Feature maps are taken in the order in which they are made; one stays when, as long as it
    lives, it fits beside those that stay already. What the host reads or writes is in DDR.

    Parameters
    ----------
    network : Network
    lowered : iterable of LoweredLayer
    capacity_bytes : int
        0: nothing stays.
    """

    def __init__(
        self, network: Network, lowered: Iterable[LoweredLayer], capacity_bytes: int
    ) -> None:
        self.names: set[str] = set()
        if not capacity_bytes:
            return
        layers = tuple(lowered)
        self._owner = owners(network)
        self._sizes = {n: network.tensor_bytes(n) for n in network.shapes}
        host = {self._owner[name] for name in (*network.inputs, *network.outputs)}
        alive: list[list[Buffer]] = [[] for _ in range(max(1, len(layers)))]
        wanted = [w for w in live_ranges(network, layers) if w.name not in host]
        for buffer in sorted(wanted, key=lambda w: (w.first, w.name)):
            span = range(buffer.first, buffer.last + 1)
            offset = lowest_gap(buffer.size_bytes, (b for spot in span for b in alive[spot]))
            if offset + buffer.size_bytes > capacity_bytes:
                continue
            self.names.add(buffer.name)
            for spot in span:
                alive[spot].append(replace(buffer, offset_bytes=offset))

    def kept(self, lowered: LoweredLayer) -> tuple[Kept, ...]:
        """Return what each operation of a layer finds and leaves in the SRAM."""
        if not self.names:
            return (NOTHING_KEPT,) * len(lowered.works)
        outputs = lowered.fused[-1].outputs if lowered.fused else lowered.layer.outputs
        image, write = self._share(lowered.layer.inputs), self._share(outputs)
        works = lowered.works
        scratch = float(f"{lowered.layer.name}:scratch" in self.names)
        chained = [a.engine is not b.engine for a, b in pairwise(works)]
        return tuple(
            Kept(
                image=scratch if position and chained[position - 1] else image,
                write=scratch if position < len(chained) and chained[position] else write,
            )
            for position in range(len(works))
        )

    def _share(self, names: Iterable[str]) -> float:
        sizes = [(self._sizes[n], self._owner[n] in self.names) for n in dict.fromkeys(names)]
        total = sum(size for size, _ in sizes)
        return sum(size for size, inside in sizes if inside) / total if total else 0.0


def nn_cost(
    work: NnWork, tile: Tile, machine: Machine, rate: float, slowdown: float, kept: Kept
) -> Cost:
    """Return the cost of a convolution that finds ``kept`` in the SRAM.

    What the SRAM holds leaves the DDR bus and crosses a bus of its own, which is as wide as the
    AXI port and works at the same time.
    """
    stream = kernel_stream_bytes(work, tile, machine)
    moved = nn.tile_bytes(work, tile, machine, stream)
    outside = moved._replace(
        image=moved.image * (1 - kept.image), write=moved.write * (1 - kept.write)
    )
    _, clockwork = nn_time.time_tile(work, tile, outside, machine, rate, slowdown)
    image, write = moved.image - outside.image, moved.write - outside.write
    waited = max(image, write * (1 - tile.last_ratio(work)))  # none for the last tile's output
    plain = Cost(cycles=0.0, compute_cycles=clockwork.compute, traffic=nn.traffic_of(moved, tile))
    return _with_sram(plain, clockwork.by_bound, image, write, waited, machine)


def pass_cost(plain: Cost, machine: Machine, rate: float, kept: Kept) -> Cost:
    """Return the cost of a TP pass or shader operation that finds ``kept`` in the SRAM."""
    traffic = plain.traffic
    image, write = traffic.ddr_image_bytes * kept.image, traffic.ddr_write_bytes * kept.write
    launch = dict(plain.bound_cycles).get(Bound.LAUNCH, 0.0)
    longer_side = max(traffic.ddr_image_bytes, traffic.ddr_write_bytes)
    times = {
        Bound.DDR: (traffic.ddr_bytes - image - write) / rate,
        Bound.COMPUTE: plain.compute_cycles,
        Bound.SRAM: longer_side / machine.nn.sram_bytes_per_cycle,
    }
    longest = max(times, key=times.__getitem__)
    by_bound = {longest: times[longest], Bound.LAUNCH: launch}
    return _with_sram(plain, by_bound, image, write, max(image, write), machine)


def _with_sram(
    plain: Cost,
    by_bound: dict[Bound, float],
    image: float,
    write: float,
    waited: float,
    machine: Machine,
) -> Cost:
    """Return a cost whose kept bytes cross the SRAM's own bus; ``waited`` of them take time.

    Reads and writes have a channel each. Source: the performance print counts them apart.
    """
    busy = sum(cycles for bound, cycles in by_bound.items() if bound is not Bound.LAUNCH)
    over = waited / machine.nn.sram_bytes_per_cycle - busy
    if over > 0:
        by_bound = {Bound.LAUNCH: by_bound.get(Bound.LAUNCH, 0.0), Bound.SRAM: busy + over}
    traffic = plain.traffic
    return Cost(
        cycles=sum(by_bound.values()),
        compute_cycles=plain.compute_cycles,
        traffic=replace(
            traffic,
            ddr_image_bytes=traffic.ddr_image_bytes - image,
            ddr_write_bytes=traffic.ddr_write_bytes - write,
            sram_image_bytes=traffic.sram_image_bytes + image,
            sram_write_bytes=traffic.sram_write_bytes + write,
        ),
        bound_cycles=ranked(by_bound),
    )
