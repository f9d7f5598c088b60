"""What a converter of a TensorFlow Lite operator works with: values, layouts, how to emit.

The file's feature maps are N, H, W, C; npusim's are N, C, H, W. Every tensor with four axes is held
as N, C, H, W in the graph, all others as in the file. "Source order" below is the file's.

An operator whose result has as many axes as its operand works in the graph's order (``feature``,
``axis``, ``emit``). One that changes their number works in source order: ``in_source``,
``emit_source``. What is known is computed at once, whatever operator gives it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import (
    FLOAT,
    Array,
    GraphBuilder,
    UnsupportedForm,
    takes_any_type,
    works_on_codes,
)
from npusim.importers.common.fold import known_results
from npusim.importers.common.made import Values, check_made
from npusim.importers.common.names import claim
from npusim.importers.common.whole import whole_numbers
from npusim.importers.tflite.file import DTYPES, Operator, Subgraph, Tensor
from npusim.importers.tflite.fused import NONE, fused_operator
from npusim.importers.tflite.layout import (
    TO_NCHW,
    TO_NHWC,
    physical,
    same_memory,
    source_order,
)
from npusim.importers.tflite.types import check_types
from npusim.importers.tflite.whole import Whole
from npusim.ir.attrs import NO_ATTRS, Attrs, ReshapeAttrs, TransposeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.quant import Affine, Quant
from npusim.ir.tensor import Shape
from npusim.ops import infer_shapes

TANH_NOTE = (
    "a fused tanh is computed, as the file asks for; LiteRT's own processor kernels leave it out"
)


class Waiting(Exception):
    """An operator needs the value of a tensor that an operator without a counterpart gives."""


@dataclass(slots=True)
class TfliteContext:
    """The import in progress.

    Attributes
    ----------
    names : dict
        Tensor index -> tensor of the graph.
    values : dict
        Tensor index -> known value, in source order.
    ends : set of int
        Graph outputs; the last step turns those with four axes back to source order.
    ordered_names : dict
        Graph tensor -> the same in source order, for those that were needed.
    taken : set of str
        All tensor names of the file, and all that were invented.
    stand_ins : set of int
        Tensors that stand for what an operator without a counterpart gives, and all behind them.
    handles, states, next_states : dict
        Tensor index -> its variable; variable -> the graph input it is read from, what it became.
    unassigned : mapping
        Variable that the model only reads -> its value, None where the file has none.
    whole : Whole
        What all functions of the file share.
    """

    builder: GraphBuilder
    graph: Subgraph
    labels: tuple[str, ...]
    ends: set[int] = field(default_factory=set)
    taken: set[str] = field(init=False)
    named: set[int] = field(default_factory=set)
    stand_ins: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)
    values: Values[int] = field(default_factory=Values)
    ordered_names: dict[str, str] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    next_states: dict[str, str] = field(default_factory=dict)
    unassigned: Mapping[str, Array | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    whole: Whole = field(default_factory=Whole)

    def __post_init__(self) -> None:
        self.taken = set(self.labels)

    def inside(self, graph: Subgraph, labels: tuple[str, ...]) -> "TfliteContext":
        """Return a context for another function of the file, which goes on with this graph."""
        inner = replace(self, graph=graph, labels=labels, ends=set(), named=set())
        inner.names, inner.handles, inner.stand_ins = {}, {}, set()
        inner.values = Values(self.values)
        inner.taken = self.taken
        return inner

    # ---- what is known of a tensor
    def tensor(self, index: int) -> Tensor:
        """Return the file's record of a tensor."""
        return self.graph.tensors[index]

    def value(self, index: int) -> Array | None:
        """Return the known value of a tensor in source order, None when there is none."""
        if index < 0:
            return None
        if index in self.names:
            held = self.builder.constants.get(self.names[index])
            return held.transpose(TO_NHWC) if held is not None and held.ndim == 4 else held
        found = self.values.get(index)
        tensor = self.graph.tensors[index]
        if found is None and tensor.problem:
            raise UnsupportedForm(f"tensor {tensor.name!r} cannot be used: {tensor.problem}")
        return tensor.data if found is None else found

    def fixed(self, op: Operator, position: int, what: str) -> Array:
        """Return an input that must be known.

        Raises
        ------
        UnsupportedForm
            When it depends on the data or is left out.
        Waiting
            When what gives it has no counterpart.
        """
        index = op.inputs[position] if position < len(op.inputs) else -1
        if index in self.stand_ins:
            raise Waiting
        value = self.value(index)
        if value is None:
            raise UnsupportedForm(
                f"{what} depends on the input data" if index >= 0 else f"{what} is left out",
                "make it a constant before the conversion",
            )
        return value

    def fixed_ints(self, op: Operator, position: int, what: str) -> tuple[int, ...]:
        """Return an input that must be known, as integers."""
        return whole_numbers(self.fixed(op, position, what), what)

    def shape(self, index: int) -> Shape:
        """Return the shape in source order."""
        name = self.names.get(index)
        if name is not None:
            return source_order(self.builder.tensors[name].shape)
        value = self.value(index)
        return self.tensor(index).shape if value is None else tuple(value.shape)

    def spec(self, index: int) -> tuple[DType, Quant]:
        """Return element type and quantization that the file gives a computed tensor.

        Raises
        ------
        UnsupportedForm
            For types without a counterpart.
        """
        tensor = self.tensor(index)
        dtype = DTYPES.get(tensor.type)
        if dtype is None or tensor.problem:
            raise UnsupportedForm(
                f"tensor {tensor.name!r} is {tensor.type}"
                + (f": {tensor.problem}" if tensor.problem else "")
            )
        if tensor.quant is None or dtype.is_float:
            return dtype, FLOAT
        if dtype not in (DType.I8, DType.U8) or not isinstance(tensor.quant, Affine):
            many = "" if isinstance(tensor.quant, Affine) else " with one scale per channel"
            raise UnsupportedForm(
                f"tensor {tensor.name!r} is quantized to {dtype.value}{many}",
                "convert with 8-bit activations, or load the float model and quantize it here",
            )
        return dtype, tensor.quant

    def is_quantized(self, index: int) -> bool:
        """Tell whether a tensor holds codes of real numbers."""
        name = self.names.get(index)
        if name is not None:
            return self.builder.tensors[name].quant != FLOAT
        return self.tensor(index).quant is not None and self.tensor(index).type != "FLOAT32"

    # ---- tensors of the graph
    def feature(self, index: int) -> str:
        """Return the graph's tensor; a constant is added in the graph's axis order."""
        name = self.names.get(index)
        if name is not None:
            return name
        value = self.value(index)
        if value is None:
            raise ModelImportError(
                f"tensor {self.labels[index]!r} is read before it is written",
                where=self.builder.where,
                rule="operators are in execution order",
            )
        value = value.transpose(TO_NCHW) if value.ndim == 4 else value
        at_end = index in self.ends and value.ndim == 4
        base = self.output_name(index, 4) if at_end else self.own_name(index)
        name = self.add_constant(base, value, index)
        self.names[index] = name
        return name

    def own_name(self, index: int) -> str:
        """Return the name of a constant of the file; others for those that take it later."""
        first = index not in self.named
        self.named.add(index)
        return self.labels[index] if first else self.unused(self.labels[index])

    def add_constant(self, name: str, value: Array, index: int) -> str:
        """Add a constant made of a file's tensor, with its quantization."""
        quant: Quant = FLOAT
        if self.is_quantized(index) and value.dtype.kind in "iu":
            stated = self.tensor(index).quant
            if not isinstance(stated, Affine):
                raise UnsupportedForm(f"constant {name!r} has one scale per channel")
            quant = stated
        return self.builder.add_constant(name, np.asarray(value, order="C"), quant)

    def constant(self, base: str, value: Array, rank: int) -> str:
        """Add a real constant in source order that broadcasts against ``rank`` axes."""
        if rank == 4 and value.ndim:
            value = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(TO_NCHW)
        own = np.ascontiguousarray(value, np.float32).reshape(value.shape)
        return self.builder.add_constant(self.unused(base), own)

    def check_size(self, shape: Sequence[int]) -> None:
        """Refuse absurd shapes before anything is made of them."""
        check_made(shape, "a constant", self.builder.where)

    def unused(self, base: str) -> str:
        """Return a tensor name that neither the file nor the graph has, and take it."""
        return claim(base, self.taken, self.builder.tensors)

    def ordered(self, index: int) -> str:
        """Return a tensor whose elements lie in source order (its shape may not)."""
        name = self.feature(index)
        shape = self.builder.tensors[name].shape
        if same_memory(shape):
            return name
        return self.turned(name)

    def in_source(self, index: int) -> str:
        """Return a tensor with shape and elements in source order."""
        name = self.feature(index)
        return self.turned(name) if len(self.builder.tensors[name].shape) == 4 else name

    def turned(self, name: str, origin: str = "") -> str:
        """Return a graph tensor with four axes in source order, made when first needed."""
        found = self.ordered_names.get(name)
        if found is None:
            found = self.unused(f"{name}/nhwc")
            self.turn(f"{name}/nhwc", name, found, TO_NHWC, origin=origin or f"{name}/nhwc")
            self.ordered_names[name] = found
        return found

    def turn(self, layer: str, name: str, target: str, perm: tuple[int, ...], origin: str) -> str:
        """Append the step between the two orders of four axes."""
        shape = self.builder.tensors[name].shape
        result = tuple(shape[i] for i in perm)
        if same_memory(shape if perm == TO_NHWC else result):
            attrs: Attrs = ReshapeAttrs(shape=result)
            return self.add(layer, "reshape", (name,), target, attrs, origin=origin)
        attrs = TransposeAttrs(perm=perm)
        return self.add(layer, "transpose", (name,), target, attrs, origin=origin)

    def widened(self, op: Operator, position: int, rank: int) -> str:
        """Return an operand with ``rank`` axes as the graph has them; new ones in front are 1.

        Operands without axes and those that have the rank stay as they are.
        """
        index = op.inputs[position]
        shape = self.shape(index)
        if len(shape) in (0, rank) or 4 not in (len(shape), rank):
            return self.feature(index)
        if rank != 4:  # broadcasting adds the axes in front
            return self.in_source(index)
        wide = (1,) * (4 - len(shape)) + tuple(shape)
        name = self.part(op, f"operand{position}", "reshape", (self.feature(index),),
                         ReshapeAttrs(shape=wide))  # fmt: skip
        label = f"{self.labels[op.outputs[0]]}/operand{position}/nchw"
        return self.turn(label, name, self.unused(label), TO_NCHW, origin=self.origin(op))

    def axis(self, index: int, axis: int) -> int:
        """Return an axis of the file's tensor as the graph counts it."""
        rank = len(self.shape(index))
        if not -rank <= axis < rank:
            raise ModelImportError(f"axis {axis} of {rank} axes does not exist")
        return TO_NHWC[axis % rank] if rank == 4 else axis % rank

    # ---- emitting
    def add(
        self,
        layer: str,
        op: str,
        inputs: Sequence[str],
        output: str,
        attrs: Attrs = NO_ATTRS,
        *,
        origin: str = "",
        dtype: DType | None = None,
        quant: Quant | None = None,
    ) -> str:
        """Append a node with one output and return it; of known operands it is computed at once."""
        if inputs and all(name in self.builder.constants for name in inputs):
            found = self._known(op, inputs, attrs, dtype)
            if found is not None:
                kept = self.builder.tensors[inputs[0]].quant if quant is None else quant
                return self.builder.add_constant(output, found, kept)
        self.builder.add_node(
            layer,
            op,
            inputs,
            (output,),
            attrs,
            origin=(origin or layer,),
            dtype=dtype,
            quant=quant,
        )
        return output

    def _known(
        self, op: str, inputs: Sequence[str], attrs: Attrs, dtype: DType | None
    ) -> Array | None:
        """Return the result of known operands; None for codes that are not only moved."""
        specs = [self.builder.tensors[name] for name in inputs]
        coded = any(spec.quant != FLOAT for spec in specs)
        if op == "convert" or (coded and not takes_any_type(op)):
            return None
        values = [self.builder.constants[name] for name in inputs]
        results = known_results(op, values, attrs, dtype or specs[0].dtype)
        return None if results is None else results[0]

    def origin(self, op: Operator) -> str:
        """Return what layers of an operator stand for: its first output."""
        return self.labels[op.outputs[0]]

    def output_name(self, index: int, rank: int) -> str:
        """Return the graph tensor that an operator's result with ``rank`` axes gets."""
        label = self.labels[index]
        return self.unused(f"{label}/nchw") if index in self.ends and rank == 4 else label

    def emit(
        self,
        op: Operator,
        kind: str,
        inputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        output: int = 0,
        activation: int = NONE,
    ) -> str:
        """Append the operator that gives an output, with its fused activation; return the tensor.

        Parameters
        ----------
        inputs : sequence of str
            Tensors of the graph.
        activation : int
            The schema's number.
        """
        index = op.outputs[output]
        dtype, quant = self.spec(index)
        self._check_operands(kind, attrs, inputs, quant)
        check_types(op, [self.tensor(i) for i in op.inputs if i in self.names], self.tensor(index))
        rank = len(self._shape_of(kind, inputs, attrs))
        label, target = self.labels[index], self.output_name(index, rank)
        clamp = fused_operator(activation, dtype, quant)
        if clamp == "tanh" and TANH_NOTE not in self.notes:
            self.notes.append(TANH_NOTE)
        if clamp:
            inner = self.stored(op, "linear", kind, inputs, attrs, output=output)
            kind, inputs, attrs = clamp, (inner,), NO_ATTRS
        self.add(label, kind, inputs, target, attrs, origin=label, dtype=dtype, quant=quant)
        self.names[index] = target
        return target

    def emit_source(
        self,
        op: Operator,
        kind: str,
        inputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        output: int = 0,
    ) -> str:
        """Append the operator that gives an output from operands in source order.

        A result with four axes is then turned to the graph's order.
        """
        if len(self._shape_of(kind, inputs, attrs)) != 4:
            return self.emit(op, kind, inputs, attrs, output=output)
        index = op.outputs[output]
        dtype, quant = self.spec(index)
        self._check_operands(kind, attrs, inputs, quant)
        label = self.labels[index]
        inner = self.unused(f"{label}/nhwc")
        self.add(
            f"{label}/nhwc", kind, inputs, inner, attrs, origin=label, dtype=dtype, quant=quant
        )
        return self._emit_turned(op, inner, output)

    def _emit_turned(self, op: Operator, name: str, output: int) -> str:
        """Give an output as a tensor in source order that has four axes."""
        shape = self.builder.tensors[name].shape
        if same_memory(physical(shape)):
            attrs: Attrs = ReshapeAttrs(shape=physical(shape))
            return self.emit(op, "reshape", (name,), attrs, output=output)
        return self.emit(op, "transpose", (name,), TransposeAttrs(perm=TO_NCHW), output=output)

    def _shape_of(self, kind: str, inputs: Sequence[str], attrs: Attrs) -> Shape:
        node = Node(name=kind, op=kind, inputs=tuple(inputs), outputs=(), attrs=attrs)
        return infer_shapes(node, [self.builder.tensors[name] for name in inputs])[0]

    def part(
        self, op: Operator, part: str, kind: str, inputs: Sequence[str], attrs: Attrs = NO_ATTRS
    ) -> str:
        """Append a step before the last one of an operator, in the first input's type."""
        label = self.labels[op.outputs[0]]
        target = self.unused(f"{label}/{part}")
        return self.add(f"{label}/{part}", kind, inputs, target, attrs, origin=label)

    def stored(
        self,
        op: Operator,
        part: str,
        kind: str,
        inputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        output: int = 0,
        activation: int = NONE,
    ) -> str:
        """Append a step before the last one of an operator, in the type of an output."""
        index = op.outputs[output]
        dtype, quant = self.spec(index)
        self._check_operands(kind, attrs, inputs, quant)
        layer = f"{self.labels[index]}/{part}"
        clamp = fused_operator(activation, dtype, quant)
        made = self.unused(f"{layer}/linear" if clamp else layer)
        self.add(
            layer, kind, inputs, made, attrs, origin=self.labels[index], dtype=dtype, quant=quant
        )
        if not clamp:
            return made
        target, name = self.unused(layer), f"{layer}/{clamp}"
        return self.add(name, clamp, (made,), target, origin=self.labels[index])

    def emit_reshape(self, op: Operator, name: str, shape: Shape, *, output: int = 0) -> None:
        """Give an output as a tensor in source order, with ``shape`` in source order."""
        index, target = op.outputs[output], physical(shape)
        if self.builder.tensors[name].elements != prod(shape):
            raise ModelImportError(
                f"{self.builder.tensors[name].elements} elements do not fill {tuple(shape)}"
            )
        if same_memory(target):
            self.emit(op, "reshape", (name,), ReshapeAttrs(shape=target), output=output)
            return
        label = self.labels[index]
        inner = self.unused(f"{label}/nhwc")
        self.add(
            f"{label}/nhwc", "reshape", (name,), inner, ReshapeAttrs(shape=shape), origin=label
        )
        self._emit_turned(op, inner, output)

    def alias(self, op: Operator, name: str, *, output: int = 0) -> None:
        """Make an output another name of a tensor, for an operator that does nothing."""
        index = op.outputs[output]
        if index in self.ends:
            self.emit(op, "identity", (name,), output=output)
        else:
            self.names[index] = name

    def _check_operands(self, kind: str, attrs: Attrs, inputs: Sequence[str], quant: Quant) -> None:
        known = all(name in self.builder.constants for name in inputs)
        if takes_any_type(kind) or works_on_codes(kind, attrs) or (known and quant == FLOAT):
            return
        for name in inputs:
            spec = self.builder.tensors[name]
            real = spec.dtype.is_float or spec.quant != FLOAT
            if not real:
                raise UnsupportedForm(
                    f"input {name!r} is {spec.dtype.value}", "only real numbers are computed with"
                )
        coded = {self.builder.tensors[name].quant != FLOAT for name in inputs}
        if coded != {quant != FLOAT}:
            raise UnsupportedForm(
                "it mixes quantized and float tensors",
                "convert the model with full integer quantization, or load the float model",
            )
