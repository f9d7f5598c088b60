"""What LSTM, GRU and RNN share: parameters, directions, activations, and the steps' tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm
from npusim.ir.attrs import (
    AlphaAttrs,
    AxisAttrs,
    ClipAttrs,
    FcAttrs,
    HardSigmoidAttrs,
    SliceAttrs,
    SplitAttrs,
)
from npusim.ops import is_function, ops_named_in

MOST_STEPS = 4096
"""Steps times directions of one node: a dozen layers each."""

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_PLAIN = {theirs.lower(): ours for theirs, ours in ops_named_in("onnx", is_function).items()}
"""Functions without numbers, whose names the attribute spells in any case."""
_DEFAULTS = {"leakyrelu": (0.01, 0.0), "elu": (1.0, 0.0), "hardsigmoid": (0.2, 0.5),
             "affine": (1.0, 0.0), "scaledtanh": (1.0, 1.0)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """An activation of a gate, with its numbers."""

    name: str
    alpha: float
    beta: float

    def apply(self, chain: Chain, part: str) -> Chain:
        """Append the function to a chain."""
        if self.name in _PLAIN:
            return chain.then(_PLAIN[self.name], part=part)
        if self.name == "leakyrelu":
            return chain.then("leaky_relu", AlphaAttrs(alpha=self.alpha), part=part)
        if self.name == "elu":
            return chain.then("elu", AlphaAttrs(alpha=self.alpha), part=part)
        if self.name == "hardsigmoid":
            attrs = HardSigmoidAttrs(alpha=self.alpha, beta=self.beta)
            return chain.then("hard_sigmoid", attrs, part=part)
        if self.name == "scaledtanh":
            chain = chain.binary("mul", self.beta, f"{part}_in").then("tanh", part=f"{part}_tanh")
            return chain.binary("mul", self.alpha, part)
        return chain.binary("mul", self.alpha, f"{part}_scaled").binary("add", self.beta, part)


@dataclass(slots=True)
class Direction:
    """One direction of a recurrent node, its parameters known.

    Attributes
    ----------
    word : str
        "forward" or "reverse", in the names of its layers.
    weights, recurrence : array
        (gates * hidden, inputs) and (gates * hidden, hidden).
    bias, recurrent_bias : array
        (gates * hidden) each.
    functions : list of Function
    """

    word: str
    weights: Array
    recurrence: Array
    bias: Array
    recurrent_bias: Array
    functions: list[Function]

    def rows(self, first: int, last: int) -> tuple[Array, Array]:
        """Return part of the recurrence weights, and zeros for the bias of their product."""
        return self.recurrence[first:last], np.zeros(last - first, np.float32)


class Recurrent:
    """One node at work: shapes, parameters and small builders of layers."""

    def __init__(self, node: OnnxNode, context: Context, gates: int, functions: list[str]) -> None:
        self.node, self.context, self.gates = node, context, gates
        shape = context.shape(node.inputs[0])
        if len(shape) != 3:
            raise ModelImportError(f"input {shape}", where=node.where, rule="three axes")
        self.batch_first = bool(node.integer("layout", 0))
        first, second, self.inputs = shape
        self.steps, self.batch = (second, first) if self.batch_first else (first, second)
        word = node.text("direction", "forward")
        if word not in DIRECTIONS:
            raise ModelImportError(
                f"direction {word!r}", where=node.where, rule=", ".join(DIRECTIONS)
            )
        self.reversals = DIRECTIONS[word]
        self.shared: dict[str, str] = {}
        if self.steps * len(self.reversals) > MOST_STEPS:
            raise UnsupportedForm(
                f"{self.steps} steps, which are unrolled",
                f"at most {MOST_STEPS} steps and directions; run it in shorter pieces with the "
                "state as input and output",
            )
        self.directions = self._parameters(functions)
        self._check_lengths()
        limit = node.real("clip", 0.0)
        self.limit = limit if limit > 0 else None

    def _parameters(self, defaults: list[str]) -> list[Direction]:
        context, node, count = self.context, self.node, len(self.reversals)
        weights = context.fixed(node, 1, "the weights")
        recurrence = context.fixed(node, 2, "the recurrence weights")
        if weights is None or recurrence is None:
            raise ModelImportError("weights are missing", where=node.where)
        self.hidden = int(recurrence.shape[-1])
        rows = self.gates * self.hidden
        wanted = ((count, rows, self.inputs), (count, rows, self.hidden))
        bias = context.fixed(node, 3, "the bias")
        if bias is None:
            bias = np.zeros((count, 2 * rows), np.float32)
        if (weights.shape, recurrence.shape) != wanted or bias.shape != (count, 2 * rows):
            raise ModelImportError(
                f"weights {weights.shape}, recurrence {recurrence.shape}, bias {bias.shape}",
                where=node.where,
                rule=f"{wanted[0]}, {wanted[1]}, {(count, 2 * rows)}",
            )
        functions = self._functions(defaults, count)
        per_direction = len(defaults)
        return [
            Direction(
                word="reverse" if back else "forward",
                weights=weights[i],
                recurrence=recurrence[i],
                bias=bias[i, :rows],
                recurrent_bias=bias[i, rows:],
                functions=functions[i * per_direction : (i + 1) * per_direction],
            )
            for i, back in enumerate(self.reversals)
        ]

    def _functions(self, defaults: list[str], count: int) -> list[Function]:
        attribute = self.node.attrs.get("activations")
        given = [text.decode() for text in attribute.strings] if attribute else defaults * count
        if len(given) != len(defaults) * count:
            raise ModelImportError(
                f"{len(given)} activations",
                where=self.node.where,
                rule=f"{len(defaults)} for each direction",
            )
        alphas = list(self.node.reals("activation_alpha") or ())
        betas = list(self.node.reals("activation_beta") or ())
        found = []
        for name in (word.lower() for word in given):
            if name not in _PLAIN and name not in _DEFAULTS:
                raise UnsupportedForm(f"activation {name!r}", "use Sigmoid, Tanh or Relu")
            alpha, beta = _DEFAULTS.get(name, (0.0, 0.0))
            if name in _DEFAULTS:  # numbers are listed for the functions that take some
                alpha = alphas.pop(0) if alphas else alpha
            if name in ("hardsigmoid", "affine", "scaledtanh"):
                beta = betas.pop(0) if betas else beta
            found.append(Function(name, alpha, beta))
        return found

    def _check_lengths(self) -> None:
        lengths = self.context.fixed_ints(self.node, 4, "the lengths of the sequences")
        if lengths is not None and any(length != self.steps for length in lengths):
            raise UnsupportedForm(
                f"sequences of {lengths} steps in {self.steps}", "give sequences of full length"
            )

    # ---- pieces of the graph -------------------------------------------------------------------
    def chain(self, name: str) -> Chain:
        """Begin a chain at a tensor."""
        return Chain(self.node, self.context, name)

    def initial(self, position: int, index: int) -> str | None:
        """Return an initial state (batch, hidden) of a direction; None when it is zero."""
        name = self.node.input(position)
        value = self.context.known(name) if name else None
        if not name or (value is not None and not value.any()):
            return None
        if value is not None:
            row = value[:, index] if self.batch_first else value[index]
            return self.context.constant(f"{self.node.first}/initial", row)
        shape = self.context.shape(name)
        axis = 1 if self.batch_first else 0
        chain = self.chain(name)
        if len(self.reversals) > 1:
            chain = self.cut(chain, axis, index, f"initial_{index}")
        if len(shape) != 3 or shape[axis] != len(self.reversals):
            raise ModelImportError(f"initial state {shape}", where=self.node.where)
        return chain.reshape((self.batch, self.hidden), f"initial{position}_{index}_row").tensor()

    def cut(self, chain: Chain, axis: int, index: int, part: str) -> Chain:
        """Append the choice of one entry along an axis, which stays."""
        shape = chain.shape
        begin, end = [0] * len(shape), list(shape)
        begin[axis], end[axis] = index, index + 1
        attrs = SliceAttrs(begin=tuple(begin), end=tuple(end), step=(1,) * len(shape))
        return chain.then("slice", attrs, part=part)

    def projected(self, direction: Direction, bias: Array) -> list[str]:
        """Return the input times its weights of every step, (batch, gates * hidden) each."""
        part = f"{direction.word}/input"
        chain = self.chain(self.node.inputs[0])
        if self.batch_first:
            chain.transpose((1, 0, 2), f"{direction.word}/steps_first")
        chain.product(direction.weights, part, bias)
        rows = (self.batch, self.gates * self.hidden)
        if self.steps == 1:
            return [chain.reshape(rows, f"{part}_0").tensor()]
        whole = chain.tensor()
        names = [
            self.context.unused(f"{self.node.first}/{part}_{t}_cut") for t in range(self.steps)
        ]
        self.context.emit(
            self.node, "split", (whole,), SplitAttrs(axis=0, sizes=(1,) * self.steps),
            part=f"{part}_split", outputs=names,
        )  # fmt: skip
        return [
            self.chain(name).reshape(rows, f"{part}_{t}").tensor() for t, name in enumerate(names)
        ]

    def times(self, chain: Chain, matrix: Array, bias: Array, word: str, part: str) -> Chain:
        """Append a product with weights that every step shares, called ``word``."""
        for kind, value in (("weights", matrix), ("bias", bias)):
            key = f"{word}_{kind}"
            if key not in self.shared:
                name = f"{self.node.first}/{key}"
                self.shared[key] = self.context.constant(name, np.asarray(value, np.float32))
        names = (self.shared[f"{word}_weights"], self.shared[f"{word}_bias"])
        return chain.then("fc", FcAttrs(), *names, part=part)

    def limited(self, chain: Chain, part: str) -> Chain:
        """Append the limit of what goes into the activations, if the node has one."""
        if self.limit is None:
            return chain
        attrs = ClipAttrs(minimum=-self.limit, maximum=self.limit)
        return chain.then("clip", attrs, part=f"{part}_limited")

    def split(self, name: str, part: str, *sizes: int) -> list[str]:
        """Cut a (batch, ..) tensor along its columns."""
        names = [self.context.unused(f"{self.node.first}/{part}_{i}") for i in range(len(sizes))]
        self.context.emit(
            self.node, "split", (name,), SplitAttrs(axis=1, sizes=sizes), part=part, outputs=names
        )
        return names

    def run(self, cell: "Callable[[Direction, int], tuple[list[str], list[str]]]") -> None:
        """Build all directions and the node's outputs.

        Parameters
        ----------
        cell : callable
            (direction, its index) -> hidden states in the order of the steps computed, and the
            last states that the node gives behind the first output.
        """
        wholes: list[str] = []
        lasts: list[list[str]] = []
        for index, direction in enumerate(self.directions):
            hidden, last = cell(direction, index)
            ordered = hidden[::-1] if self.reversals[index] else hidden
            wholes.append(self._sequence(direction, ordered))
            lasts.append(last)
        outputs = [*self.node.outputs, "", ""]
        if outputs[0]:
            self._joined(outputs[0], wholes, axis=2 if self.batch_first else 1)
        for position, output in enumerate(outputs[1 : len(lasts[0]) + 1]):
            if not output:
                continue
            axis = 1 if self.batch_first else 0
            shape = (self.batch, 1, self.hidden) if axis else (1, self.batch, self.hidden)
            parts = [
                self.chain(last[position]).reshape(shape, f"{d.word}/last{position}").tensor()
                for d, last in zip(self.directions, lasts, strict=True)
            ]
            self._joined(output, parts, axis=axis)
        self.context.notes.append(
            f"{self.node.where}: unrolled over {self.steps} steps; every step's tensors have "
            "ranges of their own"
        )

    def _sequence(self, direction: Direction, hidden: list[str]) -> str:
        """Return the hidden states as (steps, 1, batch, hidden), or with the batch first."""
        if not self.node.outputs[0]:
            return hidden[0]
        shape = (
            (self.batch, 1, 1, self.hidden) if self.batch_first else (1, 1, self.batch, self.hidden)
        )
        rows = [
            self.chain(name).reshape(shape, f"{direction.word}/row_{t}").tensor()
            for t, name in enumerate(hidden)
        ]
        if len(rows) == 1:
            return rows[0]
        return self.context.emit(
            self.node, "concat", rows, AxisAttrs(axis=1 if self.batch_first else 0),
            part=f"{direction.word}/all",
        )  # fmt: skip

    def _joined(self, output: str, parts: list[str], axis: int) -> None:
        if len(parts) == 1:
            self.context.alias(output, parts[0])
        else:
            word = "" if output == self.node.first else output
            self.context.emit(
                self.node, "concat", parts, AxisAttrs(axis=axis), part=word, outputs=[output]
            )
