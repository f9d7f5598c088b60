"""Models that come quantized: Q and DQ around real operators become operators on codes.

A graph as importers write it has ``convert`` nodes where the source model quantizes and dequantizes
and real operators between them. ``absorb`` gives every operator whose operands and results have
parameters the codes themselves; what is left real runs in float16 later. No parameter is changed
and none is invented.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from npusim.errors import ModelImportError, located
from npusim.importers.common.builder import FLOAT, Array, Stored, works_on_codes
from npusim.ir.attrs import ClipAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.ir.quant import Affine, AffinePerChannel, Quant, scale_of
from npusim.ir.tensor import TensorSpec
from npusim.ops import keeps_codes, op_def


@dataclass(slots=True)
class _Absorber:
    """One pass over a graph with ``convert`` nodes.

    Attributes
    ----------
    codes : dict
        Real tensor -> tensor of codes that stands for it, for what is written so far.
    wanted : dict
        Real tensor -> spec of the codes it should be stored as.
    """

    graph: Graph
    stored: Mapping[str, Stored]
    out: Graph = field(init=False)
    nodes: list[Node] = field(default_factory=list)
    codes: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, TensorSpec] = field(default_factory=dict)
    real: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out = self.graph.copy()
        self.real.update(self.graph.inputs)

    def run(self) -> Graph:
        self._collect_wanted()
        for node in self.graph.nodes:
            if node.op == "convert":
                self._convert(node)
            elif not located(self._place(node), self._on_codes, node):
                self._on_reals(node)
        for name in self.graph.outputs:
            if name in self.codes:
                self._need_real(name)
        return self.out.copy(nodes=tuple(self.nodes))

    def _place(self, node: Node) -> str:
        return f"{self.graph.source.path or self.graph.name}: layer {node.name!r}"

    # ---- what each real tensor should be stored as
    def _collect_wanted(self) -> None:
        graph, users = self.graph, self.graph.consumers()
        coded: set[str] = set()  # what is codes already, up to movement
        for node in graph.nodes:
            if _quantizes(node, graph):
                self.wanted.setdefault(node.inputs[0], graph.spec(node.outputs[0]))
            elif node.op == "convert" or (_keeps(node) and node.inputs[0] in coded):
                coded.update(node.outputs)
        for node in reversed(graph.nodes):
            source, target = node.inputs[0], node.outputs[0]
            private = len(users[source]) == 1 and source not in (*graph.outputs, *coded)
            spec = self.wanted.get(target)
            if spec is not None and private and _commutes(node):
                own = graph.spec(source)
                self.wanted.setdefault(source, replace(own, dtype=spec.dtype, quant=spec.quant))

    def _target(self, node: Node, name: str) -> TensorSpec | None:
        """Return the spec of the codes that an output is stored as, None when it has none."""
        spec = self.wanted.get(name)
        if spec is None and _keeps(node):
            source = self.codes.get(node.inputs[0])
            if source is None:
                return None
            spec = replace(self.out.spec(source), name=name, shape=self.graph.spec(name).shape)
        if spec is not None and spec.name == name and name in self.graph.outputs:
            spec = replace(spec, name=fresh(self.out, f"{name}/codes"))
        return spec

    # ---- nodes
    def _convert(self, node: Node) -> None:
        source, target = node.inputs[0], node.outputs[0]
        if not _quantizes(node, self.graph):  # DQ: only a name for the codes, until it is needed
            if self.graph.spec(target).dtype is DType.F32 and self._is_code(source):
                self.codes[target] = self.same.get(source, source)
            else:
                self.nodes.append(self._renamed(node))
            return
        codes = self.codes.get(source)
        if codes == target:
            return
        if codes is None:
            self.nodes.append(node)
            return
        ours, theirs = self.out.spec(codes), self.graph.spec(target)
        if (ours.dtype, ours.quant) == (theirs.dtype, theirs.quant) and (
            target not in self.graph.outputs
        ):
            self.same[target] = codes
        else:
            self.nodes.append(replace(node, inputs=(codes,)))

    def _is_code(self, name: str) -> bool:
        return self.graph.spec(name).quant != FLOAT

    def _renamed(self, node: Node) -> Node:
        return replace(node, inputs=tuple(self.same.get(name, name) for name in node.inputs))

    def _on_codes(self, node: Node) -> bool:
        """Append the node on codes; False when something about it must stay real."""
        graph = self.graph
        reals = [n for n in node.inputs if graph.spec(n).dtype is DType.F32]
        activations = [n for n in reals if n not in graph.constants]
        if not activations or any(n not in self.codes for n in activations):
            return False
        targets = {
            name: self._target(node, name)
            for name in node.outputs
            if graph.spec(name).dtype is DType.F32
        }
        definition = op_def(node.op)
        if any(spec is None for spec in targets.values()) and not definition.f16_results:
            return False
        weighted = definition.weighted
        operands = self._weighted(node, targets) if weighted else self._constants(node)
        if operands is None:
            return False
        names = (self.codes.get(n, self.same.get(n, n)) for n in node.inputs)
        inputs = tuple(operands.get(i, name) for i, name in enumerate(names))
        outputs = []
        for name in node.outputs:
            spec = targets.get(name)
            if spec is None:
                self.real.add(name)
                outputs.append(name)
                continue
            self.out.tensors[spec.name] = spec
            self.codes[name] = spec.name
            outputs.append(spec.name)
        self.nodes.append(replace(node, inputs=inputs, outputs=tuple(outputs)))
        return True

    def _on_reals(self, node: Node) -> None:
        inputs = tuple(
            self._need_real(name) if name in self.codes else self.same.get(name, name)
            for name in node.inputs
        )
        self.real.update(node.outputs)
        self.nodes.append(replace(node, inputs=inputs))

    def _need_real(self, name: str) -> str:
        """Return a real version of a tensor that is kept as codes; made when first needed."""
        codes = self.codes[name]
        real = f"{name}/real" if codes == name else name
        if real not in self.real:
            self.real.add(real)
            self.out.tensors[real] = replace(self.graph.spec(name), name=real)
            self.nodes.append(
                Node(
                    name=f"DequantizeLinear_{real}",
                    op="convert",
                    inputs=(codes,),
                    outputs=(real,),
                    origin=(name,),
                )
            )
        return real

    # ---- constants
    def _constants(self, node: Node) -> dict[int, str] | None:
        """Return position -> constant of codes; None when a constant has no parameters."""
        if op_def(node.op).real_parameters:
            return {}
        found = {}
        for position, name in enumerate(node.inputs):
            if name not in self.graph.constants or self.graph.spec(name).dtype is not DType.F32:
                continue
            stored = self.stored.get(name)
            if stored is None or not isinstance(stored.quant, Affine):
                return None
            codes = requantized(self.graph.constants[name], stored)
            if codes is None:
                return None
            found[position] = self._constant(f"{name}/codes", codes, stored.quant)
        return found

    def _weighted(
        self, node: Node, targets: Mapping[str, TensorSpec | None]
    ) -> dict[int, str] | None:
        """Return codes of weights and bias; None when the weights have no parameters."""
        data, weights, bias = node.inputs
        stored = self.stored.get(weights)
        if stored is None or weights not in self.graph.constants or None in targets.values():
            return None
        codes = requantized(self.graph.constants[weights], stored)
        if codes is None:
            return None
        ifm = self.out.spec(self.codes[data]).quant
        quant = first_axis(stored.quant, codes.shape[0])
        bias_codes, bias_quant = bias_of(
            self.graph.constants[bias], self.stored.get(bias), scale_of(ifm), quant
        )
        return {
            1: self._constant(f"{weights}/codes", codes, quant),
            2: self._constant(f"{bias}/codes", bias_codes, bias_quant),
        }

    def _constant(self, stem: str, value: Array, quant: Quant) -> str:
        known = self.out.tensors.get(stem)
        if known is not None and known.quant == quant:
            return stem
        name = fresh(self.out, stem)
        self.out.constants[name] = value
        self.out.tensors[name] = TensorSpec(
            name=name, shape=value.shape, dtype=DType.of(value.dtype), quant=quant
        )
        return name


def absorb(graph: Graph, stored: Mapping[str, Stored]) -> Graph:
    """Return the graph with operators on codes wherever the model gives parameters.

    - A tensor that a Q node reads is stored with the Q node's parameters, for all its readers.
    - What gives elements as they are (``npusim.ops.keeps_codes``: movement, max pools, nearest
      resizes, maxima over axes), interpolation and relu keep the parameters of the codes they
      read; all of these but interpolation, and relu6, in front of a Q node make the layer before
      them store with its parameters.
    - A convolution, transposed convolution or fully connected layer needs stored integers as
      weights; a real bias is stored at the accumulator's scale.
    - Other constants need stored integers too. Everything else stays real.

    Parameters
    ----------
    graph : Graph
    stored : mapping
        Real constants -> the integers they were dequantized from.
    """
    return _Absorber(graph, stored).run()


def _quantizes(node: Node, graph: Graph) -> bool:
    return (
        node.op == "convert"
        and graph.spec(node.inputs[0]).dtype is DType.F32
        and graph.spec(node.outputs[0]).quant != FLOAT
    )


def _keeps(node: Node) -> bool:
    """Tell whether an operator's result has the parameters of the codes it reads."""
    return node.op == "relu" or works_on_codes(node.op, node.attrs)


def _commutes(node: Node) -> bool:
    """Tell whether storing in front of an operator gives what storing behind it gives."""
    if node.op in ("relu", "relu6") or keeps_codes(node):
        return True
    return isinstance(node.attrs, ClipAttrs) and node.attrs.minimum == 0.0


def requantized(value: Array, stored: Stored) -> Array | None:
    """Return the integers of a constant whose elements were moved; None when they do not fit.

    Several scales belong to the first axis, where every weighted operator has its outputs; groups
    of outputs repeat them.
    """
    quant = first_axis(stored.quant, value.shape[0] if value.ndim else 1)
    if isinstance(quant, Affine):
        scales: Array = np.float32(quant.scale)  # type: ignore[assignment]
        zeros: Array = np.array(quant.zero_point)
    else:
        column = (-1, *(1,) * (value.ndim - 1))
        scales = np.array(quant.scales, np.float32)
        zeros = np.array(quant.zero_points)
        if scales.size != value.shape[0]:
            return None
        scales, zeros = scales.reshape(column), zeros.reshape(column)
    limits = np.iinfo(stored.codes.dtype)
    steps = np.rint(value.astype(np.float64) / scales).astype(np.int64)
    fits = np.array_equal(steps.astype(np.float32) * scales, value.astype(np.float32))
    codes = steps + zeros
    if not fits or codes.min(initial=0) < limits.min or codes.max(initial=0) > limits.max:
        return None
    return codes.astype(stored.codes.dtype)


def first_axis(quant: Affine | AffinePerChannel, out_c: int) -> Affine | AffinePerChannel:
    """Return parameters per output for weights whose first axis has ``out_c`` outputs."""
    if isinstance(quant, Affine):
        return quant
    repeats = max(1, out_c // len(quant.scales)) if out_c % len(quant.scales) == 0 else 1
    return AffinePerChannel(
        scales=quant.scales * repeats, zero_points=quant.zero_points * repeats, axis=0
    )


def bias_of(
    value: Array, stored: Stored | None, ifm_scale: float, weights: Affine | AffinePerChannel
) -> tuple[Array, Quant]:
    """Return a bias in int32 steps of the accumulator, exactly as stored where the scales agree.

    Parameters
    ----------
    value : float32 (O,)
    stored : Stored or None
        The model's own integers.
    ifm_scale : float
    weights : Affine or AffinePerChannel

    Raises
    ------
    ModelImportError
        When a value is no number.
    """
    each = weights.scales if isinstance(weights, AffinePerChannel) else (weights.scale,)
    steps = np.float32(ifm_scale) * np.array(each, np.float32)
    quant: Quant
    if isinstance(weights, AffinePerChannel):
        quant = AffinePerChannel(
            scales=tuple(map(float, steps)), zero_points=(0,) * len(each), axis=0
        )
    else:
        quant = Affine(scale=float(steps[0]))
    if stored is not None and stored.codes.dtype == np.int32:
        own = stored.quant
        theirs = own.scales if isinstance(own, AffinePerChannel) else (own.scale,)
        zero = own.zero_points if isinstance(own, AffinePerChannel) else (own.zero_point,)
        if not any(zero) and np.allclose(theirs, steps, rtol=1e-6, atol=0):
            return stored.codes.reshape(-1), quant
    low, high = DType.I32.min, DType.I32.max
    with np.errstate(all="ignore"):
        codes = np.clip(np.rint(value.astype(np.float64) / steps), low, high)
    if np.isnan(codes).any():
        raise ModelImportError(
            "a bias of a quantized layer is no number",
            rule="finite biases, and scales above 0",
            remedy="the quantizer or the training failed: make the model again",
        )
    return codes.astype(np.int32), quant
