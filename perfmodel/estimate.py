"""A network's predicted time: per layer, explained, and in total.

Operations follow one another; inside an operation the engines overlap (see the cost functions).
This is the one place where costs become time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from npusim.errors import MachineError
from npusim.faces import Face, Faced
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form, Graph, layer_id
from npusim.perfmodel.cost import Bound, Cost, total
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.guesses import Guess, guesses_of
from npusim.perfmodel.lowering import LoweredLayer, lower
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.memory import MemoryUse, memory_use
from npusim.perfmodel.network import Network, from_graph, images_of
from npusim.perfmodel.pricing import OperationEstimate, Setting, falls_back, price
from npusim.perfmodel.residence import Residence
from npusim.perfmodel.workload import NnWork

LEAST_RATE = 1e-3
"""Of a clock in MHz and of a memory in GB/s: below, times say nothing of any chip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEstimate:
    """One layer with its operations.

    Attributes
    ----------
    name, uid, op
        The layer, as in the graph.
    fused : tuple of str
        Layers that run inside this one.
    engine : Engine
    form : Form
        Where it runs and in what form, as the passes decided.
    macs : int
        Products the model asks for, batch included.
    time_us, share
        Microseconds and part of the total.
    utilisation : float
        macs over the peak of the cores for this data type in that time.
    """

    name: str
    uid: int
    op: str
    fused: tuple[str, ...]
    engine: Engine
    form: Form
    macs: int
    cost: Cost
    operations: tuple[OperationEstimate, ...] = field(repr=False)
    time_us: float
    share: float
    utilisation: float
    note: str = ""

    @property
    def layer_id(self) -> str:
        """Return ``<name>_<uid>``."""
        return layer_id(self.name, self.uid)

    @property
    def bound(self) -> Bound:
        """Return what limits the layer."""
        return self.cost.bound

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; every number carries its unit in the key."""
        traffic = self.cost.traffic
        return {
            "name": self.name,
            "uid": self.uid,
            "op": self.op,
            "fused": list(self.fused),
            "engine": self.engine.value,
            "form": self.form.value,
            "macs": self.macs,
            "cycles": round(self.cost.cycles),
            "compute_cycles": round(self.cost.compute_cycles),
            "time_us": round(self.time_us, 3),
            "share": round(self.share, 6),
            "utilisation": round(self.utilisation, 6),
            "bound": self.bound.value,
            "bound_cycles": {b.value: round(c) for b, c in self.cost.bound_cycles},
            "ddr_image_bytes": round(traffic.ddr_image_bytes),
            "ddr_kernel_bytes": round(traffic.ddr_kernel_bytes),
            "ddr_command_bytes": round(traffic.ddr_command_bytes),
            "ddr_write_bytes": round(traffic.ddr_write_bytes),
            "sram_image_bytes": round(traffic.sram_image_bytes),
            "sram_kernel_bytes": round(traffic.sram_kernel_bytes),
            "sram_write_bytes": round(traffic.sram_write_bytes),
            "operations": [
                {
                    "operation": o.operation,
                    "engine": o.engine.value,
                    "cycle_count": round(o.cycle_count),
                    "cycles": round(o.cost.cycles),
                    "bound": o.cost.bound.value,
                    "tile": [o.tile.width, o.tile.height] if o.tile else None,
                    "kernels_per_core": o.tile.kernels_per_core if o.tile else None,
                }
                for o in self.operations
            ],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Estimate(Faced):
    """What a network costs on a machine. ``layers`` are in execution order.

    ``source`` and ``setting`` are what was priced and with which numbers.
    """

    network: str
    machine: str
    machine_title: str
    profile: str
    clock_hz: float
    ddr_bytes_per_s: float
    batch: int
    layers: tuple[LayerEstimate, ...]
    cost: Cost
    memory: MemoryUse
    copy_time_us: float
    source: Network = field(repr=False)
    setting: Setting = field(repr=False)

    @property
    def total_time_us(self) -> float:
        """Return the time of one run of the NPU (all images of the batch), without host copies."""
        return self.cost.cycles / self.clock_hz * 1e6

    @property
    def frames_per_s(self) -> float:
        """Return images per second of the NPU alone; 0 for an empty network."""
        return self.batch * 1e6 / self.total_time_us if self.cost.cycles else 0.0

    @property
    def macs(self) -> int:
        """Return the products of one run."""
        return sum(layer.macs for layer in self.layers)

    def _face(self) -> Face:
        by_engine = ", ".join(f"{name} {us:.0f} us" for name, us in self.by_engine().items())
        return Face(
            f"{self.network} on {self.machine}",
            {
                "time": f"{self.total_time_us:.0f} us",
                "frames/s": round(self.frames_per_s, 1),
                "layers": len(self.layers),
                "MMAC": round(self.macs / 1e6, 2),
                "profile": self.profile,
                "clock": f"{self.clock_hz / 1e6:.0f} MHz",
                "batch": self.batch,
                "by engine": by_engine or "-",
                "NPU memory": f"{self.memory.npu_bytes} bytes",
                **({"guessed": len(self.guesses)} if self.guesses else {}),
            },
            (layer.to_dict() for layer in self.layers),
            ("name", "op", "engine", "macs", "time_us", "share", "utilisation", "bound"),
        )

    def by_engine(self) -> dict[str, float]:
        """Return engine -> microseconds."""
        times: dict[str, float] = {}
        for layer in self.layers:
            for operation in layer.operations:
                key = operation.engine.value
                spent = operation.cost.cycles / self.clock_hz * 1e6
                times[key] = times.get(key, 0.0) + spent
        return times

    def by_op(self) -> dict[str, float]:
        """Return operator -> microseconds."""
        times: dict[str, float] = {}
        for layer in self.layers:
            times[layer.op] = times.get(layer.op, 0.0) + layer.time_us
        return times

    @property
    def guesses(self) -> tuple[Guess, ...]:
        """Return the constants that nobody has found on this chip."""
        return guesses_of(self.setting.machine, self.profile, self.source.dtypes.values())

    @property
    def note(self) -> str:
        """Return what has to be said of the whole estimate; nothing when all is as usual."""
        chip = self.setting.machine
        slow = [
            layer.name
            for layer in self.layers
            if any(falls_back(operation.work, chip) for operation in layer.operations)
        ]
        if not slow:
            return ""
        return (
            f"{chip.name} has no float16 cores: {len(slow)} layers (the first is {slow[0]!r}) are "
            f"priced with {chip.nn.float_fallback_ratio:g} times the cycles of an RK1808, a guess "
            "from published times"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "network": self.network,
            "machine": self.machine,
            "profile": self.profile,
            "clock_mhz": self.clock_hz / 1e6,
            "ddr_gbps": self.ddr_bytes_per_s / 1e9,
            "batch": self.batch,
            "sram": self.setting.maps_kept_bytes > 0,
            "macs": self.macs,
            "total_cycles": round(self.cost.cycles),
            "total_time_us": round(self.total_time_us, 3),
            "copy_time_us": round(self.copy_time_us, 3),
            "frames_per_s": round(self.frames_per_s, 3),
            "host_layers": list(self.source.host_layers),
            "guesses": [guess.to_dict() for guess in self.guesses],
            "by_engine_us": {k: round(v, 3) for k, v in self.by_engine().items()},
            "by_op_us": {k: round(v, 3) for k, v in self.by_op().items()},
            "memory": self.memory.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }


def estimate(
    graph: Graph | Network,
    machine: Machine | str | Path | None = None,
    *,
    profile: str = "board",
    clock_mhz: float | None = None,
    ddr_gbps: float | None = None,
    dtype: DType | None = None,
    sram: bool | None = None,
) -> Estimate:
    """Predict the time of a network.

    Parameters
    ----------
    graph : Graph or Network
        A graph at any stage (one without engines gets them first, a float graph as float16), or a
        layer list.
    machine : Machine, name or path of a TOML file, optional
        The graph's target by default.
    profile : {"board", "vendor"}
        ``board`` predicts silicon; ``vendor`` reproduces the vendor estimator's own counts.
    clock_mhz : float, optional
        NPU clock. The DDR rate in bytes per second stays as it is.
    ddr_gbps : float, optional
        Sustained DDR rate, 1e9 bytes per second.
    dtype : DType, optional
        Price a graph as if it had this number format throughout.
    sram : bool, optional
        Keep feature maps in all of the chip's AXI SRAM where they fit, or all in DDR; by default as
        much as the profile says (``npusim.perfmodel.residence``).

    Raises
    ------
    MachineError
        When the machine, the profile or a rate cannot be used.
    """
    network = graph if isinstance(graph, Network) else from_graph(graph, dtype)
    chip = machine if isinstance(machine, Machine) else load_machine(machine or network.target)
    constants = chip.profile(profile)
    setting = Setting(
        machine=chip,
        profile=constants,
        vendor=profile == "vendor",
        clock_hz=_rate(clock_mhz, 1e6, constants.clock_hz, "clock_mhz"),
        ddr_bytes_per_s=_rate(ddr_gbps, 1e9, constants.ddr_bytes_per_s, "ddr_gbps"),
        sram=sram,
    )
    lowered = lower(network)
    residence = Residence(network, lowered, setting.maps_kept_bytes)
    operations = [_operations(low, network, setting, residence) for low in lowered]
    costs = [total([operation.cost for operation in own]) for own in operations]
    cost = total(costs)
    layers = tuple(
        _layer_estimate(low, network, setting, own, part, cost)
        for low, own, part in zip(lowered, operations, costs, strict=True)
    )
    return Estimate(
        network=network.name,
        machine=chip.name,
        machine_title=chip.title,
        profile=profile,
        clock_hz=setting.clock_hz,
        ddr_bytes_per_s=setting.ddr_bytes_per_s,
        batch=network.batch,
        layers=layers,
        cost=cost,
        memory=memory_use(network, lowered, _coefficient_bytes(layers, chip)),
        copy_time_us=_copy_time_us(network, chip),
        source=network,
        setting=setting,
    )


def at_clock(priced: Estimate, clock_mhz: float) -> Estimate:
    """Return an estimate at another NPU clock; the memory keeps its own.

    Cycles of the engines scale, bytes a second do not: 600 MHz is not three quarters of 800.
    Source: the same die at 934 (RV1126) and 594 MHz (RV1109), published times of five networks:
    1.45 to 1.51 times as long, not 1.57.
    """
    setting = priced.setting
    return estimate(
        priced.source,
        setting.machine,
        profile=priced.profile,
        clock_mhz=clock_mhz,
        ddr_gbps=setting.ddr_bytes_per_s / 1e9,
        sram=setting.sram,
    )


def _rate(value: float | None, unit: float, default: float, name: str) -> float:
    if value is None:
        return default
    if not (isinstance(value, int | float) and LEAST_RATE <= value < 1e6):
        raise MachineError(f"{name} = {value!r}", rule=f"from {LEAST_RATE:g}, below 1e6")
    return value * unit


def _coefficient_bytes(layers: Sequence[LayerEstimate], machine: Machine) -> int:
    return sum(
        kernel_stream_bytes(operation.work, operation.tile, machine)
        for layer in layers
        for operation in layer.operations
        if operation.tile is not None and isinstance(operation.work, NnWork)
    )


def _copy_time_us(network: Network, machine: Machine) -> float:
    if not machine.host.link_bytes_per_s:
        return 0.0
    size = sum(network.tensor_bytes(n) for n in (*network.inputs, *network.outputs))
    return size * network.batch / machine.host.link_bytes_per_s * 1e6


def _operations(
    lowered: LoweredLayer, network: Network, setting: Setting, residence: Residence
) -> tuple[OperationEstimate, ...]:
    images = network.batch * images_of(network.shapes[lowered.layer.outputs[0]])
    operations = tuple(
        price(work, setting, kept)
        for work, kept in zip(lowered.works, residence.kept(lowered), strict=True)
    )
    if images > 1:
        operations = tuple(
            replace(o, cost=o.cost * images, cycle_count=o.cycle_count * images) for o in operations
        )
    return operations


def _layer_estimate(
    lowered: LoweredLayer,
    network: Network,
    setting: Setting,
    operations: tuple[OperationEstimate, ...],
    cost: Cost,
    whole: Cost,
) -> LayerEstimate:
    layer = lowered.layer
    macs = layer.macs * network.batch
    peak = _peak_macs_per_cycle(network.dtypes[layer.outputs[0]], setting)
    return LayerEstimate(
        name=layer.name,
        uid=layer.uid,
        op=layer.op,
        fused=tuple(other.name for other in lowered.fused),
        engine=layer.engine,
        form=layer.form,
        macs=macs,
        cost=cost,
        operations=operations,
        time_us=cost.cycles / setting.clock_hz * 1e6,
        share=cost.cycles / whole.cycles if whole.cycles else 0.0,
        utilisation=macs / (cost.cycles * peak) if cost.cycles else 0.0,
        note=lowered.note,
    )


def _peak_macs_per_cycle(dtype: DType, setting: Setting) -> float:
    engine = setting.machine.nn
    cores = engine.cores_count if dtype.bits == 8 else setting.profile.cores_16bit_count
    return cores * engine.lanes_count * engine.depth_products_count
