"""Bias correction: the mean error that rounded weights make, taken out of the bias.

Quantized weights differ from the float ones by ``e``; over many inputs that shifts a channel's
output by ``e . E[x]``. The mean input of each channel is measured on the calibration samples, and
the shift is subtracted from the bias before it is quantized.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV
2019, section 4.2. The paper derives E[x] from batch normalisation; here it is measured, as if
padding did not exist.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.codes import dequantize
from npusim.ir.graph import Graph, Node
from npusim.ops import op_def
from npusim.passes.rewrite import add_constant
from npusim.quantization.apply import Formats
from npusim.quantization.channel_stats import ChannelStats
from npusim.quantization.schemes import Scheme, WeightQuantizer


def corrected_layers(graph: Graph, formats: Formats) -> tuple[Node, ...]:
    """Return the layers whose bias is corrected: integer, with constant weights."""
    return tuple(
        node
        for node in graph.nodes
        if op_def(node.op).weighted
        and formats.scheme_of(node) is not Scheme.F16
        and all(graph.is_constant(name) for name in node.inputs[1:])
    )


def correct_bias(
    graph: Graph, formats: Formats, stats: Mapping[str, ChannelStats]
) -> tuple[Graph, int]:
    """Return the float graph with corrected biases, and how many layers have one.

    Parameters
    ----------
    graph : Graph
        Float graph after the float passes.
    formats : Formats
        Number formats that the graph is about to get.
    stats : mapping
        Statistics of the first input of every layer of ``corrected_layers``.
    """
    graph = graph.copy()
    changed: dict[str, Node] = {}
    for node in corrected_layers(graph, formats):
        data, weights, bias = node.inputs
        if data not in stats:
            continue
        value = graph.constants[weights]
        quantizer = WeightQuantizer(scheme=formats.scheme_of(node))
        integers, quant = quantizer.weights(value, formats.quants.get(weights))
        error = dequantize(integers, quant).astype(np.float64) - value.astype(np.float64)
        shift = mean_shift(error, stats[data].mean, getattr(node.attrs, "group", 1))
        name = add_constant(
            graph, f"{bias}.corrected", graph.constants[bias].astype(np.float64) - shift
        )
        changed[node.name] = replace(node, inputs=(data, weights, name))
    return graph.copy(nodes=tuple(changed.get(n.name, n) for n in graph.nodes)), len(changed)


def mean_shift(
    error: NDArray[Any], mean: NDArray[np.float64], group: int = 1
) -> NDArray[np.float64]:
    """Return the mean change of each output channel.

    Parameters
    ----------
    error : ndarray
        (O, C / group, ..): quantized minus float weights.
    mean : ndarray
        (C): mean of each input channel.
    group : int
        Groups of the convolution.
    """
    taps = error.reshape(error.shape[0], error.shape[1], -1).sum(2)  # (O, C / group)
    rows = taps.reshape(group, -1, taps.shape[1])
    return np.asarray(np.einsum("goc,gc->go", rows, mean.reshape(group, -1)).reshape(-1))
