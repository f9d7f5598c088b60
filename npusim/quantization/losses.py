"""What it costs a layer to share a range with others or to be cut, and how to avoid that."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from npusim import words
from npusim.ir.graph import Graph, Node
from npusim.ir.names import by_name
from npusim.ir.quant import scale_of
from npusim.ops import keeps_codes
from npusim.passes.graph_view import GraphView
from npusim.quantization.apply import Formats
from npusim.quantization.constrain import SIGMOID_REACH, clipped_for_sigmoid
from npusim.quantization.eras import DEFAULT_ERA, Era
from npusim.quantization.groups import Group, groups
from npusim.quantization.schemes import Range, Scheme, parameters

LOST = 8.0  # a layer with less than 1/8 of the steps it would have alone: 3 bits
CLIPPED = 0.05  # share of a concat's own range that a slice's range cuts off
SHOWN = 6  # told one by one, the rest by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A layer whose values use few steps of a range it shares, or are cut by it.

    Attributes
    ----------
    layer : str
        Layer id, or the name of a graph input.
    tensor : str
        Its result.
    own : tuple of float
        Range of the layer alone.
    shared : tuple of float
        Range it gets.
    steps, steps_alone : float
        Quantization steps that the values span in the shared range and in their own.
    concat : str
        Layer id of the concat whose group sets the range.
    parts : tuple of str
        The tensors that concat joins: where to cut.
    clipped : bool
        The range is narrower than the values.
    """

    layer: str
    tensor: str
    own: Range
    shared: Range
    steps: float
    steps_alone: float
    concat: str
    parts: tuple[str, ...]
    clipped: bool

    def text(self) -> str:
        """Return layer, loss and remedy in one line."""
        own, shared = (f"{low:.6g} .. {high:.6g}" for low, high in (self.own, self.shared))
        if self.clipped:
            return (
                f"{self.layer}: its values go {own} and are clipped to {shared}, the range of the "
                f"slices that {self.concat} joins; other releases than 1.7.0 do not clip "
                f"({words.say('toolkit', value='1.7')})"
            )
        where = f"tensor {self.tensor!r}" if self.tensor != self.layer else "the input"
        lost = (
            "every value is stored as zero or one step"
            if self.steps < 1
            else "finer differences are lost"
        )
        return (
            f"{self.layer}: its values {own} share the range {shared} through {self.concat} and "
            f"span {self.steps:.3g} steps (alone: {self.steps_alone:.3g}): {lost}. Cut the model "
            f"before {self.concat} ({words.cut_at(outputs=self.parts)}) and join on the host, "
            f"or keep its parts apart ({words.say('no_join', value=self.concat)}), or raise these "
            f"layers to dynamic_fixed_point-i16 ({words.say('raise_layers')}) ({where})"
        )


def sigmoid_remedy(sigmoids: Sequence[str], tensor: str) -> str:
    """Return how a tensor is spared the cut in front of sigmoids, given by layer id."""
    return (
        f"raise {', '.join(sigmoids)} to dynamic_fixed_point-i16, or give the range in a cfg file "
        f"({words.say('range_in_cfg')}), or cut the model at {tensor!r} "
        f"({words.cut_at(outputs=[tensor])}) and compute the sigmoid on the host"
    )


def sigmoid_cuts(graph: Graph, ranges: Mapping[str, Range], formats: Formats) -> tuple[str, ...]:
    """Return a line for every tensor whose cut in front of a sigmoid others feel, worst first.

    What only sigmoids read is not listed: a sigmoid is 0.998 at 6.3.

    Parameters
    ----------
    graph : Graph
        Float graph.
    ranges : mapping
        Ranges before the cut.
    formats : Formats
        The u8 tensors of u8 sigmoids are cut, except those with given ranges.
    """
    users, producers = graph.consumers(), graph.producers()
    found = []
    for tensor, (low, high) in clipped_for_sigmoid(graph, ranges, formats.era).items():
        producer = producers.get(tensor)
        scheme = formats.default if producer is None else formats.scheme_of(producer)
        others = [user.layer_id for user in users[tensor] if user.op != "sigmoid"]
        others += ["the output of the model"] * (tensor in graph.outputs)
        sigmoids = [
            user.layer_id
            for user in users[tensor]
            if user.op == "sigmoid" and formats.scheme_of(user) is Scheme.U8
        ]
        if scheme is not Scheme.U8 or tensor in formats.given or not (others and sigmoids):
            continue
        own = ranges[tensor]
        cut = max(low - own[0], own[1] - high)
        if cut <= scale_of(parameters((low, high), scheme)):
            continue
        layer = producer.layer_id if producer else tensor
        text = (
            f"{layer}: its values go {own[0]:.6g} .. {own[1]:.6g} and are cut to {low:.6g} .. "
            f"{high:.6g} because {', '.join(sigmoids)} reads them (u8 inputs of a sigmoid end at "
            f"-{SIGMOID_REACH} and {SIGMOID_REACH}), up to {cut:.6g} is lost for "
            f"{', '.join(others)} as well: {sigmoid_remedy(sigmoids, tensor)}"
        )
        found.append((cut, text))
    return tuple(text for _, text in sorted(found, key=lambda entry: -entry[0]))


def losses(
    graph: Graph,
    measured: Mapping[str, Range],
    ranges: Mapping[str, Range],
    scheme: Scheme,
    *,
    era: Era = DEFAULT_ERA,
    apart: Collection[str] = (),
) -> tuple[Loss, ...]:
    """Return what sharing costs layers, the worst first.

    Parameters
    ----------
    graph : Graph
        Float graph.
    measured, ranges : mapping
        Ranges before and after ``constrain``.
    scheme : Scheme
        An integer format; float16 shares nothing.
    era, apart
        See ``constrain``.
    """
    if scheme is Scheme.F16:
        return ()
    found, view, named = [], GraphView(graph), by_name(graph)
    for group in groups(graph, era=era, apart=apart):
        if group.concats:
            first = named[group.concats[0]]
            found += _of_group(view, group, first, measured, ranges, scheme)
    return tuple(sorted(found, key=lambda loss: (loss.clipped, loss.steps / loss.steps_alone)))


def _of_group(
    view: GraphView,
    group: Group,
    first: Node,
    measured: Mapping[str, Range],
    ranges: Mapping[str, Range],
    scheme: Scheme,
) -> list[Loss]:
    found = []
    for tensor in group.members:
        if tensor not in measured:
            continue
        own, shared = _with_zero(measured[tensor]), _with_zero(ranges[tensor])
        width = own[1] - own[0]
        cut = max(shared[0] - own[0], own[1] - shared[1])
        clipped = tensor not in group.leaders and cut > CLIPPED * width
        if width == 0 or not (clipped or tensor in group.leaders):
            continue
        alone = width / scale_of(parameters(own, scheme))
        steps = width / scale_of(parameters(shared, scheme))
        if not clipped and steps * LOST > alone:
            continue
        producer = view.producers.get(tensor)
        if clipped and (producer is None or producer.op != "concat"):
            continue  # its moves are cut with it
        nearest = _concat_below(view, tensor) or first
        found.append(
            Loss(
                layer=producer.layer_id if producer else tensor,
                tensor=tensor,
                own=own,
                shared=shared,
                steps=steps,
                steps_alone=alone,
                concat=nearest.layer_id,
                parts=view.graph.activations(nearest),
                clipped=clipped,
            )
        )
    return found


def _concat_below(view: GraphView, tensor: str) -> Node | None:
    """Return the first concat that reads a tensor, directly or through moves."""
    waiting = deque([tensor])
    while waiting:
        for user in view.consumers[waiting.popleft()]:
            if user.op == "concat":
                return user
            if keeps_codes(user):
                waiting.extend(user.outputs)
    return None


def _with_zero(bounds: Range) -> Range:
    return min(bounds[0], 0.0), max(bounds[1], 0.0)
