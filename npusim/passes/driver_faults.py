"""Where the driver's views of memory lose data: which layers, why, through which others.

Source: measured, docs/arithmetic/whole-networks.md section 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from math import prod

from npusim.ir.attrs import ReduceAttrs, SliceAttrs, SplitAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form, Graph, Node
from npusim.ir.quant import scale_of, zero_point_of
from npusim.ir.tensor import Shape
from npusim.ops import op_def
from npusim.passes.graph_view import GraphView
from npusim.passes.memory_predicates import is_part, takes_one_piece
from npusim.passes.rewrite import same_numbers

MOST_AXES = 4
KEPT_APART = ("tanh", "square")  # tables that the driver does not order with concats in place
SIX = 6.001


class FaultKind(Enum):
    """What goes wrong; the value finishes "the driver ..." in a message."""

    DISPLACED = "stores parts that are slices or reshapes at the beginning of the result"
    OVERWRITTEN = "lets such a part overwrite one that other layers read too"
    UNORDERED = "runs the readers of the result before the parts that are reshapes are written"
    NESTED = "keeps the inner of two concats in a memory of its own when others read it as well"
    READ_AS_VIEW = "loses data when a part or the result is also read through a slice or reshape"
    SKIPPED = "leaves a part out when a rectifier that changes nothing reads it too"
    TOO_EARLY = "runs tanh or square too early when other layers read a part or the result as well"
    MANY_AXES = "mixes up the sizes of more than four axes"
    SHADER_FIRST = "loses a part made by a shader program that no other engine's layer precedes"
    REFUSED = "does not compile a part made by this reduction"
    PART_OF_RESHAPE = "takes this part of a reshaped tensor from a wrong place"
    RESHAPE_OF_PART = "reads this reshape of a part from a wrong place"

    @property
    def of_concat(self) -> bool:
        """Tell whether a concat in place is what goes wrong."""
        return self not in (FaultKind.PART_OF_RESHAPE, FaultKind.RESHAPE_OF_PART)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFault:
    """One layer that the driver does wrongly.

    Attributes
    ----------
    layer : str
        Name of the concat, or of the view, with which data is lost.
    kind : FaultKind
    layers : tuple of str
        The other layers that have to do with it, in execution order.
    """

    layer: str
    kind: FaultKind
    layers: tuple[str, ...]


def driver_faults(graph: Graph) -> tuple[DriverFault, ...]:
    """Return what the driver does wrongly in a graph with engines and forms, in its order."""
    joins, view = _Joins(graph), GraphView(graph)
    of_concats = (fault for node in joins.nodes for fault in joins.faults(node))
    of_views = (fault for node in graph.nodes if (fault := _view_of_view(node, view)))
    return (*of_concats, *of_views)


def is_alias(node: Node) -> bool:
    """Tell whether a node only gives its whole input's memory another name or shape."""
    return node.form is Form.VIEW and not isinstance(node.attrs, SliceAttrs | SplitAttrs)


def written_shape(name: str, view: GraphView) -> Shape:
    """Return the shape in which a tensor is written, before reshapes gave it its own."""
    while (node := view.producers.get(name)) is not None and is_alias(node):
        name = node.inputs[0]
    return view.graph.spec(name).shape


def placed_in(shape: Shape, whole: Shape) -> Shape | None:
    """Return the corner of a concat's result in which a part of this shape is stored.

    None where it does not fit: then the driver finds the right place. Axes count from the last,
    those beyond the result's do not count; more than four are one to the driver.
    """
    if len(shape) > MOST_AXES:
        shape = (prod(shape),)
    missing = max(len(whole) - len(shape), 0)
    aligned = (1,) * missing + shape[max(len(shape) - len(whole), 0) :]
    return aligned if all(a <= b for a, b in zip(aligned, whole, strict=True)) else None


def keeps_sizes(alias: Node, graph: Graph) -> bool:
    """Tell whether a reshape only adds or drops leading axes of one element."""
    before, behind = (graph.spec(n) for n in (alias.inputs[0], alias.outputs[0]))
    return placed_in(before.shape, behind.shape) == behind.shape


def _view_of_view(node: Node, view: GraphView) -> DriverFault | None:
    """Return the fault of a part of a reshape's result, or of a reshape of a part."""
    graph = view.graph
    before = view.producers.get(node.inputs[0])
    if before is None:
        return None
    if takes_one_piece(node, view):
        if not is_alias(before) or keeps_sizes(before, graph):
            return None
        kind, alias, part = FaultKind.PART_OF_RESHAPE, before, node
    else:
        if not is_alias(node) or not is_part(before, view) or not view.consumers[node.outputs[0]]:
            return None
        if keeps_sizes(node, graph) and part_begins(before, node.inputs[0], graph) == 0:
            return None
        kind, alias, part = FaultKind.RESHAPE_OF_PART, node, before
    on_input = (alias if part is node else part).inputs[0] in graph.inputs
    if on_input and not isinstance(part.attrs, SplitAttrs):
        return None
    return DriverFault(layer=node.name, kind=kind, layers=(before.name,))


def part_begins(part: Node, result: str, graph: Graph) -> int:
    """Return at which element of its input a result of a slice or split begins."""
    if isinstance(part.attrs, SliceAttrs):
        shape = graph.spec(part.inputs[0]).shape
        steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return sum(begin * step for begin, step in zip(part.attrs.begin, steps, strict=True))
    earlier = part.outputs[: part.outputs.index(result)]
    return sum(graph.spec(name).elements for name in earlier)


class _Joins:
    """The concats in place of a graph and what surrounds them."""

    def __init__(self, graph: Graph) -> None:
        self.view = GraphView(graph)
        self.graph = graph
        self.nodes = [node for node in graph.nodes if node.form is Form.IN_PLACE]
        self.made = {node.outputs[0]: node for node in self.nodes}
        self.outer = {
            name: node for node in self.nodes for name in node.inputs if name in self.made
        }
        self.order = {node.name: at for at, node in enumerate(graph.nodes)}
        self.begins = {node.name: self._begins(node) for node in self.nodes}
        self.places: dict[str, int] = {}  # of a concat: where it begins in the outermost one
        self.roots: dict[str, Node] = {}  # the outermost one
        for node in reversed(self.nodes):  # outer ones come behind
            self._place(node)
        others = (at for at, node in enumerate(graph.nodes) if node.engine is not Engine.SHADER)
        self.first_other = next(others, len(graph.nodes))

    def _begins(self, node: Node) -> list[int]:
        """Return at which element of its result each part of a concat begins."""
        return list(accumulate((self.graph.spec(n).elements for n in node.inputs), initial=0))

    def _place(self, node: Node) -> None:
        result = node.outputs[0]
        outer = self.outer.get(result)
        if outer is None:
            self.places[node.name], self.roots[node.name] = 0, node
            return
        begin = self.begins[outer.name][outer.inputs.index(result)]
        self.places[node.name] = self.places[outer.name] + begin
        self.roots[node.name] = self.roots[outer.name]

    def faults(self, node: Node) -> Iterator[DriverFault]:
        """Yield every kind of fault of a concat, each once with all layers."""
        found: dict[FaultKind, list[str]] = {}
        for kind, layers in (*self._of_parts(node), *self._of_result(node)):
            found.setdefault(kind, []).extend(layers)
        if victims := self._overwritten(node, found.get(FaultKind.DISPLACED, [])):
            found[FaultKind.OVERWRITTEN] = victims
        for kind, layers in found.items():
            unique = sorted(dict.fromkeys(layers), key=self.order.__getitem__)
            yield DriverFault(layer=node.name, kind=kind, layers=tuple(unique))

    def _overwritten(self, node: Node, displaced: list[str]) -> list[str]:
        """Return the other readers of what lies where displaced parts are stored."""
        moved = set(displaced)
        reach = max(
            (
                self.graph.spec(name).elements
                for name in node.inputs
                if self.view.producers[name].name in moved
            ),
            default=0,
        )
        return [
            user.name
            for position, name in enumerate(node.inputs)
            if self.offset(node, position) < reach
            for user in self.view.consumers[name]
            if user.name != node.name
        ]

    def offset(self, node: Node, position: int) -> int:
        """Return at which element of the outermost result a part begins."""
        return self.places[node.name] + self.begins[node.name][position]

    def _only_shown(self, node: Node) -> bool:
        """Tell whether nothing reads the outermost result and the network shows it."""
        return not self.view.consumers[self.roots[node.name].outputs[0]]

    # ---- parts ---------------------------------------------------------------------------------
    def _of_parts(self, node: Node) -> Iterator[tuple[FaultKind, list[str]]]:
        for position, name in enumerate(node.inputs):
            maker = self.view.producers[name]
            if isinstance(maker.attrs, SliceAttrs | SplitAttrs) and maker.form is Form.COPY:
                if self.offset(node, position):
                    yield FaultKind.DISPLACED, [maker.name]
            elif is_alias(maker):
                yield from self._of_alias(node, position, maker)
            elif isinstance(maker.attrs, ReduceAttrs) and maker.form is Form.PROGRAM:
                if maker.op != "reduce_mean":
                    yield FaultKind.REFUSED, [maker.name]
            elif self._begins_on_shader(maker):
                yield FaultKind.SHADER_FIRST, [maker.name]
            if through_part := self._part_of_alias(name):
                yield FaultKind.READ_AS_VIEW, through_part
            yield from self._of_other_readers(node, name, maker)

    def _of_alias(
        self, node: Node, position: int, maker: Node
    ) -> Iterator[tuple[FaultKind, list[str]]]:
        name = node.inputs[position]
        own = written_shape(name, self.view)
        result = self.graph.spec(node.outputs[0])
        corner = placed_in(own, result.shape)
        source = self._source(name)
        behind_part = source is not None and isinstance(source.attrs, SliceAttrs | SplitAttrs)
        nested = node.outputs[0] in self.outer or (
            source is not None and source.name in self.begins
        )
        keeps = corner == self.graph.spec(name).shape
        in_order = keeps or self._only_shown(node)
        if behind_part or nested or not in_order:
            yield FaultKind.UNORDERED, [maker.name]
        elif corner is not None and (self.offset(node, position) or not keeps):
            yield FaultKind.DISPLACED, [maker.name]

    def _source(self, name: str) -> Node | None:
        """Return the node that wrote what reshapes gave this name."""
        while (node := self.view.producers.get(name)) is not None and is_alias(node):
            name = node.inputs[0]
        return node

    def _part_of_alias(self, name: str) -> list[str]:
        """Return the layers when a tensor is a part, in one piece, of a reshape's result."""
        maker = self.view.producers[name]
        if not isinstance(maker.attrs, SliceAttrs | SplitAttrs) or maker.form is not Form.VIEW:
            return []
        before = self.view.producers.get(maker.inputs[0])
        return [maker.name] if before is not None and is_alias(before) else []

    def _begins_on_shader(self, maker: Node) -> bool:
        if maker.engine is not Engine.SHADER:
            return False
        return op_def(maker.op).elementwise and self.order[maker.name] <= self.first_other

    def _of_other_readers(
        self, node: Node, name: str, maker: Node
    ) -> Iterator[tuple[FaultKind, list[str]]]:
        others = [user for user in self.view.consumers[name] if user.name != node.name]
        inner = name in self.made
        begins = self._only_shown(node) and self.offset(node, node.inputs.index(name)) == 0
        if inner and (others or node.inputs.count(name) > 1) and not begins:
            yield FaultKind.NESTED, [maker.name, *(user.name for user in others)]
        on_input = maker.op in KEPT_APART and maker.inputs[0] in self.graph.inputs
        for user in others:
            if self._is_view(user):
                yield FaultKind.READ_AS_VIEW, [user.name]
            if user.op in KEPT_APART or on_input:
                yield FaultKind.TOO_EARLY, [maker.name if on_input else user.name]
        if len(others) == 1 and self._changes_nothing(others[0]) and self._only_shown(node):
            yield FaultKind.SKIPPED, [others[0].name]

    def _changes_nothing(self, node: Node) -> bool:
        """Tell whether a rectifier leaves every code as it is, so that the driver drops it."""
        spec = self.graph.spec(node.inputs[0])
        return (
            node.op in ("relu", "relu6")
            and spec.dtype is DType.U8
            and same_numbers(self.graph, node.inputs[0], node.outputs[0])
            and zero_point_of(spec.quant) == 0
            and (node.op == "relu" or 255 * scale_of(spec.quant) <= SIX)
        )

    def _is_view(self, user: Node) -> bool:
        """Tell whether a reader takes a part of a tensor's memory, or all of it in other sizes."""
        if isinstance(user.attrs, SliceAttrs | SplitAttrs):
            return is_part(user, self.view)
        if not is_alias(user):
            return False
        return not keeps_sizes(user, self.graph)

    # ---- the result ----------------------------------------------------------------------------
    def _of_result(self, node: Node) -> Iterator[tuple[FaultKind, list[str]]]:
        result = node.outputs[0]
        users = self.view.consumers[result]
        if len(self.graph.spec(result).shape) > MOST_AXES and not self._only_shown(node):
            yield FaultKind.MANY_AXES, []
        apart = [user.name for user in users if user.op in KEPT_APART]
        if 0 < len(apart) < len(users):
            yield FaultKind.TOO_EARLY, apart
        for user in users:
            if not self._is_view(user):
                continue
            if isinstance(user.attrs, SliceAttrs | SplitAttrs):
                if not self._cuts_between_parts(user, node):
                    yield FaultKind.READ_AS_VIEW, [user.name]
            elif len(users) > 1 or result in self.graph.outputs or not self._shown(user):
                yield FaultKind.READ_AS_VIEW, [user.name]

    def _shown(self, alias: Node) -> bool:
        """Tell whether a reshape's result is an output of the network and nothing else."""
        return alias.outputs[0] in self.graph.outputs and not self.view.consumers[alias.outputs[0]]

    def _cuts_between_parts(self, user: Node, node: Node) -> bool:
        """Tell whether every piece that a slice or split takes is a part of the concat again."""
        begin, pieces = 0, []
        for name in node.inputs:
            pieces.append((begin, begin + self.graph.spec(name).elements))
            begin = pieces[-1][1]
        for name in user.outputs:
            first = part_begins(user, name, self.graph)
            piece = first, first + self.graph.spec(name).elements
            if piece not in pieces and piece != (0, begin):
                return False
        return True
