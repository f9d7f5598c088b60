"""What a converter of a TensorFlow Lite operator works with: values, layouts, how to emit.

The file's feature maps are N, H, W, C; npusim's are N, C, H, W. Every tensor with four axes is held
as N, C, H, W in the graph, all others as in the file. "Source order" below is the file's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from npusim.importers.tflite.file import Operator, Subgraph, Tensor
from npusim.ir.attrs import NO_ATTRS, Attrs, ReshapeAttrs, TransposeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, Quant
from npusim.ir.tensor import Shape

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)
_TYPES = {
    "FLOAT32": DType.F32,
    "FLOAT16": DType.F32,
    "FLOAT64": DType.F32,
    "INT8": DType.I8,
    "UINT8": DType.U8,
    "INT16": DType.I16,
    "INT32": DType.I32,
    "INT64": DType.I64,
    "BOOL": DType.BOOL,
}
_RECTIFIERS = {RELU: ("relu", 0.0, np.inf), RELU_N1_TO_1: ("relu1", -1.0, 1.0)}
_RECTIFIERS[RELU6] = ("relu6", 0.0, 6.0)
_FROM_CODES = 8


def physical(shape: Shape) -> Shape:
    """Return a shape of the file as the graph has it."""
    return tuple(shape[i] for i in TO_NCHW) if len(shape) == 4 else tuple(shape)


def source_order(shape: Shape) -> Shape:
    """Return a shape of the graph as the file has it."""
    return tuple(shape[i] for i in TO_NHWC) if len(shape) == 4 else tuple(shape)


def same_memory(shape: Shape) -> bool:
    """Tell whether elements lie alike in N, C, H, W and N, H, W, C: one channel or one pixel."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1


@dataclass(slots=True)
class TfliteContext:
    """The import in progress.

    Attributes
    ----------
    names : dict
        Tensor index -> tensor of the graph.
    values : dict
        Tensor index -> known value, in source order.
    nhwc_outputs : set of int
        Graph outputs that the last step turns back to source order.
    ordered_names : dict
        Graph tensor -> the same in source order, for those that were needed.
    handles : dict
        Tensor index -> the variable that it stands for.
    states, next_states : dict
        Variable -> the graph input it is read from, the tensor it was last assigned.
    """

    builder: GraphBuilder
    graph: Subgraph
    labels: tuple[str, ...]
    nhwc_outputs: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)
    values: dict[int, Array] = field(default_factory=dict)
    ordered_names: dict[str, str] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    next_states: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    # ---- what is known of a tensor
    def tensor(self, index: int) -> Tensor:
        """Return the file's record of a tensor."""
        return self.graph.tensors[index]

    def value(self, index: int) -> Array | None:
        """Return the known value of a tensor in source order."""
        if index < 0:
            return None
        found = self.values.get(index)
        tensor = self.graph.tensors[index]
        if found is None and tensor.problem and index not in self.names:
            raise UnsupportedForm(f"tensor {tensor.name!r} cannot be used: {tensor.problem}")
        return tensor.data if found is None else found

    def fixed(self, op: Operator, position: int, what: str) -> Array:
        """Return an input that must be known.

        Raises
        ------
        UnsupportedForm
            When it depends on the data or is left out.
        """
        index = op.inputs[position] if position < len(op.inputs) else -1
        value = self.value(index)
        if value is None:
            raise UnsupportedForm(
                f"{what} depends on the input data" if index >= 0 else f"{what} is left out",
                "make it a constant before the conversion",
            )
        return value

    def fixed_ints(self, op: Operator, position: int, what: str) -> tuple[int, ...]:
        """Return an input that must be known, as integers."""
        return tuple(int(n) for n in self.fixed(op, position, what).reshape(-1))

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
        dtype = _TYPES.get(tensor.type)
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
        name = self.add_constant(self.labels[index], value, index)
        self.names[index] = name
        return name

    def add_constant(self, name: str, value: Array, index: int) -> str:
        """Add a constant made of a file's tensor, with its quantization."""
        quant: Quant = FLOAT
        if self.is_quantized(index) and value.dtype.kind in "iu":
            stated = self.tensor(index).quant
            if not isinstance(stated, Affine):
                raise UnsupportedForm(f"constant {name!r} has one scale per channel")
            quant = stated
        return self.builder.add_constant(self.unused(name), np.asarray(value, order="C"), quant)

    def unused(self, base: str) -> str:
        """Return a tensor name that the graph does not have yet."""
        name, count = base, 1
        while name in self.builder.tensors:
            count += 1
            name = f"{base}{count}"
        return name

    def ordered(self, index: int) -> str:
        """Return a tensor whose elements lie in source order (its shape may not)."""
        name = self.feature(index)
        shape = self.builder.tensors[name].shape
        if same_memory(shape):
            return name
        if name not in self.ordered_names:
            target = self.unused(f"{name}/nhwc")
            self.add(f"{name}/nhwc", "transpose", (name,), target, TransposeAttrs(perm=TO_NHWC))
            self.ordered_names[name] = target
        return self.ordered_names[name]

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
        """Append a node with one output and return it."""
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

    def output_name(self, index: int) -> str:
        """Return the graph tensor that an operator's result gets."""
        label = self.labels[index]
        return self.unused(f"{label}/nchw") if index in self.nhwc_outputs else label

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
        label, target = self.labels[index], self.output_name(index)
        clamp = self._clamp(activation, dtype, quant)
        if clamp:
            inner = self.unused(f"{target}/linear")
            self.add(
                f"{label}/linear",
                kind,
                inputs,
                inner,
                attrs,
                origin=label,
                dtype=dtype,
                quant=quant,
            )
            kind, inputs, attrs = clamp, (inner,), NO_ATTRS
        self.add(label, kind, inputs, target, attrs, origin=label, dtype=dtype, quant=quant)
        self.names[index] = target
        return target

    def part(
        self, op: Operator, part: str, kind: str, inputs: Sequence[str], attrs: Attrs = NO_ATTRS
    ) -> str:
        """Append a step before the last one of an operator, in the first input's type."""
        label = self.labels[op.outputs[0]]
        target = self.unused(f"{label}/{part}")
        return self.add(f"{label}/{part}", kind, inputs, target, attrs, origin=label)

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
        self.emit(op, "transpose", (inner,), TransposeAttrs(perm=TO_NCHW), output=output)

    def alias(self, op: Operator, name: str, *, output: int = 0) -> None:
        """Make an output another name of a tensor, for an operator that does nothing."""
        index = op.outputs[output]
        if index in self.graph.outputs:
            self.emit(op, "identity", (name,), output=output)
        else:
            self.names[index] = name

    def _check_operands(self, kind: str, attrs: Attrs, inputs: Sequence[str], quant: Quant) -> None:
        if takes_any_type(kind) or works_on_codes(kind, attrs):
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

    def _clamp(self, activation: int, dtype: DType, quant: Quant) -> str:
        """Return the operator of a fused activation, empty where storing is the clamp already."""
        if activation == NONE:
            return ""
        if activation not in _RECTIFIERS:
            raise UnsupportedForm("its fused activation", "use relu, relu6 or a layer of its own")
        kind, low, high = _RECTIFIERS[activation]
        if isinstance(quant, Affine):
            lowest = quant.zero_point + low / quant.scale
            highest = quant.zero_point + high / quant.scale
            if lowest <= dtype.min and round(min(highest, 1e9)) >= dtype.max:
                return ""
        return kind


Converter = Callable[[Operator, TfliteContext], None]
_CONVERTERS: dict[str, Converter] = {}


def converter(*types: str) -> Callable[[Converter], Converter]:
    """Register the decorated function for TensorFlow Lite operators; a duplicate raises."""

    def add(convert: Converter) -> Converter:
        for word in types:
            if word in _CONVERTERS:
                raise ModelImportError(f"{word} has two converters")
            _CONVERTERS[word] = convert
        return convert

    return add


def converter_of(word: str) -> Converter | None:
    """Return the converter of an operator."""
    return _CONVERTERS.get(word)


def convertible_ops() -> tuple[str, ...]:
    """Return the TensorFlow Lite operators that have a converter."""
    return tuple(sorted(_CONVERTERS))
