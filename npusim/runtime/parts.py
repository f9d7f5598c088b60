"""Layers in parts: as many as possible that follow each other run as one tape."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from numpy.typing import NDArray

from npusim.ir.graph import Graph, Node
from npusim.runtime.binding import Step
from npusim.runtime.calls import KernelStep
from npusim.runtime.real_codes import reading_step, storing_step
from npusim.runtime.tape.play import Player

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class BoundNode:
    """A node with its step and the values that may be forgotten after it."""

    node: Node
    step: Step
    feeds: tuple[str, ...]
    outputs: tuple[str, ...]
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """What makes codes of an input, or real numbers of an output, as if it were a layer."""

    step: Step
    feeds: tuple[str, ...]
    outputs: tuple[str, ...]
    dead: tuple[str, ...]


def real_name(name: str) -> str:
    """Return what the real numbers of an input or output are called during a run."""
    return f"{name}\0real"


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive layers, and what runs them as one compiled call if their steps allow it."""

    layers: tuple[BoundNode | End, ...]
    player: Player | None
    dead: tuple[str, ...] = ()  # values that may be forgotten after the player, if it has run


def in_parts(nodes: Sequence[BoundNode | End], inputs: Iterable[str], kept: set[str]) -> list[Part]:
    """Return the layers in parts: as many as possible that follow each other are one tape."""
    parts, known = [], set(inputs)
    for taped, group in groupby(nodes, key=lambda bound: isinstance(bound.step, KernelStep)):
        layers = tuple(group)
        made = {name for bound in layers for name in bound.outputs}
        if not taped:
            parts.append(Part(layers, None))
            known |= made
            continue
        dead = {name for bound in layers for name in bound.dead}
        feeds = dict.fromkeys(n for bound in layers for n in bound.feeds if n not in made)
        wanted = tuple(name for name in made if name not in dead or name in kept)
        player = Player(layers, tuple(feeds), wanted)
        known.update(wanted)
        parts.append(Part(layers, player, tuple(dead & known)))
    return parts


MOST_IMAGES = 4  # run together: what more would gain is below 1 %
_MAP_BYTES = 1 << 23  # that a layer of all images may read and write: they stay in the cache


def images_together(graph: Graph) -> int:
    """Return how many images of a batch run layer by layer, so that weights stay in the cache."""
    most = 1
    for node in graph.nodes:
        names = (*graph.activations(node), *node.outputs)
        most = max(most, sum(graph.spec(name).size_bytes for name in dict.fromkeys(names)))
    return max(1, min(MOST_IMAGES, graph.batch, _MAP_BYTES // most))


class Ends:
    """The layers of a graph with the steps before and behind them that deal in real numbers.

    Parameters
    ----------
    graph : Graph
    nodes : sequence of BoundNode
    images : int
        Each layer is run for so many images before the next one is.

    Attributes
    ----------
    inputs, outputs : set of str
        Which have such a step.
    images : int
    parts : list of Part
    """

    def __init__(self, graph: Graph, nodes: Sequence[BoundNode], images: int) -> None:
        made = {name for bound in nodes for name in bound.outputs}
        first = {name: storing_step(graph.spec(name)) for name in graph.inputs}
        last = {name: reading_step(graph.spec(name)) for name in graph.outputs if name in made}
        before = [End(s, (real_name(n),), (n,), (real_name(n),)) for n, s in first.items() if s]
        behind = [End(s, (n,), (real_name(n),), (n,)) for n, s in last.items() if s]
        self.inputs = {name for end in before for name in end.outputs}
        self.outputs = {name for end in behind for name in end.feeds}
        self.images = images
        layers: list[BoundNode | End] = [*before, *nodes, *behind]
        each = [
            End(layer.step, *(self._all_of(n, i) for n in (layer.feeds, layer.outputs, layer.dead)))
            for layer in layers
            for i in range(images)
        ]
        given = [self.given(name, i) for name in graph.inputs for i in range(images)]
        kept = {self.result(name, i) for name in graph.outputs for i in range(images)}
        self.parts = in_parts(each, given, kept)

    def _of(self, name: str, image: int) -> str:
        return name if self.images == 1 else f"{name}\0{image}"

    def _all_of(self, names: tuple[str, ...], image: int) -> tuple[str, ...]:
        return tuple(self._of(name, image) for name in names)

    def given(self, name: str, image: int) -> str:
        """Return what an image's value of an input is called."""
        return self._of(real_name(name) if name in self.inputs else name, image)

    def result(self, name: str, image: int) -> str:
        """Return what an image's value of an output is called."""
        return self._of(real_name(name) if name in self.outputs else name, image)


def run_part(part: Part, values: dict[str, Array]) -> None:
    """Run layers as one tape, or step by step where they have none."""
    results = part.player.run(values) if part.player else None
    if results is None:
        for bound in part.layers:
            run_step(bound, values)
            forget(bound.dead, values)
        return
    values.update(results)
    forget(part.dead, values)


def run_step(bound: BoundNode | End, values: dict[str, Array]) -> None:
    """Make one step: its results join the values."""
    results = bound.step(*[values[name] for name in bound.feeds])
    values.update(zip(bound.outputs, results, strict=True))


def forget(names: Iterable[str], values: dict[str, Array]) -> None:
    """Take values away that there are."""
    for name in names:
        values.pop(name, None)
