"""Shader core. The vendor's estimator counts bytes only (exact); boards need cycles per value."""

from npusim.perfmodel.cost import Bound, Cost, Traffic, ranked
from npusim.perfmodel.machine import Machine, Profile
from npusim.perfmodel.workload import ShaderWork


def cost(work: ShaderWork, machine: Machine, profile: Profile, bytes_per_cycle: float) -> Cost:
    """Return launch plus the longest of bus, on-chip memory and arithmetic.

    Arithmetic is ``shader_cycles_per_value`` on the mean of input and output values, and
    ``large_pool_cycles_per_tap`` on the taps of a window; both are 0 in the vendor's estimator.
    """
    times = {
        Bound.DDR: (work.in_bytes + work.out_bytes) / bytes_per_cycle,
        Bound.SRAM: max(work.in_bytes, work.out_bytes) / machine.shader.sram_bytes_per_cycle,
        Bound.COMPUTE: max(
            profile.shader_cycles_per_value * (work.in_values + work.out_values) / 2,
            profile.large_pool_cycles_per_tap * work.taps,
        ),
    }
    bound = max(times, key=lambda b: times[b])
    by_bound = {bound: times[bound], Bound.LAUNCH: machine.shader.launch_cycles}
    return Cost(
        cycles=sum(by_bound.values()),
        compute_cycles=times[Bound.COMPUTE],
        traffic=Traffic(ddr_image_bytes=work.in_bytes, ddr_write_bytes=work.out_bytes),
        bound_cycles=ranked(by_bound),
    )
