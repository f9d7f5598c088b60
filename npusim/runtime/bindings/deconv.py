"""Transposed convolution on NN and shader: one plain convolution per phase of the output.

``ofm[s * y + i - pad] += ifm[y] * weights[i]``: the outputs of one residue modulo the stride are a
plain convolution with every s-th kernel row, visited from the last to the first (the order of the
flipped kernel over the zero-stuffed input; products with stuffed zeros change no sum).
Source: measured, docs/arithmetic/nn.md rule 1.9.
"""

from npusim.ir.attrs import Activation, Deconv2dAttrs
from npusim.ir.graph import Engine, Graph, Node
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.nn_layer import nn_layer
from npusim.runtime.convolution.phases import Convolution, Phase, constant, store_of


@binding("deconv2d", engine=Engine.NN)
@binding("deconv2d", engine=Engine.SHADER)
def bind_deconv2d(node: Node, graph: Graph) -> Step:
    """Pack one sub-kernel per phase."""
    attrs = node.attrs
    assert isinstance(attrs, Deconv2dAttrs)  # by the operator's definition
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    weights = constant(node, graph, 1)
    requant, scales = store_of(node, graph)
    pads = (attrs.pad[0], attrs.pad[2])
    rows, columns = (
        [
            axis_phase(weights.shape[2 + i], attrs.stride[i], attrs.dilation[i], pads[i], first)
            for first in range(min(attrs.stride[i], ofm.shape[2 + i]))
        ]
        for i in range(2)
    )
    phases = tuple(
        Phase(
            taps=tuple((i, j) for i, _ in row_taps for j, _ in column_taps),
            places=tuple((y, x) for _, y in row_taps for _, x in column_taps),
            pad_before=(row_pad, column_pad),
            out_size=(
                len(range(y_start, ofm.shape[2], attrs.stride[0])),
                len(range(x_start, ofm.shape[3], attrs.stride[1])),
            ),
            out_step=attrs.stride,
            out_start=(y_start, x_start),
        )
        for y_start, (row_taps, row_pad) in enumerate(rows)
        for x_start, (column_taps, column_pad) in enumerate(columns)
    )
    return nn_layer(
        Convolution(
            where=f"layer {node.name!r}",
            ifm=ifm,
            ofm=ofm,
            weights=weights,
            weights_quant=graph.spec(node.inputs[1]).quant,
            bias=constant(node, graph, 2),
            requant=requant,
            scales=scales,
            phases=phases,
            groups=attrs.group,
            relu=attrs.activation is not Activation.NONE,
        )
    )


def axis_phase(
    kernel: int, stride: int, dilation: int, pad: int, first: int
) -> tuple[list[tuple[int, int]], int]:
    """Return what the outputs first, first + stride, .. read along one axis.

    Returns
    -------
    taps : list of (kernel position, input position from the window's start)
        Ascending input position; empty when no kernel position reaches these outputs.
    pad_before : int
        Where the window of output ``first`` starts: at input ``-pad_before``.
    """
    reach = [
        (i, (first + pad - i * dilation) // stride)
        for i in reversed(range(kernel))
        if (first + pad - i * dilation) % stride == 0
    ]
    if not reach:
        return [], 0
    start = reach[0][1]
    return [(i, place - start) for i, place in reach], -start
