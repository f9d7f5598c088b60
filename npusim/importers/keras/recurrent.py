"""Recurrent layers, written out step by step, and layers around others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.layers import Step, times
from npusim.importers.common.ordered_conv import dense
from npusim.importers.common.ordered_moves import concat, cut, stack
from npusim.importers.keras.activations import activate
from npusim.importers.keras.config import Layer
from npusim.importers.keras.context import (
    KerasContext,
    KerasNode,
    converter,
    converter_of,
    needs_rank,
    one_input,
)
from npusim.importers.keras.weights import Place
from npusim.ir.attrs import EltwiseAttrs

_MOST_STEPS = 512
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


@dataclass(slots=True)
class _Cell:
    """A recurrent layer's arithmetic.

    Attributes
    ----------
    kernel, recurrent : arrays (inputs, gates * units), (units, gates * units)
    bias, recurrent_bias : arrays (gates * units)
    """

    node: KerasNode
    context: KerasContext
    kind: str
    units: int
    kernel: Array
    recurrent: Array
    bias: Array
    recurrent_bias: Array
    resets_after: bool

    def run(self, source: str, word: str, *, backwards: bool) -> list[str]:
        """Return the state after every step, in the order of the steps."""
        context, node = self.context, self.node
        steps = context.shape(source)[1]
        if steps > _MOST_STEPS:
            raise UnsupportedForm(f"{steps} steps", f"at most {_MOST_STEPS}")
        gates = dense(context, node, source, self.kernel.T, self.bias, part=f"{word}inputs")
        order = range(steps - 1, -1, -1) if backwards else range(steps)
        hidden, carried, states = "", "", []
        for index in order:
            piece = cut(context, node, gates, {1: (index, index + 1, 1)}, part=f"{word}{index}")
            batch = context.shape(source)[0]
            now = context.reshape(
                node, piece, (batch, self.kernel.shape[1]), part=f"{word}{index}/x"
            )
            hidden, carried = self._step(now, hidden, carried, f"{word}{index}/")
            states.append(hidden)
        self.carried = carried
        return states

    carried: str = ""

    def _step(self, now: str, hidden: str, carried: str, word: str) -> tuple[str, str]:
        if self.kind == "LSTM":
            return self._lstm(now, hidden, carried, word)
        if self.kind == "GRU":
            return self._gru(now, hidden, word), ""
        total = self._sum(now, self._product(hidden, word), f"{word}total")
        return self._act(total, "activation", f"{word}state"), ""

    def _product(self, hidden: str, word: str) -> str:
        """Return the state times the recurrent weights, empty while the state is zero."""
        if not hidden:
            return ""
        return dense(
            self.context, self.node, hidden, self.recurrent.T, self.recurrent_bias,
            part=f"{word}recurrent",
        )  # fmt: skip

    def _sum(self, first: str, second: str, part: str) -> str:
        if not second:
            if not self.recurrent_bias.any():
                return first
            second = self.context.constant(f"{self.node.name}/recurrent_bias", self.recurrent_bias)
        return self.context.binary(self.node, "add", first, second, part=part)

    def _gate(self, source: str, index: int, part: str) -> str:
        bounds = {1: (index * self.units, (index + 1) * self.units, 1)}
        return cut(self.context, self.node, source, bounds, part=part)

    def _act(self, source: str, setting: str, part: str) -> str:
        default = {"activation": "tanh", "recurrent_activation": "sigmoid"}[setting]
        if setting == "recurrent_activation" and self.context.era < 2:
            default = "hard_sigmoid"
        value = self.node.config.get(setting, default)
        return activate(self.node, self.context, source, value, part=part)

    def _mul(self, first: str, second: str, part: str) -> str:
        return self.context.binary(self.node, "mul", first, second, part=part)

    def _lstm(self, now: str, hidden: str, carried: str, word: str) -> tuple[str, str]:
        total = self._sum(now, self._product(hidden, word), f"{word}total")
        parts = [self._gate(total, i, f"{word}gate{i}") for i in range(4)]
        let_in, forget, give = (
            self._act(parts[i], "recurrent_activation", f"{word}{name}")
            for i, name in ((0, "in"), (1, "forget"), (3, "out"))
        )
        new = self._act(parts[2], "activation", f"{word}new")
        kept = self._mul(let_in, new, f"{word}added")
        if carried:
            old = self._mul(forget, carried, f"{word}kept")
            kept = self.context.binary(self.node, "add", old, kept, part=f"{word}carry")
        shown = self._act(kept, "activation", f"{word}shown")
        return self._mul(give, shown, f"{word}state"), kept

    def _gru(self, now: str, hidden: str, word: str) -> str:
        node, context, units = self.node, self.context, self.units
        product = self._product(hidden, word) if self.resets_after else ""
        pieces = [self._gate(now, i, f"{word}x{i}") for i in range(3)]
        if self.resets_after:
            if not product:
                row = np.broadcast_to(self.recurrent_bias, (context.shape(now)[0], 3 * units))
                product = context.constant(f"{node.name}/{word}recurrent", row)
            inner = [self._known_gate(product, i, f"{word}h{i}") for i in range(3)]
            update, reset = (
                self._act(
                    context.binary(node, "add", pieces[i], inner[i], part=f"{word}sum{i}"),
                    "recurrent_activation",
                    f"{word}gate{i}",
                )
                for i in range(2)
            )
            recalled = self._mul(reset, inner[2], f"{word}recalled")
        else:
            inner = ["", "", ""]
            if hidden:
                inner = [self._part(hidden, i, f"{word}h{i}") for i in range(2)]
            update, reset = (
                self._act(
                    context.binary(node, "add", pieces[i], inner[i], part=f"{word}sum{i}")
                    if hidden
                    else pieces[i],
                    "recurrent_activation",
                    f"{word}gate{i}",
                )
                for i in range(2)
            )
            recalled = ""
            if hidden:
                recalled = self._part(self._mul(reset, hidden, f"{word}reset"), 2, f"{word}h2")
        total = pieces[2]
        if recalled:
            total = context.binary(node, "add", total, recalled, part=f"{word}sum2")
        new = self._act(total, "activation", f"{word}new")
        rest = context.chain(
            node, update, [Step("rest", "sub", EltwiseAttrs(), 1.0, first=True)], part=f"{word}rest"
        )
        state = self._mul(rest, new, f"{word}added")
        if hidden:
            old = self._mul(update, hidden, f"{word}kept")
            state = context.binary(node, "add", old, state, part=f"{word}state")
        return state

    def _known_gate(self, source: str, index: int, part: str) -> str:
        value = self.context.known(source)
        if value is None:
            return self._gate(source, index, part)
        bounds = slice(index * self.units, (index + 1) * self.units)
        return self.context.constant(f"{self.node.name}/{part}", value[:, bounds])

    def _part(self, source: str, index: int, part: str) -> str:
        columns = self.recurrent[:, index * self.units : (index + 1) * self.units]
        return dense(self.context, self.node, source, columns.T, part=part)


def _cell(
    node: KerasNode, context: KerasContext, source: str, inner: Sequence[str], half: int | None
) -> _Cell:
    """Return the arithmetic with its weights; ``half`` of a pair that shares a list of weights."""
    gates, units = _GATES[node.type], node.whole("units")
    depth = context.shape(source)[2]
    wide = gates * units
    after = node.type == "GRU" and node.flag("reset_after", context.era > 2)
    shapes: dict[str, Sequence[int]] = {"kernel": (depth, wide), "recurrent": (units, wide)}
    if node.flag("use_bias", True):
        shapes["bias"] = (2, wide) if after else (wide,)
    assert context.weights is not None
    found = context.weights.of(node.source.place, inner) or context.weights.of(
        node.source.place, inner[:1] if half is not None else ()
    )
    if half is not None and len(found) == 2 * len(shapes):
        found = found[half * len(shapes) : (half + 1) * len(shapes)]
    have, wanted = [v.shape for v in found], [tuple(s) for s in shapes.values()]
    if have != wanted:
        raise ModelImportError(
            f"its stored weights have the shapes {have}",
            where=node.where,
            rule=", ".join(f"{k} {tuple(v)}" for k, v in shapes.items()),
            remedy="the weights belong to another model; save the whole model again",
        )
    kernel, recurrent, *rest = (np.asarray(v, np.float32) for v in found)
    zeros = np.zeros(wide, np.float32)
    bias = rest[0] if rest else zeros
    return _Cell(
        node, context, node.type, units, kernel, recurrent,
        bias[0] if after and rest else bias, bias[1] if after and rest else zeros, after,
    )  # fmt: skip


def _refuse_forms(node: KerasNode) -> None:
    if len(node.inputs) != 1:
        raise UnsupportedForm("an initial state or a mask", "begin with zeros")
    if node.flag("stateful", False):
        raise UnsupportedForm("it is stateful", "feed whole sequences")
    if node.flag("time_major", False):
        raise UnsupportedForm("time comes first", "put the batch first")


@converter("LSTM", "GRU", "SimpleRNN")
def recurrent(node: KerasNode, context: KerasContext) -> None:
    """One step behind the other, from a state of zeros."""
    _refuse_forms(node)
    source = one_input(node)
    needs_rank(node, context, source, 3)
    cell = _cell(node, context, source, ("cell",), None)
    states = cell.run(source, "step", backwards=node.flag("go_backwards", False))
    if node.flag("return_sequences", False):
        stack(context, node, states, 1, output=node.outputs[0])
    else:
        context.alias(node.outputs[0], states[-1])
    if node.flag("return_state", False):
        for name, state in zip(node.outputs[1:], (states[-1], cell.carried), strict=False):
            if state:
                context.alias(name, state)


@converter("Bidirectional")
def bidirectional(node: KerasNode, context: KerasContext) -> None:
    """Run a recurrent layer from both ends."""
    _refuse_forms(node)
    source = one_input(node)
    needs_rank(node, context, source, 3)
    record = node.config.get("layer")
    second = node.config.get("backward_layer") or record
    mode = node.config.get("merge_mode", "concat")
    results = []
    for half, (item, word) in enumerate(((record, "forward"), (second, "backward"))):
        inner = _inside(node, item, word, (), _GATES)
        cell = _cell(inner, context, source, (f"{word}_layer", "cell"), half)
        states = cell.run(source, f"{word}/step", backwards=bool(half))
        if inner.flag("return_sequences", False):
            made = context.unused(f"{node.outputs[0]}/{word}")
            stack(context, node, states[::-1] if half else states, 1, output=made)
            results.append(made)
        else:
            results.append(states[-1])
    _merged(node, context, mode, results)


def _merged(node: KerasNode, context: KerasContext, mode: Any, results: Sequence[str]) -> None:
    first, second = results
    if mode == "concat":
        concat(context, node, results, context.rank(first) - 1)
    elif mode is None and len(node.outputs) > 1:
        context.alias(node.outputs[0], first)
        context.alias(node.outputs[1], second)
    elif mode == "mul":
        context.binary(node, "mul", first, second)
    elif mode in ("sum", "ave"):
        total = context.binary(node, "add", first, second, part="total" if mode == "ave" else "")
        if mode == "ave":
            context.chain(node, total, times(0.5))
    else:
        raise node.wrong("merge_mode", "concat, sum, mul, ave or null")


def _inside(
    node: KerasNode, record: Any, word: str, inputs: Sequence[str], known: Mapping[str, Any]
) -> KerasNode:
    """Return the layer inside of another as a node of its own."""
    kind = str(record.get("class_name", "")).rpartition(">")[2] if isinstance(record, dict) else ""
    if not isinstance(record, dict) or kind not in known:
        raise UnsupportedForm(
            f"its layer is {kind or record!r}", f"use {', '.join(sorted(known)[:6])}"
        )
    config = record.get("config")
    return KerasNode(
        name=f"{node.name}/{word}",
        type=kind,
        inputs=tuple(inputs),
        outputs=node.outputs,
        source=Layer(
            node.name, kind, dict(config) if isinstance(config, dict) else {}, node.source.place
        ),
    )


@converter("TimeDistributed")
def time_distributed(node: KerasNode, context: KerasContext) -> None:
    """Apply a layer to every step: steps become samples."""
    source = one_input(node)
    batch, steps, *rest = context.shape(source)
    record = node.config.get("layer")
    kind = str(record.get("class_name", "")) if isinstance(record, dict) else ""
    convert = converter_of(kind)
    if convert is None or not isinstance(record, dict):
        raise UnsupportedForm(f"its layer is {kind!r}", "use a layer that is supported")
    flat = context.reshape(node, source, (batch * steps, *rest), part="samples")
    target = context.unused(f"{node.outputs[0]}/applied")
    place = node.source.place
    inner = KerasNode(
        name=f"{node.name}/layer",
        type=kind,
        inputs=(flat,),
        outputs=(target,),
        source=Layer(
            f"{node.name}/layer",
            kind,
            dict(record.get("config") or {}),
            Place((*place.path, "layer"), (*place.keys, "layer")),
        ),
    )
    held, context.weights = context.weights, _Inner(context, node)
    try:
        convert(inner, context)
    finally:
        context.weights = held
    context.reshape(node, target, (batch, steps, *context.shape(target)[1:]))


class _Inner:
    """The weights of the layer inside of another."""

    def __init__(self, context: KerasContext, node: KerasNode) -> None:
        assert context.weights is not None
        self._weights, self._place = context.weights, node.source.place

    def of(self, place: Place, inner: Sequence[str] = ()) -> list[Array]:
        """Return the arrays of the outer layer's part."""
        return self._weights.of(self._place, ("layer", *inner)) or self._weights.of(self._place)
