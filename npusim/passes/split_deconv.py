"""Transposed convolutions as release 1.7.3 lowers them: spread the pixels, then convolve.

Source: two of two such layers in a real 1.7.3 file, docs/quantization.md.
"""

from dataclasses import replace

import numpy as np

from npusim.ir.attrs import Conv2dAttrs, Deconv2dAttrs
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def
from npusim.passes.rewrite import add_constant, is_real

STRIDE = (2, 2)
KERNEL = (2, 2)


def split_deconv(graph: Graph) -> Graph:
    """Replace transposed convolutions of 2x2 with stride 2 by two layers.

    ``<layer id>_plane`` is a transposed convolution of 1x1 with identity weights: the pixels, two
    apart, zeros between them. ``<layer id>_dual_conv`` is a convolution of 2x2 with the kernel
    turned round, one zero on every side, and the bias. Their numbers come after all others and the
    inputs', those of the last transposed convolution first. Other kernels and strides stay: no file
    shows them.
    """
    graph = graph.copy()
    uid = max((node.uid for node in graph.nodes), default=0) + len(graph.inputs)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if not _is_split(graph, node):
            nodes.append(node)
            continue
        plane, dual = _two_layers(graph, node, uid)
        nodes += [dual, plane]
        uid += 2
    return graph.copy(nodes=tuple(reversed(nodes)))


def _is_split(graph: Graph, node: Node) -> bool:
    attrs = node.attrs
    return (
        isinstance(attrs, Deconv2dAttrs)
        and all(graph.is_constant(name) for name in node.inputs[1:])
        and is_real(graph, *node.inputs)
        and graph.constants[node.inputs[1]].shape[2:] == KERNEL
        and attrs == Deconv2dAttrs(stride=STRIDE)
    )


def _two_layers(graph: Graph, node: Node, uid: int) -> tuple[Node, Node]:
    data, weights, bias = node.inputs
    batch, channels, height, width = graph.spec(data).shape
    spread = f"{node.layer_id}_plane"
    graph.tensors[spread] = TensorSpec(
        name=spread, shape=(batch, channels, 2 * height - 1, 2 * width - 1)
    )
    identity = np.eye(channels).reshape(channels, channels, 1, 1)
    turned = graph.constants[weights][:, :, ::-1, ::-1]
    plane = replace(
        node,
        name=spread,
        uid=uid + 1,
        inputs=(
            data,
            add_constant(graph, f"{spread}.weights", identity),
            add_constant(graph, f"{spread}.bias", np.zeros(channels)),
        ),
        outputs=(spread,),
    )
    dual = replace(
        node,
        name=f"{node.layer_id}_dual_conv",
        op="conv2d",
        uid=uid + 2,
        inputs=(spread, add_constant(graph, f"{node.layer_id}_dual_conv.weights", turned), bias),
        attrs=Conv2dAttrs(pad=(1, 1, 1, 1)),
    )
    return plane, dual


def dual_results(graph: Graph) -> set[str]:
    """Return the results of dual convolutions, and of constants applied to them.

    The release folds nothing into such a convolution: what follows stays a layer of its own.
    """
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "conv2d":
            is_one = node.name.endswith("_dual_conv") and node.inputs[0].endswith("_plane")
        elif op_def(node.op).elementwise or node.op == "batch_norm":
            sources = graph.activations(node)
            is_one = len(sources) == 1 and sources[0] in found
        else:
            is_one = False
        if is_one:
            found.update(node.outputs)
    return found
