"""What silicon does otherwise than the vendor's estimator says, as far as published times show it.

Source: published times of 28 networks on RK1808, RV1126 and RV1109 (docs/board-times.md). Each rule
holds on both designs: cores that differ by 2.5 in number show whose time it is.

- Sums run as pointwise convolutions of which two coefficients in a thousand are not zero. On boards
  the others take no time; the estimator charges all.
- Rearrangements in front of strided convolutions (RESHUFFLE) run beside the convolutions.
- Rearrangements behind transposed convolutions (UPSAMPLE), and scales of channels that could not be
  folded, take the same cycles on both designs, those of the shader core.
- A leaky activation takes half as long again as a table.
"""

from dataclasses import replace

from npusim.perfmodel.cost import Bound, Cost, ranked
from npusim.perfmodel.machine import Machine, Profile
from npusim.perfmodel.workload import FullyConnectedWork, NnWork, ShaderWork, TpWork, Work

STREAMING_ZEROS = 0.9
RESHUFFLE, UPSAMPLE = "RESHUFFLE", "UPSAMPLE"


def streams(work: Work, profile: Profile) -> bool:
    """Tell whether an operation is a pointwise convolution of almost nothing but zeros: a sum."""
    if not isinstance(work, NnWork) or not profile.sums_streamed_count:
        return False
    return work.pointwise and not work.depthwise and work.zero_fraction >= STREAMING_ZEROS


def streamed(work: NnWork, cost: Cost, machine: Machine, bytes_per_cycle: float) -> Cost:
    """Return the cost of an operation that waits for what it moves, not for products.

    Superblocks read the few channels that they need once.
    """
    nn = machine.nn
    traffic = replace(cost.traffic, sram_image_bytes=0.0)
    values = work.out_w * work.out_h * work.out_c * work.dtype.itemsize
    times = {
        Bound.DDR: traffic.ddr_bytes / min(bytes_per_cycle, nn.sram_bytes_per_cycle),
        Bound.OUTPUT: values / nn.output_bytes_per_cycle,
    }
    bound = max(times, key=times.__getitem__)
    by_bound = {bound: times[bound], Bound.LAUNCH: dict(cost.bound_cycles).get(Bound.LAUNCH, 0.0)}
    return Cost(cycles=sum(by_bound.values()), traffic=traffic, bound_cycles=ranked(by_bound))


def pass_ratio(work: TpWork | FullyConnectedWork, profile: Profile) -> float:
    """Return the time of a pass over what the estimator charges one core with."""
    if isinstance(work, TpWork):
        if work.operation == RESHUFFLE:
            return profile.tp_time_ratio * profile.reshuffle_time_ratio
        if work.leaky:
            return profile.tp_time_ratio * profile.leaky_time_ratio
    return profile.tp_time_ratio


def program_instead(work: Work, profile: Profile) -> ShaderWork | None:
    """Return the shader program that boards run in place of an operation; None for most.

    The estimator counts no arithmetic of programs and runs none in their place.
    """
    if not profile.shader_cycles_per_value:
        return None
    if isinstance(work, TpWork) and work.operation == UPSAMPLE:
        values, size = work.channels * work.pixels, work.in_bytes
    elif isinstance(work, NnWork) and work.depthwise and work.pointwise:
        values = work.out_w * work.out_h * work.out_c
        size = values * work.dtype.itemsize
    else:
        return None
    return ShaderWork(
        operation=work.operation,
        in_bytes=size,
        out_bytes=size,
        in_values=values,
        out_values=values,
    )
