"""Write docs/board-times.md: published times with source, trust and error, and what they determine.

    python tools/make_board_times.py [--check]

The text around the tables stands in the page already and is kept; ``--check`` compares only.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from board_networks import write_all
from board_probes import PROBES

from npusim.perfmodel.calibration import DIES, calibrate, groups
from npusim.perfmodel.design import gains
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.fit import FITTED, Fit
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.samples import Sample, load_samples, works_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "board-times.md"
BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"

Row = tuple[Sample, float, float]


def constants_table(fits: list[tuple[tuple[str, ...], Fit, list[Sample]]]) -> str:
    """Return the fitted constants beside those of the machine files."""
    lines = ["| chips | constant | fitted | +- | machine file |", "|---|---|---|---|---|"]
    for chips, found, samples in fits:
        board = samples[0].machine.board
        fitted = found.applied(board)
        lines += [
            f"| {', '.join(chips)} | `{name}` | {getattr(fitted, name):.4g} "
            f"| {found.sigma(name):.2g} | {getattr(board, name):.4g} |"
            for name in found.names
        ]
    return "\n".join(lines)


def kept_table(path: Path) -> str:
    """Return what fits say when other parts of the RK1808's AXI SRAM hold feature maps."""
    chip = load_machine("rk1808")
    whole = chip.memory.axi_sram_bytes
    lines = ["| bytes that hold maps | DDR by the fit, GB/s | mean, high trust | worst "]
    lines[0] += "| mean, family left out | worst | ResNet-50, left out |"
    lines.append("|---|---|---|---|---|---|---|")
    for size in (0, 600_000, 800_000, whole // 2, 1_200_000, whole):
        machine = replace(chip, board=replace(chip.board, maps_kept_bytes=size))
        samples = load_samples(path, (chip.name,), machine)
        found = calibrate(samples, FITTED)
        rows = list(zip(samples, found.residuals, found.left_out, strict=True))
        (resnet,) = (left for sample, _, left in rows if sample.name == "resnet50_v2")
        (line,) = (line for line in groups(rows) if "high trust" in line)
        _, _, mean, worst, _, apart, worst_apart = cells(line)
        rate = found.applied(machine.board).ddr_bytes_per_s / 1e9
        lines.append(
            f"| {size} | {rate:.1f} | {mean} | {worst} | {apart} | {worst_apart} | {resnet:+.1%} |"
        )
    return "\n".join(lines)


def probe_samples(machine: Machine) -> list[Sample]:
    """Return the recipe's networks as if they had been measured on a chip."""
    found = []
    for make in PROBES:
        block = make()
        network = parse_layer_list(block)
        found.append(
            Sample(
                name=block["name"],
                family="probe",
                machine=machine,
                clock_hz=machine.board.clock_hz,
                time_ms=estimate(network, machine).total_time_us / 1e3,
                works=works_of(network, machine.board.maps_kept_bytes),
            )
        )
    return found


def gain_table(fits: list[tuple[tuple[str, ...], Fit, list[Sample]]]) -> str:
    """Return what each of the recipe's networks would tell if it were measured alone."""
    lines = ["| chips | network | time here, ms | spread of predictions before | after |"]
    lines.append("|---|---|---|---|---|")
    for chips, found, samples in fits:
        probes = probe_samples(samples[0].machine)
        times = {probe.name: probe.time_ms for probe in probes}
        lines += [
            f"| {', '.join(chips)} | {gain.name} | {times[gain.name]:.2f} | {gain.before:.2%} "
            f"| {gain.after:.2%} |"
            for gain in gains(found, samples, probes)
        ]
    return "\n".join(lines)


def group_table(rows: list[Row]) -> str:
    """Return errors by family and by chip."""
    lines = ["| group | times | mean | worst | bias | mean, family left out | worst |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [f"| {' | '.join(cells(line))} |" for line in groups(rows)[2:]]
    return "\n".join(lines)


def cells(line: str) -> list[str]:
    """Return the cells of a line of the calibration's report; only names hold spaces."""
    name, rest = line[:34].strip(), line[34:].split()
    return [name, *rest]


def row_table(rows: list[Row]) -> str:
    """Return every time."""
    lines = ["| network | chip | measured ms | model | family left out | trust | source |"]
    lines.append("|---|---|---|---|---|---|---|")
    for sample, _, left in rows:
        error = sample.predicted_ms(sample.machine.board) / sample.time_ms - 1
        lines.append(
            f"| {sample.name} | {sample.machine.name} | {sample.time_ms:.3f} | {error:+.1%} "
            f"| {left:+.1%} | {sample.trust} | {sample.source} |"
        )
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    fits, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = write_all(Path(folder))
        samples, kept = load_samples(path), kept_table(path)
    for chips, names in DIES:
        own = [s for s in samples if s.machine.name in chips]
        found = calibrate(own, names)
        seen = tuple(c for c in chips if any(s.machine.name == c for s in own))
        fits.append((seen, found, own))
        rows += list(zip(own, found.residuals, found.left_out, strict=True))
    tables = {
        "constants": constants_table(fits),
        "gains": gain_table(fits),
        "groups": group_table(rows),
        "kept": kept,
        "times": row_table(rows),
    }
    for name, table in tables.items():
        head, rest = text.split(BEGIN.format(name), 1)
        tail = rest.split(END, 1)[1]
        text = f"{head}{BEGIN.format(name)}\n\n{table}\n\n{END}{tail}"
    return text


def main() -> int:
    """Write or compare the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    before = PAGE.read_text()
    after = page(before)
    if options.check:
        return int(before != after)
    PAGE.write_text(after)
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
