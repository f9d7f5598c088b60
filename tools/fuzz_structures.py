"""Changes of TensorFlow Lite, HDF5 and numpy files by the libraries that write them.

Used by ``fuzz_mutators.py``. The result is a sound file of its format that says something else.
"""

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np

Change = Callable[[Any, random.Random], Any]
NEAR = (0, 1, -1, 2, 3, 4, 7, 64, 255, 1 << 20, (1 << 31) - 1, -(1 << 31))


# ---- flatbuffers
def tflite(data: bytes, draw: random.Random) -> bytes:
    """Change one value of the tables of a TensorFlow Lite model."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    places: list[tuple[Any, Any, Any]] = []
    _tables(model, places)
    for _ in range(draw.choice((1, 1, 2))):
        owner, name, value = draw.choice(places)
        alike = [p[2] for p in places if p[1] == name and type(p[2]) is type(value)]
        if isinstance(name, int):
            alike = [p[2] for p in places if isinstance(p[1], int)]
        _put(owner, name, _other(value, alike, draw))
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tables(table: Any, places: list[tuple[Any, Any, Any]]) -> None:
    for name, value in vars(table).items():
        if isinstance(value, list | np.ndarray) and len(value) and name != "data":
            places.append((table, name, value))
            for index, item in enumerate(value):
                if hasattr(item, "Pack"):
                    _tables(item, places)
                else:
                    places.append((value, index, item))
        elif hasattr(value, "Pack"):
            places.append((table, name, value))
            _tables(value, places)
        elif value is not None:
            places.append((table, name, value))


def _put(owner: Any, name: Any, value: Any) -> None:
    if isinstance(name, int):
        owner[name] = value
    else:
        setattr(owner, name, value)


def _other(value: Any, alike: list[Any], draw: random.Random) -> Any:
    if alike and draw.random() < 0.4:
        return draw.choice(alike)
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, int | np.integer):
        number = int(value)
        return draw.choice((number + 1, number - 1, 2 * number, *NEAR))
    if isinstance(value, float | np.floating):
        return draw.choice((0.0, -1.0, 1e-30, 1e30, np.inf, np.nan, -value, value * 2))
    if isinstance(value, bytes | str):
        return draw.choice((b"", b"x", b"a" * 3000, b"\0", b"\xff\xfe"))
    if isinstance(value, list | np.ndarray):
        found = list(value)
        kind, place = draw.randrange(4), draw.randrange(len(found))
        if kind == 0:
            del found[place]
        elif kind == 1:
            found.insert(place, found[place])
        elif kind == 2:
            found.reverse()
        else:
            found = []
        return np.array(found, value.dtype) if isinstance(value, np.ndarray) else found
    return None


# ---- HDF5
def hdf5(data: bytes, draw: random.Random, text: Change) -> bytes:
    """Change an attribute or an array of an HDF5 file, or take it away."""
    import h5py

    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        places: list[Any] = [(file.attrs, key) for key in sorted(file.attrs)] * 3
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            places += [(file, name)] + [(file[name].attrs, key) for key in sorted(file[name].attrs)]
        owner, key = draw.choice(places)
        value = owner[key]
        if draw.random() < 0.1:
            del owner[key]
        elif isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            made = text(raw, draw)
            owner[key] = made.decode("utf-8", "replace") if isinstance(value, str) else made
        elif isinstance(value, h5py.Group):
            other = draw.choice(names)
            del file[key]
            if other in file and draw.random() < 0.5:
                file[key] = file[other]
        elif isinstance(value, h5py.Dataset):
            made = array(np.asarray(value[()]), draw)
            del file[key]
            file[key] = made
        else:
            owner[key] = array(np.asarray(value), draw)
    return stream.getvalue()


# ---- numpy
def npy(data: bytes, draw: random.Random, text: Change) -> bytes:
    """Change the values, shape or type of an array; a text by the rules of texts."""
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if found.dtype.kind in "US" and not found.ndim:
        raw = found.item()
        made = text(raw.encode() if isinstance(raw, str) else raw, draw)
        result = np.array(made.decode("utf-8", "replace") if isinstance(raw, str) else made)
    else:
        result = array(found, draw)
    stream = io.BytesIO()
    np.save(stream, result, allow_pickle=False)
    return stream.getvalue()


def array(value: Any, draw: random.Random) -> Any:
    """Return an array with other values, another shape or another type."""
    kind = draw.randrange(6)
    if kind == 0:
        return value.reshape(-1)
    if kind == 1:
        return value[None]
    if kind == 2 and value.ndim:
        return value[: draw.randrange(len(value) + 1)]
    if kind == 3 and value.dtype.kind in "biuf":
        types = ("f2", "f4", "f8", "i1", "u1", "i4", "i8", "u8", "?", "c8", "S3", "U2")
        with np.errstate(all="ignore"):
            return value.astype(draw.choice(types))
    if kind == 4 and value.ndim:
        return np.concatenate([value, value])
    found = np.array(value)
    if found.size and found.dtype.kind in "iuf":
        odd = draw.choice((0, 1, -1, 127, 255, np.nan, np.inf, 1e30, -1e30))
        with np.errstate(all="ignore"):
            found.reshape(-1)[draw.randrange(found.size)] = np.array(odd).astype(found.dtype)
    return found
