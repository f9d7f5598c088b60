"""What a search has found out so far, in a file: an interrupted search goes on where it was."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import UNWRITABLE, ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.locks import state_lock
from npusim.plain import utf8
from npusim.reading.files import read_bytes
from npusim.reading.records import Record, parse_json

KIND = "npusim tune"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A measured choice of layers.

    Attributes
    ----------
    scheme : str
        Format of the raised layers.
    layers : tuple of str
        Their names, sorted.
    metric : float
        Higher is better.
    time_us : float
        Estimated time of the whole network.
    parts : dict
        The metric of each part, of outputs with values of several units; the worst is ``metric``.
    """

    scheme: str
    layers: tuple[str, ...]
    metric: float
    time_us: float
    parts: dict[str, float] = field(default_factory=dict, compare=False)


@dataclass(slots=True)
class State:
    """Measured points by what was measured.

    Parameters
    ----------
    path : Path or None
        Written after every point, completely or not at all; None: kept in memory.
    job : dict
        What the search depends on: a file of another job is refused.
    """

    path: Path | None
    job: dict[str, Any]
    points: dict[tuple[str, tuple[str, ...]], Point] = field(default_factory=dict)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs away from the file.

        Raises
        ------
        ConfigError
            When another run uses it, or its folder cannot be written.
        """
        if self.path is None:
            yield
            return
        try:
            lock = state_lock(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            yield
        finally:
            lock.free(remove=True)

    def load(self) -> int:
        """Read the file, if there is one; return how many points it held.

        Raises
        ------
        ConfigError
            When the file is damaged or belongs to another search.
        """
        if self.path is None or not self.path.exists():
            return 0
        where = str(self.path)
        remedy = f"give {words.say('restart')}, or another {words.say('state')} file"

        none = "this is no state of a search"

        def fail(what: str, rule: str) -> ConfigError:
            return ConfigError(f"{none}: {what}", where=where, remedy=remedy)

        content = read_bytes(self.path, ConfigError)
        found = parse_json(content, where, ConfigError, what=none, remedy=remedy)
        record = Record(found, "", fail)
        if (record.get("kind"), record.get("version")) != (KIND, VERSION):
            raise fail(f"{record.get('kind')!r} {record.get('version')!r}", "")
        job = record.record("job").fields()
        points = [
            Point(
                scheme=p.text("scheme"),
                layers=p.texts("layers"),
                metric=p.number("metric"),
                time_us=p.number("time_us"),
                parts=_parts(p),
            )
            for p in record.records("points")
        ]
        differing = sorted(k for k in {*job, *self.job} if job.get(k) != self.job.get(k))
        if differing:
            raise ConfigError(
                f"the state belongs to another search: {', '.join(differing)} differ",
                where=where,
                remedy=remedy,
            )
        self.points = {(p.scheme, p.layers): p for p in points}
        return len(points)

    def find(self, scheme: str, layers: Iterable[str]) -> Point | None:
        """Return a point measured before."""
        return self.points.get((scheme, tuple(sorted(layers))))

    def add(self, point: Point) -> None:
        """Keep a point and write the file."""
        self.points[point.scheme, point.layers] = point
        if self.path is None:
            return
        content = {
            "kind": KIND,
            "version": VERSION,
            "job": self.job,
            "points": [
                {
                    "scheme": p.scheme,
                    "layers": list(p.layers),
                    "metric": p.metric,
                    "time_us": p.time_us,
                    "parts": p.parts,
                }
                for p in self.points.values()
            ],
        }
        try:
            with atomic_write(self.path) as file:
                file.write(utf8(json.dumps(content, ensure_ascii=False, allow_nan=False)))
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the state cannot be written: {error.strerror}", where=str(path), remedy=UNWRITABLE
    )


def _parts(point: Record) -> dict[str, float]:
    if "parts" not in point.fields():
        return {}
    parts = point.record("parts")
    return {key: parts.number(key) for key in parts.fields()}


def front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other one beats in both metric and time, fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.time_us, -p.metric, len(p.layers))):
        if not best or point.metric > best[-1].metric:
            best.append(point)
    return tuple(best)
