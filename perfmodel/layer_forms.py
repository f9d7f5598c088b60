"""How a layer of a layer list says which operator it is: short forms, and the operators' own names.

A short form (``conv``, ``maxpool``, ``slice``, ..) derives settings and weights from the shapes
around it. Any other operator of npusim goes by its name, its settings by theirs, as the attribute
records have them (``npusim.ir.attrs``): ``{"op": "reduce_mean", "axes": [2, 3]}``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from math import prod
from typing import Any, get_args, get_origin, get_type_hints

from npusim.errors import ModelImportError
from npusim.ir.attrs import (
    Activation,
    Attrs,
    AxisAttrs,
    Conv2dAttrs,
    Coordinates,
    Deconv2dAttrs,
    FcAttrs,
    GlobalPoolAttrs,
    Pool2dAttrs,
    PoolKind,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
)
from npusim.ir.tensor import Shape
from npusim.ops import op_def, op_names, ops_where

Entry = Mapping[str, Any]
_FUSABLE = {"relu": Activation.RELU, "relu6": Activation.RELU6}
_OTHER_WORDS = {"silu": "swish", "leaky": "leaky_relu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A layer's operator, attributes and the shape of its weights, empty when it has none.

    ``keys`` are what its entry may have beside the keys of all layers; ``carries`` tells whether
    ``act`` runs inside it.
    """

    op: str
    attrs: Attrs
    weights: Shape = ()
    keys: frozenset[str] = frozenset()
    carries: bool = False


def meaning(entry: Entry, ins: Sequence[Shape], out: Shape | None, spot: str) -> Meaning:
    """Return what an entry means for the shapes of its inputs and of its (first) result.

    ``out`` is None where the entry leaves it out: then ``channels`` says how many a layer with
    weights has.

    Raises
    ------
    ModelImportError
        When there is no such operator, or a setting that it needs is missing; both are named.
    KeyError, TypeError, ValueError
        When a key of a short form is missing or has the wrong type.
    """
    kind = str(entry["op"])
    short = SHORT.get(kind)
    if short is not None and (kind not in _OWN_TOO or "begin" not in entry):
        return short(entry, ins[0], out)
    if kind not in op_names():
        raise ModelImportError(
            f"op {kind!r} does not exist", where=spot, rule=f"one of {', '.join(list_ops())}"
        )
    return Meaning(
        op=kind,
        attrs=_settings(op_def(kind).attrs, entry, out, spot),
        keys=frozenset(field.name for field in fields(op_def(kind).attrs)),
    )


def list_ops() -> tuple[str, ...]:
    """Return everything that ``op`` may be."""
    return tuple(sorted({*SHORT, *op_names()}))


def fused_activation(word: str | None) -> Activation | None:
    """Return the activation that a convolution does while it stores; None: a layer of its own."""
    return Activation.NONE if word is None else _FUSABLE.get(word)


def activation_op(word: str, spot: str) -> str:
    """Return the operator of an activation that is a layer of its own."""
    op = _OTHER_WORDS.get(word, word)
    if op not in _ACTIVATION_OPS:
        raise ModelImportError(
            f"activation {word!r} does not exist",
            where=spot,
            rule=f"one of {', '.join(_ACTIVATION_OPS)}",
        )
    return op


def settings_of(attrs: Attrs) -> dict[str, Any]:
    """Return an attribute record as keys of an entry, without what is the default."""
    written = {}
    for field in fields(attrs):
        value = getattr(attrs, field.name)
        if field.default is MISSING or value != field.default:
            written[field.name] = value.value if isinstance(value, Enum) else value
    return {key: list(v) if isinstance(v, tuple) else v for key, v in written.items()}


# ---- any operator ------------------------------------------------------------------------------
def _hints(kind: type[Attrs]) -> dict[str, Any]:
    return get_type_hints(kind)


def _settings(kind: type[Attrs], entry: Entry, out: Shape | None, spot: str) -> Attrs:
    """Return an operator's attributes from the keys of its entry."""
    derived: dict[str, Any] = {"alpha": 0.1}
    if out is not None:
        derived |= {"shape": list(out), "size": list(out[2:])}
    values = {}
    for field in fields(kind):
        if field.name in entry:
            values[field.name] = _value(_hints(kind)[field.name], entry[field.name], field.name)
        elif field.default is MISSING:
            if field.name not in derived:
                raise ModelImportError(
                    f"lacks {field.name!r}",
                    where=spot,
                    rule=f"{entry['op']} has {', '.join(f.name for f in fields(kind))}",
                )
            values[field.name] = _value(_hints(kind)[field.name], derived[field.name], field.name)
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    if get_origin(hint) is tuple:
        length = len(get_args(hint))
        several = value if isinstance(value, list) else [value] * length
        if any(type(n) is not int for n in several):
            raise ValueError(f"{name} = {value!r} is no list of whole numbers")
        return tuple(several)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{name} = {value!r} is no {hint.__name__}")
    return value


# ---- short forms -------------------------------------------------------------------------------
def _pair(value: int | list[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (int(height), int(width))


def _pads(entry: Entry) -> tuple[int, int, int, int]:
    top, bottom, left, right = entry.get("pad", (0, 0, 0, 0))
    return (int(top), int(bottom), int(left), int(right))


_CONV = frozenset(("kernel", "stride", "pad", "dilation", "group", "channels"))


def _conv(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    group = ifm[1] if entry["op"] in ("dwconv", "scale") else int(entry.get("group", 1))
    attrs = Conv2dAttrs(
        stride=_pair(entry.get("stride", 1)),
        pad=_pads(entry),
        dilation=_pair(entry.get("dilation", 1)),
        group=group,
        activation=fused_activation(entry.get("act")) or Activation.NONE,
    )
    channels = ifm[1] if group == ifm[1] and out is None and "channels" not in entry else None
    weights = (
        channels or _channels(entry, out),
        ifm[1] // group,
        *_pair(entry.get("kernel", 1)),
    )
    return Meaning(op="conv2d", attrs=attrs, weights=weights, keys=_CONV, carries=True)


def _deconv(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    group = int(entry.get("group", 1))
    attrs = Deconv2dAttrs(
        stride=_pair(entry.get("stride", 1)),
        pad=_pads(entry),
        output_pad=_pair(entry.get("output_pad", 0)),
        dilation=_pair(entry.get("dilation", 1)),
        group=group,
        activation=fused_activation(entry.get("act")) or Activation.NONE,
    )
    weights = (_channels(entry, out), ifm[1] // group, *_pair(entry["kernel"]))
    return Meaning(
        op="deconv2d", attrs=attrs, weights=weights, keys=_CONV | {"output_pad"}, carries=True
    )


def _fc(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    attrs = FcAttrs(activation=fused_activation(entry.get("act")) or Activation.NONE)
    length = ifm[-1] if takes_rows(ifm, out) else prod(ifm[1:])
    weights = (_channels(entry, out, -1), length)
    return Meaning(
        op="fc", attrs=attrs, weights=weights, keys=frozenset(("channels",)), carries=True
    )


def takes_rows(ifm: Shape, out: Shape | None) -> bool:
    """Tell whether a fully connected layer works along the last axis; else everything is flat."""
    return len(ifm) == 2 or (out is not None and len(ifm) == len(out) and ifm[:-1] == out[:-1])


def _channels(entry: Entry, out: Shape | None, axis: int = 1) -> int:
    """Return how many results a layer with weights has for every pixel."""
    found = int(entry["channels"]) if out is None or "channels" in entry else out[axis]
    if found < 1 or (out is not None and found != out[axis]):
        raise ValueError(f"channels = {found}, out = {out}")
    return found


def _window(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX if entry["op"] == "maxpool" else PoolKind.AVG,
        kernel=_pair(entry["kernel"]),
        stride=_pair(entry["stride"]),
        pad=_pads(entry),
        ceil_mode=bool(entry.get("ceil", False)),
        count_include_pad=bool(entry.get("count_include_pad", True)),
    )
    keys = frozenset(("kernel", "stride", "pad", "ceil", "count_include_pad"))
    return Meaning(op="pool2d", attrs=attrs, keys=keys)


def _global(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    return Meaning(op="global_pool", attrs=GlobalPoolAttrs(kind=PoolKind.AVG))


def _axis(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    axis = int(entry.get("axis", 1))
    return Meaning(op=str(entry["op"]), attrs=AxisAttrs(axis=axis), keys=frozenset(("axis",)))


def _slice(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    axis, step = int(entry.get("axis", 1)), int(entry.get("step", 1))
    begin, end, steps = [0] * len(ifm), list(ifm), [1] * len(ifm)
    begin[axis], end[axis], steps[axis] = int(entry["start"]), int(entry["stop"]), step
    attrs = SliceAttrs(begin=tuple(begin), end=tuple(end), step=tuple(steps))
    return Meaning(op="slice", attrs=attrs, keys=frozenset(("axis", "start", "stop", "step")))


def _split(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    sizes = tuple(int(n) for n in entry["sizes"])
    attrs = SplitAttrs(axis=int(entry.get("axis", 1)), sizes=sizes)
    return Meaning(op="split", attrs=attrs, keys=frozenset(("axis", "sizes")))


def _resize(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    if "size" in entry:
        height, width = _pair(entry["size"])
    elif out is not None:
        height, width = out[2:]
    else:
        height, width = (n * int(entry["factor"]) for n in ifm[2:])
    attrs = ResizeAttrs(
        size=(height, width),
        mode=ResizeMode(entry.get("mode", "nearest")),
        coordinates=Coordinates(entry.get("coordinates", "asymmetric")),
    )
    keys = frozenset(("mode", "coordinates", "size", "factor"))
    return Meaning(op="resize", attrs=attrs, keys=keys)


def _activation(entry: Entry, ifm: Shape, out: Shape | None) -> Meaning:
    op = activation_op(str(entry["kind"]), str(entry["name"]))
    return Meaning(
        op=op, attrs=_settings(op_def(op).attrs, entry, out, op), keys=frozenset(("kind", "alpha"))
    )


_ACTIVATION_OPS = ops_where(lambda d: d.activation and d.inputs == (1, 1))
_OWN_TOO = ("slice",)  # with begin, end and step of every axis an operator by its own name
SHORT: dict[str, Callable[[Entry, Shape, Shape | None], Meaning]] = {
    "conv": _conv,
    "dwconv": _conv,
    "scale": _conv,
    "deconv": _deconv,
    "fc": _fc,
    "maxpool": _window,
    "avgpool": _window,
    "gap": _global,
    "concat": _axis,
    "softmax": _axis,
    "slice": _slice,
    "split": _split,
    "resize": _resize,
    "act": _activation,
}
