"""Where layers are drawn: rows downwards, nothing over anything, and quickly."""

import random
import time
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from npusim.report.page.layout import NODE_HEIGHT, NODE_WIDTH, lay_out


@st.composite
def networks(draw):
    count = draw(st.integers(0, 30))
    pairs = st.tuples(st.integers(0, 29), st.integers(0, 29))
    edges = {(a, b) for a, b in draw(st.lists(pairs, max_size=60)) if a < b < count}
    return count, sorted(edges)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_layers_stand_apart_and_lines_join_them(network):
    count, edges = network
    found = lay_out(count, edges)
    assert len(found.nodes) == count
    rows = {}
    for x, y in found.nodes:
        assert 0 <= x <= found.width - NODE_WIDTH
        assert 0 <= y <= found.height - NODE_HEIGHT
        rows.setdefault(y, []).append(x)
    for places in rows.values():
        assert all(b - a >= NODE_WIDTH for a, b in pairwise(sorted(places)))
    for (start, end), line in zip(edges, found.edges, strict=True):
        (ax, ay), (bx, by) = found.nodes[start], found.nodes[end]
        assert line[0] == (ax + NODE_WIDTH / 2, ay + NODE_HEIGHT)
        assert line[-1] == (bx + NODE_WIDTH / 2, by)
        assert all(a[1] <= b[1] for a, b in pairwise(line))


def test_a_chain_is_straight():
    found = lay_out(5, [(i, i + 1) for i in range(4)])
    assert len({x for x, _ in found.nodes}) == 1
    assert all(len(line) == 2 for line in found.edges)


def test_branches_are_not_crossed_without_need():
    # two parallel chains between a fork and a join
    found = lay_out(6, [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5)])
    x = [place[0] for place in found.nodes]
    assert (x[1] < x[2]) == (x[3] < x[4])


def test_a_line_over_rows_goes_around_the_layers_between():
    found = lay_out(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)])
    line = found.edges[-1]
    for x, y in found.nodes[1:4]:
        for (ax, ay), (bx, by) in pairwise(line):
            middle = y + NODE_HEIGHT / 2
            if ay <= middle <= by and by > ay:
                at = ax + (bx - ax) * (middle - ay) / (by - ay)
                assert not x < at < x + NODE_WIDTH


def test_two_thousand_layers_are_laid_out_in_two_seconds():
    rng = random.Random(1)
    edges = [(i, i + 1) for i in range(2111)]
    edges += [(i, i + rng.randint(2, 12)) for i in range(0, 2090, 4)]
    begin = time.process_time()
    lay_out(2112, edges)
    assert time.process_time() - begin < 2.0
