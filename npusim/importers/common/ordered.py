"""Graphs whose source counts axes otherwise than the chip: N, H, W, C becomes N, C, H, W.

A converter speaks of the source's tensors in the source's axis order. How a tensor lies in the
graph is written beside it (``Held``), so that a transpose of the source is no layer and every
operator works in the order its operand has already. Elements are moved only where an operator
needs another order: feature maps N, C, H, W, rows for products, the source's order for outputs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import (
    FLOAT,
    Array,
    GraphBuilder,
    Stored,
    check_elements,
    takes_any_type,
)
from npusim.importers.common.layers import Step
from npusim.importers.common.made import Values
from npusim.importers.common.orders import (
    Order,
    blocks,
    in_place,
    plain,
    same_memory,
    usual,
)
from npusim.ir.attrs import NO_ATTRS, Attrs, EltwiseAttrs, ReshapeAttrs, TransposeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Quant
from npusim.ir.tensor import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNode:
    """An operator of the source.

    Attributes
    ----------
    name, type : str
        As in the file.
    inputs, outputs : tuple of str
        Tensors of the source.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def layer(self) -> str:
        """Return the name of its layer in the graph."""
        return f"{self.type}_{self.name}"

    @property
    def where(self) -> str:
        """Return how messages name it."""
        return f"node {self.name!r} ({self.type})"


@dataclass(frozen=True, slots=True)
class Held:
    """Where a tensor is: axis k of the graph's tensor is axis ``order[k]`` of the source's."""

    tensor: str
    order: Order


@dataclass(slots=True)
class OrderedContext:
    """The import in progress.

    Attributes
    ----------
    names : set
        All tensor names of the file, which invented tensors avoid.
    ends : set
        Tensors that become outputs.
    values : dict
        Known values, in the source's axis order.
    held : dict
        Tensor of the source -> tensor of the graph.
    stored : dict
        Known tensor -> the integers its values stand for.
    readers : dict
        Tensor -> how many inputs of nodes and outputs of the graph read it.
    """

    builder: GraphBuilder
    names: set[str] = field(default_factory=set)
    ends: set[str] = field(default_factory=set)
    values: Values[str] = field(default_factory=Values)
    held: dict[str, Held] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    turned: dict[tuple[str, Order], str] = field(default_factory=dict)

    # ---- what is known of a tensor
    def known(self, name: str) -> Array | None:
        """Return the known value of a tensor, None when it depends on the data."""
        return self.values.get(name)

    def shape(self, name: str) -> Shape:
        """Return the shape in source order."""
        value = self.values.get(name)
        if value is not None:
            return tuple(value.shape)
        held = self.held[name]
        physical = self.builder.tensors[held.tensor].shape
        return tuple(physical[held.order.index(axis)] for axis in range(len(physical)))

    def rank(self, name: str) -> int:
        """Return the number of axes."""
        return len(self.shape(name))

    def dtype(self, name: str) -> DType:
        """Return the element type; float for known real values."""
        value = self.values.get(name)
        if value is None:
            return self.builder.tensors[self.held[name].tensor].dtype
        return DType.F32 if value.dtype.kind == "f" else DType.of(value.dtype)

    def order(self, name: str) -> Order:
        """Return how a tensor lies in the graph; a known one lies as wished."""
        held = self.held.get(name)
        return usual(self.rank(name)) if held is None else held.order

    def axis(self, node: SourceNode, name: str, axis: int, *, extra: int = 0) -> int:
        """Return an axis as a non-negative number; ``extra`` allows one past the last."""
        count = self.rank(name) + extra
        if not -count <= axis < count:
            raise ModelImportError(
                f"axis {axis} does not exist",
                where=node.where,
                rule=f"{self.shape(name)} has the axes {-count} to {count - 1}",
            )
        return axis % count

    def unused(self, base: str) -> str:
        """Return a tensor name that neither the file nor the graph has."""
        name, count = base, 1
        while (
            name in self.names
            or name in self.builder.tensors
            or name in self.values
            or name in self.held
        ):
            count += 1
            name = f"{base}{count}"
        return name

    def constant(self, base: str, value: Array | float) -> str:
        """Keep a known tensor and return its name; real numbers become float32."""
        array = np.asarray(value)
        name = self.unused(base)
        self.values[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
        return name

    # ---- tensors of the graph
    def at(self, name: str, order: Order) -> str:
        """Return the graph's tensor with axes in an order; elements move when they must."""
        value = self.values.get(name)
        if value is not None:
            return self._known_at(name, value, order)
        held = self.held[name]
        if held.order == order:
            return held.tensor
        if (held.tensor, order) not in self.turned:
            made = self._turned(name, held, order)
            self.turned[held.tensor, order] = made
        return self.turned[held.tensor, order]

    def _known_at(self, name: str, value: Array, order: Order) -> str:
        key = (name, order)
        if key not in self.turned:
            made = name if name not in self.builder.tensors else self.unused(name)
            if name in self.ends and order != plain(len(order)):
                made = self.unused(f"{name}/nchw")
            ours = value.transpose(order) if value.ndim else value
            self.turned[key] = self.builder.add_constant(made, np.array(ours, order="C", copy=None))
            if name in self.stored:
                self.builder.stored[made] = self.stored[name]
        return self.turned[key]

    def _turned(self, name: str, held: Held, order: Order) -> str:
        shape = self.shape(name)
        final = (
            name in self.ends and order == plain(len(order)) and name not in self.builder.tensors
        )
        target = name if final else self.unused(f"{name}/{''.join(map(str, order))}")
        attrs: Attrs
        if same_memory(shape, held.order, order):
            op, attrs = "reshape", ReshapeAttrs(shape=tuple(shape[axis] for axis in order))
        else:
            op = "transpose"
            attrs = TransposeAttrs(perm=tuple(held.order.index(axis) for axis in order))
        self.builder.add_node(target, op, (held.tensor,), (target,), attrs, origin=(name,))
        return target

    def hold(self, name: str, tensor: str, order: Order) -> str:
        """Say where a tensor of the source is, and return its name."""
        self.held[name] = Held(tensor, order)
        return name

    def alias(self, output: str, source: str, order: Sequence[int] | None = None) -> None:
        """Make an output another name of a tensor, perhaps with its axes permuted.

        Parameters
        ----------
        order : sequence of int, optional
            Axis i of the output is axis ``order[i]`` of the source.
        """
        value = self.values.get(source)
        if value is not None:
            self.values.share(output, value if order is None else value.transpose(order))
            if source in self.stored:
                self.stored[output] = self.stored[source]
            return
        held = self.held[source]
        if order is None:
            self.held[output] = held
            return
        self.held[output] = Held(held.tensor, tuple(list(order).index(a) for a in held.order))

    # ---- emitting
    def emit(
        self,
        node: SourceNode,
        op: str,
        operands: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        order: Order,
        part: str = "",
        output: str = "",
        outputs: Sequence[str] = (),
        dtype: DType | None = None,
        quant: Quant | None = None,
    ) -> str:
        """Append an operator on tensors of the graph and return the source's name of the result.

        Parameters
        ----------
        operands : sequence of str
            Tensors of the graph (``at``).
        order : tuple of int
            How the results lie in the graph.
        part : str
            Set for all but the last operator that stands for a node: the word is added to the
            layer's name, and the result is a tensor of its own.
        output, outputs : optional
            Default: the node's first output.
        """
        first = output or node.outputs[0]
        sources = tuple(outputs or ([self.unused(f"{first}/{part}")] if part else [first]))
        tensors = [self.target(name, order) for name in sources]
        if not takes_any_type(op) and op not in ("argmax", "argmin"):
            self._require_reals(node, op, operands)
        self.builder.add_node(
            f"{node.layer}/{part}" if part else node.layer,
            op,
            operands,
            tensors,
            attrs,
            origin=(node.name,),
            dtype=dtype,
            quant=quant,
        )
        for name, tensor in zip(sources, tensors, strict=True):
            self.hold(name, tensor, order)
        return sources[0]

    def target(self, name: str, order: Order) -> str:
        """Return what the graph calls a tensor that lies in an order."""
        turned = name in self.ends and order != plain(len(order))
        return self.unused(f"{name}/nchw") if turned else name

    def _require_reals(self, node: SourceNode, op: str, operands: Sequence[str]) -> None:
        for name in operands:
            spec = self.builder.tensors[name]
            if not spec.dtype.is_float and spec.quant == FLOAT:
                raise ModelImportError(
                    f"{op} of {name!r}, which is {spec.dtype.value}",
                    where=node.where,
                    rule="the chip computes with real numbers",
                    remedy="cast it to float in front",
                )

    def real(self, node: SourceNode, name: str) -> str:
        """Return a tensor with real elements of the same value."""
        value = self.values.get(name)
        if value is not None:
            if value.dtype.kind == "f":
                return name
            return self.constant(f"{name}/real", value.astype(np.float32))
        if self.dtype(name).is_float:
            return name
        order = self.order(name)
        return self.emit(
            node, "convert", (self.at(name, order),), order=order, part="real", dtype=DType.F32
        )

    def unary(
        self,
        node: SourceNode,
        op: str,
        source: str,
        attrs: Attrs = NO_ATTRS,
        *,
        part: str = "",
        output: str = "",
    ) -> str:
        """Append a function of one tensor, element by element."""
        source = self.real(node, source)
        order = self.order(source)
        operands = (self.at(source, order),)
        return self.emit(node, op, operands, attrs, order=order, part=part, output=output)

    def binary(
        self,
        node: SourceNode,
        op: str,
        first: str,
        second: str,
        *,
        part: str = "",
        output: str = "",
    ) -> str:
        """Append an operator of two tensors that broadcast from their last axes."""
        pair = [self.real(node, first), self.real(node, second)]
        rank = max(map(self.rank, pair))
        order = self.common_order(pair, rank)
        wide = [self.widened(node, name, rank) for name in pair]
        operands = [self.at(name, order if self.rank(name) else ()) for name in wide]
        attrs = NO_ATTRS if op == "prelu" else EltwiseAttrs()
        return self.emit(node, op, operands, attrs, order=order, part=part, output=output)

    def common_order(self, names: Iterable[str], rank: int) -> Order:
        """Return the order in which most elements of tensors lie already."""
        votes: dict[Order, int] = {}
        for name in names:
            if name in self.held and self.rank(name) == rank:
                order = self.held[name].order
                votes[order] = votes.get(order, 0) + prod(self.shape(name))
        return max(votes, key=lambda order: votes[order]) if votes else usual(rank)

    def widened(self, node: SourceNode, name: str, rank: int) -> str:
        """Return a tensor with axes of size 1 in front, as broadcasting adds them."""
        shape = self.shape(name)
        if len(shape) in (0, rank):
            return name
        wide = (1,) * (rank - len(shape)) + shape
        value = self.values.get(name)
        if value is not None:
            made = self.constant(f"{name}/wide", value.reshape(wide))
            if name in self.stored:
                self.stored[made] = self.stored[name]
            return made
        return self.reshape(node, name, wide, part="wide")

    def reshape(
        self,
        node: SourceNode,
        source: str,
        shape: Sequence[int],
        *,
        part: str = "",
        output: str = "",
    ) -> str:
        """Give a tensor's elements another shape, in source order.

        Groups of axes that are split or joined among themselves stay where they lie, so that
        splitting channels moves nothing.
        """
        old, new = self.shape(source), tuple(int(n) for n in shape)
        target = output or (self.unused(f"{node.outputs[0]}/{part}") if part else node.outputs[0])
        check_elements(new, "its result", node.where)
        if prod(old) != prod(new) or 0 in new:
            raise ModelImportError(
                f"{prod(old)} elements {old} do not fill {new}",
                where=node.where,
                rule="the number of elements stays",
            )
        value = self.values.get(source)
        if value is not None:
            self.values[target] = value.reshape(new)
            return target
        if old == new:
            self.alias(target, source)
            return target
        held = self.held[source]
        groups = in_place(blocks(old, new), old, held.order)
        wanted = tuple(axis for ours, _ in groups for axis in ours)
        order = tuple(axis for _, theirs in groups for axis in theirs)
        for likely in (usual(len(new)), plain(len(new))):
            if same_memory(new, likely, order):
                order = likely
                break
        tensor = held.tensor
        if not same_memory(old, held.order, wanted):
            tensor = self.at(source, wanted)
        physical = tuple(new[axis] for axis in order)
        if self.builder.tensors[tensor].shape == physical:
            return self.hold(target, tensor, order)
        attrs = ReshapeAttrs(shape=physical)
        self.emit(node, "reshape", (tensor,), attrs, order=order, part=part, outputs=(target,))
        return target

    def chain(
        self,
        node: SourceNode,
        source: str,
        steps: Iterable[Step],
        *,
        part: str = "",
        output: str = "",
    ) -> str:
        """Append element-wise steps one behind the other. Without steps: an alias."""
        steps = list(steps)
        target = output or node.outputs[0]
        if not steps:
            if part:
                return source
            self.alias(target, source)
            return target
        value = source
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            word = part if last else f"{part}/{step.part}" if part else step.part
            out = output if last else ""
            if step.operand is None:
                value = self.unary(node, step.op, value, step.attrs, part=word, output=out)
                continue
            other = step.operand
            if not isinstance(other, str):
                other = self.constant(f"{target}/{word or step.part}_by", other)
            pair = (other, value) if step.first else (value, other)
            value = self.binary(node, step.op, *pair, part=word, output=out)
        return value

    # ---- the end
    def finish_outputs(self, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
        """Make every output a tensor of its own name in source order; return renames."""
        renames: dict[str, str] = {}
        fixed = set(inputs) | set(outputs)
        for name in outputs:
            if name in inputs:
                raise ModelImportError(
                    f"output {name!r} is an input", where=self.builder.where, rule="nothing to run"
                )
            tensor = self.at(name, plain(self.rank(name)))
            if tensor == name:
                continue
            if tensor in fixed or tensor in renames or tensor in self.builder.constants:
                self.builder.add_node(
                    f"Identity_{name}", "identity", (tensor,), (name,), origin=(name,)
                )
            else:
                renames[tensor] = name
        return renames
