"""What random MXNet networks are made of: samples, numbers, shapes."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.importers.mxnet_build import Net

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """A network with numbers."""

    label: str
    symbol: str
    inputs: dict[str, Array]
    parameters: dict[str, Array] = field(default_factory=dict)


MAKERS: dict[str, Callable[[random.Random], Sample]] = {}


def maker(make: Callable[[random.Random], Sample]) -> Callable[[random.Random], Sample]:
    """Register a maker under its name."""
    MAKERS[make.__name__] = make
    return make


def numbers(rng: random.Random, shape: Shape, low: int = -48, high: int = 48) -> Array:
    """Return multiples of 1/16, mostly without ties."""
    count = int(np.prod(shape))
    pool = list(range(low, high))
    if count <= len(pool):
        picked = rng.sample(pool, count)
    else:
        picked = [rng.randrange(low, high) for _ in range(count)]
    return (np.array(picked, np.float32) / 16).reshape(shape)


def shape_of(rng: random.Random, rank: int, high: int = 4) -> Shape:
    """Return a small shape."""
    return tuple(rng.randint(1, high) for _ in range(rank))


def one(
    rng: random.Random,
    kind: str,
    shapes: list[Shape],
    learned: dict[str, Shape] | None = None,
    *,
    values: dict[str, Array] | None = None,
    outputs: int = 1,
    positive: bool = False,
    **attrs: Any,
) -> Sample:
    """Return a network of one operator; ``None`` leaves an attribute out."""
    net, refs, inputs, parameters = Net(), [], {}, {}
    kept = {key: value for key, value in attrs.items() if value is not None}
    for index, shape in enumerate(shapes):
        name = "data" if len(shapes) == 1 else f"data{index}"
        refs.append(net.var(name))
        inputs[name] = numbers(rng, shape, *((1, 97) if positive else ()))
    for word, shape in (learned or {}).items():
        refs.append(net.var(f"n_{word}"))
        low = 1 if word in ("moving_var", "gamma") else -48
        parameters[f"n_{word}"] = numbers(rng, shape, low, low + 96)
    inputs.update(values or {})
    node = net.op(kind, "n", *refs, **kept)
    heads = [(node[0], index, 0) for index in range(outputs)]
    label = f"{kind} {shapes} {kept}"
    return Sample(label, net.text(*heads), inputs, parameters)


def per_axis(rng: random.Random, rank: int, low: int, high: int) -> Shape:
    """Return one number per spatial axis."""
    return tuple(rng.randint(low, high) for _ in range(rank))


def maybe(rng: random.Random, value: Any) -> Any:
    """Return a value or leave it out."""
    return value if rng.random() < 0.6 else None
