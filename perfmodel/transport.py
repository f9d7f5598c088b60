"""What a call of the API costs beside the run: the link, the conversion on a CPU, the call itself.

Inputs move as the caller gives them (u8 pictures or float32), outputs as float32, which is what the
API returns. A CPU converts every value once: pixels to the chip's type and layout, codes to float32
and the source's layout. None of it is part of the chip's time. Source: ``transports.toml``.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from math import prod
from typing import Any

from npusim.errors import MachineError
from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.machine import Provenance, load_machine
from npusim.reading.records import parse_toml

FILE = "transports.toml"
LINKED = "rk3399pro"
"""The machine whose USB link others are taken to have as well."""

INPUT_TYPES = {"u8": DType.U8, "f32": DType.F32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A number with its source and how far to trust it."""

    value: float
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "value": self.value,
            "source": self.provenance.source,
            "confidence": self.provenance.confidence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """A way to the NPU; ``call_us`` microseconds, ``host_values_per_s`` values a second."""

    name: str
    title: str
    crosses_link: bool
    call_us: Rate
    host_values_per_s: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What one call of a network costs beside its run, all images of the batch.

    Attributes
    ----------
    input_bytes, output_bytes : int
        As the API moves them.
    link_us, host_us, call_us : float
        Microseconds on the link, of conversion on a CPU, and of the call.
    npu_us : float
        The chip's own time.
    link_bytes_per_s : Rate or None
        None where memory is shared.
    """

    transport: Transport
    input_type: str
    input_bytes: int
    output_bytes: int
    link_us: float
    host_us: float
    npu_us: float
    link_bytes_per_s: Rate | None = field(repr=False)
    batch: int = 1

    @property
    def call_us(self) -> float:
        """Return the time of the call itself."""
        return self.transport.call_us.value

    @property
    def beside_us(self) -> float:
        """Return everything that is not the chip's time."""
        return self.link_us + self.host_us + self.call_us

    @property
    def whole_us(self) -> float:
        """Return what the caller waits for."""
        return self.npu_us + self.beside_us

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; every number carries its unit in the key."""
        rates: dict[str, Rate | None] = {
            "link_bytes_per_s": self.link_bytes_per_s,
            "host_values_per_s": self.transport.host_values_per_s,
            "call_us": self.transport.call_us,
        }
        return {
            "name": self.transport.name,
            "title": self.transport.title,
            "input_type": self.input_type,
            "output_type": "f32",
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "link_us": round(self.link_us, 3),
            "host_us": round(self.host_us, 3),
            "call_us": round(self.call_us, 3),
            "beside_us": round(self.beside_us, 3),
            "whole_us": round(self.whole_us, 3),
            "frames_per_s": round(self.batch * 1e6 / self.whole_us, 3),
            "rates": {name: rate.to_dict() for name, rate in rates.items() if rate is not None},
        }


@lru_cache(maxsize=1)
def _transports() -> dict[str, Transport]:
    text = (files("npusim.perfmodel") / FILE).read_bytes()
    return {
        name: Transport(
            name=name,
            title=entry["title"],
            crosses_link=entry["crosses_link"],
            call_us=_rate(entry["call_us"]),
            host_values_per_s=_rate(entry["host_values_per_s"]),
        )
        for name, entry in parse_toml(text, FILE, MachineError).items()
    }


def _rate(entry: dict[str, Any]) -> Rate:
    provenance = Provenance(source=entry["source"], confidence=entry["confidence"])
    return Rate(value=float(entry["value"]), provenance=provenance)


def transport_names() -> tuple[str, ...]:
    """Return the ways to the NPU, the shortest first."""
    return tuple(_transports())


def transfer(estimate: Estimate, name: str, *, input_type: str = "u8") -> Transfer:
    """Return what a call costs beside an estimated run.

    Parameters
    ----------
    estimate : Estimate
    name : {"onboard", "usb", "ntb", "adb"}
    input_type : {"u8", "f32"}
        What the caller hands over.

    Raises
    ------
    MachineError
        When there is no such transport or input type.
    """
    known = _transports()
    if name not in known:
        raise MachineError(f"transport {name!r} does not exist", rule=f"one of {', '.join(known)}")
    if input_type not in INPUT_TYPES:
        raise MachineError(
            f"inputs of type {input_type!r}", rule=f"one of {', '.join(INPUT_TYPES)}"
        )
    transport, network = known[name], estimate.source
    values_in, values_out = (
        sum(prod(network.shapes[n]) for n in names) * network.batch
        for names in (network.inputs, network.outputs)
    )
    input_bytes = values_in * INPUT_TYPES[input_type].itemsize
    output_bytes = values_out * DType.F32.itemsize
    link = _link(estimate) if transport.crosses_link else None
    return Transfer(
        transport=transport,
        input_type=input_type,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        link_us=(input_bytes + output_bytes) / link.value * 1e6 if link else 0.0,
        host_us=(values_in + values_out) / transport.host_values_per_s.value * 1e6,
        npu_us=estimate.total_time_us,
        link_bytes_per_s=link,
        batch=estimate.batch,
    )


def _link(estimate: Estimate) -> Rate:
    """Return the rate of the chip's own link; of the RK3399Pro's for chips without one."""
    machine = estimate.setting.machine
    if not machine.host.link_bytes_per_s:
        machine = load_machine(LINKED)
    return Rate(
        value=machine.host.link_bytes_per_s,
        provenance=machine.provenance["host.link_bytes_per_s"],
    )
