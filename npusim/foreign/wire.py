"""What npusim and the process of a runtime write to each other: plain values and arrays, no code.

A message is a JSON text and the contents of its arrays. Nothing in one is executed, so a process
that a damaged model has upset can say wrong things, and do no more.
"""

import json
import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Buffer = memoryview | bytes | bytearray
# number, shelf, then bytes: of the text, of arrays behind it, of arrays on the shelf
_SIZES = struct.Struct("<QqQQQ")
SMALL = 1 << 16
LONGEST_TEXT = 1 << 28
LONGEST_ARRAYS = 1 << 36
_ALIGN = 64


class BrokenWire(Exception):
    """The other side has ended, or writes what is no message."""


class Message(NamedTuple):
    """What goes over the wire at once.

    Attributes
    ----------
    number : int
        The same in a question and its answer; 0 in a question that wants none.
    text : bytes
        The value as JSON.
    content : bytes
        Its arrays.
    shelf : int
        See ``npusim.foreign.shelves``; -1 for none. In a question: where the answer may lie.
    shelved : int
        Bytes of arrays that lie there instead.
    """

    number: int
    text: Buffer
    content: Buffer = b""
    shelf: int = -1
    shelved: int = 0


def holds(array: Array) -> bool:
    """Tell whether an array has an element type that goes over the wire: numbers, bools, texts."""
    if array.dtype.kind in "OSU":
        return all(isinstance(text, str | bytes) for text in array.reshape(-1).tolist())
    return array.dtype.kind in "biufc"


def packed(value: Any) -> tuple[bytes, list[Array]]:
    """Return a value as JSON, and its arrays, whose contents go beside it in this order.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, bytes, list, tuple, dict with str keys, or an array that
        ``holds``, nested at will; of tuples come lists.

    Raises
    ------
    TypeError
        When there is something else in it.
    """
    arrays: list[Array] = []
    return json.dumps(_plain(value, arrays)).encode("ascii"), arrays


def _plain(item: Any, arrays: list[Array]) -> Any:
    # no closure: one that calls itself keeps its arrays until Python collects cycles
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, list | tuple):
        return [_plain(entry, arrays) for entry in item]
    if isinstance(item, dict):
        return {"dict": [[key, _plain(entry, arrays)] for key, entry in item.items()]}
    if isinstance(item, bytes):
        arrays.append(np.frombuffer(item, np.uint8))
        return {"bytes": len(item)}
    if isinstance(item, np.ndarray) and holds(item):
        if item.dtype.kind in "OSU":
            texts = [
                text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
                for text in item.reshape(-1).tolist()
            ]
            return {"texts": texts, "shape": item.shape}
        arrays.append(np.ascontiguousarray(item))
        return {"array": item.dtype.str, "shape": item.shape}
    raise TypeError(f"{type(item).__name__} does not go over the wire")


def unpacked(text: Buffer, content: Buffer) -> Any:
    """Return the value of a message; its arrays lie in ``content``, read-only, and keep it alive.

    Raises
    ------
    BrokenWire
        When it is no message.
    """
    try:
        return _made(json.loads(bytes(text)), _Contents(memoryview(content)))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BrokenWire(str(error)) from error


class _Contents:
    """Hands out the contents of arrays one behind the other."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._place = content, 0

    def next(self, size: int) -> memoryview:
        part = self._content[self._place : self._place + size]
        if len(part) != size:
            raise BrokenWire("arrays without their contents")
        self._place += rounded(size)
        return part


def _made(item: Any, contents: _Contents) -> Any:
    if isinstance(item, list):
        return [_made(entry, contents) for entry in item]
    if not isinstance(item, dict):
        return item
    if "dict" in item:
        return {key: _made(entry, contents) for key, entry in item["dict"]}
    if "bytes" in item:
        return bytes(contents.next(item["bytes"]))
    if "texts" in item:
        return np.array(item["texts"], object).reshape(item["shape"])
    dtype, shape = np.dtype(item["array"]), tuple(item["shape"])
    if dtype.hasobject:
        raise BrokenWire("an array of objects")
    part = contents.next(dtype.itemsize * prod(shape))
    flat = np.frombuffer(part.toreadonly(), dtype) if part else np.empty(0, dtype)
    return flat.reshape(shape)


def size_of(arrays: Sequence[Array]) -> int:
    """Return the bytes of all arrays one behind the other, each at a cache line."""
    return sum(rounded(array.nbytes) for array in arrays)


def rounded(size: int) -> int:
    """Return the bytes that an array takes with what lies behind it."""
    return size + -size % _ALIGN


def rooms(
    forms: Sequence[tuple[np.dtype[Any], tuple[int, ...]]], within: memoryview
) -> list[Array]:
    """Return arrays of these element types and shapes, where ``lay_out`` would copy them to."""
    made: list[Array] = []
    for dtype, shape in forms:
        made.append(np.ndarray(shape, dtype, within, size_of(made)))
    return made


def lay_out(arrays: list[Array], into: memoryview) -> None:
    """Copy arrays to where ``unpacked`` looks for them; the list is emptied on the way.

    What lies there already, as ``rooms`` gave it, is not copied.
    """
    place = 0
    arrays.reverse()
    while arrays:
        array = arrays.pop()  # what is copied may be freed
        if array.nbytes:
            part = np.frombuffer(into[place : place + array.nbytes], np.uint8)
            if array.ctypes.data != part.ctypes.data:
                part[:] = array.reshape(-1).view(np.uint8)
        place += rounded(array.nbytes)


def laid_out(arrays: list[Array]) -> bytearray:
    """Return the contents of arrays as ``unpacked`` takes them; the list is emptied on the way."""
    content = bytearray(size_of(arrays))
    lay_out(arrays, memoryview(content))
    return content


def send(write: Callable[[Buffer], int | None], message: Message) -> None:
    """Write a message."""
    number, text, content, shelf, shelved = message
    sizes = _SIZES.pack(number, shelf, len(text), len(content), shelved)
    # few calls: after each one a thread waits for the interpreter, up to 5 ms
    for part in (sizes + text + content,) if len(content) < SMALL else (sizes + text, content):
        left = memoryview(part)
        while left:
            left = left[write(left) or 0 :]


def receive(read_into: Callable[[memoryview], int | None]) -> Message:
    """Read a message.

    Raises
    ------
    BrokenWire
        At the end, and when what comes is no message.
    """
    number, shelf, length, size, shelved = _SIZES.unpack(_exactly(read_into, _SIZES.size))
    if length > LONGEST_TEXT or size > LONGEST_ARRAYS:
        raise BrokenWire("sizes that no message has")
    text, content = _exactly(read_into, length), _exactly(read_into, size)
    return Message(number, text, content, shelf, shelved)


def _exactly(read_into: Callable[[memoryview], int | None], size: int) -> bytearray:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = read_into(left)
        if not count:
            raise BrokenWire("the other side has ended")
        left = left[count:]
    return data
