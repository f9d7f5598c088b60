"""Valid files of other frameworks with a few bytes, numbers or settings changed."""

import io
import json
import re
import zipfile

VALUES = (
    *("0", "-1", "1", "3", "7", "100", "65536", "1000000000"),
    *("-5", "0.5", "nan", "inf", "true", "1e30"),
)
NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*")
WORDS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0")
SETTINGS: tuple[object, ...] = (
    *(0, -1, 1, 3, 7, 10**9, -5, 0.5, 1e30, True, None, "", "x", "None", "nan"),
    *("(1, 2)", "(1000000000, 3)", [], [1, 2], {}, {"a": 1}),
)


def text(content, rng):
    """Change numbers, lines or letters."""
    for _ in range(rng.randint(1, 3)):
        numbers, kind = list(NUMBER.finditer(content)), rng.random()
        lines = content.split("\n")
        if numbers and kind < 0.7:
            found = rng.choice(numbers)
            content = content[: found.start()] + rng.choice(VALUES) + content[found.end() :]
        elif kind < 0.8:
            lines.pop(rng.randrange(len(lines)))
            content = "\n".join(lines)
        elif kind < 0.9:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
            content = "\n".join(lines)
        else:
            place = rng.randrange(len(content))
            content = content[:place] + content[place + rng.randint(1, 5) :]
    return content


def binary(content, rng):
    """Change, cut, add or remove bytes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        if not data:
            break
        kind, place = rng.random(), rng.randrange(len(data))
        if kind < 0.4:
            data[place] = rng.randrange(256)
        elif kind < 0.5:
            del data[place:]
        elif kind < 0.65:
            del data[place : place + rng.randint(1, 8)]
        elif kind < 0.75:
            data[place:place] = rng.randbytes(rng.randint(1, 8))
        elif kind < 0.9:
            data[place : place + 4] = rng.choice(WORDS)
        else:
            data += rng.randbytes(rng.randint(1, 40))
    return bytes(data)


def settings(content, rng):
    """Change, remove or repeat values in JSON."""
    tree = json.loads(content)
    for _ in range(rng.randint(1, 2)):
        spots = list(_spots(tree))
        holder, key = rng.choice(spots)
        kind = rng.random()
        if kind < 0.2:
            del holder[key]
        elif kind < 0.3 and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = rng.choice(SETTINGS)
    return json.dumps(tree)


def _spots(tree):
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _spots(value)


def archive(content, rng):
    """Change one part of a .keras file."""
    with zipfile.ZipFile(io.BytesIO(content)) as given:
        parts = {name: given.read(name) for name in given.namelist()}
    if rng.random() < 0.7:
        parts["config.json"] = settings(parts["config.json"], rng).encode()
    else:
        parts["model.weights.h5"] = binary(parts["model.weights.h5"], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name, part in parts.items():
            written.writestr(name, part)
    return out.getvalue()


def changed(name, content, rng):
    """Change a file in the way of its kind."""
    if name.endswith((".prototxt", ".cfg")):
        return text(content.decode(), rng).encode()
    if name.endswith(".json"):
        return settings(content.decode(), rng).encode()
    if name.endswith(".keras") and rng.random() < 0.9:
        return archive(content, rng)
    return binary(content, rng)
