"""Nodes and the graph that holds them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from math import isfinite
from typing import overload

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError, GraphError
from npusim.faces import Face, Faced
from npusim.ir.attrs import NO_ATTRS, Attrs
from npusim.ir.quant import Float, Requant
from npusim.ir.tensor import TensorSpec
from npusim.plain import printable


class Engine(Enum):
    """A unit of the chip (names are the IP's own)."""

    NN = "NN"
    TP = "TP"
    SHADER = "SH"
    CPU = "CPU"


class Form(Enum):
    """What the driver makes of an operator on its engine; the performance model prices it.

    ``IN_PLACE``: the layers before write their parts of the result where they belong. ``FUSED``:
    done by the layer before while it stores. ``VIEW``: another name for the input's memory.
    ``PROGRAM``: a program of the shader (or, where the engine is the CPU, of the host).
    """

    CONVOLUTION = "convolution"
    TRANSPOSED_CONVOLUTION = "transposed convolution"
    FULLY_CONNECTED = "fully connected"
    SUM = "sum"
    AVERAGE = "average"
    AVERAGE_BY_CHANNEL = "average by channel"
    ENLARGEMENT = "enlargement"
    SUBSAMPLING = "subsampling"
    POOLING = "pooling"
    ACTIVATION = "activation"
    TABLE = "table look-up"
    NORMALIZATION = "normalization"
    COPY = "copy"
    TRANSPOSITION = "transposition"
    REORDERING = "reordering"
    CONCATENATION = "concatenation"
    IN_PLACE = "in place"
    FUSED = "fused"
    VIEW = "view"
    PROGRAM = "program"


def layer_id(name: str, uid: int) -> str:
    """Return what a layer is called in dumps, reports and cfg files: printable text."""
    return f"{printable(name)}_{uid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator.

    Attributes
    ----------
    name : str
        Layer name, unique in the graph: ``<OpType>_<node name>`` for ONNX.
    op : str
        Key of ``npusim.ops.registry``.
    inputs, outputs : tuple of str
        Tensor names; constants come as inputs.
    uid : int
        The importer's counter; ``<name>_<uid>`` is the layer id in reports and cfg files.
    origin : tuple of str
        Names of the source model's nodes that this node stands for, in execution order.
    engine : Engine or None
        Set by ``passes.assign_engine``; ``reason`` says why.
    form : Form or None
        What the driver makes of the node there; set together with the engine.
    requant : Requant or None
        How sums are stored: set by ``passes.lower_requant``, read by the bindings. Every node that
        accumulates on NN or TP has one. None where nothing accumulates (moves, tables, maximum
        pools), and for shader programs, which compute real numbers: they have no multiplier and
        shift.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs = NO_ATTRS
    uid: int = 0
    origin: tuple[str, ...] = ()
    engine: Engine | None = None
    form: Form | None = None
    reason: str = ""
    requant: Requant | None = None

    @property
    def layer_id(self) -> str:
        """Return ``<name>_<uid>``."""
        return layer_id(self.name, self.uid)


STRETCH, LETTERBOX, CROP = "stretch", "letterbox", "crop"
FITS = (STRETCH, LETTERBOX, CROP)
FARTHEST = 1e15
"""Size of a mean or a std, and one over the smallest std."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """What happens to raw input data before quantization: fit, reorder, subtract, divide.

    ``mean`` and ``std`` are per channel (axis 1 of an N, C, H, W input) on the 0..255 scale; empty
    means 0 and 1. ``reorder`` gives the source channel of each channel; empty means as it comes.
    ``fit`` says how pictures of other sizes get the input's: stretched on both axes, as the toolkit
    does; shrunk to lie inside it, with grey borders (letterbox); or cut to its proportions (crop).
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    reorder: tuple[int, ...] = ()
    fit: str = STRETCH

    def __post_init__(self) -> None:
        """Refuse numbers that no picture can be prepared with.

        Raises
        ------
        ConfigError
            For a std of 0, numbers that are not finite or too far from those of pictures for
            float32, counts that differ, a reorder that is no order of the channels, another fit.
        """
        if self.fit not in FITS:
            raise ConfigError(f"fit {self.fit!r}", where="preprocess", rule=" or ".join(FITS))
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if not all(isfinite(number) for number in numbers):
                raise ConfigError(f"{name} {numbers}", where="preprocess", rule="finite numbers")
        if 0 in self.std:
            raise ConfigError(
                f"std {self.std}",
                where="preprocess",
                rule="pixels are divided by std, which is not 0",
                remedy="1 leaves the values as they are",
            )
        far = any(abs(number) > FARTHEST for number in (*self.mean, *self.std))
        if far or any(abs(number) < 1 / FARTHEST for number in self.std):
            raise ConfigError(
                f"mean {self.mean}, std {self.std}",
                where="preprocess",
                rule=f"mean and std up to {FARTHEST:g}, std from {1 / FARTHEST:g}: pictures are "
                "prepared in float32",
            )
        counts = {len(n) for n in (self.mean, self.std, self.reorder) if len(n) > 1}
        if len(counts) > 1:
            raise ConfigError(
                f"mean {self.mean}, std {self.std}, reorder {self.reorder}",
                where="preprocess",
                rule="one number for all channels or one for each",
            )
        if sorted(self.reorder) != list(range(len(self.reorder))):
            raise ConfigError(
                f"reorder {self.reorder}",
                where="preprocess",
                rule="an order of the channels, such as 0, 1, 2 or 2, 1, 0",
            )


class Awaited:
    """A field of text that may be given as a function, which is called when the text is read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, record: None, owner: type) -> str: ...
    @overload
    def __get__(self, record: object, owner: type) -> str: ...
    def __get__(self, record: object | None, owner: type) -> str:
        """Return the text; of the class, the default."""
        if record is None:
            return ""
        value = vars(record)[self._name]
        if callable(value):
            value = vars(record)[self._name] = value()
        return str(value)

    def __set__(self, record: object, value: str | Callable[[], str]) -> None:
        """Take the text, or what makes it."""
        vars(record)[self._name] = value


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a graph came from."""

    framework: str = ""
    path: str = ""
    sha256: Awaited = Awaited()
    detail: str = ""

    def __getstate__(self) -> dict[str, str]:
        """Return the fields; other processes cannot wait for this one's threads."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLayer:
    """A layer of a ``Tail``: name, operator and tensors."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of a network that no engine runs: an ONNX model on real numbers, run by the CPU.

    It reads outputs of the NPU part after they became real numbers, and graph inputs as they are
    after mean and std. Quantization, placement and prices see nothing of it.

    Attributes
    ----------
    model : bytes
        Serialized ONNX model; what the CPU knows of its own is in ``npusim.host``.
    inputs : tuple of str
        Outputs of the NPU part and graph inputs.
    results : tuple of str
        Results of the whole network in order: outputs of the model and of the NPU part.
    layers : tuple of HostLayer
        The model's operators, for reports.
    """

    model: bytes = field(repr=False)
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    layers: tuple[HostLayer, ...]


@dataclass(slots=True, kw_only=True, repr=False)
class Graph(Faced):
    """A network in execution order. Passes take one and return a new one.

    Every tensor name used by a node is a key of ``tensors``; weights and other known values are
    also in ``constants``. ``nodes`` are in topological order. ``outputs`` are those of the NPU;
    ``results`` are the network's.

    ``coded`` names the inputs and outputs that the source model declares as integers with a scale
    and zero point: what other runtimes take and give there are codes.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, TensorSpec]
    constants: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    preprocess: dict[str, Preprocess] = field(default_factory=dict)
    source: Source = field(default_factory=Source)
    target: str = "rk1808"
    batch: int = 1
    notes: tuple[str, ...] = ()
    coded: tuple[str, ...] = ()
    tail: Tail | None = None

    @property
    def results(self) -> tuple[str, ...]:
        """Return the names of what a run gives, in order: the outputs, or what the tail makes."""
        return self.outputs if self.tail is None else self.tail.results

    def _face(self) -> Face:
        stage = "lowered" if self.is_lowered and self.nodes else "not lowered"
        formats = Counter(
            self.spec(name).dtype.value for node in self.nodes for name in node.outputs
        )
        return Face(
            self.name,
            {
                "layers": len(self.nodes),
                "formats": "/".join(name for name, _ in formats.most_common()) or "-",
                "inputs": ", ".join(self._sized(self.inputs)) or "-",
                "outputs": ", ".join(self._sized(self.outputs)) or "-",
                "stage": stage,
                "target": self.target,
                "parameters": sum(value.size for value in self.constants.values()),
                "source": self.source.framework or "-",
            },
            (
                {
                    "layer": node.layer_id,
                    "op": node.op,
                    "engine": node.engine.value if node.engine else None,
                    "format": self.spec(node.outputs[0]).dtype.value,
                    "shape": "x".join(map(str, self.spec(node.outputs[0]).shape)),
                    "origin": node.origin,
                }
                for node in self.nodes
            ),
        )

    def _sized(self, names: tuple[str, ...]) -> list[str]:
        few = [f"{n} {'x'.join(map(str, self.spec(n).shape))}" for n in names[:4]]
        return few + [".."] * (len(names) > 4)

    def copy(self, **changes: object) -> "Graph":
        """Return a graph with its own dictionaries (arrays are shared) and the given changes."""
        base = {
            "tensors": dict(self.tensors),
            "constants": dict(self.constants),
            "preprocess": dict(self.preprocess),
        }
        return replace(self, **(base | changes))  # type: ignore[arg-type]

    def spec(self, name: str) -> TensorSpec:
        """Return the spec of a tensor."""
        try:
            return self.tensors[name]
        except KeyError:
            raise GraphError(f"tensor {name!r} is not in the graph", where=self.name) from None

    @property
    def is_quantized(self) -> bool:
        """Tell whether any tensor holds codes of real numbers."""
        return any(not isinstance(spec.quant, Float) for spec in self.tensors.values())

    @property
    def is_lowered(self) -> bool:
        """Tell whether engine and form of every node are decided."""
        return all(node.engine is not None and node.form is not None for node in self.nodes)

    def is_constant(self, name: str) -> bool:
        """Tell whether a tensor's value is known."""
        return name in self.constants

    def producers(self) -> dict[str, Node]:
        """Return tensor name -> node that writes it."""
        return {name: node for node in self.nodes for name in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Return tensor name -> nodes that read it (once per node), in execution order."""
        users: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users[name].append(node)
        return users

    def activations(self, node: Node) -> tuple[str, ...]:
        """Return the node's inputs whose values are not known before a run."""
        return tuple(name for name in node.inputs if name not in self.constants)

    def node(self, name: str) -> Node:
        """Return the node of a name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise GraphError(f"no layer is called {name!r}", where=self.name)


def toposorted(nodes: Iterable[Node], known: Iterable[str]) -> tuple[Node, ...]:
    """Return nodes in execution order, stable with respect to the order given.

    Parameters
    ----------
    nodes : iterable of Node
    known : iterable of str
        Tensors available at the start: graph inputs and constants.

    Raises
    ------
    GraphError
        When a cycle or a missing producer leaves nodes over; they are named.
    """
    pending = list(nodes)
    producer = {out: i for i, node in enumerate(pending) for out in node.outputs}
    ready = set(known)
    order: list[int] = []
    state = [0] * len(pending)  # 0 new, 1 being visited, 2 done

    def unmet(i: int) -> Iterator[str]:
        return (name for name in pending[i].inputs if name and name not in ready)

    for start in range(len(pending)):
        stack = [start]
        while stack:
            i = stack[-1]
            if state[i] == 2:
                stack.pop()
                continue
            state[i] = 1
            waiting = []
            for name in unmet(i):
                j = producer.get(name)
                if j is None:
                    raise GraphError(
                        f"input {name!r} of layer {pending[i].name!r} is produced by nothing",
                        rule="every input is a graph input, a constant or another layer's output",
                    )
                if state[j] == 1:
                    raise GraphError(
                        f"layers {pending[i].name!r} and {pending[j].name!r} are on a cycle",
                        rule="a network has no cycles",
                    )
                if state[j] == 0:
                    waiting.append(j)
            if waiting:
                stack.extend(reversed(waiting))
            else:
                state[i] = 2
                ready.update(pending[i].outputs)
                order.append(i)
                stack.pop()
    return tuple(pending[i] for i in order)


def prune(graph: Graph) -> Graph:
    """Return the graph without nodes, tensors and constants that no output needs."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    kept.reverse()
    used = needed | set(graph.inputs) | {out for node in kept for out in node.outputs}
    return graph.copy(
        nodes=tuple(kept),
        tensors={k: v for k, v in graph.tensors.items() if k in used},
        constants={k: v for k, v in graph.constants.items() if k in used},
    )


def rename_inputs(node: Node, names: Mapping[str, str]) -> Node:
    """Return the node with its inputs renamed where ``names`` has them."""
    if not any(name in names for name in node.inputs):
        return node
    return replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))
