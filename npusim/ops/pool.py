"""Pooling."""

from collections.abc import Sequence
from dataclasses import replace

from npusim.errors import GraphError
from npusim.ir.attrs import GlobalPoolAttrs, Pool2dAttrs, PoolKind
from npusim.ir.tensor import Shape
from npusim.ops.checks import require_reach
from npusim.ops.registry import register
from npusim.ops.traits import Traits, kind_is


def _hides(attrs: Pool2dAttrs | GlobalPoolAttrs) -> int:
    return 1 if attrs.kind is PoolKind.MAX else 0


_POOL = Traits(
    keeps_codes=kind_is("kind", PoolKind.MAX),
    averages=kind_is("kind", PoolKind.AVG),
    hides=_hides,
    homogeneous=True,
    keeps_sign=True,
    keeps_channels=True,
    toolkit="POOL",
    layer_class="PoolingLayer2",
    kernel="pooling.layer2",
)


@register("pool2d", Pool2dAttrs, "max or average pooling over a window", _POOL)
def pool2d(attrs: Pool2dAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W) -> (N,C,OH,OW)."""
    (ifm,) = ins
    if len(ifm) != 4:
        raise GraphError(f"ifm {ifm} must have four axes")
    top, bottom, left, right = attrs.pad
    spatial, extent = [], []
    for size, kernel, stride, before, after in zip(
        ifm[2:], attrs.kernel, attrs.stride, (top, left), (bottom, right), strict=True
    ):
        reach = size + before + after - kernel
        length = (-(-reach // stride) if attrs.ceil_mode else reach // stride) + 1
        if attrs.ceil_mode and (length - 1) * stride >= size + before:
            length -= 1  # a window that starts beyond the input and its front padding is dropped
        if length < 1:
            raise GraphError(f"window {attrs.kernel} is larger than input {ifm} + pad {attrs.pad}")
        spatial.append(length)
        extent.append((length - 1) * stride + kernel)
    require_reach(ifm, attrs.pad, (extent[0], extent[1]), "windows, strides and pads")
    return ((ifm[0], ifm[1], spatial[0], spatial[1]),)


def windows_overhang(attrs: Pool2dAttrs, ifm: Shape, ofm: Shape) -> bool:
    """Tell whether a window reaches beyond the padded input, as ``ceil_mode`` allows."""
    ends = zip(
        ifm[2:], ofm[2:], attrs.kernel, attrs.stride, attrs.pad[::2], attrs.pad[1::2], strict=True
    )
    return any(
        (length - 1) * stride + kernel > before + size + after
        for size, length, kernel, stride, before, after in ends
    )


def reads_pads_only(attrs: Pool2dAttrs, ifm: Shape, ofm: Shape) -> bool:
    """Tell whether a window lies in the padding: it has no maximum."""
    axes = zip(ifm[2:], ofm[2:], attrs.kernel, attrs.stride, attrs.pad[::2], strict=True)
    return any(
        kernel <= before or (length - 1) * stride >= before + size
        for size, length, kernel, stride, before in axes
    )


PIXELS_SUMMED = 64  # by the program for float16 averages of small whole maps
MOST_ROWS, MOST_COLUMNS = 13, 8  # of the maps that it is chosen for


def leaves_pixels_out(size: Shape) -> bool:
    """Tell whether the shader's float16 average of a whole map of (rows, columns) is incomplete.

    It adds the first 64 pixels, row after row, and divides by the number of all. Source: measured,
    docs/arithmetic/shader.md rule 6.5.
    """
    rows, columns = size
    return rows <= MOST_ROWS and columns <= MOST_COLUMNS and rows * columns > PIXELS_SUMMED


@register(
    "global_pool",
    GlobalPoolAttrs,
    "max or average over the whole feature map",
    replace(_POOL, golden="globalpool"),
)
def global_pool(attrs: GlobalPoolAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W) -> (N,C,1,1)."""
    (ifm,) = ins
    if len(ifm) != 4:
        raise GraphError(f"ifm {ifm} must have four axes")
    return ((ifm[0], ifm[1], 1, 1),)
