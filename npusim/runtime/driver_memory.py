"""What the chip's driver stores where it lays a concat in place and loses data.

Only where the outcome does not depend on chance. Elements that the chip never writes are 0 here and
marked as unknown. Source: measured, docs/arithmetic/whole-networks.md section 4.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ConfigError
from npusim.explain import see
from npusim.ir.attrs import AxisAttrs, SliceAttrs, SplitAttrs
from npusim.ir.graph import Form, Graph, Node
from npusim.ir.names import by_name
from npusim.ir.tensor import Shape
from npusim.passes.driver_faults import (
    KEPT_APART,
    DriverFault,
    FaultKind,
    driver_faults,
    is_alias,
    placed_in,
    written_shape,
)
from npusim.passes.graph_view import GraphView
from npusim.runtime.binding import Step

Array = NDArray[Any]
Region = tuple[slice, ...]
CORRECT, REPRODUCE = "correct", "reproduce"
log = logging.getLogger("npusim")


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A layer that is done as the driver does it.

    Attributes
    ----------
    step : Step
        Takes the tensors of ``feeds``.
    feeds : tuple of str
    """

    step: Step
    feeds: tuple[str, ...]


@dataclass(slots=True)
class DriverMemory:
    """The layers of a lowered graph that are done as the driver does them.

    Attributes
    ----------
    layers : dict
        Layer name -> how it is done.
    unknown : dict
        Tensor -> bool array, true where the chip never writes.
    left : list of DriverFault
        What depends on chance and is computed right instead.
    """

    layers: dict[str, Reproduced] = field(default_factory=dict)
    unknown: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    left: list[DriverFault] = field(default_factory=list)


def checked_choice(choice: str) -> str:
    """Return how driver faults are treated.

    Raises
    ------
    ConfigError
        When it is neither ``"correct"`` nor ``"reproduce"``.
    """
    if choice not in (CORRECT, REPRODUCE):
        raise ConfigError(
            f"value {choice!r}",
            where=words.say("driver_faults"),
            rule=f"{CORRECT} (the true values) or {REPRODUCE} (what the chip stores)",
        )
    return choice


def driver_memory(graph: Graph) -> DriverMemory:
    """Return what of a lowered graph is done as the driver does it; say what is and what is not."""
    found, view, named = DriverMemory(), GraphView(graph), by_name(graph)
    faults: dict[str, list[DriverFault]] = {}
    for fault in driver_faults(graph):
        faults.setdefault(fault.layer, []).append(fault)
    chains = [chain for name in faults if (chain := _chain(named[name], view, faults))]
    for chain in chains:
        _nest(found, chain, graph)
    in_chains = {node.name for chain in chains for node in chain}
    for name, own in faults.items():
        node = named[name]
        if name in in_chains:
            continue
        displaced = all(fault.kind is FaultKind.DISPLACED for fault in own)
        if displaced and _displaceable(node, view):
            _displace(found, node, view)
        else:
            found.left += own
    _tell(found)
    return found


def _tell(found: DriverMemory) -> None:
    for name, mask in found.unknown.items():
        log.warning(
            "tensor %r: the chip never writes %d of its %d elements, npusim puts 0 there; make "
            "one part of the concat an output of the network %s",
            name,
            int(mask.sum()),
            mask.size,
            see("concat-of-views"),
        )
    for fault in found.left:
        code = "concat-of-views" if fault.kind.of_concat else "view-of-view"
        log.warning(
            "layer %r: what the chip stores is not known well enough to be reproduced, npusim "
            "computes the true values %s",
            fault.layer,
            see(code),
        )


# ---- parts that land at the beginning ----------------------------------------------------------
def _displaceable(node: Node, view: GraphView) -> bool:
    """Tell whether the concat stands alone and only it reads what lies in the wrong place."""
    joins = [n for n in view.graph.nodes if n.form is Form.IN_PLACE]
    nested = any(
        node.outputs[0] in other.inputs or other.outputs[0] in node.inputs for other in joins
    )
    if nested or any(_writer(name, view).op in KEPT_APART for name in node.inputs):
        return False  # beside these tables the driver is right, sometimes
    return all(
        _only_here(name, view) and _fills_its_place(name, node, view) for name in node.inputs
    )


def _fills_its_place(name: str, node: Node, view: GraphView) -> bool:
    """Tell whether all of a part is stored, wherever that is."""
    corner = placed_in(written_shape(name, view), view.ofm(node).shape)
    misplaced = is_alias(view.producers[name]) and corner is not None
    return not misplaced or prod(corner or ()) == view.graph.spec(name).elements


def _only_here(name: str, view: GraphView) -> bool:
    """Tell whether nothing else reads a part, under none of its names."""
    while view.is_private(name):
        maker = view.producers.get(name)
        if maker is None or not is_alias(maker):
            return True
        name = maker.inputs[0]
    return name in view.graph.inputs


def _writer(name: str, view: GraphView) -> Node:
    """Return the node that writes a tensor, before reshapes."""
    node = view.producers[name]
    while is_alias(node) and node.inputs[0] in view.producers:
        node = view.producers[node.inputs[0]]
    return node


def _regions(node: Node, view: GraphView) -> dict[str, tuple[Region, Shape]]:
    """Return part -> (where the driver stores it in the result, the shape it has there)."""
    graph, axis = view.graph, cast(AxisAttrs, node.attrs).axis
    whole, begin = graph.spec(node.outputs[0]).shape, 0
    regions: dict[str, tuple[Region, Shape]] = {}
    for name in node.inputs:
        shape = graph.spec(name).shape
        maker, corner = view.producers[name], None
        if is_alias(maker):
            corner = placed_in(written_shape(name, view), whole)
        elif isinstance(maker.attrs, SliceAttrs | SplitAttrs) and maker.form is Form.COPY:
            corner = shape
        if corner is None:
            own = tuple(
                slice(begin, begin + n) if i == axis else slice(0, n) for i, n in enumerate(shape)
            )
            regions[name] = own, shape
        else:
            regions[name] = tuple(slice(0, n) for n in corner), corner
        begin += shape[axis]
    return regions


def _displace(found: DriverMemory, node: Node, view: GraphView) -> None:
    order = {other.name: at for at, other in enumerate(view.graph.nodes)}
    parts = sorted(node.inputs, key=lambda name: order[_writer(name, view).name])
    regions = [_regions(node, view)[name] for name in parts]
    spec = view.graph.spec(node.outputs[0])

    def step(*values: Array) -> tuple[Array, ...]:
        result = np.zeros(spec.shape, spec.dtype.numpy)
        for value, (region, shape) in zip(values, regions, strict=True):
            result[region] = np.asarray(value, order="C").reshape(shape)
        return (result,)

    unknown = np.ones(spec.shape, np.bool_)
    for region, _ in regions:
        unknown[region] = False
    found.layers[node.name] = Reproduced(step, tuple(parts))
    if unknown.any():
        found.unknown[node.outputs[0]] = unknown


# ---- concats of concats that others read -------------------------------------------------------
def _chain(
    root: Node, view: GraphView, faults: Mapping[str, list[DriverFault]]
) -> tuple[Node, ...]:
    """Return (outermost concat, .., innermost that others read) of a dense block, else nothing.

    Every inner concat begins its outer one, and everything else in there follows from the
    innermost: only then the driver's order of execution is sure.
    """
    joins = {n.outputs[0]: n for n in view.graph.nodes if n.form is Form.IN_PLACE}
    result = root.outputs[0]
    if any(result in other.inputs for other in joins.values()) or result in view.graph.outputs:
        return ()
    chain = [root]
    while (inner := joins.get(chain[-1].inputs[0])) is not None:
        chain.append(inner)
    while len(chain) > 1 and len(view.consumers[chain[-1].outputs[0]]) == 1:
        chain.pop()
    allowed = {FaultKind.NESTED}
    kinds = {fault.kind for node in chain for fault in faults.get(node.name, ())}
    others = [name for node in chain[:-1] for name in node.inputs[1:]]
    later = _following(chain[-1].outputs[0], view, {node.name for node in chain})
    inner_only = not any(name in joins for name in (*others, *chain[-1].inputs))
    beside = (user.op for node in chain for user in view.consumers[node.outputs[0]])
    made = (view.producers[name].op for node in chain for name in node.inputs)
    if not set(KEPT_APART).isdisjoint((*beside, *made)):
        return ()
    if len(chain) > 1 and kinds == allowed and inner_only and set(others) <= later:
        return tuple(chain)
    return ()


def _following(name: str, view: GraphView, but: Iterable[str]) -> set[str]:
    """Return the tensors that follow from one, not counting ways through the nodes ``but``."""
    found, waiting = set[str](), [name]
    while waiting:
        for node in view.consumers[waiting.pop()]:
            if node.name not in but:
                waiting += [out for out in node.outputs if out not in found]
                found.update(node.outputs)
    return found


def _nest(found: DriverMemory, chain: tuple[Node, ...], graph: Graph) -> None:
    """Readers of the outermost see the innermost's parts only; all others see everything else."""
    root, inner = chain[0], chain[-1]
    axis = cast(AxisAttrs, inner.attrs).axis
    ends = graph.spec(inner.outputs[0]).shape[axis]
    region: Region = (*(slice(None),) * axis, slice(0, ends))
    whole, own = graph.spec(root.outputs[0]), graph.spec(inner.outputs[0])

    def outermost(*parts: Array) -> tuple[Array, ...]:
        result = np.zeros(whole.shape, whole.dtype.numpy)
        result[region] = np.concatenate(parts, axis)
        return (result,)

    def innermost() -> tuple[Array, ...]:
        return (np.zeros(own.shape, own.dtype.numpy),)

    found.layers[root.name] = Reproduced(outermost, inner.inputs)
    found.layers[inner.name] = Reproduced(innermost, ())
    beyond = np.ones(whole.shape, np.bool_)
    beyond[region] = False
    found.unknown[root.outputs[0]] = beyond
    for node in chain[1:]:
        unknown = np.zeros(graph.spec(node.outputs[0]).shape, np.bool_)
        unknown[region] = True
        found.unknown[node.outputs[0]] = unknown
