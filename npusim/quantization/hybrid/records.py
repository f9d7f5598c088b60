"""Between a quantization and the records of its cfg file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from npusim import words
from npusim.errors import ConfigError, located
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ops import op_def
from npusim.quantization.apply import Formats, apply_formats, float_ending
from npusim.quantization.constrain import clipped_for_sigmoid
from npusim.quantization.hybrid.cfg import HybridConfig, Record, read_cfg
from npusim.quantization.hybrid.choice import layer_names, resolve_layers
from npusim.quantization.schemes import Range, Scheme

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A record and what it stands for: a tensor (activation or float constant) of a layer."""

    record: Record
    tensor: str
    node: str

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Return the range in the record."""
        return self.record.minimum, self.record.maximum


def records_of(
    graph: Graph, source: Graph, ranges: Mapping[str, Range], formats: Formats
) -> list[Slot]:
    """Return the records of a network in its default scheme, in execution order.

    Layers that are fused keep records of their own, with the parameters of what they became part
    of. Graph inputs are layers called like the input. The u8 input of a sigmoid has the range it
    gets, cut to -6.3 .. 6.3: whoever changes it in the file sees what it was.

    Parameters
    ----------
    graph : Graph
        Float graph after the float passes.
    source : Graph
        Before them.
    ranges : mapping
        Range of every activation, joined where tensors share one.
    formats : Formats
        Default scheme (an integer one), release and given ranges; the rest does not count.
    """
    scheme = formats.default
    if scheme is Scheme.U8:
        cut = clipped_for_sigmoid(graph, ranges, formats.era)
        ranges = {**ranges, **{k: ends for k, ends in cut.items() if k not in formats.given}}
    ready = apply_formats(graph, ranges, replace(formats, layers={}, quants={}))
    stays_float = float_ending(graph)
    ops = {node.layer_id: node.op for node in source.nodes}
    slots: list[Slot] = []

    def activation(layer_id: str, part: str, tensor: str, node: str) -> None:
        spec = ready.spec(tensor)
        if not spec.dtype.is_float and isinstance(spec.quant, Float):
            return  # indices
        bare = Record(layer_id=layer_id, part=part)
        known = bare if tensor in stays_float else _with(bare, scheme, ranges[tensor], spec.quant)
        slots.append(Slot(record=known, tensor=tensor, node=node))

    for name in graph.inputs:
        activation(name, "out0", name, "")
    by_node: dict[str, list[str]] = {}
    for entry in layer_names(graph, source):
        by_node.setdefault(entry.node, []).append(entry.layer_id)
    for node, final in zip(graph.nodes, ready.nodes, strict=True):
        ids = by_node[node.name]
        if op_def(node.op).weighted and graph.is_constant(node.inputs[1]):
            owner = next((i for i in ids if i in ops and op_def(ops[i]).weighted), ids[-1])
            for position, part in ((1, "weight"), (2, "bias")):
                stored, tensor = ready.spec(final.inputs[position]), node.inputs[position]
                value = graph.constants[tensor]
                bounds = float(value.min(initial=0)), float(value.max(initial=0))
                bare = Record(layer_id=owner, part=part)
                if part == "weight":
                    known = _with(bare, scheme, bounds, stored.quant)
                else:
                    known = replace(
                        _with(bare, scheme, None, stored.quant),
                        scheme=None,
                        bias_type=stored.dtype.value,
                    )
                slots.append(Slot(record=known, tensor=tensor, node=node.name))
        for layer_id in ids[:-1]:
            activation(layer_id, "out0", node.outputs[0], node.name)
        for i, tensor in enumerate(node.outputs):
            activation(ids[-1], f"out{i}", tensor, node.name)
    return slots


def _with(record: Record, scheme: Scheme, bounds: Range | None, quant: Quant) -> Record:
    low, high = bounds if bounds is not None else (None, None)
    known = replace(record, scheme=scheme, minimum=low, maximum=high)
    match quant:
        case Affine(scale=scale, zero_point=zero_point):
            return replace(known, scale=scale, zero_point=zero_point)
        case DynamicFixedPoint(fl=fl):
            return replace(known, fl=fl)
    raise ConfigError(f"{record.key}: {quant} has no record")


@dataclass(slots=True)
class Edited:
    """What a cfg file changes against the records that step 1 wrote."""

    formats: Formats
    ranges: dict[str, Range]
    notes: list[str]


def edited(
    path: str | Path,
    graph: Graph,
    source: Graph,
    ranges: Mapping[str, Range],
    formats: Formats,
) -> Edited:
    """Read a cfg file and return formats and ranges for the network it belongs to.

    A record's ``scale``, ``zero_point`` or ``fl`` replaces the calculated one; else a changed
    ``min_value`` or ``max_value`` gives new parameters. Numbers of a layer whose format changes
    count as far as its range goes.

    Raises
    ------
    ConfigError
        Naming file and line: unknown layers, formats that do not go together, contradicting
        records.
    """
    config, scheme = read_cfg(path), formats.default
    slots = records_of(graph, source, ranges, formats)
    by_key: dict[Key, Slot] = {(s.record.layer_id, s.record.part): s for s in slots}
    _refuse_unknown(config, by_key)
    if config.layers is None:
        layers = _layers_of_records(config, graph, slots)
        wanted = {name: value for name, value in layers.items() if value is not scheme}
        resolved = resolve_layers(wanted, graph, source, default=scheme)
    else:
        try:
            resolved = resolve_layers(config.layers, graph, source, default=scheme)
        except ConfigError as error:
            raise _at_line(error, config, str(path)) from None
    result = Edited(replace(formats, layers=resolved), dict(ranges), list(config.notes))
    result.notes += [
        f"layer {name}: float32 runs as float16, the chip's only floating point type"
        for name in config.float32
    ]
    _take_numbers(config, by_key, result, old_layout=config.layers is None)
    return result


def ranges_in_cfg(
    path: str | Path, graph: Graph, source: Graph, formats: Formats
) -> dict[str, Range]:
    """Return the ranges that a cfg file holds, to quantize without calibration.

    Raises
    ------
    ConfigError
        When the file does not hold the range of every tensor.
    """
    config = read_cfg(path)
    names = (*graph.inputs, *(out for node in graph.nodes for out in node.outputs))
    found: dict[str, Range] = dict.fromkeys(names, (0.0, 0.0))
    missing = []
    for slot in records_of(graph, source, found, formats):
        if slot.tensor not in found or slot.record.scheme is None:
            continue
        record = config.records.get((slot.record.layer_id, slot.record.part))
        if record is not None and record.minimum is not None and record.maximum is not None:
            found[slot.tensor] = record.minimum, record.maximum
        elif record is None or record.scheme is not None:
            missing.append(slot.record.key)
    if missing:
        raise ConfigError(
            f"no range of {', '.join(missing[:5])}" + (" and others" if missing[5:] else ""),
            where=str(path),
            rule="without a dataset every tensor's min_value and max_value come from this file",
            remedy=f"give {words.say('dataset')}",
        )
    return found


def _at_line(error: ConfigError, config: HybridConfig, path: str) -> ConfigError:
    where = next((w for name, w in config.where.items() if repr(name) in error.what), path)
    return ConfigError(error.what, where=where, rule=error.rule, remedy=error.remedy)


def _refuse_unknown(config: HybridConfig, by_key: Mapping[Key, Slot]) -> None:
    for key, record in config.records.items():
        if key not in by_key:
            parts = sorted(part for layer, part in by_key if layer == record.layer_id)
            raise ConfigError(
                f"record {record.key!r} belongs to no tensor of the model",
                where=record.where,
                rule=f"layer {record.layer_id!r} has {', '.join(parts)}"
                if parts
                else f"no layer is called {record.layer_id!r}",
                remedy=f"write the file again for this model: {words.say('write_cfg')}",
            )


def _layers_of_records(config: HybridConfig, graph: Graph, slots: list[Slot]) -> dict[str, Scheme]:
    """Return layer name -> scheme as the records of an old layout say."""
    by_tensor: dict[str, list[Record | None]] = {}
    for slot in slots:
        if slot.record.scheme is not None:
            found = config.records.get((slot.record.layer_id, slot.record.part))
            by_tensor.setdefault(slot.tensor, []).append(found)

    def scheme_of(tensor: str) -> Scheme:
        # a tensor all of whose records are gone or without a type is float
        typed = [r.scheme for r in by_tensor[tensor] if r is not None and r.scheme is not None]
        return typed[0] if typed else Scheme.F16

    layers = {}
    for node in graph.nodes:
        tensors = [n for n in _deciding(node, graph) if n in by_tensor]
        if tensors:
            schemes = [scheme_of(name) for name in tensors]
            layers[node.name] = schemes[0] if len(set(schemes)) == 1 else _typed(schemes)
    return layers


def _deciding(node: Node, graph: Graph) -> tuple[str, ...]:
    if op_def(node.op).weighted and graph.is_constant(node.inputs[1]):
        return (node.inputs[1],)
    return graph.activations(node)


def _typed(schemes: list[Scheme]) -> Scheme:
    return next(scheme for scheme in schemes if scheme is not Scheme.F16)


def _take_numbers(
    config: HybridConfig, by_key: Mapping[Key, Slot], result: Edited, *, old_layout: bool
) -> None:
    decided: dict[str, Record] = {}
    quants: dict[str, Quant] = {}
    bounded: set[str] = set()
    for slot, record in _changed(config, by_key):
        if slot.record.bias_type:
            if not record.bias_type:
                continue  # left in float: its layer is, or not, by the other records
            result.notes.append(
                f"{record.where}: {record.key} is not used: a bias has the scale of its layer's "
                "input times that of its weights"
            )
            continue
        if record.scheme is not slot.record.scheme:
            if old_layout:
                continue  # decided the layer's format
            raise ConfigError(
                f"{record.key} has another format than step 1 wrote",
                where=record.where,
                rule="formats of layers are set in customized_quantize_layers",
            )
        first = decided.setdefault(slot.tensor, record)
        if _numbers(first) != _numbers(record):
            raise ConfigError(
                f"{first.key} and {record.key} are one tensor on the chip and were changed "
                "differently",
                where=record.where,
                remedy="change one of them, or both alike",
            )
        bounds = record.minimum, record.maximum
        if record.minimum is not None and record.maximum is not None and bounds != slot.bounds:
            if record.minimum > record.maximum:
                raise ConfigError(
                    f"{record.key}: min_value {record.minimum} is above max_value {record.maximum}",
                    where=record.where,
                )
            result.ranges[slot.tensor] = record.minimum, record.maximum
            bounded.add(slot.tensor)
        layer_scheme = result.formats.layers.get(slot.node, result.formats.default)
        place = f"{record.where}: {record.key}"
        if record.scheme is layer_scheme and (
            own := located(place, _given_quant, record, slot.record)
        ):
            quants[slot.tensor] = own
            if slot.tensor in result.formats.given:  # all from this file: which one was edited?
                result.notes.append(
                    f"{record.where}: {record.key}: scale, zero_point or fl do not follow from "
                    "min_value and max_value; they count, without them the range would"
                )
    result.formats = replace(result.formats, quants=quants, given=result.formats.given | bounded)


def _changed(config: HybridConfig, by_key: Mapping[Key, Slot]) -> Iterator[tuple[Slot, Record]]:
    for key, record in config.records.items():
        slot = by_key[key]
        if _numbers(record) != _numbers(slot.record) or record.scheme is not slot.record.scheme:
            yield slot, record


def _numbers(record: Record) -> tuple[float | None, ...]:
    return (record.minimum, record.maximum, record.scale, record.zero_point, record.fl)


def _given_quant(record: Record, before: Record) -> Quant | None:
    """Return the parameters written in a record when they differ from the calculated ones."""
    if record.scheme is Scheme.U8:
        same = (record.scale, record.zero_point) == (before.scale, before.zero_point)
        if same or record.scale is None:
            return None
        return Affine(scale=record.scale, zero_point=record.zero_point or 0)
    if record.fl is None or record.fl == before.fl:
        return None
    return DynamicFixedPoint(fl=record.fl)
