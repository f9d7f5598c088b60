"""LSTM layers, unrolled: every step becomes products, sums, sigmoids and tanh.

The state begins at zero, as a fresh LiteRT interpreter's does.
"""

from dataclasses import dataclass

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.fused import RELU, RELU6, TANH
from npusim.importers.tflite.ops_conv import dequantized
from npusim.importers.tflite.table import converter
from npusim.ir.attrs import (
    AxisAttrs,
    ClipAttrs,
    EltwiseAttrs,
    FcAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
)

# places of the operands behind an input or a direction's begin
_WEIGHTS, _RECURRENT, _PEEPHOLES, _BIASES, _PROJECTION = 0, 4, 8, 11, 15
_NORMS = (20, 21, 22, 23)
_ACTIVATIONS = {RELU: "relu", RELU6: "relu6", TANH: "tanh"}
"""Without one LiteRT 2.3.0 multiplies the output gate by the cell gate, not by the cell state."""

MERGED_NOTE = (
    "both directions of all samples are joined; LiteRT 2.3.0 writes the first sample only where "
    "the batch comes before the time"
)
_NOTE = "recurrent layers begin with a state of zeros in every run; LiteRT keeps it between runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One direction's parameters, real; the gates are input (or 1 - forget), forget, cell, output.

    Attributes
    ----------
    weights, recurrent : array (gates * H, I), (gates * H, outputs)
    bias : array (gates * H)
    peepholes : list of array (H) or None
        Of input, forget and output gate.
    projection : (array (outputs, H), array (outputs)) or None
    """

    gates: int
    weights: Array
    recurrent: Array
    bias: Array
    peepholes: list[Array | None]
    projection: tuple[Array, Array] | None
    activation: str
    cell_clip: float
    projection_clip: float

    @property
    def units(self) -> int:
        return len(self.bias) // self.gates


@converter("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(op: Operator, context: TfliteContext) -> None:
    """Unroll a known number of steps, of real tensors; no layer normalization."""
    cell = _cell(op, context, 1, "")
    steps = _steps(op, context)
    results = _Run(op, context, cell, "").over(steps)
    _stack(op, context, results, 0)


@converter("BIDIRECTIONAL_SEQUENCE_LSTM")
def both_directions(op: Operator, context: TfliteContext) -> None:
    """Unroll a known number of steps forwards and backwards, of real tensors."""
    if any(index >= 0 for index in op.inputs[39:48]):
        raise UnsupportedForm("an auxiliary input", "concatenate it to the input")
    steps = _steps(op, context)
    ahead = _Run(op, context, _cell(op, context, 1, "fw"), "fw").over(steps)
    back = _Run(op, context, _cell(op, context, 18, "bw"), "bw").over(steps[::-1])[::-1]
    if not op.option("MergeOutputs", False):
        _stack(op, context, ahead, 0)
        _stack(op, context, back, 1)
        return
    batch = context.builder.tensors[ahead[0]].shape[0]
    if batch > 1 and _time(op) and MERGED_NOTE not in context.notes:
        context.notes.append(MERGED_NOTE)
    both = [
        context.part(op, f"both{i}", "concat", pair, AxisAttrs(axis=1))
        for i, pair in enumerate(zip(ahead, back, strict=True))
    ]
    _stack(op, context, both, 0)


@converter("LSTM")
def one_step(op: Operator, context: TfliteContext) -> None:
    """One step of the full kernel from a state of zeros."""
    if op.option("KernelType", 0) != 0:
        raise UnsupportedForm("the basic kernel", "convert the layer as a sequence LSTM")
    cell = _cell(op, context, 1, "")
    (result,) = _Run(op, context, cell, "").over([context.in_source(op.inputs[0])])
    context.emit(op, "identity", (result,))


def _cell(op: Operator, context: TfliteContext, begin: int, side: str) -> _Cell:
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "load the float model and quantize it here")
    if not side and any(i < len(op.inputs) and op.inputs[i] >= 0 for i in _NORMS):
        raise UnsupportedForm("layer normalization", "build the cell of other layers")
    if _NOTE not in context.notes:
        context.notes.append(_NOTE)

    def real(place: int, what: str, *, needed: bool = True) -> Array | None:
        position = begin + place
        if not needed and (position >= len(op.inputs) or op.inputs[position] < 0):
            return None
        value = context.fixed(op, position, what)
        return dequantized(value, context.tensor(op.inputs[position]).quant, 0)

    word = op.needed("FusedActivationFunction")
    if word not in _ACTIVATIONS:
        raise UnsupportedForm(
            "its activation", "use tanh: without one LiteRT leaves the cell state out of the result"
        )
    first = 0 if real(_WEIGHTS, "the weights", needed=False) is not None else 1
    gates = range(first, 4)

    def joined(group: int, what: str) -> Array:
        return np.concatenate([np.asarray(real(group + i, what)) for i in gates])

    weights = joined(_WEIGHTS, "the weights")
    recurrent = joined(_RECURRENT, "the recurrent weights")
    bias = joined(_BIASES, "the bias")
    matrix = real(_PROJECTION, "the projection", needed=False)
    projection = None
    if matrix is not None:
        own = real(_PROJECTION + 1, "the projection's bias", needed=False)
        projection = matrix, np.zeros(len(matrix), np.float32) if own is None else own
    cell = _Cell(
        gates=len(gates),
        weights=weights,
        recurrent=recurrent,
        bias=bias,
        peepholes=[real(_PEEPHOLES + i, "the peepholes", needed=False) for i in range(3)],
        projection=projection,
        activation=_ACTIVATIONS[word],
        cell_clip=float(op.option("CellClip", 0.0)),
        projection_clip=float(op.option("ProjClip", 0.0)),
    )
    if weights.ndim != 2 or len(weights) != len(recurrent) or len(bias) != len(weights):
        raise ModelImportError(
            f"weights {weights.shape}, recurrent weights {recurrent.shape}, bias {bias.shape}"
        )
    return cell


def _steps(op: Operator, context: TfliteContext) -> list[str]:
    """Return the input's steps in order, each (batch, values)."""
    data = op.inputs[0]
    shape = context.shape(data)
    if len(shape) != 3:
        raise ModelImportError(f"an input {shape}", rule="batch, steps and values")
    axis = _time(op)
    batch, name = shape[1 - axis], context.feature(data)
    steps = []
    for i in range(shape[axis]):
        begin = tuple(i if n == axis else 0 for n in range(3))
        end = tuple(i + 1 if n == axis else size for n, size in enumerate(shape))
        cut = SliceAttrs(begin=begin, end=end, step=(1, 1, 1))
        piece = context.part(op, f"input{i}", "slice", (name,), cut)
        rows = ReshapeAttrs(shape=(batch, shape[2]))
        steps.append(context.part(op, f"rows{i}", "reshape", (piece,), rows))
    return steps


def _time(op: Operator) -> int:
    return 0 if op.option("TimeMajor", False) else 1


def _stack(op: Operator, context: TfliteContext, steps: list[str], output: int) -> None:
    """Give an output as all steps in order."""
    axis = _time(op)
    parts = []
    for i, name in enumerate(steps):
        batch, values = context.builder.tensors[name].shape
        shape = (1, batch, values) if axis == 0 else (batch, 1, values)
        part = f"output{output}_{i}"
        parts.append(context.part(op, part, "reshape", (name,), ReshapeAttrs(shape=shape)))
    context.emit(op, "concat", parts, AxisAttrs(axis=axis), output=output)


@dataclass(frozen=True, slots=True)
class _Run:
    """One direction over the steps."""

    op: Operator
    context: TfliteContext
    cell: _Cell
    side: str

    def over(self, steps: list[str]) -> list[str]:
        """Return the output of every step."""
        batch = self.context.builder.tensors[steps[0]].shape[0]
        outputs = self.cell.recurrent.shape[1]
        weights, recurrent = (
            self._constant("weights", self.cell.weights),
            self._constant("recurrent", self.cell.recurrent),
        )
        bias = self._constant("bias", self.cell.bias)
        none = self._constant("no_bias", np.zeros_like(self.cell.bias))
        hidden = self._constant("first", np.zeros((batch, outputs), np.float32))
        state = self._constant("state", np.zeros((batch, self.cell.units), np.float32))
        results = []
        for i, x in enumerate(steps):
            own = self._part(f"{i}_x", "fc", x, weights, bias)
            past = self._part(f"{i}_h", "fc", hidden, recurrent, none)
            hidden, state = self._step(i, self._pair(f"{i}_sum", "add", own, past), state)
            results.append(hidden)
        return results

    def _step(self, i: int, sums: str, state: str) -> tuple[str, str]:
        cell = self.cell
        names = [f"{i}_{gate}" for gate in ("in", "forget", "cell", "out")][4 - cell.gates :]
        *into, forget, fresh, out = self._split(sums, names)
        forget = self._gate(f"{i}_forget", forget, state, 1)
        if into:
            gate = self._gate(f"{i}_in", into[0], state, 0)
        else:
            gate = self._pair(f"{i}_in", "sub", self._constant("one", np.ones(1)), forget)
        fresh = self._bent(f"{i}_fresh", fresh)
        kept = self._pair(f"{i}_kept", "mul", forget, state)
        state = self._pair(f"{i}_state", "add", kept, self._pair(f"{i}_new", "mul", gate, fresh))
        state = self._clipped(f"{i}_state", state, cell.cell_clip)
        gate = self._gate(f"{i}_out", out, state, 2)
        hidden = self._pair(f"{i}_hidden", "mul", gate, self._bent(f"{i}_bent", state))
        if cell.projection is not None:
            matrix = self._constant("projection", cell.projection[0])
            bias = self._constant("projection_bias", cell.projection[1])
            hidden = self._part(f"{i}_projected", "fc", hidden, matrix, bias)
            hidden = self._clipped(f"{i}_hidden", hidden, cell.projection_clip)
        return hidden, state

    def _split(self, sums: str, names: list[str]) -> list[str]:
        sizes = (self.cell.units,) * self.cell.gates
        label = self.context.origin(self.op)
        outputs = [self.context.unused(f"{label}/{self.side}{name}") for name in names]
        attrs = SplitAttrs(axis=1, sizes=sizes)
        self.context.builder.add_node(outputs[0], "split", (sums,), outputs, attrs, origin=(label,))
        return outputs

    def _gate(self, part: str, value: str, state: str, number: int) -> str:
        weights = self.cell.peepholes[number]
        if weights is not None:
            seen = self._pair(
                f"{part}_seen", "mul", state, self._constant(f"peep{number}", weights)
            )
            value = self._pair(f"{part}_sum", "add", value, seen)
        return self._part(f"{part}_gate", "sigmoid", value)

    def _bent(self, part: str, value: str) -> str:
        return self._part(part, self.cell.activation, value)

    def _clipped(self, part: str, value: str, limit: float) -> str:
        if limit <= 0:
            return value
        attrs = ClipAttrs(minimum=-limit, maximum=limit)
        return self.context.part(self.op, f"{self.side}{part}_clip", "clip", (value,), attrs)

    def _pair(self, part: str, kind: str, first: str, second: str) -> str:
        operands = (first, second)
        return self.context.part(self.op, f"{self.side}{part}", kind, operands, EltwiseAttrs())

    def _part(self, part: str, kind: str, *operands: str) -> str:
        name = f"{self.side}{part}"
        if kind == "fc":
            return self.context.part(self.op, name, kind, operands, FcAttrs())
        return self.context.part(self.op, name, kind, operands)

    def _constant(self, part: str, value: Array) -> str:
        base = f"{self.context.origin(self.op)}/{self.side}{part}"
        return self.context.constant(base, np.asarray(value, np.float32), 0)
