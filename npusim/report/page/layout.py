"""Where the layers of a network are drawn: rows from top to bottom, few crossings, short lines.

The page draws what is decided here, so that thousands of layers show at once. The method is
Sugiyama's: rows by the longest path, lines over several rows bend at invisible places, places in a
row sorted by the mean place of their neighbours, and then moved together as far as their widths
allow (isotonic regression, which is exact for one row).

Source: Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system
structures", IEEE Transactions on Systems, Man and Cybernetics 11 (2), 1981.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NODE_WIDTH, NODE_HEIGHT = 176.0, 36.0
COLUMN_GAP, ROW_GAP, MARGIN = 22.0, 30.0, 24.0
LINE_WIDTH = 14.0  # room of a line that passes a row
ORDER_SWEEPS = 8
PLACE_SWEEPS = 8
STRAIGHT = 6.0  # a bend in a long line costs more than a shifted layer
LONGEST = 40  # rows that a line is led around layers; beyond, it goes straight

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Places in pixels.

    Attributes
    ----------
    nodes : tuple of (x, y)
        Upper left corners, in the order of the nodes.
    edges : tuple of tuple of (x, y)
        Points of every line, in the order of the edges.
    """

    width: float
    height: float
    nodes: tuple[Point, ...]
    edges: tuple[tuple[Point, ...], ...]


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Return where nodes and lines are drawn.

    Parameters
    ----------
    count : int
        Number of nodes, in execution order.
    edges : sequence of (int, int)
        From a node to a later one.
    """
    rows = _rows(count, edges)
    net = _Net(rows, edges)
    _order(net)
    x = _places(net)
    left = min((x[v] - net.widths[v] / 2 for v in range(net.count)), default=0.0)
    shift = MARGIN - left
    x = [value + shift for value in x]
    right = max((x[v] + net.widths[v] / 2 for v in range(net.count)), default=0.0)
    y = [MARGIN + row * (NODE_HEIGHT + ROW_GAP) for row in net.rows]
    lines = []
    for (start, end), bends in zip(edges, net.bends, strict=True):
        points = [(x[start], y[start] + NODE_HEIGHT)]
        for bend in bends:
            points += [(x[bend], y[bend]), (x[bend], y[bend] + NODE_HEIGHT)]
        points.append((x[end], y[end]))
        lines.append(_without_needless(points))
    return Layout(
        width=right + MARGIN,
        height=max(y, default=0.0) + NODE_HEIGHT + MARGIN,
        nodes=tuple((x[v] - NODE_WIDTH / 2, y[v]) for v in range(count)),
        edges=tuple(lines),
    )


def _rows(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the row of each node: the longest path to it; nodes that read nothing move down."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    rows = [0] * count
    for node in range(count):
        rows[node] = max((rows[other] + 1 for other in before[node]), default=0)
    for node in reversed(range(count)):
        if not before[node] and after[node]:
            rows[node] = max(0, min(rows[other] for other in after[node]) - 1)
    return rows


class _Net:
    """Nodes and the bends of long lines, as one set of places.

    Lines of one start share their bends.
    """

    def __init__(self, rows: Sequence[int], edges: Sequence[tuple[int, int]]) -> None:
        self.rows = list(rows)
        self.widths = [NODE_WIDTH] * len(rows)
        self.above: list[list[tuple[int, float]]] = [[] for _ in rows]
        self.below: list[list[tuple[int, float]]] = [[] for _ in rows]
        self.bends: list[tuple[int, ...]] = []
        chains: dict[int, list[int]] = {}
        for start, end in edges:
            between = self.rows[end] - self.rows[start] - 1
            if between > LONGEST:
                self.bends.append(())
                continue
            chain = chains.setdefault(start, [])
            while len(chain) < between:
                self._lengthen(start, chain)
            last = chain[between - 1] if between else start
            self._join(last, end, 2.0 if between else 1.0)
            self.bends.append(tuple(chain[:between]))
        self.members: list[list[int]] = [[] for _ in range(max(self.rows, default=-1) + 1)]
        for place, row in enumerate(self.rows):
            self.members[row].append(place)

    @property
    def count(self) -> int:
        return len(self.rows)

    def _lengthen(self, start: int, chain: list[int]) -> None:
        last = chain[-1] if chain else start
        self.rows.append(self.rows[last] + 1)
        self.widths.append(LINE_WIDTH)
        self.above.append([])
        self.below.append([])
        self._join(last, self.count - 1, STRAIGHT if chain else 2.0)
        chain.append(self.count - 1)

    def _join(self, upper: int, lower: int, weight: float) -> None:
        self.below[upper].append((lower, weight))
        self.above[lower].append((upper, weight))


def _order(net: _Net) -> None:
    """Sort the places of every row by the mean place of their neighbours, down and up in turn."""
    at = [0.0] * net.count
    for row in net.members:
        _number(row, at)
    for sweep in range(ORDER_SWEEPS):
        down = sweep % 2 == 0
        neighbours = net.above if down else net.below
        for row in net.members if down else reversed(net.members):
            if len(row) < 2:
                continue
            mean = {
                v: sum(at[u] for u, _ in found) / len(found) if (found := neighbours[v]) else at[v]
                for v in row
            }
            row.sort(key=mean.__getitem__)
            _number(row, at)


def _number(row: Sequence[int], at: list[float]) -> None:
    """Place a row around 0, so that rows of different lengths have one middle."""
    middle = (len(row) - 1) / 2
    for index, place in enumerate(row):
        at[place] = index - middle


def _places(net: _Net) -> list[float]:
    """Return the middle of every place."""
    x = [0.0] * net.count
    offsets = []
    for row in net.members:
        offset, places = 0.0, []
        for index, v in enumerate(row):
            if index:
                gap = (
                    COLUMN_GAP if max(net.widths[v], net.widths[row[index - 1]]) > LINE_WIDTH else 0
                )
                offset += (net.widths[v] + net.widths[row[index - 1]]) / 2 + gap
            places.append(offset)
        offsets.append(places)
        for v, place in zip(row, places, strict=True):
            x[v] = place - (places[-1] / 2 if places else 0.0)
    for sweep in range(PLACE_SWEEPS):
        last = sweep >= PLACE_SWEEPS - 2
        down = sweep % 2 == 0
        order = range(len(net.members))
        for index in order if down else reversed(order):
            row = net.members[index]
            wanted, weights = [], []
            for v in row:
                near = net.above[v] if down else net.below[v]
                if last or not near:
                    near = [*net.above[v], *net.below[v]]
                total = sum(weight for _, weight in near)
                wanted.append(sum(x[u] * w for u, w in near) / total if total else x[v])
                weights.append(total or 0.01)
            for v, place in zip(row, _apart(wanted, weights, offsets[index]), strict=True):
                x[v] = place
    return x


def _apart(
    wanted: Sequence[float], weights: Sequence[float], offsets: Sequence[float]
) -> list[float]:
    """Return the places nearest to the wanted ones that keep their order and distances.

    Least squares under x[i + 1] - x[i] >= offsets[i + 1] - offsets[i]: pool adjacent violators.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, members
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, total, members = want - offset, weight, 1
        while blocks and blocks[-1][0] >= mean:
            other, other_weight, other_members = blocks.pop()
            mean = (mean * total + other * other_weight) / (total + other_weight)
            total, members = total + other_weight, members + other_members
        blocks.append((mean, total, members))
    flat = [mean for mean, _, members in blocks for _ in range(members)]
    return [place + offset for place, offset in zip(flat, offsets, strict=True)]


def _without_needless(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points without those on a straight line between their neighbours."""
    kept = [points[0]]
    for point, following in pairwise(points[1:]):
        (ax, ay), (bx, by) = kept[-1], point
        cross = (bx - ax) * (following[1] - ay) - (by - ay) * (following[0] - ax)
        if abs(cross) > 1.0:
            kept.append(point)
    kept.append(points[-1])
    return tuple(kept)
