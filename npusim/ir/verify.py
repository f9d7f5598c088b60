"""Invariants of a graph, checked between passes."""

import math
from dataclasses import fields
from typing import Literal

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import ClipAttrs, Conv2dAttrs, Deconv2dAttrs, FcAttrs, PadAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form, Graph, Node
from npusim.ir.quant import (
    Affine,
    AffinePerChannel,
    DynamicFixedPoint,
    Float,
    Quant,
    Requant,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import LIMITS, TensorSpec, within_limits
from npusim.plain import TEXT_RULE, broken_text

Stage = Literal["float", "quantized", "lowered"]

BIAS_SCALE_TOLERANCE = 1e-3  # source models write the product as they please
PARAMETERS: dict[DType, tuple[type[Quant], ...]] = {
    DType.U8: (Float, Affine, AffinePerChannel),
    DType.I8: (Float, Affine, AffinePerChannel, DynamicFixedPoint),
    DType.I16: (Float, Affine, AffinePerChannel, DynamicFixedPoint),
    DType.I32: (Float, Affine, AffinePerChannel, DynamicFixedPoint),
    DType.I64: (Float, Affine, AffinePerChannel, DynamicFixedPoint),
    DType.F16: (Float,),
    DType.F32: (Float,),
    DType.BOOL: (Float,),
}
SUMMING_FORMS = frozenset(
    (
        Form.CONVOLUTION,
        Form.TRANSPOSED_CONVOLUTION,
        Form.FULLY_CONNECTED,
        Form.SUM,
        Form.AVERAGE,
        Form.AVERAGE_BY_CHANNEL,
    )
)
LARGEST_MULTIPLIER = 1 << 16
LARGEST_SHIFT = 1000  # 2 to the power of it is a number, times a multiplier as well
ENDLESS = (ClipAttrs, PadAttrs)
"""Their numbers may be infinite: no bound, and a pad that never wins."""
OPERANDS = 3  # of a layer with weights
CARRIERS = (Form.CONVOLUTION, Form.SUM)


def verify(graph: Graph, stage: Stage | None = None) -> None:
    """Check names, order, single assignment, constants and types, and what a stage promises.

    Shapes are checked by ``npusim.passes.driver``, which may look at operator definitions.

    Parameters
    ----------
    graph : Graph
    stage : {"float", "quantized", "lowered"}, optional
        ``float``: real numbers only, nothing placed. ``quantized``: every integer has the
        parameters that its type needs, biases those of their sums. ``lowered``: besides, every
        layer has engine, form and, where it accumulates, a requantization.

    Raises
    ------
    GraphError
        Naming the layer or tensor.
    """
    layers = (name for node in graph.nodes for name in (node.name, *node.origin))
    broken = broken_text((graph.name, graph.target, *graph.coded, *graph.tensors, *layers))
    if broken is not None:
        raise GraphError(f"the name {broken!r} is no text", rule=TEXT_RULE)
    for spec in graph.tensors.values():
        if not within_limits(spec.shape):
            raise GraphError(f"tensor {spec.name!r} has the absurd shape {spec.shape}", rule=LIMITS)
    if given := graph.constants.keys() & set(graph.inputs):
        raise GraphError(f"input {min(given)!r} has a value", rule="inputs are given from outside")
    known = set(graph.inputs) | set(graph.constants)
    for name in known | set(graph.outputs):
        graph.spec(name)
    for name, value in graph.constants.items():
        spec = graph.tensors[name]
        if tuple(value.shape) != spec.shape or value.dtype != spec.dtype.numpy:
            raise GraphError(
                f"constant {name!r} is {value.dtype}{value.shape}, its spec says "
                f"{spec.dtype.value}{spec.shape}",
                where=graph.name,
            )
    if unknown := sorted(set(graph.preprocess) - set(graph.inputs)):
        raise GraphError(
            f"preprocessing for {unknown}",
            where=graph.name,
            rule=f"inputs are {', '.join(graph.inputs)}",
        )
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise GraphError(f"two layers are called {node.name!r}", where=graph.name)
        names.add(node.name)
        if not node.inputs or not node.outputs:
            raise GraphError(
                f"it has {len(node.inputs)} inputs and {len(node.outputs)} outputs",
                where=node.name,
                rule="every layer reads something and gives something",
            )
        _verify_attributes(node)
        for name in node.inputs:
            if name not in known:
                raise GraphError(f"{name!r} is read before it is written", where=node.name)
        for name in node.outputs:
            graph.spec(name)
            if name in known:
                raise GraphError(f"{name!r} is written twice", where=node.name)
            known.add(name)
    missing = [name for name in graph.outputs if name not in known]
    if missing:
        raise GraphError(f"outputs {missing} are written by nothing", where=graph.name)
    _verify_tail(graph)
    for name, spec in graph.tensors.items():
        if spec.name != name:
            raise GraphError(f"tensor {name!r} has a spec called {spec.name!r}", where=graph.name)
        unquantized = spec.dtype.is_float or spec.dtype is DType.BOOL
        if unquantized and not isinstance(spec.quant, Float):
            raise GraphError(f"tensor {name!r} is {spec.dtype.value} and quantized")
        _verify_zero_points(spec)
    if stage is not None:
        verify_stage(graph, stage)


def refuse_empty(graph: Graph) -> None:
    """Refuse layers that read or give tensors without elements: no engine has such.

    Raises
    ------
    GraphError
        Naming the layer. ``verify`` allows them, as known values may be empty while they are
        computed.
    """
    for node in graph.nodes:
        for name in (*node.inputs, *node.outputs):
            if 0 in graph.spec(name).shape:
                raise GraphError(
                    f"tensor {name!r} of shape {graph.spec(name).shape} is empty",
                    where=node.name,
                    rule="every tensor of a layer has elements",
                )


def verify_stage(graph: Graph, stage: Stage) -> None:
    """Check what a stage promises of a graph that ``verify`` and shape rules have passed.

    Raises
    ------
    GraphError
        See ``verify``.
    """
    if stage == "float":
        _verify_float(graph)
    else:
        for spec in graph.tensors.values():
            _verify_parameters(spec)
        for node in graph.nodes:
            _verify_bias(node, graph)
    if stage == "lowered":
        _verify_placed(graph)


def _verify_tail(graph: Graph) -> None:
    """Check that what the CPU reads is there, and that every result is made once."""
    tail = graph.tail
    if tail is None:
        return
    given = {*graph.outputs, *graph.inputs}
    if lost := [name for name in tail.inputs if name not in given]:
        raise GraphError(
            f"the host layers read {lost}",
            where=graph.name,
            rule="they read outputs of the NPU part and graph inputs",
        )
    known = set(tail.inputs)
    for layer in tail.layers:
        known.update(layer.outputs)
    if lost := [name for name in tail.results if name not in known and name not in graph.outputs]:
        raise GraphError(f"results {lost} are written by nothing", where=graph.name)
    if not tail.results or len(set(tail.results)) != len(tail.results):
        raise GraphError(
            f"the results are {list(tail.results)}",
            where=graph.name,
            rule="at least one, all different",
        )


def _verify_float(graph: Graph) -> None:
    for name, spec in graph.tensors.items():
        if not isinstance(spec.quant, Float):
            raise GraphError(
                f"tensor {name!r} is quantized",
                where=graph.name,
                rule="a float graph holds real numbers and plain integers",
            )
    for node in graph.nodes:
        if (node.engine, node.form, node.requant) != (None, None, None):
            raise GraphError(
                "the layer is placed already",
                where=node.name,
                rule="engine, form and requantization follow from quantized types",
            )


def _verify_parameters(spec: TensorSpec) -> None:
    """Check that a tensor's parameters are those of its type, and zero points are of the type."""
    kinds = PARAMETERS[spec.dtype]
    if not isinstance(spec.quant, kinds):
        raise GraphError(
            f"tensor {spec.name!r} is {spec.dtype.value} with {type(spec.quant).__name__}",
            rule=" or ".join(kind.__name__ for kind in kinds),
        )
    if isinstance(spec.quant, AffinePerChannel):
        axis, count = spec.quant.axis, len(spec.quant.scales)
        zeros = len(spec.quant.zero_points)
        if axis >= len(spec.shape) or spec.shape[axis] != count or zeros != count:
            raise GraphError(
                f"tensor {spec.name!r} of shape {spec.shape} has {count} scales and "
                f"{zeros} zero points on axis {axis}",
                rule="one of each for every index of the axis",
            )


def _verify_zero_points(spec: TensorSpec) -> None:
    if isinstance(spec.quant, Affine):
        zero_points: tuple[int, ...] = (spec.quant.zero_point,)
    elif isinstance(spec.quant, AffinePerChannel):
        zero_points = spec.quant.zero_points
    else:
        return
    bad = [zero for zero in zero_points if not spec.dtype.min <= zero <= spec.dtype.max]
    if bad:
        raise GraphError(
            f"tensor {spec.name!r} has the zero point {bad[0]}",
            rule=f"{spec.dtype.value} holds {spec.dtype.min} to {spec.dtype.max}",
        )


def _verify_attributes(node: Node) -> None:
    for field in fields(node.attrs):
        value = getattr(node.attrs, field.name)
        if not isinstance(value, float) or math.isfinite(value):
            continue
        if math.isnan(value) or not isinstance(node.attrs, ENDLESS):
            raise GraphError(
                f"{field.name} is {value}",
                where=node.name,
                rule="a finite number",
                remedy="the training failed or the file is damaged: make the model again",
            )


def _verify_bias(node: Node, graph: Graph) -> None:
    """Check a layer's weights and bias: one value a result, in steps of the sums."""
    if not isinstance(node.attrs, Conv2dAttrs | Deconv2dAttrs | FcAttrs):
        return
    if len(node.inputs) != OPERANDS:
        raise GraphError(
            f"{node.op} has {len(node.inputs)} inputs",
            where=node.name,
            rule=f"{OPERANDS} inputs: map, weights, bias",
        )
    ifm, weights, bias = (graph.spec(name) for name in node.inputs)
    for spec in (ifm, weights):
        if not spec.dtype.is_float and isinstance(spec.quant, Float):
            raise GraphError(
                f"{spec.name!r} holds {spec.dtype.value} without parameters",
                where=node.name,
                rule="integers that are multiplied stand for real numbers",
            )
    if bias.shape != weights.shape[:1]:
        raise GraphError(
            f"bias {bias.name!r} has shape {bias.shape}, the weights {weights.shape}",
            where=node.name,
            rule="one value for every result",
        )
    if isinstance(bias.quant, Float):
        return
    steps, own = _scales(ifm.quant)[0] * np.array(_scales(weights.quant)), _scales(bias.quant)
    if not np.allclose(own, steps, rtol=BIAS_SCALE_TOLERANCE, atol=0):
        raise GraphError(
            f"bias {bias.name!r} has scale {own[0]:g}, its sums have {steps[0]:g}",
            where=node.name,
            rule="a bias is stored in steps of the products: input scale times weight scale",
        )


def _verify_requant(node: Node, requant: Requant, ofm: TensorSpec) -> None:
    if requant.zero_point != zero_point_of(ofm.quant):
        raise GraphError(
            f"the requantization has zero point {requant.zero_point}, "
            f"{ofm.name!r} has {zero_point_of(ofm.quant)}",
            where=node.name,
            rule="sums are stored in the output's parameters",
        )
    if not 1 <= requant.multiplier <= LARGEST_MULTIPLIER:
        raise GraphError(
            f"the requantization has multiplier {requant.multiplier}",
            where=node.name,
            rule=f"1 to {LARGEST_MULTIPLIER}: a scale of 16 significant bits",
        )
    if abs(requant.shift) > LARGEST_SHIFT:
        raise GraphError(
            f"the requantization has shift {requant.shift}",
            where=node.name,
            rule=f"-{LARGEST_SHIFT} to {LARGEST_SHIFT}: a ratio of scales",
        )


def _scales(quant: Quant) -> tuple[float, ...]:
    return quant.scales if isinstance(quant, AffinePerChannel) else (scale_of(quant),)


def _verify_placed(graph: Graph) -> None:
    producers, consumers = graph.producers(), graph.consumers()
    for node in graph.nodes:
        if node.engine is None or node.form is None:
            raise GraphError("the layer has no engine or form", where=node.name)
        sums = node.engine in (Engine.NN, Engine.TP) and node.form in SUMMING_FORMS
        if sums is not (node.requant is not None):
            raise GraphError(
                f"{node.form.value} on {node.engine.value} "
                f"{'has no' if sums else 'has a'} requantization",
                where=node.name,
                rule="exactly the layers that accumulate on NN or TP have one",
            )
        if node.requant is not None:
            _verify_requant(node, node.requant, graph.spec(node.outputs[0]))
        if node.form is not Form.FUSED:
            continue
        carrier = producers.get(node.inputs[0])
        alone = consumers[node.inputs[0]] == [node] and node.inputs[0] not in graph.outputs
        if carrier is None or carrier.form not in CARRIERS or not alone:
            raise GraphError(
                "the layer is fused and its carrier is missing",
                where=node.name,
                rule="it alone reads a convolution or sum on NN",
            )
