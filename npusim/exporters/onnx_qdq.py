"""A quantized graph as an ONNX model of QuantizeLinear and DequantizeLinear pairs, opset 12.

Every tensor that holds codes goes through such a pair with the graph's own scale and zero point;
constants are written as their codes. Float16 parts are float32. Dynamic fixed point of 8 bits is
INT8 with the scale ``2^-fl``; opset 12 has no 16 bit pair, so those tensors are rounded and cut by
ordinary operators, which gives the same numbers.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from npusim.errors import UnsupportedOpError
from npusim.exporters.onnx import to_onnx
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.names import fresh_among
from npusim.ir.quant import (
    Affine,
    AffinePerChannel,
    DynamicFixedPoint,
    Float,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec

PAIRED = (DType.U8, DType.I8)
TURNED = ("deconv2d", "fc")  # the float writer turns their weights: under the name <output>.weights


def needs_pairs(graph: Graph) -> bool:
    """Tell whether a graph has codes or halves, which the float writer refuses."""
    return any(
        not isinstance(spec.quant, Float) or spec.dtype is DType.F16
        for spec in graph.tensors.values()
    )


def to_qdq(graph: Graph) -> onnx.ModelProto:
    """Return the ONNX model of a quantized graph, at any stage.

    Its inputs take what ``Program.run(..., preprocessed=True)`` takes; mean, std and channel order
    are in the model's metadata. It says what the codes mean, not how the chip's engines round: the
    results of a run differ by a step here and there.

    Raises
    ------
    UnsupportedOpError
        When layers have no ONNX form or an activation has parameters per channel; all are listed.
    """
    _require_per_tensor(graph)
    model = to_onnx(_real(graph))
    _Pairs(graph, model.graph).add()
    del model.metadata_props[:]
    helper.set_model_props(model, _properties(graph))
    return model


def _require_per_tensor(graph: Graph) -> None:
    names = [
        name
        for name, spec in graph.tensors.items()
        if isinstance(spec.quant, AffinePerChannel) and not graph.is_constant(name)
    ]
    if names:
        raise UnsupportedOpError(
            f"tensors with parameters per channel: {', '.join(names)}",
            where=f"graph {graph.name!r}",
            rule="opset 12 has one scale and zero point for a tensor",
            remedy="quantize the float model with npusim: it has one for a tensor",
        )


def _real(graph: Graph) -> Graph:
    """Return the graph on real numbers; what only changes their format does nothing."""
    tensors = {name: _real_spec(spec) for name, spec in graph.tensors.items()}
    constants = {
        name: _real_constant(value, graph.spec(name)) for name, value in graph.constants.items()
    }
    nodes = tuple(
        replace(node, op="identity")
        if node.op == "convert" and tensors[node.inputs[0]].dtype is tensors[node.outputs[0]].dtype
        else node
        for node in graph.nodes
    )
    return graph.copy(nodes=nodes, tensors=tensors, constants=constants)


def _real_spec(spec: TensorSpec) -> TensorSpec:
    if isinstance(spec.quant, Float) and not spec.dtype.is_float:
        return spec
    return replace(spec, dtype=DType.F32, quant=Float())


def _real_constant(value: Any, spec: TensorSpec) -> Any:
    match spec.quant:
        case AffinePerChannel(scales=scales, zero_points=zeros, axis=axis):
            along = [1] * value.ndim
            along[axis] = -1
            steps = value.astype(np.int64) - np.reshape(zeros, along)
            return (steps * np.reshape(np.asarray(scales, np.float64), along)).astype(np.float32)
        case Float():
            return value.astype(np.float32) if value.dtype == np.float16 else value
        case _:
            return dequantize(value, spec.quant)


class _Pairs:
    """The pairs of an ONNX graph in the making."""

    def __init__(self, graph: Graph, proto: onnx.GraphProto) -> None:
        self.graph, self.proto = graph, proto
        self.taken = {name for node in proto.node for name in (*node.input, *node.output)}
        self.taken |= {tensor.name for tensor in proto.initializer}
        self.named = {node.name for node in proto.node}
        self.initializers: list[onnx.TensorProto] = []
        self.ends = {value.name for value in proto.output}

    def add(self) -> None:
        """Put a pair behind every input and result, and one half in front of constants."""
        old = list(self.proto.node)
        del self.proto.node[:]
        reads: dict[str, str] = {}
        self._constants()
        for name in self.graph.inputs:
            if self._holds_codes(name):
                reads[name] = self._fresh(f"{name}.rounded")
                self._pair(name, reads[name], name)
        for node in old:
            node.input[:] = [reads.get(name, name) for name in node.input]
            outputs = [name for name in node.output if self._holds_codes(name)]
            exact = {name: self._fresh(f"{name}.exact") for name in outputs}
            node.output[:] = [exact.get(name, name) for name in node.output]
            self.proto.node.append(node)
            for name in outputs:
                self._pair(exact[name], name, name)
        self.proto.initializer.extend(self.initializers)

    def _holds_codes(self, name: str) -> bool:
        return name in self.graph.tensors and not isinstance(self.graph.spec(name).quant, Float)

    def _constants(self) -> None:
        """Replace constants by their codes."""
        turned = {
            f"{node.outputs[0]}.weights": node.inputs[1]
            for node in self.graph.nodes
            if node.op in TURNED
        }
        kept = []
        for tensor in self.proto.initializer:
            source = turned.get(tensor.name, tensor.name)
            spec = self.graph.tensors.get(source)
            if spec is None or not _has_half(spec):
                kept.append(tensor)
                continue
            real = numpy_helper.to_array(tensor).astype(np.float64)
            steps = np.rint(real / scale_of(spec.quant)) + zero_point_of(spec.quant)
            codes = self._fresh(f"{tensor.name}.codes")
            self._initializer(codes, steps.astype(spec.dtype.numpy))
            self._half("DequantizeLinear", codes, tensor.name, spec)
        del self.proto.initializer[:]
        self.proto.initializer.extend(kept)

    def _pair(self, source: str, target: str, tensor: str) -> None:
        spec = self.graph.spec(tensor)
        if spec.dtype in PAIRED:
            codes = self._fresh(f"{tensor}.codes")
            self._half("QuantizeLinear", source, codes, spec)
            self._half("DequantizeLinear", codes, target, spec)
            return
        zero = zero_point_of(spec.quant)
        numbers = {
            "step": np.float32(scale_of(spec.quant)),
            "low": np.float32(spec.dtype.min - zero),
            "high": np.float32(spec.dtype.max - zero),
        }
        names = {key: self._fresh(f"{tensor}.{key}") for key in numbers}
        for key, value in numbers.items():
            self._initializer(names[key], np.asarray(value))
        inner = [self._fresh(f"{tensor}.{word}") for word in ("steps", "whole", "cut")]
        self._node("Div", [source, names["step"]], inner[0])
        self._node("Round", [inner[0]], inner[1])
        self._node("Clip", [inner[1], names["low"], names["high"]], inner[2])
        self._node("Mul", [inner[2], names["step"]], target)

    def _half(self, op: str, source: str, target: str, spec: TensorSpec) -> None:
        scale, zero = (self._fresh(f"{source}.{word}") for word in ("scale", "zero_point"))
        self._initializer(scale, np.float32(scale_of(spec.quant)))
        inputs = [source, scale]
        if spec.dtype in PAIRED:
            self._initializer(zero, np.asarray(zero_point_of(spec.quant), spec.dtype.numpy))
            inputs.append(zero)
        self._node(op, inputs, target)

    def _node(self, op: str, inputs: list[str], output: str) -> None:
        name = fresh_among(self.named, f"{op}_{output}")
        self.named.add(name)
        self.proto.node.append(helper.make_node(op, inputs, [output], name=name))

    def _initializer(self, name: str, value: Any) -> None:
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))

    def _fresh(self, name: str) -> str:
        name = fresh_among(self.taken, name)
        self.taken.add(name)
        return name


def _has_half(spec: TensorSpec) -> bool:
    """Tell whether DequantizeLinear of opset 12 takes the codes of a constant."""
    if not isinstance(spec.quant, Affine | DynamicFixedPoint):
        return False
    return spec.dtype in PAIRED or (spec.dtype is DType.I32 and not zero_point_of(spec.quant))


def _properties(graph: Graph) -> dict[str, str]:
    """Return what ONNX has no place for: how inputs are prepared, and for which chip."""
    found = {"npusim.target": graph.target}
    for name, how in graph.preprocess.items():
        for word in ("mean", "std", "reorder"):
            if numbers := getattr(how, word):
                found[f"npusim.{word}.{name}"] = " ".join(f"{n:g}" for n in numbers)
    return found
