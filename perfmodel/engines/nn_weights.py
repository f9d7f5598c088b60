"""The coefficient stream of the NN cores: zero-run coding and padding.

A code holds one value and the length of the run of zeros before it. The run field has 0 to 5 bits,
whichever gives the smallest stream. Source: measured; median error below 1 % for kernels larger
than one pixel, 3 to 4 % for pointwise ones.
"""

from functools import lru_cache
from math import ceil

from npusim.perfmodel.engines.nn_traffic import round_up
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile, planned_cores
from npusim.perfmodel.workload import NnWork

KERNEL_OVERHEAD_BYTES = {8: 4, 16: 6}
CORE_OVERHEAD_BYTES = 8


def kernel_stream_bytes(work: NnWork, tile: Tile, machine: Machine) -> int:
    """Return the bytes of the coefficients of all cores."""
    together = tile.kernels_per_core if work.pointwise or work.depthwise else 0
    return _stream_bytes(work, together, machine)


def planned_stream_bytes(work: NnWork, stream: int, machine: Machine) -> float:
    """Return the size that the driver reserves for a coefficient stream of ``stream`` bytes.

    Every core counts as full, and codes as a little longer than they are. Source: fitted to the
    sizes that the estimator prints.
    """
    cores = machine.nn.cores_count
    full = ceil(work.out_c / cores) * cores / work.out_c
    margin = 1.25 if work.depthwise else 1.05 * full * (1 + 0.21 * work.zero_fraction**2)
    return stream * margin


@lru_cache(maxsize=8192)
def _stream_bytes(work: NnWork, together: int, machine: Machine) -> int:
    """Return the stream for ``together`` kernels per core and superblock; 0: it does not matter."""
    line, cores = machine.memory.line_bytes, planned_cores(work, machine)
    share, rest = divmod(work.out_c, cores)
    best = None
    for run_bits in range(_run_bits(work, max(1, share), machine) + 1):
        size = line
        for kernels, count in ((share + 1, rest), (share, cores - rest)):
            if count:
                size += count * round_up(
                    _core_bytes(work, together, kernels, run_bits, machine), line
                )
        best = size if best is None else min(best, size)
    return best or line


def _run_bits(work: NnWork, kernels: int, machine: Machine) -> int:
    """Return the longest run field for cores of at least ``kernels`` kernels.

    Runs are not coded with one input channel, and reach no further than the weights that a core
    has of a channel. Source: measured, 0 to 95 % zeros.
    """
    if work.pointwise or work.depthwise:
        return machine.nn.zero_run_bits
    if work.in_c == 1:
        return 0
    weights = kernels * work.kernel_w * work.kernel_h
    return min(machine.nn.zero_run_bits, weights.bit_length() - 1)


def _core_bytes(
    work: NnWork, together: int, kernels: int, run_bits: int, machine: Machine
) -> float:
    codes = 0.0
    times, rest = divmod(kernels, together) if together else (0, kernels)
    if times:
        of_group = group_codes(work, together, 1 << run_bits, machine)
        for _ in range(times):
            codes += of_group
    if rest:
        codes += group_codes(work, rest, 1 << run_bits, machine)
    bits = codes * (work.dtype.bits + run_bits)
    overhead = KERNEL_OVERHEAD_BYTES[work.dtype.bits] * kernels
    if not (work.pointwise or work.depthwise):
        bits += overhead * run_bits  # what precedes a kernel is written in codes as well
    return bits / 8 + overhead + CORE_OVERHEAD_BYTES


def group_codes(work: NnWork, kernels: int, reach: int, machine: Machine) -> float:
    """Return the codes of the kernels that a core holds at a time, for runs below ``reach``."""
    taps = work.kernel_w * work.kernel_h
    if work.depthwise and machine.nn.native_depthwise_count:
        return float(kernels * taps)
    if work.depthwise:
        return _depthwise_codes(work, kernels, taps, reach)
    if work.pointwise:  # a run does not leave its input channel
        return work.in_c * _slice_codes(kernels, work.zero_fraction, reach)
    zeros = work.zero_fraction
    trim = 1.0
    if work.tap_ratio:
        # Taps that are zero by construction lie in a fixed pattern, a little better than chance.
        zeros = 1 - (1 - zeros) * work.tap_ratio
        trim = min(1.0, 0.964 + 0.06 * work.zero_fraction)
    if work.padded_vector:
        rows = work.kernel_h - work.in_h
        taps = work.in_h * work.kernel_w
        padding = work.in_c * kernels * rows * work.kernel_w / reach
    else:
        padding = 0.0
    weights = work.in_c * kernels * taps
    if zeros >= 1:
        return weights / reach + padding
    return trim * weights * (1 - zeros) / (1 - zeros**reach) + padding


def _depthwise_codes(work: NnWork, kernels: int, taps: int, reach: int) -> float:
    """Count the codes of kernels that each use one input channel, all others being zero."""
    others = ceil((kernels - 1) * taps / reach)
    empty = ceil(kernels * taps / reach)
    phases = 1
    own: float = taps
    if work.tap_ratio:
        phases = 4
        own = _slice_codes(taps, 1 - work.tap_ratio, reach)
    used = min(kernels * phases, work.in_c)
    return (work.in_c - used) * empty + used * (own + others)


@lru_cache(maxsize=16384)
def _slice_codes(length: int, zeros: float, reach: int) -> float:
    """Return the expected codes of ``length`` weights, zero by chance, whose last run is cut.

    A code starts at position k with probability u(k) = q + zeros**reach * u(k - reach), u(0) = 1,
    where q is the chance that the weight before it is not zero.
    """
    dense = 1 - zeros
    decay = zeros**reach
    total, sum_of_powers, power = 0.0, 0.0, 1.0
    for start in range(0, length, reach):
        count = min(reach, length - start)
        total += count * dense * sum_of_powers + power * (1 + (count - 1) * dense)
        sum_of_powers += power
        power *= decay
    return total
