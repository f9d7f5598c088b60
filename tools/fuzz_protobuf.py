"""Changes of protocol buffers without their schema: what ``fuzz_mutators.py`` does to ONNX files.

A message is taken apart to its last fields, one of them is changed, and everything around it is
written again with lengths that fit. What a field becomes is mostly what another field of the same
path is: a reader then sees known operators and names where they do not belong, and is not done at
the first check.
"""

import random
import struct
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MASK = (1 << 64) - 1
DEEPEST = 12
SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 16, MASK, MASK - 1, 255, 1 << 20, 1 << 31, 1 << 63)
REAL = (0.0, -0.0, 1.0, 0.5, 2.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
Field = list[Any]  # number, wire type, value: an int, bytes, or the fields of a message


def varint(value: int) -> bytes:
    """Return the bytes of a number."""
    value &= MASK
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def fields(data: bytes) -> list[Field]:
    """Return [number, wire type, value] of a message; ValueError when the bytes are none."""
    found: list[Field] = []
    place, size = 0, len(data)

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            if place >= size or shift > 63:
                raise ValueError("no message")
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < size:
        tag = number()
        kind = tag & 7
        if not 8 <= tag < 80_000 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            raise ValueError("no message")
        if kind == VARINT:
            found.append([tag >> 3, kind, number()])
            continue
        length = number() if kind == BYTES else 8 if kind == FIXED64 else 4
        if place + length > size:
            raise ValueError("no message")
        found.append([tag >> 3, kind, data[place : place + length]])
        place += length
    return found


def message(parts: list[Field]) -> bytes:
    """Return the bytes of fields."""
    found = bytearray()
    for number, kind, value in parts:
        found += varint(number << 3 | kind)
        if kind == VARINT:
            found += varint(value)
        else:
            content = message(value) if isinstance(value, list) else value
            found += (varint(len(content)) if kind == BYTES else b"") + content
    return bytes(found)


def opened(data: bytes, depth: int = 0) -> list[Field]:
    """Return the fields of a message and of the messages inside of it."""
    found = fields(data)
    for field in found:
        value = field[2]
        # words are no messages, though some read as one
        if field[1] == BYTES and value and depth < DEEPEST and not value.isalnum():
            try:
                field[2] = opened(value, depth + 1)
            except ValueError:
                continue
    return found


def _walk(parts: list[Field], way: tuple[int, ...], found: list[Any]) -> None:
    for field in parts:
        path = (*way, field[0])
        found.append((parts, field, path))
        if isinstance(field[2], list):
            _walk(field[2], path, found)


def changed(data: bytes, draw: random.Random, change_bytes: Any) -> bytes:
    """Return a message in which one field, wherever it lies, is another one.

    Parameters
    ----------
    change_bytes : callable
        Makes other bytes of bytes (text, packed numbers).
    """
    top = opened(data)
    places: list[Any] = []
    _walk(top, (), places)
    leaves = [place for place in places if not isinstance(place[1][2], list)]
    kind = draw.random()
    if kind < 0.2:
        parts, field, path = draw.choice(places)
        alike = [p for p in places if p[2] == path and p[1] is not field]
        if kind < 0.06:
            parts.remove(field)
        elif kind < 0.1:
            parts.insert(draw.randrange(len(parts) + 1), list(field))
        elif kind < 0.13:
            draw.choice(places)[0].append(list(field))
        elif alike:  # a field of another message, or the two change places
            other = draw.choice(alike)[1]
            if kind < 0.17 and not (_holds(field, other) or _holds(other, field)):
                field[2], other[2] = other[2], field[2]
            else:
                field[2] = message(other[2]) if isinstance(other[2], list) else other[2]
        return message(top)
    _, field, path = draw.choice(leaves)
    alike = [p[1][2] for p in leaves if p[2] == path and p[1][2] != field[2]]
    if alike and kind < 0.6:
        field[2] = draw.choice(alike)
    elif field[1] == VARINT:
        value = field[2]
        near = (value + 1, value - 1, 2 * value, value // 2, -value)
        field[2] = draw.choice(near if draw.random() < 0.5 else SMALL) & MASK
    elif field[1] == BYTES:
        field[2] = change_bytes(field[2], draw)
    else:
        form = "<f" if field[1] == FIXED32 else "<d"
        (value,) = struct.unpack(form, field[2])
        near = (-value, value / 2, 1 - value)
        field[2] = struct.pack(form, draw.choice(near if draw.random() < 0.4 else REAL))
    return message(top)


def _holds(field: Field, other: Field) -> bool:
    inner = field[2]
    return isinstance(inner, list) and any(one is other or _holds(one, other) for one in inner)
