"""How well the model agrees with reference tables: vendor estimates and published board times.

A table is a csv file, gzipped or not, recognised by its columns. Layers: one row per operation of
single layers, from the vendor's estimator. Networks: the same for whole networks. Boards: published
times. The model sees shapes, zero fraction and DDR rate only; the vendor's tiles and bytes are what
it is compared with. Layer lists are looked for beside the table.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from npusim.errors import ModelImportError
from npusim.ir.dtypes import DType
from npusim.perfmodel.engines import nn, sh, tp, tp_fc
from npusim.perfmodel.engines.nn_plan import plan
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.network import UNKNOWN_ZERO_FRACTION
from npusim.perfmodel.samples import load_samples
from npusim.perfmodel.workload import FullyConnectedWork, NnWork, ShaderWork, TpWork
from npusim.reading.tables import read_table

Row = dict[str, Any]


COLUMNS = {
    "layers": frozenset(("kind", "dtype", "zero_frac", "ddr_bw", "operation", "kx", "cycles")),
    "networks": frozenset(("network", "ddr_bw", "target", "operation", "cycles")),
    "boards": frozenset(("network", "target", "dtype", "clock_mhz", "ms")),
}
# What the model is held to: table and group -> largest median, largest 95th percentile. Groups that
# are not named are reported only.
TARGETS: dict[tuple[str, str], tuple[float, float]] = {
    ("layers", "nn8"): (0.005, 0.09),
    ("layers", "nn16"): (0.012, 0.2),
    ("layers", "tp"): (0.03, 0.12),
    ("layers", "tp_fc"): (0.01, 0.05),
    ("layers", "sh"): (0.01, 0.05),
    ("layers", "nn8_bytes"): (0.01, float("inf")),
    ("layers", "nn16_bytes"): (0.01, float("inf")),
    ("networks", "all"): (0.02, 0.06),
}
# Published times of a chip, those of high trust: largest mean, largest single error.
BOARD_TARGETS = {
    "rk1808": (0.05, 0.12),
    "rk3399pro": (0.05, 0.12),
    "rv1109": (0.09, 0.2),
    "rv1126": (0.09, 0.2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupError:
    """Relative errors of a group of rows; ``bias`` is the mean of predicted/reference - 1.

    Targets hold for median and 95th percentile, those of boards for mean and worst.
    """

    table: str
    group: str
    rows: int
    median_error: float
    p95_error: float
    mean_error: float
    worst_error: float
    bias: float

    @property
    def limits(self) -> tuple[float, float] | None:
        """Return the largest typical and large error that are accepted, None without a target."""
        if self.table == "boards":
            return BOARD_TARGETS.get(self.group)
        return TARGETS.get((self.table, self.group))

    @property
    def ok(self) -> bool:
        """Tell whether the errors are within the targets; groups without a target always are."""
        limits = self.limits
        if self.table == "boards":
            found = (self.mean_error, self.worst_error)
        else:
            found = (self.median_error, self.p95_error)
        return limits is None or (found[0] <= limits[0] and found[1] <= limits[1])

    def to_dict(self) -> Row:
        """Return plain values."""
        return asdict(self)


def group_error(table: str, group: str, ratios: Iterable[float]) -> GroupError:
    """Summarise predicted/reference ratios."""
    signed = [ratio - 1 for ratio in ratios]
    sizes = sorted(abs(error) for error in signed)
    count = len(sizes)
    return GroupError(
        table=table,
        group=group,
        rows=count,
        median_error=sizes[count // 2],
        p95_error=sizes[min(count - 1, int(0.95 * count))],
        mean_error=sum(sizes) / count,
        worst_error=sizes[-1],
        bias=sum(signed) / count,
    )


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a csv file, gzipped or not, with numbers as numbers.

    Raises
    ------
    ModelImportError
        When the file cannot be read.
    """
    for _, row in read_table(path, ModelImportError):
        yield {key: _number(value) for key, value in row.items()}


def table_kind(path: str | Path) -> str | None:
    """Return ``layers``, ``networks`` or ``boards`` by a file's columns, None for any other csv."""
    columns = set(next(read_rows(path), {}))
    return next((kind for kind, wanted in COLUMNS.items() if wanted <= columns), None)


def table_errors(path: str | Path) -> list[GroupError]:
    """Return the errors on a table of any kind.

    Raises
    ------
    ModelImportError
        When the file is none of the tables, a row cannot be understood, or a layer list is missing.
    """
    kind = table_kind(path)
    if kind is None:
        raise ModelImportError(
            "is no table the performance model is compared with",
            where=str(path),
            rule="; ".join(f"{k}: columns {', '.join(sorted(c))}" for k, c in COLUMNS.items()),
        )
    try:
        if kind == "layers":
            found = layer_errors(path)
        elif kind == "networks":
            found = network_errors(path)
        else:
            found = board_errors(path)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelImportError(
            f"has a row that cannot be understood: {error!r}", where=str(path)
        ) from error
    if not found:
        raise ModelImportError("has no rows that are compared", where=str(path))
    return found


def _number(text: str) -> Any:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


DEPTHWISE_KINDS = ("dwconv", "avgpool")


def nn_work(row: Row) -> NnWork:
    """Return the NN operation of a row of ``layers.csv``."""
    dtype = DType(row["dtype"])
    zeros = float(row["zero_frac"])
    zeros += (1 - zeros) * UNKNOWN_ZERO_FRACTION[dtype.bits]
    strided = row["stride"] == 2 and row["kx"] != row["k"] and row["kind"] in _STRIDED_KINDS
    if row["kind"] == "resize":
        zeros = 1 - 1 / row["out_z"]
    return _nn_work(
        row,
        dtype,
        zeros,
        depthwise=row["kind"] in DEPTHWISE_KINDS,
        tap_ratio=(row["k"] / (2 * row["kx"])) ** 2 if strided else 0.0,
    )


_STRIDED_KINDS = ("conv", *DEPTHWISE_KINDS)


def _nn_work(row: Row, dtype: DType, zeros: float, *, depthwise: bool, tap_ratio: float) -> NnWork:
    return NnWork(
        in_w=row["in_x"],
        in_h=row["in_y"],
        in_c=row["in_z"],
        out_w=row["out_x"],
        out_h=row["out_y"],
        out_c=row["out_z"],
        final_w=row["final_x"],
        final_h=row["final_y"],
        kernel_w=row["kx"],
        kernel_h=row["ky"],
        pool=max(1, row["pool"] or 1),
        dtype=dtype,
        zero_fraction=zeros,
        depthwise=depthwise,
        tap_ratio=tap_ratio,
    )


def row_bytes(row: Row, side: str, dtype: DType) -> int:
    """Return the dense size of a row's ``in`` or ``out`` tensor."""
    size: int = row[f"{side}_x"] * row[f"{side}_y"] * row[f"{side}_z"]
    return size * dtype.itemsize


def tp_cycle_count(row: Row, dtype: DType, machine: Machine) -> float:
    """Return the count the estimator prints for a TP row."""
    if row["operation"] == "FULLYCONNECTED":
        zeros = float(row["zero_frac"])
        layer = FullyConnectedWork(
            in_c=row["in_x"],
            out_c=row["out_x"],
            dtype=dtype,
            zero_fraction=zeros + (1 - zeros) * UNKNOWN_ZERO_FRACTION[dtype.bits],
        )
        return tp_fc.cycle_count(layer, machine, row["ddr_bw"])
    work = TpWork(
        operation=row["operation"],
        in_bytes=row_bytes(row, "in", dtype),
        out_bytes=row_bytes(row, "out", dtype),
        channels=row["in_z"],
        pixels=row["in_x"] * row["in_y"],
    )
    return tp.cost(work, machine, row["ddr_bw"]).cycles * tp.printed_cores(work, machine)


def sh_cycle_count(row: Row, dtype: DType, machine: Machine) -> float:
    """Return the count the estimator prints for a shader row."""
    work = ShaderWork(
        operation=row["operation"],
        in_bytes=row_bytes(row, "in", dtype),
        out_bytes=row_bytes(row, "out", dtype),
        in_values=0,
        out_values=0,
    )
    return sh.cost(work, machine, machine.vendor, row["ddr_bw"]).cycles


def layer_errors(path: str | Path, machine: Machine | None = None) -> list[GroupError]:
    """Return the errors on a table of single layers, by group.

    Groups: nn8, nn16, tp (without fully connected passes), tp_fc, sh; nn8_bytes and nn16_bytes are
    the DDR bytes of the NN rows.
    """
    machine = machine or load_machine("rk1808")
    ratios: dict[str, list[float]] = {}
    for row in read_rows(path):
        dtype = DType(row["dtype"])
        if row["target"] == "NN":
            if row["operation"] != "CONVOLUTION":
                continue
            work = nn_work(row)
            tile = plan(work, machine, float(row["ddr_bw"]))
            cost = nn.price_tile(work, tile, machine, float(row["ddr_bw"]))
            group = "nn8" if dtype.bits == 8 else "nn16"
            ratios.setdefault(group, []).append(cost.cycles / row["cycles"])
            ratios.setdefault(f"{group}_bytes", []).append(
                cost.traffic.ddr_bytes / (row["read"] + row["write"])
            )
        elif row["target"] == "TP":
            group = "tp_fc" if row["operation"] == "FULLYCONNECTED" else "tp"
            count = tp_cycle_count(row, dtype, machine)
            ratios.setdefault(group, []).append(count / row["cycles"])
        elif row["target"] == "SH":
            count = sh_cycle_count(row, dtype, machine)
            ratios.setdefault("sh", []).append(count / row["cycles"])
    return [group_error("layers", group, ratios[group]) for group in sorted(ratios)]


def by_channel(engine: str, operation: str) -> bool:
    """Tell whether an operation is one channel of an average."""
    return engine == "NN" and operation == "FULLYCONNECTED"


def network_errors(
    path: str | Path, lists: str | Path | None = None, machine: Machine | None = None
) -> list[GroupError]:
    """Return the errors of whole networks: the sum NN + TP/6, per network and DDR rate.

    Averages that run by channel are left out: the tables list three channels of each.

    ``lists`` is the folder of layer lists, by default ``networks`` beside the table; each network
    is lowered from its list, so that the lowering is compared too.
    """
    machine = machine or load_machine("rk1808")
    folder = Path(lists) if lists is not None else Path(path).parent / "networks"
    weights = {"NN": 1.0, "TP": 1 / machine.tp.cores_count}
    sums: dict[tuple[str, float], float] = {}
    for row in read_rows(path):
        if by_channel(row["target"], row["operation"]):
            continue
        key = (row["network"], float(row["ddr_bw"]))
        sums[key] = sums.get(key, 0.0) + weights.get(row["target"], 0.0) * row["cycles"]
    ratios: dict[str, list[float]] = {}
    for (name, rate), reference in sorted(sums.items()):
        network = load_layer_list(folder / f"{name}.json")
        result = estimate(
            network, machine, profile="vendor", ddr_gbps=rate * machine.vendor.clock_hz / 1e9
        )
        found = sum(
            operation.cycle_count
            / (1 if operation.engine.value == "NN" else machine.tp.cores_count)
            for layer in result.layers
            for operation in layer.operations
            if operation.engine.value in ("NN", "TP")
            and not by_channel(operation.engine.value, operation.operation)
        )
        ratios.setdefault(f"{name}@{machine.name}", []).append(found / reference)
        ratios.setdefault("all", []).append(found / reference)
    return [group_error("networks", group, ratios[group]) for group in sorted(ratios)]


def board_errors(path: str | Path) -> list[GroupError]:
    """Return the errors against published board times: each, each family on a chip, each chip, all.

    Layer lists are found from the folder of the table. Only times of high trust count in a chip's
    group, which has targets.
    """
    single: list[GroupError] = []
    families: dict[str, list[float]] = {}
    chips: dict[str, list[float]] = {}
    everything = []
    for sample in load_samples(path):
        chip = sample.machine.name
        ratio = sample.predicted_ms(sample.machine.board) / sample.time_ms
        single.append(group_error("boards", sample.label, [ratio]))
        families.setdefault(f"family {sample.family}@{chip}", []).append(ratio)
        if sample.trust == "high":
            chips.setdefault(chip, []).append(ratio)
        everything.append(ratio)
    groups = [*families.items(), *chips.items(), *[("all", everything)] * bool(everything)]
    return single + [group_error("boards", group, ratios) for group, ratios in groups]
