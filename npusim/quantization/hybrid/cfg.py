"""The ``quantization.cfg`` file: which layers get which format, and every tensor's parameters.

Layouts
-------
1.3 and later: ``customized_quantize_layers`` (layer id -> format) and ``quantize_parameters``.
1.0 to 1.2: ``hybrid_quantization_action`` and the records at top level; there the records
themselves say what is quantized: a layer whose weight record (or, without weights, input record) is
missing or has no type is a float layer. Where a file has both (1.3.0), the newer one decides.

Source: user guides 1.0.0 to 1.7.3 and their examples.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from npusim import words as front_end_words
from npusim.errors import ConfigError
from npusim.ir.atomic import atomic_write
from npusim.quantization.hybrid.choice import FLOAT32_WORDS, layer_scheme
from npusim.quantization.hybrid.yaml_lines import Item, quoted, read_yaml
from npusim.quantization.schemes import Scheme

LAYERS_KEY = "customized_quantize_layers"
RECORDS_KEY = "quantize_parameters"
ACTION_KEY = "hybrid_quantization_action"
ACTIONS = ("delete", "add", "modify")
_KEY = re.compile(r"@(?P<layer>.+):(?P<part>weight|bias|out\d+)\Z", re.DOTALL)
_FIELDS = (
    *("dtype", "method", "max_value", "min_value", "zero_point", "scale", "qtype", "fl"),
    *("abs_max_value", "channels", "axis"),  # some files have them; they say nothing more
)
_SCHEMES = {
    ("asymmetric_affine", "u8"): Scheme.U8,
    ("asymmetric_quantized", "u8"): Scheme.U8,
    ("dynamic_fixed_point", "i8"): Scheme.I8,
    ("dynamic_fixed_point", "i16"): Scheme.I16,
}
_BIAS_TYPES = ("i32", "i64")
COMMENT = (
    "# customized_quantize_layers: {'layer_id': asymmetric_affine-u8 | dynamic_fixed_point-i8 | "
    "dynamic_fixed_point-i16 | float32}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One tensor: ``@<layer id>:<part>``.

    ``scheme`` is None for a tensor left in float, and for biases, which follow from the rest.
    """

    layer_id: str
    part: str
    scheme: Scheme | None = None
    bias_type: str = ""
    minimum: float | None = None
    maximum: float | None = None
    scale: float | None = None
    zero_point: int | None = None
    fl: int | None = None
    where: str = ""

    @property
    def key(self) -> str:
        """Return the record's key in the file."""
        return f"@{self.layer_id}:{self.part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridConfig:
    """Content of a cfg file.

    Attributes
    ----------
    layers : dict or None
        Layer id -> scheme; None when the file has the old layout and its records decide.
    records : dict
        (layer id, part) -> Record.
    float32 : tuple of str
        Layers for which ``float32`` was written.
    where : dict
        Layer id -> file and line of its entry in ``layers``.
    notes : tuple of str
        What should be said of the file.
    """

    layers: Mapping[str, Scheme] | None
    records: Mapping[tuple[str, str], Record]
    float32: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_cfg(path: str | Path) -> HybridConfig:
    """Read a cfg file of any release.

    Raises
    ------
    ConfigError
        Naming file and line: broken YAML, unknown keys, formats or record fields.
    """
    root = read_yaml(path)
    top = root.mapping("the file")
    notes: list[str] = []
    action = top.pop(ACTION_KEY, None)
    if action is not None:
        word = action.text(ACTION_KEY)
        if word is not None and word not in ACTIONS:
            raise ConfigError(
                f"{ACTION_KEY} {word!r}", where=action.where, rule=f"one of {', '.join(ACTIONS)}"
            )
    if LAYERS_KEY in top and action is not None:
        notes.append(f"{path}: {ACTION_KEY} is ignored, {LAYERS_KEY} decides")
    layers_item, records_item = top.pop(LAYERS_KEY, None), top.pop(RECORDS_KEY, None)
    rest = {key: item for key, item in top.items() if not key.startswith("@")}
    for key in rest:
        raise ConfigError(
            f"unknown key {key!r}",
            where=root.key_line(key),
            rule=f"{LAYERS_KEY}, {RECORDS_KEY}, {ACTION_KEY} or records '@<layer>:<part>'",
        )
    records = _records(root, top)
    if records_item is not None:
        records |= _records(records_item, records_item.mapping(RECORDS_KEY))
    if layers_item is None:
        if not records and action is None:
            raise ConfigError(
                f"neither {LAYERS_KEY} nor records are in the file",
                where=str(path),
                rule=f"{front_end_words.say('write_cfg')} writes this file",
            )
        return HybridConfig(layers=None, records=records, notes=tuple(notes))
    entries = layers_item.mapping(LAYERS_KEY)
    words = {name: item.text(f"format of layer {name!r}") or "" for name, item in entries.items()}
    layers = {}
    for name, word in words.items():
        try:
            layers[name] = layer_scheme(word)
        except ConfigError as error:
            raise ConfigError(
                f"layer {name!r}: {error.what}",
                where=entries[name].where,
                rule="asymmetric_affine-u8, dynamic_fixed_point-i8, dynamic_fixed_point-i16 or "
                "float32",
            ) from None
    return HybridConfig(
        layers=layers,
        records=records,
        float32=tuple(n for n, word in words.items() if word.lower() in FLOAT32_WORDS),
        where={name: layers_item.key_line(name) for name in layers},
        notes=tuple(notes),
    )


def _records(parent: Item, items: Mapping[str, Item]) -> dict[tuple[str, str], Record]:
    found = {}
    for key, item in items.items():
        match = _KEY.match(key)
        if match is None:
            raise ConfigError(
                f"record key {key!r}",
                where=parent.key_line(key),
                rule="'@<layer id>:weight', '@<layer id>:bias' or '@<layer id>:out0'",
            )
        record = _record(match["layer"], match["part"], key, item, parent.key_line(key))
        found[record.layer_id, record.part] = record
    return found


def _record(layer_id: str, part: str, key: str, item: Item, where: str) -> Record:
    fields = item.mapping(key)
    for name in fields:
        if name not in _FIELDS:
            raise ConfigError(
                f"{key}: unknown field {name!r}",
                where=item.key_line(name),
                rule=f"fields are {', '.join(_FIELDS[:8])}",
            )
    words = {n: fields[n].text(f"{key}: {n}") for n in ("dtype", "qtype", "method") if n in fields}
    numbers: dict[str, float | None] = {
        name: fields[name].number(f"{key}: {name}")
        for name in ("min_value", "max_value", "scale", "zero_point", "fl")
        if name in fields
    }
    dtype, qtype = words.get("dtype"), words.get("qtype")
    scheme, bias_type = None, ""
    if dtype is not None and qtype not in FLOAT32_WORDS:
        if part == "bias" and qtype in _BIAS_TYPES:
            bias_type = str(qtype)
        elif (dtype, qtype) in _SCHEMES:
            scheme = _SCHEMES[dtype, str(qtype)]
        else:
            raise ConfigError(
                f"{key}: dtype {dtype} with qtype {qtype}",
                where=fields["qtype" if qtype else "dtype"].where,
                rule="; ".join(f"{d} with {q}" for d, q in _SCHEMES) + "; i32 or i64 for biases; "
                "dtype None for float",
            )

    def whole(name: str) -> int | None:
        number = numbers.get(name)
        if number is not None and number != int(number):
            raise ConfigError(
                f"{key}: {name} {number}", where=fields[name].where, rule="a whole number"
            )
        return None if number is None else int(number)

    zero_point = whole("zero_point")
    if scheme is Scheme.U8 and zero_point is not None and not 0 <= zero_point <= 255:
        raise ConfigError(
            f"{key}: zero_point {zero_point}", where=fields["zero_point"].where, rule="0 .. 255"
        )
    scale = numbers.get("scale")
    if scheme is Scheme.U8 and scale is not None and not 0 < scale < float("inf"):
        raise ConfigError(f"{key}: scale {scale}", where=fields["scale"].where, rule="above 0")
    return Record(
        layer_id=layer_id,
        part=part,
        scheme=scheme,
        bias_type=bias_type,
        minimum=numbers.get("min_value"),
        maximum=numbers.get("max_value"),
        scale=scale,
        zero_point=zero_point,
        fl=whole("fl"),
        where=where,
    )


def raise_in_cfg(path: str | Path, layers: Mapping[str, Scheme]) -> None:
    """Write layers with formats of their own into a cfg file; its ranges stay.

    Parameters
    ----------
    path : path
    layers : mapping
        Layer id -> scheme.
    """
    write_cfg(path, read_cfg(path).records.values(), layers)


def write_cfg(
    path: str | Path,
    records: Iterable[Record],
    layers: Mapping[str, Scheme],
    *,
    comments: Iterable[str] = (),
) -> None:
    """Write a cfg file in the layout of 1.3 and later, completely or not at all.

    Numbers are written so that they read back exactly.
    """
    with atomic_write(path) as file:
        file.write(cfg_content(records, layers, comments=comments))


def cfg_content(
    records: Iterable[Record], layers: Mapping[str, Scheme], *, comments: Iterable[str] = ()
) -> bytes:
    """Return the content of a cfg file; see ``write_cfg``."""
    lines = ["%YAML 1.2", "---", COMMENT, *(f"# {text}" for text in comments)]
    if layers:
        lines.append(f"{LAYERS_KEY}:")
        lines += [f"    {quoted(name)}: {_word(scheme)}" for name, scheme in layers.items()]
    else:
        lines.append(f"{LAYERS_KEY}: {{}}")
    lines.append(f"{RECORDS_KEY}:")
    for record in records:
        lines += [f"    {quoted(record.key)}:", *(f"        {x}" for x in _record_lines(record))]
    return ("\n".join(lines) + "\n").encode()


def _word(scheme: Scheme) -> str:
    return "float32" if scheme is Scheme.F16 else scheme.value


def _record_lines(record: Record) -> list[str]:
    if record.scheme in (None, Scheme.F16) and not record.bias_type:
        return ["dtype: None"]
    affine = record.fl is None
    lines = [f"dtype: {'asymmetric_affine' if affine else 'dynamic_fixed_point'}", "method: layer"]
    for name, value in (("max_value", record.maximum), ("min_value", record.minimum)):
        lines.append(f"{name}:")
        lines += [f"-   {value!r}"] if value is not None else []
    if affine:
        lines += ["zero_point:", f"-   {record.zero_point}", "scale:", f"-   {record.scale!r}"]
    else:
        lines += ["fl:", f"-   {record.fl}"]
    types = {Scheme.U8: "u8", Scheme.I8: "i8", Scheme.I16: "i16"}
    lines.append(f"qtype: {record.bias_type or types[record.scheme or Scheme.U8]}")
    return lines
