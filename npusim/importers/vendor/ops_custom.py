"""Custom operators of the toolkit's own examples, as operators of the chip."""

from npusim.errors import ContainerError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.vendor.context import VendorContext, converter
from npusim.importers.vendor.network import Stored, VendorLayer
from npusim.importers.vendor.ops_weighted import pair
from npusim.ir.attrs import (
    NO_ATTRS,
    Attrs,
    EltwiseAttrs,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    TransposeAttrs,
)

TO_MAP, FROM_MAP = (0, 3, 1, 2), (0, 2, 3, 1)


@converter("RESIZEAREA")
def resize_area(layer: VendorLayer, context: VendorContext) -> None:
    """Mean of the area that an element covers, on (1, H, W, C); the batch is left out behind it."""
    context.need(layer, 1)
    shape = context.shape(layer.inputs[0])
    if len(shape) != 4 or shape[0] != 1:
        raise ContainerError(f"the input is {shape}", where=layer.where, rule="(1, H, W, C)")
    size, (height, width) = pair(layer, "size"), shape[1:3]
    form = layer.formats[0]
    data = _step(layer, context, "transpose", (layer.inputs[0],), TransposeAttrs(perm=TO_MAP))
    if not (size[0] % height or size[1] % width):
        attrs: Attrs = ResizeAttrs(size=size, mode=ResizeMode.NEAREST)
        data = _step(layer, context, "resize", (data,), attrs)
    elif not (height % size[0] or width % size[1]):
        step = (height // size[0], width // size[1])
        attrs = Pool2dAttrs(kind=PoolKind.AVG, kernel=step, stride=step)
        data = _step(layer, context, "pool2d", (data,), attrs)
    else:
        raise UnsupportedForm(
            f"it goes from {height}x{width} to {size[0]}x{size[1]}", "whole factors are known"
        )
    turned = TransposeAttrs(perm=FROM_MAP)
    data = context.emit(layer, "transpose", (data,), turned, part="back", form=form)
    context.emit(layer, "reshape", (data,), ReshapeAttrs(shape=(*size, shape[3])))


@converter("TRUNCATEDIV")
def truncated_quotient(layer: VendorLayer, context: VendorContext) -> None:
    """Quotient without its fraction: what is above 0 cut down, what is below cut up."""
    context.need(layer, 2)
    quotient = _step(layer, context, "div", layer.inputs, EltwiseAttrs())
    above = _step(layer, context, "relu", (quotient,))
    below = _step(layer, context, "relu", (_step(layer, context, "neg", (quotient,)),), part="low")
    cut = [
        _step(layer, context, "floor", (value,), part=f"cut{i}")
        for i, value in enumerate((above, below))
    ]
    context.emit(layer, "sub", cut, EltwiseAttrs())


def _step(
    layer: VendorLayer,
    context: VendorContext,
    op: str,
    inputs: tuple[str, ...],
    attrs: Attrs = NO_ATTRS,
    *,
    part: str = "",
) -> str:
    form: Stored = layer.formats[0]
    return context.emit(layer, op, inputs, attrs, part=part or op, form=form)
