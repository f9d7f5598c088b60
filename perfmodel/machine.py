"""Machine descriptions: a chip as data.

A description is a TOML file of sections; every entry is a table with ``value``, ``source`` and
``confidence``. Units are part of the key. ``extends`` names a base description whose entries hold
unless they are given again. ``assumes`` lists the sections whose entries were found on the base's
chip and are taken over on trust: their confidence is "guess".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from npusim.errors import MachineError
from npusim.reading.files import read_bytes, refuse_pipe
from npusim.reading.records import MOST_TOML, parse_toml

CONFIDENCES = ("measured", "documented", "fitted", "guess")
UNITS = (
    "_hz",
    "_count",
    "_bits",
    "_bytes",
    "_pixels",
    "_cycles",
    "_bytes_per_s",
    "_bytes_per_cycle",
    "_cycles_per_value",
    "_cycles_per_tap",
    "_cycles_per_group",
    "_ratio",
)
PROFILES = ("board", "vendor")
COSTS = ("_cycles", "_cycles_per_value", "_cycles_per_tap")
MAY_BE_ZERO = frozenset(
    (
        "axi_sram_bytes",
        "float_fallback_ratio",
        "image_buffer_bytes",
        "image_not_kept_pixels",
        "link_bytes_per_s",
        "maps_kept_bytes",
        "native_depthwise_count",
        "planned_bytes_ratio",
        "planned_first_image_ratio",
        "planned_handover_ratio",
        "planned_lower_ratio",
        "planned_shallow_channels_count",
        "planned_true_ratio",
        "reshuffle_time_ratio",
        "rows_fetched_apart_count",
        "sums_streamed_count",
    )
)
"""What a chip may lack, beside what costs nothing (``COSTS``); all other entries divide."""

SMALLEST, LARGEST = 1e-6, 1e15
MOST = {
    "depth_products_count": 3,
    "input_buffer_depth_count": 4096,
    "planned_bytes_ratio": 16,
    "planned_lower_ratio": 16,
    "zero_run_bits": 32,
}
"""Of entries that are exponents, or that more work is done for; rows leave one or two taps over."""
MOST_BASES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a number comes from and how far to trust it (one of ``CONFIDENCES``).

    ``taken_from`` is the chip it was found on when that is another one.
    """

    source: str
    confidence: str
    taken_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NnEngine:
    """Convolution cores.

    ``one_tap_cycles`` and ``two_taps_cycles`` are what is left over of a kernel row after its
    groups of three: by the number of full groups, from one and from none upward.
    ``float_fallback_ratio`` is 0 where the cores compute float16; else cycles per cycle of an
    RK1808 that computes it.
    """

    cores_count: int
    planned_cores_16bit_count: int
    lanes_count: int
    depth_products_count: int
    accumulator_depth_count: int
    accumulator_depth_16bit_count: int
    input_buffer_depth_count: int
    tile_width_max_pixels: int
    kernel_max_pixels: int
    kernels_per_core_max_count: int
    output_bytes_per_cycle: float
    pointwise_16bit_cycles_per_group: float
    sram_bytes_per_cycle: float
    sram_piece_bytes: int
    channel_cycles: float
    zero_run_bits: int
    launch_cycles: float
    superblock_cycles: float
    superblock_group_cycles: float
    handover_cycles: float
    handover_16bit_cycles: float
    planned_cached_ratio: float
    planned_column_cached_ratio: float
    planned_hit_ratio: float
    planned_column_hit_ratio: float
    planned_miss_ratio: float
    planned_line_miss_ratio: float
    planned_column_miss_ratio: float
    planned_shallow_miss_ratio: float
    planned_shallow_channels_count: int
    planned_lower_ratio: float
    planned_handover_ratio: float
    planned_true_ratio: float
    planned_bytes_ratio: float
    planned_first_image_ratio: float
    pointwise_cycles_per_group: float
    pointwise_channels_count: int
    pointwise_channels_16bit_count: int
    one_tap_cycles: tuple[float, ...]
    two_taps_cycles: tuple[float, ...]
    group_cycles: float
    group_16bit_cycles: float
    float_fallback_ratio: float
    native_depthwise_count: int
    decoded_per_cycle_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TpEngine:
    """Tensor processor: moves, pools and looks up tables."""

    cores_count: int
    bytes_per_cycle: float
    command_bytes: int
    launch_cycles: float
    serial_launch_cycles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShaderEngine:
    """Programmable core that runs what the others cannot."""

    sram_bytes_per_cycle: float
    launch_cycles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memories:
    """On-chip and external memory."""

    vip_sram_bytes: int
    image_not_kept_pixels: int
    image_buffer_bytes: int
    axi_sram_bytes: int
    line_bytes: int
    rows_fetched_apart_count: int
    write_cache_bytes: int
    ddr_peak_bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Link between the host that calls and the NPU; a rate of 0 means shared memory."""

    link_bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a prediction stands for: the vendor's estimator or a board.

    ``sums_streamed_count`` is 1 where sums wait for memory only, ``reshuffle_time_ratio`` the share
    of a rearrangement that the convolution behind it waits for, ``leaky_time_ratio`` the time of a
    leaky activation over that of a table. See ``npusim.perfmodel.engines.silicon``.
    ``maps_kept_bytes`` of the AXI SRAM hold feature maps (``npusim.perfmodel.residence``).
    """

    clock_hz: float
    ddr_bytes_per_s: float
    maps_kept_bytes: int
    cores_16bit_count: int
    operation_cycles: float
    nn_time_ratio: float
    sums_streamed_count: int
    tp_time_ratio: float
    reshuffle_time_ratio: float
    leaky_time_ratio: float
    shader_cycles_per_value: float
    large_pool_cycles_per_tap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One chip. ``provenance`` maps ``section.key`` to source and confidence."""

    name: str
    title: str
    nn: NnEngine
    tp: TpEngine
    shader: ShaderEngine
    memory: Memories
    host: Host
    board: Profile
    vendor: Profile
    provenance: Mapping[str, Provenance] = field(hash=False, compare=False)

    def __hash__(self) -> int:
        return hash(self.name)  # of all numbers it would cost more than what is looked up

    def profile(self, name: str) -> Profile:
        """Return the constants of ``"board"`` or ``"vendor"``."""
        if name not in PROFILES:
            raise MachineError(
                f"profile {name!r} does not exist", rule=f"one of {', '.join(PROFILES)}"
            )
        return self.board if name == "board" else self.vendor


_SECTIONS: dict[str, type] = {
    "nn": NnEngine,
    "tp": TpEngine,
    "shader": ShaderEngine,
    "memory": Memories,
    "host": Host,
    "board": Profile,
    "vendor": Profile,
}
_HEAD = ("name", "title", "extends", "assumes")
_TAKEN = "taken"  # of merged sections: "section.key" -> chip


def machine_names() -> tuple[str, ...]:
    """Return the names of the bundled descriptions."""
    folder = files("npusim.perfmodel.machines")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def load_machine(name_or_path: str | Path) -> Machine:
    """Read a machine description.

    Parameters
    ----------
    name_or_path : str or Path
        A bundled name (``machine_names()``), in any case, or the path of a TOML file.

    Raises
    ------
    MachineError
        When the name is unknown, or the file has unknown, missing or badly typed keys; it names
        the file and the key.
    """
    if Path(name_or_path).suffix != ".toml":
        return _bundled(str(name_or_path).lower(), str(name_or_path))
    text, where = _read(name_or_path)
    return _build(_sections(text, where, ()), where)


@lru_cache(maxsize=32)
def _bundled(name: str, written: str) -> Machine:
    """Return a machine of npusim's own; files of others may change and are read again."""
    text, where = _read(written)
    return _build(_sections(text, where, ()), where)


def _read(name_or_path: str | Path) -> tuple[bytes, str]:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return read_bytes(path, MachineError, most=MOST_TOML, remedy="check the path"), str(path)
    name = str(name_or_path).lower()
    if name not in machine_names():
        raise MachineError(
            f"target {str(name_or_path)!r} is not known",
            rule=f"one of {', '.join(machine_names())}, or a path that ends in .toml",
        )
    file = files("npusim.perfmodel.machines") / f"{name}.toml"
    return file.read_bytes(), f"{name}.toml"


def _sections(text: bytes, where: str, seen: tuple[str, ...]) -> dict[str, Any]:
    data = parse_toml(text, where, MachineError)
    base_name = data.pop("extends", None)
    base: dict[str, Any] = {}
    if base_name is not None:
        if not isinstance(base_name, str) or base_name in seen or len(seen) > MOST_BASES:
            raise MachineError(f"extends = {base_name!r} leads back to itself", where=where)
        refuse_pipe(Path(base_name), MachineError)
        base = _sections(*_read(base_name), (*seen, base_name))
    for key in data:
        if key not in _SECTIONS and key not in _HEAD:
            raise MachineError(
                f"unknown section {key!r}", where=where, rule=f"one of {', '.join(_SECTIONS)}"
            )
    merged = base | {k: data[k] for k in _HEAD if k in data}
    assumed = data.get("assumes", [])
    if not isinstance(assumed, list) or not set(map(str, assumed)) <= set(_SECTIONS):
        raise MachineError(
            f"assumes = {assumed!r}", where=where, rule=f"a list of {', '.join(_SECTIONS)}"
        )
    taken: dict[str, str] = dict(base.get(_TAKEN, {}))
    for section in _SECTIONS:
        own = data.get(section, {})
        if not isinstance(own, dict):
            raise MachineError(f"{section!r} must be a table", where=where)
        before = base.get(section, {})
        merged[section] = before | own
        if section in assumed:
            taken = {f"{section}.{key}": base["name"] for key in before} | taken
        for key in own:
            taken.pop(f"{section}.{key}", None)
    return merged | {_TAKEN: taken}


def _build(data: dict[str, Any], where: str) -> Machine:
    for key in ("name", "title"):
        if not isinstance(data.get(key), str):
            raise MachineError(f"{key!r} is missing or no text", where=where)
    provenance: dict[str, Provenance] = {}
    built = {
        section: kind(**_values(section, kind, data[section], where, provenance))
        for section, kind in _SECTIONS.items()
    }
    for key, chip in data[_TAKEN].items():
        provenance[key] = Provenance(
            source=f"taken over from {chip}: {provenance[key].source}",
            confidence="guess",
            taken_from=chip,
        )
    return Machine(
        name=data["name"],
        title=data["title"],
        provenance=MappingProxyType(provenance),
        **built,
    )


def _values(
    section: str,
    kind: type,
    entries: Mapping[str, Any],
    where: str,
    provenance: dict[str, Provenance],
) -> dict[str, Any]:
    wanted = {field.name: field.type for field in fields(kind)}
    if unknown := sorted(set(entries) - set(wanted)):
        raise MachineError(
            f"unknown keys in [{section}]: {', '.join(unknown)}",
            where=where,
            rule=f"keys are {', '.join(wanted)}",
        )
    if missing := sorted(set(wanted) - set(entries)):
        raise MachineError(f"[{section}] lacks {', '.join(missing)}", where=where)
    values = {}
    for key, entry in entries.items():
        spot = f"{where} [{section}] {key}"
        if not isinstance(entry, dict) or set(entry) != {"value", "source", "confidence"}:
            raise MachineError(
                "is not a full entry",
                where=spot,
                rule="{ value = .., source = .., confidence = .. } and nothing else",
            )
        if entry["confidence"] not in CONFIDENCES or not entry["source"]:
            raise MachineError(
                f"confidence {entry['confidence']!r}, source {entry['source']!r}",
                where=spot,
                rule=f"confidence is one of {', '.join(CONFIDENCES)} and source says where from",
            )
        values[key] = _number(key, entry["value"], wanted[key], spot)
        provenance[f"{section}.{key}"] = Provenance(
            source=entry["source"], confidence=entry["confidence"]
        )
    return values


def _number(key: str, value: object, kind: object, spot: str) -> object:
    least = 0.0 if key in MAY_BE_ZERO or key.endswith(COSTS) else SMALLEST
    most = MOST.get(key, LARGEST)
    if kind is int:
        if isinstance(value, int) and _is_number(value, least, most):
            return value
    elif kind is float:
        if _is_number(value, least, most):
            return float(value)  # type: ignore[arg-type]
    elif isinstance(value, list) and value and all(_is_number(v, SMALLEST) for v in value):
        return tuple(float(v) for v in value)
    raise MachineError(
        f"value {str(value)[:80]} does not fit",
        where=spot,
        rule=f"{getattr(kind, '__name__', kind)}, {'from 0' if not least else 'above 0'} "
        f"to {most:g}",
    )


def _is_number(value: object, least: float, most: float = LARGEST) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and least <= value <= most  # type: ignore[operator]
