"""The page's colours for AI Edge Model Explorer, which shows the source model.

Node data is keyed by the source's own node names and by those of the tensors that they give: a
layer's numbers are given to every source node that it stands for.

Source: the JSON that ``model_explorer.node_data_builder`` of ai-edge-model-explorer 0.1.34 makes.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from npusim.errors import ConfigError
from npusim.ir.atomic import atomic_set

SUFFIX = ".json"
# stops from 0 (the smallest value) to 1
GOOD_IS_HIGH = ((0.0, "#d7191c"), (0.5, "#fdae61"), (1.0, "#1a9641"))
GOOD_IS_LOW = ((0.0, "#f7fbff"), (0.5, "#fdae61"), (1.0, "#d7191c"))


def _db(kind: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: row[f"{kind}_sqnr_db"]


# word in the file's name -> title, value of a layer, and its colours; words get their own
LANES: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any], Any]] = {
    "error-alone": ("error alone (SQNR dB)", _db("alone"), GOOD_IS_HIGH),
    "error-entire": ("error end to end (SQNR dB)", _db("entire"), GOOD_IS_HIGH),
    "time": ("time (us)", lambda row: row["time_us"], GOOD_IS_LOW),
    "engine": ("engine", lambda row: row["engine"] or None, None),
    "format": ("number format", lambda row: row["format"] or None, None),
}
COLOURS = ("#8ecae6", "#ffb703", "#90be6d", "#e5989b", "#cdb4db", "#adb5bd")


def node_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lanes of a page, by their words: each is a ``GraphNodeData``.

    Parameters
    ----------
    data : mapping
        From ``page_data``.
    """
    found = {}
    for word, (title, value_of, stops) in LANES.items():
        values: dict[str, Any] = {}
        for row in data["layers"]:
            value = value_of(row)
            if value is None:
                continue
            # nodes are found by their ids, and by the names of what they give
            for name in (*row["origin"], *row["outputs"]):
                values.setdefault(name, value)
        if values:
            found[word] = _lane(title, values, stops)
    return found


def _lane(title: str, values: Mapping[str, Any], stops: Any) -> dict[str, Any]:
    if stops is not None:
        return {
            "results": {name: {"value": value} for name, value in values.items()},
            "name": title,
            "gradient": [{"stop": stop, "bgColor": colour} for stop, colour in stops],
        }
    words = list(dict.fromkeys(values.values()))
    colours = {word: COLOURS[i % len(COLOURS)] for i, word in enumerate(words)}
    return {
        "results": {
            name: {"value": word, "bgColor": colours[word]} for name, word in values.items()
        },
        "name": title,
    }


def lane_file(path: Path, word: str) -> Path:
    """Return the file of a lane, by its word, where the others are called like ``path``."""
    if not path.name:
        raise ConfigError(
            f"{path} is no name of a file",
            rule="a word is put before the suffix of a name for each file",
        )
    return path.with_name(f"{path.stem}-{word}{path.suffix or SUFFIX}")


def write_node_data(data: Mapping[str, Any], path: str | Path) -> list[Path]:
    """Write a file of node data for each colouring, each completely or not at all.

    Parameters
    ----------
    data : mapping
        From ``page_data``.
    path : path
        ``x.json`` gives ``x-error-alone.json``, ``x-time.json`` and so on.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ConfigError
        When a file cannot be written, or no layer names its source nodes.
    """
    path = Path(path)
    lanes = node_data(data)
    if not lanes:
        raise ConfigError(
            "no layer names the source nodes that it stands for",
            where=str(path),
            rule="node data is keyed by the nodes of the source model",
            remedy="give the source model instead of a layer list",
        )
    places = {word: lane_file(path, word) for word in lanes}
    one = path
    try:
        with atomic_set() as files:
            for word, one in places.items():
                with files.write(one) as file:
                    file.write(json.dumps(lanes[word], allow_nan=False, indent=1).encode())
    except OSError as error:
        raise ConfigError(
            f"node data cannot be written: {error.strerror}",
            where=str(one),
            remedy="give a file in a folder that exists and can be written",
        ) from error
    return list(places.values())
