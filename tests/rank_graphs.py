"""Every operator on tensors of every rank, with constants in every place.

Attributes and operands come from the operators' definitions, so a new operator takes part by
itself. Where an operator is not defined for a rank, its shape rule says so with a GraphError.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from npusim.ir.attrs import (
    ArgAttrs,
    Attrs,
    AxisAttrs,
    MatmulAttrs,
    NormAttrs,
    PadAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.tensor import Shape
from npusim.ops import op_def, op_names
from npusim.testing import GraphBuilder
from tests.samples import ATTRS, POSITIVE

RANKS = range(7)
SIZES = (1, 4, 6, 6, 3, 5)
# Attributes that do not fit every rank
BY_RANK: dict[type[Attrs], Callable[[int], tuple[Attrs, ...]]] = {
    ArgAttrs: lambda n: (ArgAttrs(axis=max(n - 1, 0), keepdims=n % 2 > 0), _first(ArgAttrs, n)),
    AxisAttrs: lambda n: (AxisAttrs(axis=min(1, max(n - 1, 0))),),
    MatmulAttrs: lambda n: (MatmulAttrs(transpose_b=True),),
    PadAttrs: lambda n: (PadAttrs(front=(0,) * (n - 1) + (1,) * (n > 0), back=(1,) * n),),
    ReduceAttrs: lambda n: (
        ReduceAttrs(axes=tuple(range(n)), keepdims=False),
        ReduceAttrs(axes=tuple(range(n))[-1:]),
    ),
    ReshapeAttrs: lambda n: (ReshapeAttrs(shape=() if n < 2 else (-1,)),),
    SliceAttrs: lambda n: (
        SliceAttrs(begin=(0,) * n, end=(1, 3, 5, 4, 1, 2)[:n], step=(1, 1, 2, 1, 1, 1)[:n]),
    ),
    SplitAttrs: lambda n: (
        SplitAttrs(axis=1, sizes=(1, 3)) if n > 1 else SplitAttrs(axis=0, sizes=(1,)),
    ),
    TileAttrs: lambda n: (TileAttrs(repeats=(1, 2, 1, 1, 3, 1)[:n]),),
    TransposeAttrs: lambda n: (TransposeAttrs(perm=tuple(reversed(range(n)))),),
}


def _first(attrs: Any, n: int) -> Any:
    return attrs(axis=0, keepdims=False)


@dataclass(frozen=True)
class RankCase:
    """An operator on operands of given shapes, some of which are constants.

    Attributes
    ----------
    constants : tuple of bool
        For each operand, whether its value is known.
    """

    op: str
    rank: int
    attrs: Attrs
    shapes: tuple[Shape, ...]
    constants: tuple[bool, ...]

    def __str__(self) -> str:
        known = "".join("ck"[known] for known in self.constants)
        return f"{self.op}-{self.rank}-{'.'.join(map(str, self.shapes))}-{known}"

    @property
    def interval(self) -> tuple[float, float]:
        """Return what operands are drawn from; products of thousands stay finite."""
        if self.op == "reduce_prod":
            return 0.9, 1.1
        return 0.5 if self.op in POSITIVE else -2.0, 2.0

    @property
    def entries(self) -> int:
        """Return how many entries a gather picks from."""
        data, axis = self.shapes[0], getattr(self.attrs, "axis", 0)
        return data[axis] if axis < len(data) else 1

    def graph(self) -> Graph:
        """Return the operator alone and, of real results, between two others.

        Raises
        ------
        GraphError
            When the operator is not defined for such operands.
        """
        b = GraphBuilder(name=self.op)
        low, high = self.interval
        operands = []
        for i, (shape, known) in enumerate(zip(self.shapes, self.constants, strict=True)):
            if self.op == "gather" and i:
                value = b.rng.integers(0, self.entries, shape)
                given = (
                    b.constant(f"k{i}", value)
                    if known
                    else b.input(f"x{i}", *shape, dtype=DType.I64)
                )
                operands.append(given)
            elif known:
                operands.append(
                    b.constant(f"k{i}", b.rng.uniform(max(low, 0.5) if i else low, high, shape))
                )
            else:
                operands.append(b.input(f"x{i}", *shape))
        definition = op_def(self.op)
        if definition.of_truth:  # truth values come from a comparison
            truths = operands if definition.truth else operands[:1]
            compared = [
                b.node("greater", [t, b.constant(f"zero_{t}", 0.0)], dtype=DType.BOOL)
                for t in truths
            ]
            operands = [*compared, *operands[len(truths) :]]
        others = [f"y{i}" for i in range(1, len(getattr(self.attrs, "sizes", "1")))]
        index = DType.I64 if isinstance(self.attrs, ArgAttrs) else None
        if definition.truth:
            index = DType.BOOL
        y = b.node(self.op, operands, "y", self.attrs, others, dtype=index)
        outputs = [y, *others]
        if not b.graph.inputs:  # a network has one
            outputs.append(b.node("relu", [b.input("x", *b.shape(y))]))
        if index is None:
            outputs.append(b.node("relu", [y], "after"))
        hidden = [
            name
            if name in b.graph.constants or not b.graph.spec(name).dtype.is_float
            else b.node("tanh", [name])
            for name in operands
        ]
        if hidden != operands and index is None:
            inner = b.node(self.op, hidden, "inner", self.attrs, [f"i{o}" for o in others])
            outputs.append(b.node("relu", [inner]))
        return b.done(*outputs)


def _forms(op: str, rank: int) -> Iterator[tuple[Attrs, tuple[Shape, ...]]]:
    """Yield attributes and operand shapes."""
    definition, shape = op_def(op), SIZES[:rank]
    channels = shape[1:2] or shape[:1]
    if issubclass(definition.attrs, ReshapeAttrs):
        count = 1
        for size in shape:
            count *= size
        yield ReshapeAttrs(shape=(count,) if rank != 1 else ()), (shape,)
        if count == 1:
            yield ReshapeAttrs(shape=(1, 1, 1, 1)), (shape,)
            yield ReshapeAttrs(shape=()), (shape,)
        return
    if definition.weighted:
        kernel = (5, shape[-1] if shape else 1) if op == "fc" else (5, *channels, 3, 3)
        yield definition.attrs(), (shape, kernel, (5,))
        return
    if op in ("batch_norm", "instance_norm"):
        yield NormAttrs(), (shape, *[channels] * (definition.inputs[0] - 1))
        return
    if op == "layer_norm":
        yield NormAttrs(axis=max(rank - 1, 0)), (shape, shape[-1:] or (1,), shape[-1:] or (1,))
        return
    found = BY_RANK.get(definition.attrs)
    for attrs in found(rank) if found else ATTRS[definition.attrs][:1]:
        if op == "gather":
            for indices in ((), (3,), (1, 2)):
                yield attrs, (shape, indices)
        elif op == "prelu":
            for slope in dict.fromkeys(((), shape[:1], (*channels, *(1,) * (rank - 2)))):
                yield attrs, (shape, slope)
        elif op == "matmul":
            yield attrs, (shape, shape)
            yield attrs, (shape, shape[-2:])
        elif op == "concat":
            yield attrs, (shape,)
            yield attrs, (shape, shape, shape)
        elif definition.inputs == (3, 3):
            yield attrs, (shape, shape, shape)
            yield attrs, (shape, (), shape[-1:])
        elif definition.inputs == (2, 2):
            wider = (shape[-1:], (1, *shape)) if op in ("add", "mul") else ()
            for other in dict.fromkeys((shape, (), *wider)):
                yield attrs, (shape, other)
                yield attrs, (other, shape)
        else:
            yield attrs, (shape,)


def rank_cases() -> Iterator[RankCase]:
    """Yield every operator with every rank and every choice of constants."""
    for op in op_names():
        for rank in RANKS:
            for attrs, shapes in dict.fromkeys(_forms(op, rank)):
                few = len(shapes) if len(shapes) < 3 else 2
                for constants in product((False, True), repeat=few):
                    rest = constants[-1:] * (len(shapes) - few)
                    yield RankCase(op, rank, attrs, shapes, (*constants, *rest))
