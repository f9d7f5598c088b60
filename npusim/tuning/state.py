"""What a search has found out so far, in a file: an interrupted search goes on where it was."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import UNREADABLE, UNWRITABLE, ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.locks import state_lock

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
        try:
            content = json.loads(self.path.read_bytes())
            kind, version, job = content["kind"], content["version"], content["job"]
            points = [
                Point(
                    scheme=str(p["scheme"]),
                    layers=tuple(str(name) for name in p["layers"]),
                    metric=float(p["metric"]),
                    time_us=float(p["time_us"]),
                    parts={str(k): float(v) for k, v in p.get("parts", {}).items()},
                )
                for p in content["points"]
            ]
        except OSError as error:
            raise ConfigError(
                f"cannot be read: {error.strerror}", where=where, remedy=UNREADABLE
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"this is no state of a search: {error!r}", where=where, remedy=remedy
            ) from error
        if (kind, version) != (KIND, VERSION):
            raise ConfigError("this is no state of a search", where=where, remedy=remedy)
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
                file.write(json.dumps(content, ensure_ascii=False, allow_nan=False).encode())
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the state cannot be written: {error.strerror}", where=str(path), remedy=UNWRITABLE
    )


def front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other one beats in both metric and time, fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.time_us, -p.metric, len(p.layers))):
        if not best or point.metric > best[-1].metric:
            best.append(point)
    return tuple(best)
