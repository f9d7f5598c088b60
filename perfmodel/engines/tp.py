"""Tensor processor: passes over a tensor, spread over its cores.

The vendor's estimator charges every core with the whole tensor and adds the cores up; here a pass
takes what one core is charged with. Source: measured, exact. Fully connected
layers have a module of their own.
"""

from npusim.perfmodel.cost import Bound, Cost, Traffic, ranked
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.workload import TpWork

ONE_CORE = ("TENSOR_TRANS", "TENSOR_STRIDED_SLICE")
SERIAL_OPERATIONS = ("TENSOR_TRANS",)
SMALL_MAP_PIXELS = 128  # below, a map of few channels is split by channels only


def printed_cores(work: TpWork, machine: Machine) -> int:
    """Return over how many cores the estimator sums."""
    cores = machine.tp.cores_count
    if work.operation in ONE_CORE:
        return 1
    if work.channels >= cores or work.operation == "CONCAT_INDEFINITE":
        return cores
    if work.operation == "ACTIVATION":
        return 1
    if work.operation == "RESHUFFLE" and work.pixels >= SMALL_MAP_PIXELS:
        return cores
    return work.channels


def cost(work: TpWork, machine: Machine, bytes_per_cycle: float) -> Cost:
    """Return what one core is charged with: all bytes over the bus or at the engine's own pace."""
    tp = machine.tp
    size = work.in_bytes + work.out_bytes
    ddr = (size + tp.command_bytes) / bytes_per_cycle
    compute = size / tp.bytes_per_cycle
    launch = tp.launch_cycles
    if work.operation in SERIAL_OPERATIONS:
        launch = tp.serial_launch_cycles
    bound = Bound.DDR if ddr >= compute else Bound.COMPUTE
    by_bound = {bound: max(ddr, compute), Bound.LAUNCH: launch}
    return Cost(
        cycles=sum(by_bound.values()),
        compute_cycles=compute,
        traffic=Traffic(
            ddr_image_bytes=work.in_bytes,
            ddr_command_bytes=tp.command_bytes,
            ddr_write_bytes=work.out_bytes,
        ),
        bound_cycles=ranked(by_bound),
    )
