"""Tensor processor: passes over a tensor, spread over its cores.

The vendor's estimator charges every core with the whole tensor and adds the cores up; the time is
that sum divided by the number of cores of the chip. Source: measured.
"""

from npusim.perfmodel.cost import Bound, Cost, Traffic, ranked
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.workload import TpWork


def printed_cores(work: TpWork, machine: Machine) -> int:
    """Return over how many cores the estimator sums."""
    return max(1, min(machine.tp.cores_count, work.split_count))


def cost(work: TpWork, machine: Machine, ddr_bytes_per_cycle: float) -> Cost:
    """Return what one core's print says: the whole tensor through DDR, or the engine's own pace."""
    read = work.in_bytes + work.kernel_bytes
    ddr = (read + work.out_bytes) / ddr_bytes_per_cycle
    compute = machine.tp.byte_cycles_per_byte * max(read, work.out_bytes)
    bound = Bound.DDR if ddr >= compute else Bound.COMPUTE
    by_bound = {bound: max(ddr, compute), Bound.LAUNCH: machine.tp.launch_cycles}
    return Cost(
        cycles=sum(by_bound.values()),
        compute_cycles=compute,
        traffic=Traffic(
            ddr_image_bytes=work.in_bytes,
            ddr_kernel_bytes=work.kernel_bytes,
            ddr_write_bytes=work.out_bytes,
        ),
        bound_cycles=ranked(by_bound),
    )
