"""LSTM, GRU and RNN, unrolled: every step is layers of its own."""

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, converter
from npusim.importers.onnx.recurrent import Direction, Recurrent


@converter("RNN", several_outputs=True)
def rnn(node: OnnxNode, context: Context) -> None:
    """Unrolled: H = f(X W + H R + b)."""
    unit = Recurrent(node, context, 1, ["Tanh"])

    def cell(direction: Direction, index: int) -> tuple[list[str], list[str]]:
        inputs = unit.projected(direction, direction.bias + direction.recurrent_bias)
        state, hidden = unit.initial(5, index), []
        for step in _order(unit, direction):
            part = f"{direction.word}/{step}"
            chain = _summed(unit, direction, inputs[step], state, part)
            state = direction.functions[0].apply(unit.limited(chain, part), f"{part}/h").tensor()
            hidden.append(state)
        return hidden, [hidden[-1]]

    unit.run(cell)


@converter("GRU", several_outputs=True)
def gru(node: OnnxNode, context: Context) -> None:
    """Unrolled: gates z and r, the candidate with or without ``linear_before_reset``."""
    unit = Recurrent(node, context, 3, ["Sigmoid", "Tanh"])
    linear_first = bool(node.integer("linear_before_reset", 0))

    def cell(direction: Direction, index: int) -> tuple[list[str], list[str]]:
        n = unit.hidden
        bias = direction.bias + direction.recurrent_bias
        if linear_first:  # the candidate's recurrent bias is inside of the reset
            bias = np.concatenate([bias[: 2 * n], direction.bias[2 * n :]])
        inputs = unit.projected(direction, bias)
        state, hidden = unit.initial(5, index), []
        for step in _order(unit, direction):
            state = _gru_step(unit, direction, inputs[step], state, f"{direction.word}/{step}")
            hidden.append(state)
        return hidden, [hidden[-1]]

    def _gru_step(
        unit: Recurrent, direction: Direction, projected: str, state: str | None, part: str
    ) -> str:
        n, (of_gates, of_candidate) = unit.hidden, direction.functions
        gates_in, candidate_in = unit.split(projected, f"{part}/input", 2 * n, n)
        chain = unit.chain(gates_in)
        if state is not None:
            word = f"{direction.word}/gates"
            recurrent = unit.times(
                unit.chain(state), *direction.rows(0, 2 * n), word, f"{part}/gates_h"
            )
            chain.binary("add", recurrent.tensor(), f"{part}/gates_sum")
        gates = of_gates.apply(unit.limited(chain, f"{part}/gates"), f"{part}/gates").tensor()
        update, reset = unit.split(gates, f"{part}/gate", n, n)
        rows, inner = direction.recurrence[2 * n :], direction.recurrent_bias[2 * n :]
        chain = unit.chain(candidate_in)
        if linear_first:
            if state is not None:
                word = f"{direction.word}/candidate"
                product = unit.times(unit.chain(state), rows, inner, word, f"{part}/candidate_h")
                product.binary("mul", reset, f"{part}/candidate_reset")
            else:
                product = unit.chain(reset).binary("mul", inner, f"{part}/candidate_reset")
            chain.binary("add", product.tensor(), f"{part}/candidate_sum")
        elif state is not None:
            product = unit.chain(state).binary("mul", reset, f"{part}/candidate_reset")
            word = f"{direction.word}/candidate"
            unit.times(product, rows, np.zeros(n, np.float32), word, f"{part}/candidate_h")
            chain.binary("add", product.tensor(), f"{part}/candidate_sum")
        chain = unit.limited(chain, f"{part}/candidate")
        candidate = of_candidate.apply(chain, f"{part}/candidate").tensor()
        if state is None:  # (1 - z) * candidate
            keep = unit.chain(update).binary("sub", 1.0, f"{part}/keep", front=True)
            return keep.binary("mul", candidate, f"{part}/h").tensor()
        change = unit.chain(state).binary("sub", candidate, f"{part}/change")
        change.binary("mul", update, f"{part}/kept")
        return change.binary("add", candidate, f"{part}/h").tensor()

    unit.run(cell)


@converter("LSTM", several_outputs=True)
def lstm(node: OnnxNode, context: Context) -> None:
    """Unrolled: gates i, o, f and the candidate; peepholes, coupled gates and limits."""
    unit = Recurrent(node, context, 4, ["Sigmoid", "Tanh", "Tanh"])
    peepholes = context.fixed(node, 7, "the peepholes")
    coupled = bool(node.integer("input_forget", 0))

    def cell(direction: Direction, index: int) -> tuple[list[str], list[str]]:
        inputs = unit.projected(direction, direction.bias + direction.recurrent_bias)
        h, c, hidden = unit.initial(5, index), unit.initial(6, index), []
        peep = None if peepholes is None else peepholes[index].reshape(3, unit.hidden)
        if peep is not None and not peep.any():
            peep = None
        for step in _order(unit, direction):
            part = f"{direction.word}/{step}"
            whole = _summed(unit, direction, inputs[step], h, part).tensor()
            gates = _Gates(unit, direction, whole, c, part)
            h, c = gates.plain(coupled) if peep is None else gates.peeped(peep, coupled)
            hidden.append(h)
        assert c is not None
        return hidden, [hidden[-1], c]

    unit.run(cell)


class _Gates:
    """One step of an LSTM from the sums in front of its gates, in the order i, o, f, c."""

    def __init__(
        self, unit: Recurrent, direction: Direction, sums: str, c: str | None, part: str
    ) -> None:
        self.unit, self.functions, self.sums, self.c, self.part = (
            unit, direction.functions, sums, c, part
        )  # fmt: skip

    def plain(self, coupled: bool) -> tuple[str, str]:
        """Return the new h and c: the three gates are one tensor until their function is done."""
        n = self.unit.hidden
        gates, candidate = self.unit.split(self.sums, f"{self.part}/sums", 3 * n, n)
        done = self._bent(self.unit.chain(gates), 0, "gates").tensor()
        i, o, f = self.unit.split(done, f"{self.part}/gate", n, n, n)
        return self._end(i, o, None if coupled else f, candidate)

    def peeped(
        self, peep: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", coupled: bool
    ) -> tuple[str, str]:
        """Return the new h and c: i and f look at the old cell, o at the new one."""
        n = self.unit.hidden
        i, o, f, candidate = self.unit.split(self.sums, f"{self.part}/sums", n, n, n, n)
        i = self._bent(self._looking(i, self.c, peep[0], "i"), 0, "i").tensor()
        forget = (
            None if coupled else self._bent(self._looking(f, self.c, peep[2], "f"), 0, "f").tensor()
        )
        c = self._cell(i, forget, candidate)
        o = self._bent(self._looking(o, c, peep[1], "o"), 0, "o").tensor()
        return self._hidden(o, c), c

    def _looking(self, sums: str, cell: str | None, weights: Array, word: str) -> Chain:
        chain = self.unit.chain(sums)
        if cell is not None:
            seen = self.unit.chain(cell).binary(
                "mul", np.asarray(weights), f"{self.part}/{word}_look"
            )
            chain.binary("add", seen.tensor(), f"{self.part}/{word}_sum")
        return chain

    def _bent(self, chain: Chain, function: int, word: str) -> Chain:
        part = f"{self.part}/{word}"
        return self.functions[function].apply(self.unit.limited(chain, part), part)

    def _cell(self, i: str, f: str | None, candidate: str) -> str:
        g = self._bent(self.unit.chain(candidate), 1, "candidate").tensor()
        new = self.unit.chain(i).binary("mul", g, f"{self.part}/new")
        if self.c is None:
            return new.tensor()
        if f is None:  # the gates are coupled: f = 1 - i
            f = self.unit.chain(i).binary("sub", 1.0, f"{self.part}/forget", front=True).tensor()
        kept = self.unit.chain(self.c).binary("mul", f, f"{self.part}/kept").tensor()
        return new.binary("add", kept, f"{self.part}/c").tensor()

    def _hidden(self, o: str, c: str) -> str:
        shown = self.functions[2].apply(self.unit.chain(c), f"{self.part}/shown")
        return shown.binary("mul", o, f"{self.part}/h").tensor()

    def _end(self, i: str, o: str, f: str | None, candidate: str) -> tuple[str, str]:
        c = self._cell(i, f, candidate)
        return self._hidden(o, c), c


def _order(unit: Recurrent, direction: Direction) -> range:
    """Return the steps in the order that they are computed in."""
    steps = range(unit.steps)
    return steps[::-1] if direction.word == "reverse" else steps


def _summed(
    unit: Recurrent, direction: Direction, projected: str, state: str | None, part: str
) -> Chain:
    """Begin with a step's input, and add the state times its weights unless it is zero."""
    chain = unit.chain(projected)
    if state is not None:
        rows = direction.rows(0, len(direction.recurrence))
        word = f"{direction.word}/recurrence"
        recurrent = unit.times(unit.chain(state), *rows, word, f"{part}/recurrent")
        chain.binary("add", recurrent.tensor(), f"{part}/sum")
    return chain
