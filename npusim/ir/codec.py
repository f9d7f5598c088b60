"""Records of the graph <-> JSON, by their type hints: no pickle, unknown content is an error."""

import math
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from npusim.errors import NpusimError
from npusim.ir import attrs, graph, quant, tensor

Record = TypeVar("Record")
Json = Any

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_RECORDS: dict[str, type[Any]] = {
    name: value
    for module in (attrs, quant, tensor, graph)
    for name, value in vars(module).items()
    if isinstance(value, type) and is_dataclass(value) and value is not graph.Graph
}


class CodecError(ValueError):
    """JSON that is not one of our records."""


def encode(value: object) -> Json:
    """Return JSON for a record, an enum, a number, a string, None or tuples of these.

    Records become objects with their type's name under ``type``; enums their member's name;
    infinities and NaN the strings ``inf``, ``-inf`` and ``nan``.
    """
    match value:
        case None | str():
            return value
        case bool() | np.bool_():
            return bool(value)
        case Enum():
            return value.name
        case Integral():
            return int(value)
        case Real():
            number = float(value)
            return number if math.isfinite(number) else str(number)
        case tuple() | list():
            return [encode(item) for item in value]
    if is_dataclass(value) and _RECORDS.get(type(value).__name__) is type(value):
        content = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **content}
    raise CodecError(f"{type(value).__name__} cannot be stored")


def decode(kind: type[Record], data: Json) -> Record:
    """Return the record that ``encode`` turned into ``data``.

    Raises
    ------
    CodecError
        When the data is not a record of this kind; it says where.
    """
    result: Record = _decode(kind, data, kind.__name__)
    return result


@cache
def _hints(name: str) -> dict[str, Any]:
    return get_type_hints(_RECORDS[name])


def _decode(hint: Any, data: Json, where: str) -> Any:
    hint = str if hint is graph.Awaited else hint
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _decode_union(get_args(hint), data, where)
    if origin is tuple:
        return _decode_tuple(get_args(hint), data, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return _decode_record((hint,), data, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        if isinstance(data, str) and data in hint.__members__:
            return hint[data]
    elif hint is float:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return float(data)
        if isinstance(data, str) and data in _NOT_FINITE:
            return _NOT_FINITE[data]
    elif type(data) is hint:  # bool is no int here
        return data
    raise CodecError(f"{where}: {data!r} is not {getattr(hint, '__name__', hint)}")


def _decode_union(kinds: tuple[Any, ...], data: Json, where: str) -> Any:
    if data is None and NoneType in kinds:
        return None
    rest = tuple(kind for kind in kinds if kind is not NoneType)
    return _decode_record(rest, data, where) if len(rest) > 1 else _decode(rest[0], data, where)


def _decode_tuple(kinds: tuple[Any, ...], data: Json, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise CodecError(f"{where}: {data!r} is not a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise CodecError(f"{where}: {len(data)} values instead of {len(kinds)}")
    return tuple(
        _decode(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )


def _decode_record(kinds: tuple[type[Any], ...], data: Json, where: str) -> Any:
    name = data.get("type") if isinstance(data, dict) else None
    found = _RECORDS.get(name) if isinstance(name, str) else None
    if found is None or not issubclass(found, kinds):
        raise CodecError(f"{where}: {name!r} is not one of {[kind.__name__ for kind in kinds]}")
    known = {field.name: field for field in fields(found)}
    unknown = sorted(set(data) - set(known) - {"type"})
    missing = [
        field.name
        for field in known.values()
        if field.name not in data and field.default is field.default_factory is MISSING
    ]
    if unknown or missing:
        raise CodecError(f"{where}: {name} with fields unknown {unknown} and missing {missing}")
    hints = _hints(found.__name__)
    content = {
        key: _decode(hints[key], value, f"{where}.{key}")
        for key, value in data.items()
        if key != "type"
    }
    try:
        return found(**content)
    except NpusimError as error:
        raise CodecError(f"{where}: {error}") from error
