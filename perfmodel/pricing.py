"""What one engine operation costs on a machine: where the costs of the engines come together."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from npusim.ir.graph import Engine
from npusim.perfmodel.cost import Bound, Cost
from npusim.perfmodel.engines import nn, sh, silicon, tp, tp_fc
from npusim.perfmodel.engines.nn_plan import plan
from npusim.perfmodel.machine import Machine, Profile, load_machine
from npusim.perfmodel.residence import NOTHING_KEPT, Kept, nn_cost, pass_cost
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import FullyConnectedWork, NnWork, TpWork, Work

DRIVER_PLAN_BYTES_PER_CYCLE = 3.8


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationEstimate:
    """One engine operation. ``cycle_count`` is what the vendor's estimator prints for it.

    The printed count of a TP operation adds up cores that share the work; ``cost.cycles`` is the
    time. ``tile`` is None outside the NN engine.
    """

    operation: str
    engine: Engine
    cost: Cost
    cycle_count: float
    tile: Tile | None = None
    work: Work
    kept: Kept = NOTHING_KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A machine as one estimate uses it.

    ``sram``: all of the AXI SRAM holds feature maps, or none of it; None leaves it to the profile.
    """

    machine: Machine = field(repr=False)
    profile: Profile = field(repr=False)
    vendor: bool
    clock_hz: float
    ddr_bytes_per_s: float
    sram: bool | None = None

    @property
    def ddr_bytes_per_cycle(self) -> float:
        """Return the DDR rate in the NPU's own cycles."""
        return self.ddr_bytes_per_s / self.clock_hz

    @property
    def maps_kept_bytes(self) -> int:
        """Return how much of the AXI SRAM holds feature maps."""
        if self.sram is None:
            return self.profile.maps_kept_bytes
        return self.machine.memory.axi_sram_bytes if self.sram else 0


def falls_back(work: Work, machine: Machine) -> bool:
    """Tell whether an operation needs float16 cores that the chip does not have."""
    needed = isinstance(work, NnWork) and work.dtype.is_float
    return needed and bool(machine.nn.float_fallback_ratio)


def _without_float_cores(work: Work, setting: Setting) -> OperationEstimate:
    """Return what an operation costs without float16 cores: a multiple of the RK1808's cycles."""
    known = load_machine("rk1808")
    constants = known.profile("vendor" if setting.vendor else "board")
    found = price(
        work,
        Setting(
            machine=known,
            profile=constants,
            vendor=setting.vendor,
            clock_hz=constants.clock_hz,
            ddr_bytes_per_s=constants.ddr_bytes_per_s,
        ),
    )
    ratio, traffic = setting.machine.nn.float_fallback_ratio, found.cost.traffic
    return replace(
        found,
        cost=replace(found.cost * ratio, traffic=traffic),
        cycle_count=found.cycle_count * ratio,
    )


@lru_cache(maxsize=16384)
def price(work: Work, setting: Setting, kept: Kept = NOTHING_KEPT) -> OperationEstimate:
    """Return the cost of one engine operation for one image.

    ``kept`` is what it finds and leaves in the AXI SRAM.
    """
    machine, rate = setting.machine, setting.ddr_bytes_per_cycle
    count: float
    tile = None
    if falls_back(work, machine):
        return _without_float_cores(work, setting)
    if isinstance(work, NnWork):
        # The driver plans with its own rate, whatever the board's memory does.
        plan_rate = rate if setting.vendor else DRIVER_PLAN_BYTES_PER_CYCLE
        tile = plan(work, machine, plan_rate)
        cores = machine.nn.cores_count
        slow = 1.0 if work.dtype.bits == 8 else cores / setting.profile.cores_16bit_count
        slow *= setting.profile.nn_time_ratio
        streams = silicon.streams(work, setting.profile)
        if kept.anything and not streams:
            cost = nn_cost(work, tile, machine, rate, slow, kept)
        else:
            cost = nn.price_tile(work, tile, machine, rate, slow)
        if streams:
            cost = silicon.streamed(work, cost, machine, rate)
            cost = pass_cost(cost, machine, rate, kept) if kept.anything else cost
        count = cost.cycles
        cost, count = cost * work.count, count * work.count
    elif isinstance(work, TpWork | FullyConnectedWork):
        if isinstance(work, TpWork):
            cost = tp.cost(work, machine, rate)
            count = cost.cycles * tp.printed_cores(work, machine)
        else:
            cost, count = tp_fc.cost(work, machine, rate), tp_fc.cycle_count(work, machine, rate)
        if kept.anything:
            cost = pass_cost(cost, machine, rate, kept)
        cost = replace(cost * silicon.pass_ratio(work, setting.profile), traffic=cost.traffic)
    else:
        cost = sh.cost(work, machine, setting.profile, rate)
        if kept.anything:
            cost = pass_cost(cost, machine, rate, kept)
        count = cost.cycles
    if program := silicon.program_instead(work, setting.profile):
        cost = replace(sh.cost(program, machine, setting.profile, rate), traffic=cost.traffic)
    fixed = setting.profile.operation_cycles
    if fixed:
        cost = cost + Cost(cycles=fixed, bound_cycles=((Bound.LAUNCH, fixed),))
    return OperationEstimate(
        operation=work.operation,
        engine=work.engine,
        cost=cost,
        cycle_count=count,
        tile=tile,
        work=work,
        kept=kept,
    )
