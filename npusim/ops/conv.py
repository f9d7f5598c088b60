"""Convolution, transposed convolution, fully connected, matrix product."""

from collections.abc import Sequence
from math import prod

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Conv2dAttrs, Deconv2dAttrs, FcAttrs, MatmulAttrs
from npusim.ir.tensor import Shape
from npusim.ops.checks import require_reach
from npusim.ops.registry import register
from npusim.ops.traits import Traits


def _conv_macs(attrs: Conv2dAttrs, ins: Sequence[Shape], out: Shape) -> int:
    return prod(out) * prod(ins[1][1:])


@register(
    "conv2d",
    Conv2dAttrs,
    "convolution; grouped and depthwise forms included",
    Traits(weighted=True, accumulates=True, layer_class="ConvolutionReluPoolingLayer2"),
    inputs=3,
    macs=_conv_macs,  # type: ignore[arg-type]
)
def conv2d(attrs: Conv2dAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W), (O,C/group,kh,kw), (O) -> (N,O,OH,OW)."""
    ifm, weights, bias = ins
    if len(ifm) != 4 or len(weights) != 4:
        raise GraphError(f"ifm {ifm} and weights {weights} must have four axes")
    if ifm[1] != weights[1] * attrs.group or weights[0] % attrs.group:
        raise GraphError(
            f"ifm {ifm}, weights {weights} and group {attrs.group} do not fit",
            rule="in_c = weights[1] * group and out_c is a multiple of group",
        )
    if bias != (weights[0],):
        raise GraphError(f"bias {bias} does not have one value per output channel {weights[0]}")
    top, bottom, left, right = attrs.pad
    (step_y, step_x), (apart_y, apart_x) = attrs.stride, attrs.dilation
    rows = (ifm[2] + top + bottom - (weights[2] - 1) * apart_y - 1) // step_y + 1
    columns = (ifm[3] + left + right - (weights[3] - 1) * apart_x - 1) // step_x + 1
    if rows < 1 or columns < 1:
        raise GraphError(
            f"kernel {weights[2:]} with dilation {attrs.dilation} is larger than the padded "
            f"input {ifm[2:]} + pad {attrs.pad}"
        )
    places = (rows, columns)
    require_reach(ifm, attrs.pad, _reach(attrs, weights, places), "pads, strides and dilations")
    return ((ifm[0], weights[0], rows, columns),)


def _reach(attrs: Conv2dAttrs | Deconv2dAttrs, weights: Shape, places: Shape) -> tuple[int, int]:
    """Return the rows and columns from the first window's begin to the last one's end."""
    (step_y, step_x), (apart_y, apart_x) = attrs.stride, attrs.dilation
    return (
        (places[0] - 1) * step_y + (weights[2] - 1) * apart_y + 1,
        (places[1] - 1) * step_x + (weights[3] - 1) * apart_x + 1,
    )


def _deconv_macs(attrs: Deconv2dAttrs, ins: Sequence[Shape], out: Shape) -> int:
    return prod(ins[0]) * prod(ins[1]) // ins[0][1] if ins[0][1] else 0


@register(
    "deconv2d",
    Deconv2dAttrs,
    "transposed convolution",
    Traits(
        weighted=True,
        accumulates=True,
        toolkit="DECONVOLUTION",
        layer_class="DeConvolutionLayer",
        kernel="deconvolution.layer",
    ),
    inputs=3,
    macs=_deconv_macs,  # type: ignore[arg-type]
)
def deconv2d(attrs: Deconv2dAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W), (O,C/group,kh,kw), (O) -> (N,O,OH,OW)."""
    ifm, weights, bias = ins
    if len(ifm) != 4 or len(weights) != 4 or ifm[1] != weights[1] * attrs.group:
        raise GraphError(f"ifm {ifm}, weights {weights} and group {attrs.group} do not fit")
    if bias != (weights[0],):
        raise GraphError(f"bias {bias} does not have one value per output channel {weights[0]}")
    top, bottom, left, right = attrs.pad
    spatial = [
        (size - 1) * stride + (kernel - 1) * dilation + 1 + extra - pad
        for size, kernel, stride, dilation, extra, pad in zip(
            ifm[2:],
            weights[2:],
            attrs.stride,
            attrs.dilation,
            attrs.output_pad,
            (top + bottom, left + right),
            strict=True,
        )
    ]
    if min(spatial) < 1:
        raise GraphError(f"pad {attrs.pad} leaves no output for input {ifm} and kernel {weights}")
    full = _reach(attrs, weights, ifm[2:])
    require_reach((ifm[0], weights[0], *spatial), attrs.pad, full, "pads, strides and dilations")
    return ((ifm[0], weights[0], spatial[0], spatial[1]),)


def _fc_macs(attrs: FcAttrs, ins: Sequence[Shape], out: Shape) -> int:
    return prod(out) * ins[1][1]


@register(
    "fc",
    FcAttrs,
    "fully connected layer",
    Traits(
        weighted=True,
        accumulates=True,
        toolkit="FCL",
        layer_class="FullyConnectedReluLayer",
        kernel="fullyconnected.relu.layer",
    ),
    inputs=3,
    macs=_fc_macs,  # type: ignore[arg-type]
)
def fc(attrs: FcAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(.., K), (O, K), (O) -> (.., O)."""
    ifm, weights, bias = ins
    if not ifm or len(weights) != 2 or ifm[-1] != weights[1] or bias != (weights[0],):
        raise GraphError(
            f"ifm {ifm}, weights {weights} and bias {bias} do not fit",
            rule="(.., K), (O, K), (O)",
        )
    return ((*ifm[:-1], weights[0]),)


def _matmul_macs(attrs: MatmulAttrs, ins: Sequence[Shape], out: Shape) -> int:
    return prod(out) * ins[0][-2 if attrs.transpose_a else -1]


@register(
    "matmul",
    MatmulAttrs,
    "product of two activations (i16 with b transposed: the chip's sums wrap, not modelled)",
    Traits(toolkit="MATRIXMUL"),
    inputs=2,
    macs=_matmul_macs,  # type: ignore[arg-type]
)
def matmul(attrs: MatmulAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(.., M, K), (.., K, N) -> (.., M, N), leading axes broadcast."""
    a, b = ins
    if len(a) < 2 or len(b) < 2:
        raise GraphError(f"operands {a} and {b} need at least two axes")
    rows, inner_a = (a[-1], a[-2]) if attrs.transpose_a else (a[-2], a[-1])
    inner_b, cols = (b[-1], b[-2]) if attrs.transpose_b else (b[-2], b[-1])
    if inner_a != inner_b:
        raise GraphError(f"inner sizes of {a} and {b} differ: {inner_a} and {inner_b}")
    try:
        lead = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise GraphError(f"leading axes of {a} and {b} do not broadcast") from None
    return ((*lead, rows, cols),)


def counts_last_product_again(attrs: MatmulAttrs, right: tuple[int, ...]) -> bool:
    """Tell whether the shader's matrix product adds its last product five times.

    ``right`` is the shape of the second operand as it is multiplied, (.., K, N).
    Source: measured, docs/arithmetic/shader.md rule 5.3.
    """
    return attrs.transpose_b and right[-1] % 4 == 0 and right[-2] % 8 == 4
