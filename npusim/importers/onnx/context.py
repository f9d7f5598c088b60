"""What a converter of an ONNX operator works with: the node, what is known, and how to emit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from npusim.errors import ModelImportError
from npusim.importers.common.builder import (
    FLOAT,
    Array,
    GraphBuilder,
    takes_any_type,
    works_on_codes,
)
from npusim.importers.common.builder import UnsupportedForm as UnsupportedForm
from npusim.importers.common.converters import ConverterTable
from npusim.importers.common.made import Values
from npusim.importers.common.names import claim
from npusim.ir.attrs import NO_ATTRS, Attrs, EltwiseAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Quant
from npusim.ir.tensor import Shape

_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node of the source model.

    Attributes
    ----------
    name : str
        Node name, or its first output's when the model gives none.
    layer : str
        Unique layer name, ``<OpType>_<name>``.
    version : int
        Opset version of the node's domain.
    proto : NodeProto
        The node as read.
    """

    name: str
    layer: str
    op_type: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, AttributeProto]
    proto: NodeProto

    @property
    def where(self) -> str:
        """Return how messages name the node."""
        return f"node {self.name!r} ({self.op_type})"

    @property
    def first(self) -> str:
        """Return the first output that has a name."""
        return next((output for output in self.outputs if output), self.name)

    def _get(self, key: str, kind: int, default: Any) -> Any:
        attribute = self.attrs.get(key)
        if attribute is None:
            if default is _REQUIRED:
                raise ModelImportError(f"attribute {key!r} is missing", where=self.where)
            return default
        if attribute.type != kind:
            raise ModelImportError(
                f"attribute {key!r} is {AttributeProto.AttributeType.Name(attribute.type)}",
                where=self.where,
                rule=f"it must be {AttributeProto.AttributeType.Name(kind)}",
            )
        return helper.get_attribute_value(attribute)

    def integer(self, key: str, default: int = _REQUIRED) -> int:
        """Return an integer attribute."""
        return int(self._get(key, AttributeProto.INT, default))

    def real(self, key: str, default: float = _REQUIRED) -> float:
        """Return a float attribute."""
        return float(self._get(key, AttributeProto.FLOAT, default))

    def text(self, key: str, default: str = _REQUIRED) -> str:
        """Return a string attribute."""
        value = self._get(key, AttributeProto.STRING, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def integers(self, key: str) -> tuple[int, ...] | None:
        """Return an integer list attribute, None when absent."""
        value = self._get(key, AttributeProto.INTS, None)
        return None if value is None else tuple(map(int, value))

    def reals(self, key: str) -> tuple[float, ...] | None:
        """Return a float list attribute, None when absent."""
        value = self._get(key, AttributeProto.FLOATS, None)
        return None if value is None else tuple(map(float, value))

    def tensor(self, key: str) -> TensorProto:
        """Return a tensor attribute."""
        found: TensorProto = self._get(key, AttributeProto.TENSOR, _REQUIRED)
        return found

    def graph(self, key: str) -> GraphProto:
        """Return a graph attribute: a branch, a loop's body."""
        found: GraphProto = self._get(key, AttributeProto.GRAPH, _REQUIRED)
        return found

    def input(self, index: int) -> str:
        """Return the name of an input, empty when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(slots=True)
class Context:
    """The import in progress.

    Attributes
    ----------
    values : dict
        Known values of ONNX tensors: initializers and everything folded.
    aliases : dict
        ONNX tensor -> tensor that holds it, for removed nodes.
    used : set
        ONNX tensors that some needed node or an output reads.
    names : set
        All tensor names of the file, which invented tensors avoid, and theirs.
    cost : float
        Microseconds that the evaluation of constants is thought to have taken.
    """

    builder: GraphBuilder
    used: set[str]
    names: set[str]
    values: Values[str] = field(default_factory=Values)
    aliases: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cost: float = 0

    def resolve(self, name: str) -> str:
        """Return the tensor that holds an ONNX tensor."""
        return self.aliases.get(name, name)

    def known(self, name: str) -> Array | None:
        """Return the value of a tensor when it is known."""
        return self.values.get(name)

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor."""
        value = self.values.get(name)
        if value is not None:
            return tuple(value.shape)
        return self.builder.tensors[self.resolve(name)].shape

    def dtype(self, name: str) -> DType:
        """Return the type of a tensor in the graph; real numbers are float32."""
        return self.builder.tensors[self.operand(name)].dtype

    def operand(self, name: str) -> str:
        """Return the graph tensor of an ONNX tensor; a known value becomes a constant."""
        value = self.values.get(name)
        if value is None:
            return self.resolve(name)
        if name not in self.builder.tensors:
            self.builder.add_constant(name, value)
        return name

    def constant(self, base: str, value: Array, *, of: str = "") -> str:
        """Add a constant that the source model does not have and return its name.

        ``of`` names the constant that it was made from by moving its elements.
        """
        name = self.builder.add_constant(self.unused(base), value)
        if of in self.builder.stored:
            self.builder.stored[name] = self.builder.stored[of]
        return name

    def unused(self, base: str) -> str:
        """Return a tensor name that neither the model nor the graph has, and take it."""
        return claim(base, self.names, self.builder.tensors)

    def fixed(self, node: OnnxNode, index: int, what: str) -> Array | None:
        """Return the value of an input that must be known; None when it is left out.

        Raises
        ------
        UnsupportedForm
            When the value depends on the data; the advice names the usual cause.
        """
        name = node.input(index)
        if not name:
            return None
        value = self.values.get(name)
        if value is None:
            raise UnsupportedForm(
                f"{what} ({name!r}) depends on the input data",
                "make it a constant; in PyTorch wrap sizes in int(), as in "
                "x.view(int(x.size(0)), -1), before the export",
            )
        return value

    def fixed_ints(self, node: OnnxNode, index: int, what: str) -> tuple[int, ...] | None:
        """Return an input that must be known as integers; None when it is left out."""
        value = self.fixed(node, index, what)
        if value is None:
            return None
        if value.dtype.kind not in "iu":
            raise ModelImportError(f"{what} is {value.dtype}", where=node.where, rule="integers")
        return tuple(int(v) for v in value.reshape(-1))

    def fixed_reals(self, node: OnnxNode, index: int, what: str) -> tuple[float, ...] | None:
        """Return an input that must be known as numbers; None when left out or empty."""
        value = self.fixed(node, index, what)
        return None if value is None or not value.size else tuple(map(float, value.reshape(-1)))

    def fixed_scalar(self, node: OnnxNode, index: int, what: str) -> float | None:
        """Return an input that must be one known number; None when it is left out."""
        value = self.fixed(node, index, what)
        if value is None or value.size == 0:
            return None
        if value.size != 1:
            raise ModelImportError(
                f"{what} has {value.size} values", where=node.where, rule="one value"
            )
        return float(value.reshape(-1)[0])

    def alias(self, output: str, source: str) -> None:
        """Make an output another name of a tensor, for a node that does nothing."""
        value = self.values.get(source)
        if value is not None:
            self.values.share(output, value)
        else:
            self.aliases[output] = self.resolve(source)

    def emit(
        self,
        node: OnnxNode,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        part: str = "",
        outputs: Iterable[str] | None = None,
        dtype: DType | None = None,
        quant: Quant | None = None,
    ) -> str:
        """Append an operator and return its first output.

        Parameters
        ----------
        inputs : sequence of str
            ONNX tensors or graph tensors.
        part : str
            Set for all but the last operator that stands for one ONNX node: the word is added to
            the layer's name and to its output's.
        outputs : iterable of str, optional
            Default: the node's first output, or a new tensor when ``part`` is given.
        """
        first = node.first
        outs = tuple(outputs or ([self.unused(f"{first}/{part}")] if part else [first]))
        operands = [self.operand(name) for name in inputs]
        if not takes_any_type(op):
            for name in operands:
                spec = self.builder.tensors[name]
                if not (spec.dtype.is_float or (spec.quant != FLOAT and works_on_codes(op, attrs))):
                    raise UnsupportedForm(
                        f"input {name!r} is {spec.dtype.value}",
                        "only real numbers are computed with; cast to float before this node",
                    )
        self.builder.add_node(
            f"{node.layer}/{part}" if part else node.layer,
            op,
            operands,
            outs,
            attrs,
            origin=(node.name,),
            dtype=dtype,
            quant=quant,
        )
        return outs[0]

    def emit_binary(self, node: OnnxNode, op: str, first: str, second: str, part: str = "") -> str:
        """Append an element-wise operator of two tensors."""
        return self.emit(node, op, (first, second), EltwiseAttrs(), part=part)

    def emit_truth(self, node: OnnxNode, op: str, inputs: Sequence[str], *, part: str = "") -> str:
        """Append an operator whose results are truth values."""
        return self.emit(node, op, inputs, part=part, dtype=DType.BOOL)

    def scalar(self, node: OnnxNode, part: str, value: float) -> str:
        """Add a constant of one number and return its name."""
        return self.constant(f"{node.outputs[0]}/{part}", np.array(value, np.float32))


Converter = Callable[[OnnxNode, Context], None]
_CONVERTERS: ConverterTable[OnnxNode, Context] = ConverterTable()
converter_of, convertible_ops = _CONVERTERS.find, _CONVERTERS.types
SEVERAL_OUTPUTS: set[str] = set()
"""Operators of which more than the first output may be used."""


def converter(*op_types: str, several_outputs: bool = False) -> Callable[[Converter], Converter]:
    """Register the decorated function for ONNX operators; a duplicate raises."""
    if several_outputs:
        SEVERAL_OUTPUTS.update(op_types)
    return _CONVERTERS(*op_types)


def checked_axis(node: OnnxNode, axis: int, rank: int) -> int:
    """Return an axis as a non-negative number."""
    if not -rank <= axis < rank:
        raise ModelImportError(
            f"axis {axis} does not exist", where=node.where, rule=f"the input has {rank} axes"
        )
    return axis % rank
