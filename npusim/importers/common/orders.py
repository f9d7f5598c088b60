"""Orders of axes: how a tensor of the source lies in the graph."""

from math import prod

from npusim.ir.tensor import Shape

Order = tuple[int, ...]
NHWC: Order = (0, 3, 1, 2)
"""How a feature map N, H, W, C lies in the graph: axis k there is axis ``NHWC[k]`` here."""
NCHW: Order = (0, 1, 2, 3)


def plain(rank: int) -> Order:
    """Return the source's own order."""
    return tuple(range(rank))


def usual(rank: int) -> Order:
    """Return the order of a tensor nothing is known of: feature maps for four axes."""
    return NHWC if rank == 4 else plain(rank)


def blocks(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Return the smallest groups of neighbouring axes that hold the same elements."""
    found = []
    i = j = 0
    while i < len(old) or j < len(new):
        ours, theirs = list(range(i, min(i + 1, len(old)))), list(range(j, min(j + 1, len(new))))
        i, j = i + len(ours), j + len(theirs)
        while (have := prod(old[k] for k in ours)) != (want := prod(new[k] for k in theirs)):
            if have < want:
                ours.append(i)
                i += 1
            else:
                theirs.append(j)
                j += 1
        found.append((ours, theirs))
    return found


def in_place(
    groups: list[tuple[list[int], list[int]]], shape: Shape, order: Order
) -> list[tuple[list[int], list[int]]]:
    """Return groups of axes in the order in which their first elements lie."""
    places: list[float] = []
    for ours, _ in groups:
        found = [order.index(axis) for axis in ours if shape[axis] > 1]
        places.append(min(found) if found else (places[-1] + 0.5 if places else -1.0))
    return [groups[i] for i in sorted(range(len(groups)), key=lambda i: places[i])]


def same_memory(shape: Shape, first: Order, second: Order) -> bool:
    """Tell whether elements lie alike in two orders: sizes of 1 do not matter."""
    long = [axis for axis in first if shape[axis] > 1]
    return long == [axis for axis in second if shape[axis] > 1]
