"""Several operators in a row that stand for one ONNX node."""

from dataclasses import dataclass, field

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.onnx.context import Context, OnnxNode
from npusim.ir.attrs import (
    NO_ATTRS,
    Attrs,
    EltwiseAttrs,
    FcAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.ir.tensor import Shape
from npusim.ops import op_def


@dataclass(slots=True)
class _Waiting:
    op: str
    inputs: tuple[str, ...]
    attrs: Attrs
    part: str
    shape: Shape


@dataclass(slots=True)
class Chain:
    """Operators one behind the other; the last takes the node's name and writes ``output``.

    Attributes
    ----------
    name : str
        The tensor that the chain has come to; of the operator that waits, its input.
    """

    node: OnnxNode
    context: Context
    name: str
    waiting: _Waiting | None = field(default=None)

    @property
    def shape(self) -> Shape:
        """Return the shape that the chain has come to."""
        return self.waiting.shape if self.waiting else self.context.shape(self.name)

    def then(
        self, op: str, attrs: Attrs = NO_ATTRS, *operands: str, part: str = "", front: bool = False
    ) -> "Chain":
        """Append an operator of the chain's value and ``operands``, before it when ``front``."""
        here = self.shape
        name = self._flush()
        more = [self.context.shape(o) for o in operands]
        shapes = [*more, here] if front else [here, *more]
        (shape,) = op_def(op).infer(attrs, shapes)
        inputs = (*operands, name) if front else (name, *operands)
        self.waiting = _Waiting(op, inputs, attrs, part or op, shape)
        return self

    def reshape(self, shape: Shape, part: str = "shaped") -> "Chain":
        """Append a change of shape where there is one."""
        if tuple(shape) == self.shape:
            return self
        if self._known() is not None:
            return self._fold(self._known().reshape(shape), part)  # type: ignore[union-attr]
        return self.then("reshape", ReshapeAttrs(shape=tuple(shape)), part=part)

    def transpose(self, perm: tuple[int, ...], part: str = "turned") -> "Chain":
        """Append a permutation where there is one."""
        if perm == tuple(range(len(perm))):
            return self
        if self._known() is not None:
            return self._fold(self._known().transpose(perm), part)  # type: ignore[union-attr]
        return self.then("transpose", TransposeAttrs(perm=perm), part=part)

    def _known(self) -> Array | None:
        return None if self.waiting else self.context.known(self.name)

    def _fold(self, value: Array, part: str) -> "Chain":
        self.name = self.context.unused(f"{self.node.first}/{part}")
        self.context.values[self.name] = value
        return self

    def binary(
        self, op: str, operand: Array | float | str, part: str = "", *, front: bool = False
    ) -> "Chain":
        """Append an element-wise operator with a tensor or a new constant."""
        part = part or op
        if not isinstance(operand, str):
            value = np.asarray(operand, np.float32)
            base = f"{self.node.first}/{part}_with"
            operand = self.context.constant(base, value)
        return self.then(op, EltwiseAttrs(), operand, part=part, front=front)

    def product(self, matrix: Array, part: str = "product", bias: Array | None = None) -> "Chain":
        """Append a product of the last axis with a matrix (out, in), and a sum with a bias."""
        base = f"{self.node.first}/{part}"
        added = np.zeros(len(matrix), np.float32) if bias is None else bias
        weights = self.context.constant(f"{base}_weights", np.asarray(matrix, np.float32))
        bias_name = self.context.constant(f"{base}_bias", np.asarray(added, np.float32))
        return self.then("fc", FcAttrs(), weights, bias_name, part=part)

    def _flush(self, output: str = "") -> str:
        """Emit the operator that waits, as the last one when an output is given."""
        last = self.waiting
        if last is not None:
            outputs = [output] if output else None
            whole = output == self.node.first
            part = last.part
            self.name = self.context.emit(
                self.node,
                last.op,
                last.inputs,
                last.attrs,
                part="" if whole else part,
                outputs=outputs,
            )
            self.waiting = None
        return self.name

    def tensor(self) -> str:
        """Return the tensor that the chain has come to, to be read by another."""
        return self._flush()

    def end(self, output: str = "") -> None:
        """Give the node's output, by default the first; a chain of nothing is another name."""
        output = output or self.node.first
        if self.waiting is None:
            self.context.alias(output, self.name)
        else:
            self._flush(output)
