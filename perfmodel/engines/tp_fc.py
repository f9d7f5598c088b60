"""Fully connected layers on the tensor processor.

The results are spread over the cores, in rounds when there are many: each part is one core's share
of a round. For every element of the vector a core reads the weights of its results, coded by runs
of zeros as on the NN cores, in whole lines of memory; a line more is the header, and the biases
follow.

Source: 291 single layers (4 to 1600 inputs, 8 to 10000 results, four types, 0 to 90 % zeros) and
the performance tables.
"""

from math import ceil, erfc, sqrt

from npusim.perfmodel.cost import Bound, Cost, Traffic, ranked
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.workload import FullyConnectedWork

ONE_CORE_RESULTS = 11  # up to so many results stay on one core
RESULTS_OF_A_CORE = 512  # in one round
BIAS_BYTES = 4
CHARGED_RATIO = 0.3  # the estimator charges a part with so many times the lines of all parts
# It also counts a line more for so many elements of the vector, and its first elements as less.
ELEMENTS_OF_A_LINE = 105
FREE_ELEMENTS = 4


def parts(work: FullyConnectedWork, machine: Machine) -> int:
    """Return into how many shares the results are cut: one, or one a core and round."""
    if work.out_c <= ONE_CORE_RESULTS:
        return 1
    return machine.tp.cores_count * _rounds(work, machine)


def _rounds(work: FullyConnectedWork, machine: Machine) -> int:
    return ceil(work.out_c / (RESULTS_OF_A_CORE * machine.tp.cores_count))


def element_lines(work: FullyConnectedWork, machine: Machine) -> float:
    """Return the expected lines that a core reads for one element of the vector.

    Weights are zero by chance, so the length of their code is normally distributed.
    """
    results = ceil(work.out_c / parts(work, machine))
    zeros, bits, line = work.zero_fraction, work.dtype.bits, 8 * machine.memory.line_bytes
    length, code = min(
        (_codes(zeros, 1 << run) * (bits + run), bits + run)
        for run in range(machine.nn.zero_run_bits + 1)
    )
    mean = (results * length + bits) / line
    deviation = sqrt(results * zeros * (1 - zeros)) * code / line
    if not deviation:
        return ceil(mean)
    most = ceil(mean + 6 * deviation)
    return 1 + sum(erfc((n - mean) / deviation / sqrt(2)) / 2 for n in range(1, most))


def _codes(zeros: float, reach: int) -> float:
    """Return the codes per weight when a run covers up to ``reach`` - 1 zeros."""
    return 1 / reach if zeros >= 1 else (1 - zeros) / (1 - zeros**reach)


def core_lines(work: FullyConnectedWork, machine: Machine) -> float:
    """Return the lines of header, biases and weights that one core reads."""
    results = ceil(work.out_c / parts(work, machine))
    biases = ceil(results * BIAS_BYTES / machine.memory.line_bytes)
    return 1 + biases + work.in_c * element_lines(work, machine)


def cycle_count(work: FullyConnectedWork, machine: Machine, bytes_per_cycle: float) -> float:
    """Return the count the estimator prints: every part with all it is charged with, added up."""
    count = parts(work, machine)
    lines = core_lines(work, machine) + work.in_c // ELEMENTS_OF_A_LINE
    kernel = CHARGED_RATIO * count * lines * machine.memory.line_bytes
    kernel *= work.in_c / (work.in_c + FREE_ELEMENTS)
    read = kernel + work.in_bytes + machine.tp.command_bytes
    moved = (read + work.out_bytes) / bytes_per_cycle
    return count * (machine.tp.launch_cycles + max(moved, read / machine.nn.sram_bytes_per_cycle))


def cost(work: FullyConnectedWork, machine: Machine, bytes_per_cycle: float) -> Cost:
    """Return the time: every core reads its own weights over the one bus, and all the vector.

    What the estimator adds to the lines of the weights is left out.
    """
    tp = machine.tp
    kernel = parts(work, machine) * core_lines(work, machine) * machine.memory.line_bytes
    read = work.in_bytes + kernel + tp.command_bytes
    times = {
        Bound.DDR: (read + work.out_bytes) / bytes_per_cycle,
        Bound.SRAM: read / machine.nn.sram_bytes_per_cycle,
    }
    bound = max(times, key=times.__getitem__)
    by_bound = {bound: times[bound], Bound.LAUNCH: tp.launch_cycles * _rounds(work, machine)}
    return Cost(
        cycles=sum(by_bound.values()),
        traffic=Traffic(
            ddr_image_bytes=work.in_bytes,
            ddr_kernel_bytes=kernel,
            ddr_command_bytes=tp.command_bytes,
            ddr_write_bytes=work.out_bytes,
        ),
        bound_cycles=ranked(by_bound),
    )
