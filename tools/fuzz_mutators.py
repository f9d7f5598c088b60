"""Changes of files that know their format: what ``fuzz.py`` makes of its seeds.

A mutator takes bytes and a random generator and returns bytes; it may fail with any exception when
the bytes are of another format. Which ones fit is told by the name of the file.
"""

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import fuzz_protobuf
import fuzz_structures

TRIES = 3
Mutator = Callable[[bytes, random.Random], bytes]
WHOLE = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 1 << 24, (1 << 31) - 1, 1 << 31,
         -(1 << 31), (1 << 32) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63), 10**30)  # fmt: skip
REAL = (0.0, -0.0, 1e-45, -1.0, 1e38, 1e300, float("inf"), float("-inf"), float("nan"))
TEXT = ("", "x", "\0", "\n", "../x", "/etc/passwd", "é" * 40, "%s%n", "a" * 5000, "\x1b[2J", "-1",
        "1e999", "nan", "[[[[", '"', "None", "0x10", "٣", "²", "\ud800", "9" * 5000)  # fmt: skip


def _odd(random: random.Random, like: object = None) -> Any:
    """Return a value that no writer of the format would write."""
    if isinstance(like, int) and not isinstance(like, bool) and random.random() < 0.6:
        return random.choice([*WHOLE, like + 1, like - 1, -like, like * 2])
    if isinstance(like, str) and random.random() < 0.5:
        return random.choice(TEXT)
    odd = (*WHOLE, *REAL, *TEXT, None, True, [], {}, [[]], {"a": 1}, [1] * 40)
    return random.choice(odd)


# ---- bytes of any kind
def flipped(data: bytes, random: random.Random) -> bytes:
    """Flip bits."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def numbered(data: bytes, random: random.Random) -> bytes:
    """Write an odd number of 1 to 8 bytes somewhere."""
    found = bytearray(data)
    size = random.choice((1, 2, 4, 8))
    place = random.randrange(len(found))
    place -= place % random.choice((1, size))
    value = random.choice(WHOLE[:-1]) & ((1 << 8 * size) - 1)
    if size >= 4 and random.random() < 0.3:
        packed = struct.pack("<f" if size == 4 else "<d", random.choice((*REAL[:5], *REAL[6:])))
    else:
        packed = value.to_bytes(size, "little")
    found[place : place + size] = packed
    return bytes(found)


def cut(data: bytes, random: random.Random) -> bytes:
    """Cut the end off."""
    return data[: random.randrange(len(data))]


def moved(data: bytes, random: random.Random) -> bytes:
    """Remove a stretch, or put it somewhere again."""
    begin = random.randrange(len(data))
    stretch = data[begin : begin + random.choice((1, 4, 16, 100, 1000))]
    if random.random() < 0.5:
        return data[:begin] + data[begin + len(stretch) :]
    place = random.randrange(len(data))
    return data[:place] + stretch * random.choice((1, 2, 20)) + data[place:]


ANY: tuple[Mutator, ...] = (flipped, numbered, cut, moved)


# ---- JSON
def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        found.append((*way, key))
        if isinstance(inner, dict | list):
            found += _places(inner, (*way, key))
    return found


def _near(value: Any, random: random.Random) -> Any:
    """Return a value of the same type that a writer of the format might write."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((0, 1, 2, 3, 8, -1, value + 1, value - 1, value * 2, value // 2))
    if isinstance(value, float):
        return random.choice((0.0, 1.0, -value, value / 2, 1e-8, 1e8))
    if isinstance(value, list) and value:
        place, kind = random.randrange(len(value)), random.randrange(4)
        if kind == 0:
            return value[:place] + value[place + 1 :]
        if kind == 1:
            return [*value, value[place]]
        return value[::-1] if kind == 2 else [value[place]] * len(value)
    return _odd(random, value)


def changed_json(content: Any, random: random.Random) -> Any:
    """Replace, remove, repeat or exchange values of nested data."""
    places = _places(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        *way, key = random.choice(places)
        try:
            inner = _at(content, way)
            kind = random.random()
            if kind < 0.1:
                del inner[key]
            elif kind < 0.15 and isinstance(inner, list):
                inner.insert(key, _copied(inner[key]))
            elif kind < 0.25:
                inner[key] = _copied(_at(content, random.choice(places)))
            elif kind < 0.5:  # what stands in another place of that name
                alike = [place for place in places if place[-1] == key or isinstance(key, int)]
                inner[key] = _copied(_at(content, random.choice(alike)))
            elif kind < 0.75:
                inner[key] = _near(inner[key], random)
            else:
                inner[key] = _odd(random, inner[key])
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    return content


def _at(content: Any, way: Iterable[Any]) -> Any:
    for step in way:
        content = content[step]
    return content


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def json_text(data: bytes, random: random.Random) -> bytes:
    """Change the values of a JSON text."""
    if random.random() < 0.03:
        return random.choice((b"[", b'{"a":')) * random.choice((50, 2000, 100_000))
    return json.dumps(changed_json(json.loads(data), random)).encode("utf-8", "surrogatepass")


def json_lines(data: bytes, random: random.Random) -> bytes:
    """Change the values of one line."""
    lines = data.split(b"\n")
    place = random.choice([i for i, line in enumerate(lines) if line])
    lines[place] = json_text(lines[place], random)
    return b"\n".join(lines)


# ---- text
_TOKEN = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?|\w+|[^\w\s]")


def words(data: bytes, random: random.Random) -> bytes:
    """Change numbers, words and lines of a text."""
    text = data.decode()
    for _ in range(random.choice((1, 1, 2, 4))):
        tokens = list(_TOKEN.finditer(text))
        kind = random.randrange(7)
        if kind < 3 and tokens:
            token = random.choice(tokens)
            if token[0][0] in "-0123456789":
                near = (*range(9), -1, 0.5, float(token[0]) + 1, f"{token[0]}0")
                new = str(random.choice(near if random.random() < 0.5 else (*WHOLE, *REAL)))
            else:
                new = random.choice(tokens)[0] if random.random() < 0.6 else random.choice(TEXT)
            text = text[: token.start()] + new + text[token.end() :]
        elif kind == 3 and tokens:
            token = random.choice(tokens)
            text = text[: token.start()] + text[token.end() :]
        else:
            lines = text.split("\n")
            place = random.randrange(len(lines))
            if kind == 4:
                del lines[place]
            elif kind == 5:
                lines.insert(random.randrange(len(lines) + 1), lines[place])
            else:
                other = random.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass")


def nested(data: bytes, random: random.Random) -> bytes:
    """Put brackets into brackets without end."""
    place, sign = random.randrange(len(data) + 1), random.choice((b"[", b"{", b"(", b"a {", b"<a>"))
    return data[:place] + sign * random.choice((20, 1000, 100_000)) + data[place:]


# ---- protocol buffers
def protobuf(data: bytes, random: random.Random) -> bytes:
    """Change a field of a message or of one inside of it."""
    return fuzz_protobuf.changed(data, random, _changed_bytes)


def _changed_bytes(value: bytes, random: random.Random) -> bytes:
    if not value or random.random() < 0.3:
        return random.choice(TEXT).encode("utf-8", "surrogatepass")
    return random.choice(ANY)(value, random)


# ---- archives
def archive(data: bytes, random: random.Random) -> bytes:
    """Change a member of a zip archive, its name, or take it away."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        members = [[info.filename, packed.read(info)] for info in packed.infolist()]
    place = random.randrange(len(members))
    kind = random.randrange(8)
    if kind == 0:
        del members[place]
    elif kind == 1:
        members[place][0] = random.choice((*TEXT[1:5], members[random.randrange(len(members))][0]))
    else:
        name, content = members[place]
        members[place][1] = mutated(str(name), bytes(content), random)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", random.choice((0, zipfile.ZIP_DEFLATED))) as packed:
        for name, content in members:
            packed.writestr(str(name) or "empty", content)
    return stream.getvalue()


def npy_header(data: bytes, random: random.Random) -> bytes:
    """Change the header of an array."""
    size = int.from_bytes(data[8:10], "little")
    head = words(data[10 : 10 + size], random)
    return data[:8] + len(head).to_bytes(2, "little") + head + data[10 + size :]


def npy(data: bytes, random: random.Random) -> bytes:
    """Change what an array holds."""
    return fuzz_structures.npy(data, random, json_text)


def hdf5(data: bytes, random: random.Random) -> bytes:
    """Change a value of an HDF5 file."""
    return fuzz_structures.hdf5(data, random, json_text)


# ---- npusim's container and the vendor's
def container(data: bytes, random: random.Random) -> bytes:
    """Change the description of a model file and make its checksums right again."""
    magic, version, zero, count, size, _, _ = struct.unpack_from("<8sIIQQ32s32s", data)
    text = json_text(data[96 : 96 + count], random)
    block = data[len(data) - size :]
    if random.random() < 0.2 and block:
        block = numbered(block, random)
    digests = sha256(text).digest(), sha256(block).digest()
    head = struct.pack("<8sIIQQ32s32s", magic, version, zero, len(text), len(block), *digests)
    return head + text + bytes(-(96 + len(text)) % 64) + block


def vendor(data: bytes, random: random.Random) -> bytes:
    """Change the description of a vendor's file."""
    version, size = struct.unpack_from("<QQ", data, 8)
    begin = 24 + size + (40 if version > 1 and size else 0)
    text = json_text(data[begin + 8 :], random)
    if size and random.random() < 0.1:
        data = data[: begin - size] + numbered(data[begin - size : begin], random)
    return data[:begin] + struct.pack("<Q", len(text)) + text


KINDS: dict[str, tuple[Mutator, ...]] = {
    ".onnx": (*(protobuf,) * 8, flipped, cut),
    ".pb": (*(protobuf,) * 8, flipped, cut),
    ".caffemodel": (*(protobuf,) * 5, flipped, cut, moved),
    ".tflite": (fuzz_structures.tflite,) * 6 + (numbered, flipped, moved, cut),
    ".prototxt": (*(words,) * 12, nested, cut),
    ".cfg": (*(words,) * 12, nested, cut),
    ".txt": (*(words,) * 5, flipped, cut),
    ".csv": (*(words,) * 5, flipped, cut),
    ".xml": (*(words,) * 6, nested, cut),
    ".toml": (*(words,) * 8, nested, cut),
    ".json": (*(json_text,) * 12, words, nested, cut),
    ".jsonl": (*(json_lines,) * 6, words, cut),
    ".h5": (*(hdf5,) * 8, flipped, cut),
    ".keras": (*(archive,) * 8, flipped, cut),
    ".npz": (*(archive,) * 8, flipped, cut),
    ".data": (*(archive,) * 8, flipped, cut),
    ".npy": (*(npy,) * 4, npy_header, npy_header, flipped, cut),
    ".npusim": (*(container,) * 10, flipped, cut),
    ".rknn": (*(vendor,) * 9, flipped, numbered, cut),
}


def mutated(name: str, data: bytes, random: random.Random) -> bytes:
    """Return changed content of a file; which changes, its name tells."""
    suffix = "." + name.rpartition(".")[2].lower()
    for _ in range(TRIES):
        try:
            return random.choice(KINDS.get(suffix, ANY))(data, random)
        except Exception:
            continue  # an earlier change made something else of the bytes, or no file can hold this
    return random.choice(ANY)(data, random) if data else b"x"
