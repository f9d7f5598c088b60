"""Elements of a tensor in another arrangement that is known: slices and gathers of the chip.

The arrangement is an array with, for every element of the result, the position of its source in the
flattened input.
"""

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.onnx.chain import Chain
from npusim.ir.attrs import AxisAttrs, SliceAttrs
from npusim.ir.tensor import Shape


def pick(chain: Chain, sources: Array) -> Chain:
    """Append what makes the chain's value ``value.reshape(-1)[sources]``, of the sources' shape.

    Axis by axis when every axis of the input decides about axes of the result of its own, in their
    order; else over the flattened tensor.
    """
    shape = chain.shape
    by_axis = _by_axis(sources, shape)
    if by_axis is not None:
        for axis, index in enumerate(by_axis):
            _along(chain, axis, index)
        return chain.reshape(sources.shape, "arranged")
    count = int(np.prod(shape, dtype=np.int64))
    chain.reshape((count,), "flat")
    _along(chain, 0, sources.reshape(-1))
    return chain.reshape(sources.shape, "arranged")


def _by_axis(sources: Array, shape: Shape) -> list[Array] | None:
    """Return the indices into every axis, or None when axes cannot be told apart."""
    if not shape or not sources.size:
        return None
    places = np.unravel_index(sources, shape)
    taken = 0  # axes of the result that earlier axes of the input have decided
    indices: list[Array] = []
    for place in places:
        mine = [
            axis
            for axis in range(sources.ndim)
            if sources.shape[axis] > 1 and (np.diff(place, axis=axis) != 0).any()
        ]
        if mine and mine[0] < taken:
            return None
        if mine:
            taken = mine[-1] + 1
        line = tuple(slice(None) if a in mine else slice(0, 1) for a in range(sources.ndim))
        indices.append(place[line].reshape(-1))
    # every element of the result must come about once: repeats that no axis explains are none
    return indices if np.prod([i.size for i in indices]) == sources.size else None


def _along(chain: Chain, axis: int, index: Array) -> None:
    """Append the choice of entries along one axis: nothing, a slice or a gather."""
    shape = chain.shape
    size = shape[axis]
    if index.size == size and np.array_equal(index, np.arange(size)):
        return
    steps = np.diff(index)
    step = int(steps[0]) if steps.size else 1
    if step and (steps == step).all():
        begin, end, strides = [0] * len(shape), list(shape), [1] * len(shape)
        begin[axis], strides[axis] = int(index[0]), step
        end[axis] = int(index[-1]) + (1 if step > 0 else -1)
        attrs = SliceAttrs(begin=tuple(begin), end=tuple(end), step=tuple(strides))
        chain.then("slice", attrs, part=f"axis_{axis}")
        return
    base = f"{chain.node.outputs[0]}/indices_{axis}"
    name = chain.context.constant(base, index.astype(np.int64))
    chain.then("gather", AxisAttrs(axis=axis), name, part=f"axis_{axis}")
