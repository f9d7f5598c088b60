"""Constants that a number format cannot hold: too large, or so small that the chip reads 0."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npusim.errors import QuantizationError
from npusim.explain import see
from npusim.ir.attrs import PadAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import LARGEST_F16, SMALLEST_F16, SMALLEST_NORMAL_F16
from npusim.ops import op_def
from npusim.passes.graph_view import GraphView
from npusim.passes.hidden import side_of_constant, sides
from npusim.quantization.schemes import Scheme

log = logging.getLogger("npusim")

SHOWN = 6  # written out, the rest counted
_ROUNDS_UP = 65520.0  # from here on float16 rounds to infinity
_SHORT = {Scheme.F16: "f16", Scheme.U8: "u8", Scheme.I8: "i8", Scheme.I16: "i16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A constant operand that a format does not hold.

    Attributes
    ----------
    layer : str
        Name of the layer that reads it.
    op : str
    constant : str
    value : float
        The element that is furthest off.
    limit : float
        The format's own: the largest number, or the smallest that is not read as 0.
    scheme : Scheme
    vanishes : bool
        It is read as 0; otherwise it is too large.
    guards : str
        Layer id of what an epsilon keeps from 0; empty when it is no epsilon.
    """

    layer: str
    op: str
    constant: str
    value: float
    limit: float
    scheme: Scheme
    vanishes: bool
    guards: str = ""

    def text(self) -> str:
        """Return layer, constant, value and limit in one line."""
        head = f"constant {self.constant!r} of layer {self.layer!r} ({self.op}) is {self.value:.6g}"
        if not np.isfinite(self.value):
            return f"{head}, in float32; the largest {_SHORT[self.scheme]} number is finite"
        if not self.vanishes:
            kind = "float16" if self.limit == LARGEST_F16 else "finite"
            kept = "; u8 layers keep it in float16" if self.scheme is Scheme.U8 else ""
            return f"{head}{kept}; the largest {kind} number is {self.limit:g}"
        line = f"{head}; the smallest normal float16 is {self.limit:.3g} and the chip reads it as 0"
        return f"{line}, so it keeps {self.guards} from 0 no longer" if self.guards else line


def misfits(graph: Graph, scheme_of: Callable[[Node], Scheme]) -> tuple[Misfit, ...]:
    """Return the constants of a float graph that the formats of their layers do not hold.

    Masks that only a softmax or a maximum reads fit: they are stored as near as the format allows
    (``npusim.quantization.masks``).
    """
    view, below = GraphView(graph), sides(graph)
    return tuple(
        found for node in graph.nodes for found in _of_node(view, node, scheme_of(node), below)
    )


def _of_node(
    view: GraphView, node: Node, scheme: Scheme, below: Mapping[str, int]
) -> Iterator[Misfit]:
    graph = view.graph
    definition = op_def(node.op)
    fill = node.attrs.value if isinstance(node.attrs, PadAttrs) else 0.0
    # integers saturate by themselves; a mask is stored smaller; the last number of float32 stands
    # for a maximum or minimum of nothing, and becomes the last one of float16
    nothing = abs(fill) == float(np.finfo(np.float32).max)
    hidden = nothing or fill * below.get(node.outputs[0], 0) < 0
    if scheme is Scheme.F16 and abs(fill) >= _ROUNDS_UP and not hidden:
        yield Misfit(
            layer=node.name,
            op=node.op,
            constant="fill value",
            value=fill,
            limit=LARGEST_F16,
            scheme=scheme,
            vanishes=False,
        )
    for position, name in enumerate(node.inputs):
        value = graph.constants.get(name)
        if value is None or graph.spec(name).dtype is not DType.F32 or not value.size:
            continue
        # biases are float32; the shader reads normalisation parameters as they are
        real = scheme is Scheme.F16 or (scheme is Scheme.U8 and definition.real_operand)
        halved = real and not (definition.weighted and (position == 2 or scheme is Scheme.U8))
        kept_real = scheme is not Scheme.F16 and definition.real_parameters and position > 0
        finite = float(np.finfo(np.float32).max)
        limit = LARGEST_F16 if halved and not kept_real else finite
        side = side_of_constant(node, position, graph, below)
        worst = _furthest(value, side)
        if not abs(worst) < (_ROUNDS_UP if limit == LARGEST_F16 else np.inf):
            yield Misfit(
                layer=node.name,
                op=node.op,
                constant=name,
                value=worst,
                limit=limit,
                scheme=scheme,
                vanishes=False,
            )
        largest = float(np.abs(value).max())
        guards = _guarded(view, node)
        # maxima and minima read subnormal numbers as they are (docs/arithmetic/README.md)
        kept = bool(definition.hides(node.attrs)) and largest >= SMALLEST_F16 and not guards
        vanishes = 0 < largest < SMALLEST_NORMAL_F16 and not kept
        if scheme is Scheme.F16 and halved and vanishes:
            yield Misfit(
                layer=node.name,
                op=node.op,
                constant=name,
                value=float(value.reshape(-1)[np.abs(value).argmax()]),
                limit=SMALLEST_NORMAL_F16,
                scheme=scheme,
                vanishes=True,
                guards=guards,
            )


def _furthest(value: NDArray[np.generic], side: int) -> float:
    """Return the element furthest from 0, NaN if there is one; hidden sides do not count."""
    flat = value.reshape(-1).astype(np.float64)
    if np.isnan(flat).any():
        return float("nan")
    if side:
        flat = flat[flat * side > 0] if np.any(flat * side > 0) else np.zeros(1)
    return float(flat[np.abs(flat).argmax()])


def _guarded(view: GraphView, node: Node) -> str:
    """Return the layer id of a root, quotient or logarithm that a sum or maximum keeps from 0."""
    if node.op not in ("add", "max"):
        return ""
    for user in view.consumers[node.outputs[0]]:
        power = op_def(user.op).power
        divides = user.op == "div" and node.outputs[0] in user.inputs[1:]
        raised = user.op == "pow" and node.outputs[0] == user.inputs[0]
        if (power is not None and power < 1) or divides or raised or user.op == "log":
            return f"{user.layer_id} ({user.op})"
    return ""


def check_constants(graph: Graph, scheme_of: Callable[[Node], Scheme]) -> None:
    """Refuse constants that are too large, all at once; warn of those that vanish.

    Raises
    ------
    QuantizationError
        It names layers, constants, values and the limits.
    """
    found = misfits(graph, scheme_of)
    large = [misfit for misfit in found if not misfit.vanishes]
    if large:
        raise QuantizationError(
            listed(misfit.text() for misfit in large),
            where=f"layer {large[0].layer!r}",
            rule="constants have to fit the format of their layer; only masks that nothing but a "
            "softmax or a maximum reads are replaced",
            remedy="scale the layer in the model, or give it another format: i16 holds every "
            "finite constant, f16 and sums of u8 up to 65504"
            if all(np.isfinite(misfit.value) for misfit in large)
            else "give the model finite numbers there, or cut it before this layer",
        )
    for misfit in found:
        log.warning(
            "%s; npusim computes with 0 as well. Make it larger than %.3g in the model, or run "
            "this layer in i16 %s",
            misfit.text(),
            misfit.limit,
            see("constant-vanishes"),
        )


def listed(lines: Iterable[str]) -> str:
    """Return lines joined, the first few written out and the rest counted."""
    known = list(lines)
    more = [f"and {len(known) - SHOWN} more"] if len(known) > SHOWN else []
    return "; ".join(known[:SHOWN] + more)


def does_not_fit(graph: Graph) -> dict[str, list[str]]:
    """Return format -> one line per constant of a float graph that it does not hold."""

    def lines(scheme: Scheme) -> list[str]:
        return [misfit.text() for misfit in misfits(graph, lambda _: scheme)]

    return {short: lines(scheme) for scheme, short in _SHORT.items()}
