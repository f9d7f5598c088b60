"""Calibration of networks with masks: what only a softmax or a maximum reads may end anywhere.

Masked values are set aside while the ranges of the others are measured. Then each tensor that
carries them gets a range just wide enough that they come to nothing: in front of a softmax over n
elements they end ``ln(n / half a step of its result)`` below the others, in front of a maximum at
the others' end (docs/quantization.md, masks).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from math import inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import QuantizationError
from npusim.ir.attrs import AxisAttrs, PadAttrs
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import scale_of
from npusim.ops import op_def
from npusim.passes.hidden import (
    FAR,
    FAR_HALF,
    INPUT,
    PAD_VALUE,
    Mask,
    carriers,
    far_from,
    hidden_tensors,
    masked_from,
    masks,
    set_aside,
    sides,
)
from npusim.quantization.apply import float_ending
from npusim.quantization.calibrate import Calibration, calibrate
from npusim.quantization.observers import Observer, Summary
from npusim.quantization.schemes import Range, Scheme, parameters

__all__ = [
    "FAR_HALF",
    "calibrate_masked",
    "hidden_tensors",
    "require_finite",
    "seen_from",
]

Feeds = Mapping[str, NDArray[Any]]
Samples = Iterable[tuple[str, Feeds]]
BEYOND = FAR / 100  # what is further off than this is masked
INPUT_MASK = 1000.0  # masked values of a graph input are at least that far from 0
SMALLEST_HALF_RESULT = 2.0**-15  # half of the smallest normal float16


def calibrate_masked(
    graph: Graph,
    samples: Samples,
    *,
    observer: Callable[[], Observer],
    scheme_of: Callable[[Node], Scheme],
    engine: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> tuple[Calibration, tuple[str, ...]]:
    """Return ranges as ``calibrate`` does, with those of masked tensors free of their masks.

    A mask that turns out to be none (it lies too near, or shows in a result) counts like any other
    number: the samples are then read once more.

    Parameters
    ----------
    graph, samples, engine, progress
        As for ``calibrate``.
    observer : callable
        Makes an observer.
    scheme_of : callable
        Layer -> its format, which says how small a probability is nothing.

    Returns
    -------
    calibration : Calibration
    notes : tuple of str
        What samples of graph inputs were taken for masks.

    Raises
    ------
    QuantizationError
        When a constant is infinite and no mask, and as ``calibrate``.
    """
    below = sides(graph)
    found = masks(graph, below)
    while True:
        require_finite(graph, found)
        if not found:
            calibration = calibrate(
                graph, samples, observer=observer(), engine=engine, progress=progress
            )
            return calibration, ()
        away = _SetAside(graph=graph, masks=found, below=below, scheme_of=scheme_of)
        try:
            calibration = calibrate(
                set_aside(graph, found),
                away.samples(samples),
                observer=away.observer(observer()),
                engine=engine,
                progress=progress,
            )
        except QuantizationError as error:
            wrong = tuple(mask for mask in found if mask.position != INPUT)
            if not wrong or error.where in {f"tensor {name!r}" for name in graph.inputs}:
                raise
        else:
            ranges, wrong = away.settled(calibration.ranges)
            if not wrong:
                return replace(calibration, ranges=ranges), away.notes()
        found = tuple(mask for mask in found if mask not in wrong)


def require_finite(graph: Graph, found: Iterable[Mask] = ()) -> None:
    """Refuse constants of a float graph that hold infinity or NaN, except for masks.

    Raises
    ------
    QuantizationError
        It names the layer, the constant and the value.
    """
    known = {(mask.layer, mask.position) for mask in found}
    for node in graph.nodes:
        held = [
            (position, f"constant {name!r}", graph.constants[name])
            for position, name in enumerate(node.inputs)
            if graph.is_constant(name)
        ]
        if isinstance(node.attrs, PadAttrs):
            held.append((PAD_VALUE, "the fill value", np.array(node.attrs.value)))
        for position, what, value in held:
            if (node.name, position) in known or value.dtype.kind != "f":
                continue
            odd = value[~np.isfinite(value)].reshape(-1)
            if odd.size:
                raise QuantizationError(
                    f"{what} holds {odd[0]:g}",
                    where=f"layer {node.name!r} ({node.op})",
                    rule="no format of the chip holds NaN or infinity; only masks that nothing but "
                    "a softmax or a maximum reads are replaced",
                    remedy="give the model a finite number there, or cut it before this layer",
                )


@dataclass(slots=True, kw_only=True)
class _SetAside:
    """Masks of a float graph while its other values are measured."""

    graph: Graph
    masks: tuple[Mask, ...]
    below: Mapping[str, int]
    scheme_of: Callable[[Node], Scheme]
    edges: dict[str, tuple[float, str]] = field(default_factory=dict)

    def samples(self, samples: Samples) -> "_Samples":
        """Return the samples with ``FAR`` for the masked values of graph inputs."""
        sides_of = {mask.tensor: mask.side for mask in self.masks if mask.position == INPUT}
        return _Samples(samples=samples, sides=sides_of, edges=self.edges)

    def observer(self, inner: Observer) -> "_LiveValues":
        """Return an observer that does not see masked values."""
        return _LiveValues(inner=inner, sides=carriers(self.graph, self.masks, self.below))

    def notes(self) -> tuple[str, ...]:
        """Return what of the samples was taken for a mask."""
        return tuple(
            f"input {name!r} holds {edge:g} in sample {label}: taken for a mask, since only "
            "softmax and maximum read it; its range ends where such values come to nothing"
            + ("" if np.isfinite(edge) else " (a run takes finite numbers only: feed -1e4)")
            for name, (edge, label) in self.edges.items()
        )

    def settled(self, measured: Mapping[str, Range]) -> tuple[dict[str, Range], tuple[Mask, ...]]:
        """Return the ranges with room for masked values, and the masks that are none."""
        active = [m for m in self.masks if m.position != INPUT or m.tensor in self.edges]
        carrying = carriers(self.graph, active, self.below)
        shown = [n for n in carriers(self.graph, self.masks, self.below) if n not in carrying]
        if any(name not in measured for name in shown):
            return dict(measured), self.masks  # real values as far off as a mask
        live = dict.fromkeys(carrying, (0.0, 0.0)) | dict(measured)
        needs = _Needs(graph=self.graph, live=live, carrying=carrying, scheme_of=self.scheme_of)
        ends = needs.ends()
        wrong = [mask for mask in active if not self._far_enough(mask, needs, ends)]
        for name, bounds in measured.items():
            if name not in carrying and max(map(abs, bounds)) > BEYOND:
                wrong += [mask for mask in active if name in _reach(self.graph, mask)]
        ranges = dict(measured)
        for name, side in carrying.items():
            low, high = seen_from(side, live[name])
            ranges[name] = seen_from(side, (min(low, ends[name]), high))
        return ranges, tuple(dict.fromkeys(wrong))

    def _far_enough(self, mask: Mask, needs: "_Needs", ends: Mapping[str, float]) -> bool:
        """Tell whether the masked values come to nothing in the float network as well."""
        if mask.position == INPUT:
            return self.edges[mask.tensor][0] * mask.side <= ends[mask.tensor]
        node = self.graph.node(mask.layer)
        edge = mask.edge * mask.side
        if mask.position == PAD_VALUE:
            return edge <= ends[node.outputs[0]]
        if node.op == "mul":
            low, high = needs.live.get(node.inputs[1 - mask.position], (inf, inf))
            return low >= 0 and high <= 1 and edge <= ends[node.outputs[0]]
        return edge <= needs.of_operand(node, mask.position, mask.side, ends)


@dataclass(slots=True, kw_only=True)
class _Needs:
    """How far off masked values have to be, tensor by tensor, seen from their side."""

    graph: Graph
    live: Mapping[str, Range]
    carrying: Mapping[str, int]
    scheme_of: Callable[[Node], Scheme]

    def ends(self) -> dict[str, float]:
        """Return the value below which nothing counts any more of every tensor that has masks."""
        found = {name: seen_from(side, self.live[name])[0] for name, side in self.carrying.items()}
        for node in reversed(self.graph.nodes):
            for position, name in enumerate(node.inputs):
                if name in found:
                    need = self.of_operand(node, position, self.carrying[name], found)
                    found[name] = min(found[name], need)
        return found

    def of_operand(self, node: Node, position: int, side: int, ends: Mapping[str, float]) -> float:
        """Return how low an operand has to be for a node; ``ends`` has the node's results."""
        name, out = node.inputs[position], node.outputs[0]
        if node.op == "softmax":
            return self.live[name][0] - self._reach(node)
        if op_def(node.op).hides(node.attrs):
            lows = [seen_from(side, self.live[n])[0] for n in node.inputs if n in self.live]
            return min(lows, default=0.0)
        match node.op:
            case "add" | "sub":
                sign = -1 if node.op == "sub" and position == 0 else 1
                mirrored = self.carrying[out] * sign
                other = seen_from(mirrored, self._live_part(node, 1 - position))
                return ends[out] - other[1]
            case "mul" | "div":
                factor = abs(float(self.graph.constants[node.inputs[1 - position]].reshape(-1)[0]))
                return ends[out] / factor if node.op == "mul" else ends[out] * factor
        return min(ends[name] for name in node.outputs)

    def _reach(self, node: Node) -> float:
        """Return how far below the others a probability, and n of them, are less than half a step.

        A softmax in float16 has steps as small as its smallest number.
        """
        assert isinstance(node.attrs, AxisAttrs)  # by the operator's definition
        count = self.graph.spec(node.inputs[0]).shape[node.attrs.axis]
        scheme, half = self.scheme_of(node), SMALLEST_HALF_RESULT
        if scheme is not Scheme.F16 and node.outputs[0] not in float_ending(self.graph):
            half = scale_of(parameters(self.live.get(node.outputs[0], (0.0, 1.0)), scheme)) / 2
        return log(count / half)

    def _live_part(self, node: Node, position: int) -> Range:
        name = node.inputs[position]
        if name in self.live:
            return self.live[name]
        value: NDArray[Any] = self.graph.constants[name]
        side = self.carrying[node.outputs[0]] * (-1 if node.op == "sub" and position else 1)
        edge = masked_from(value, side, needs_others=True)
        kept = value if edge is None else value[value * side > edge * side]
        return float(kept.min(initial=np.inf)), float(kept.max(initial=-np.inf))


@dataclass(slots=True, kw_only=True)
class _Samples:
    """Samples whose masked inputs hold ``FAR``; ``edges`` gets what was found."""

    samples: Samples
    sides: Mapping[str, int]
    edges: dict[str, tuple[float, str]]

    def __iter__(self) -> Iterator[tuple[str, Feeds]]:
        for label, feeds in self.samples:
            yield label, {name: self._shown(name, value, label) for name, value in feeds.items()}

    def __len__(self) -> int:
        return len(self.samples) if isinstance(self.samples, Sized) else 0

    def _shown(self, name: str, value: NDArray[Any], label: str) -> NDArray[Any]:
        side = self.sides.get(name, 0)
        if not side or not value.size or float((value * side).min()) > -INPUT_MASK:
            return value
        edge = masked_from(value, side, needs_others=True)
        if edge is None:
            return value
        known = self.edges.setdefault(name, (edge, label))
        if edge * side > known[0] * side:
            self.edges[name] = (edge, label)
        return far_from(value, side, edge)


@dataclass(slots=True, kw_only=True)
class _LiveValues:
    """An observer that is shown what is not masked."""

    inner: Observer
    sides: Mapping[str, int]
    passes: int = field(init=False)

    def __post_init__(self) -> None:
        self.passes = self.inner.passes

    def summarize(self, tensor: str, value: NDArray[Any]) -> Summary | None:
        """Return what to remember; None when everything is masked."""
        side = self.sides.get(tensor, 0)
        if side and value.size and float((value * side).min()) < -BEYOND:
            value = value[value * side >= -BEYOND]
        return self.inner.summarize(tensor, value) if value.size else None

    def take(self, tensor: str, summary: Summary, sample: str) -> None:
        """Take in a summary."""
        self.inner.take(tensor, summary, sample)

    def end_of_pass(self) -> None:
        """Prepare for the next look at the samples."""
        self.inner.end_of_pass()

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""
        return self.inner.ranges()


def seen_from(side: int, bounds: Range) -> Range:
    """Return a range as seen from a side, where hidden values lie low; and back."""
    return bounds if side > 0 else (-bounds[1], -bounds[0])


def _reach(graph: Graph, mask: Mask) -> set[str]:
    """Return all tensors that a mask has an influence on."""
    found = {mask.tensor} if mask.position == INPUT else set()
    for node in graph.nodes:
        if node.name == mask.layer or found.intersection(node.inputs):
            found.update(node.outputs)
    return found
