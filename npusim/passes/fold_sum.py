"""A known addend behind a convolution becomes part of its bias, as the driver does it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Activation
from npusim.ir.codes import dequantize, quantize
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.ir.quant import AffinePerChannel
from npusim.passes.draft import Draft
from npusim.passes.rewrite import is_real, with_output_of


def fold_sum(graph: Graph) -> Graph:
    """Add constants of sums to the biases of stored convolutions that only those sums read.

    The layer stores in the sum's quantization, in one rounding: ``bias + rint(c / (s_in * s_w))``,
    in float16 ``bias + c``. Float graphs fold sums into real weights before
    (``fold_affine``); this is for what is left and for models that came quantized.
    Source: measured, docs/arithmetic/whole-networks.md rule 1.2.
    """
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op == "add":
            _fold(draft, node)
    return draft.done()


def _fold(draft: Draft, node: Node) -> None:
    graph = draft.graph
    known = [name for name in node.inputs if graph.is_constant(name)]
    data = graph.activations(node)
    conv = draft.producer_of(data[0], "conv2d") if len(known) == len(data) == 1 else None
    if conv is None or not draft.is_private(data[0]) or is_real(graph, data[0]):
        return
    activations = {getattr(n.attrs, "activation", Activation.NONE) for n in (conv, node)}
    before, after = graph.spec(data[0]), graph.spec(node.outputs[0])
    addend = _per_channel(graph, known[0], before.shape)
    weights, bias = (graph.spec(name) for name in conv.inputs[1:])
    if (
        addend is None
        or activations != {Activation.NONE}
        or before.dtype is not after.dtype
        or isinstance(weights.quant, AffinePerChannel)
        or not graph.is_constant(bias.name)
    ):
        return
    name = fresh(graph, f"{node.name}.bias")
    value = graph.constants[bias.name].astype(np.int64 if not bias.dtype.is_float else np.float64)
    if bias.dtype.is_float:
        graph.constants[name] = (value + addend).astype(bias.dtype.numpy)
    else:
        steps = quantize(addend, bias.dtype, bias.quant).astype(np.int64)
        limits = bias.dtype.min, bias.dtype.max
        graph.constants[name] = np.clip(value + steps, *limits).astype(bias.dtype.numpy)
    graph.tensors[name] = replace(bias, name=name)
    fused = with_output_of(conv, node, inputs=(*conv.inputs[:2], name))
    draft.replace((conv, node), fused)


def _per_channel(graph: Graph, tensor: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Return the real values of a constant as one a channel, when it has no more than that."""
    value = graph.constants[tensor]
    padded = (1,) * (len(shape) - value.ndim) + value.shape
    if len(padded) != len(shape) or any(n != 1 for axis, n in enumerate(padded) if axis != 1):
        return None
    real = dequantize(value, graph.spec(tensor).quant).astype(np.float64)
    return np.broadcast_to(real.reshape(-1), (shape[1],))
