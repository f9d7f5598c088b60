"""Pooling by Caffe's rules for sizes, borders and divisors."""

import math

from npusim.errors import ModelImportError
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.caffe.ops_conv import Pair, image_shape, pair
from npusim.importers.caffe.schema import Record
from npusim.importers.common.builder import UnsupportedForm
from npusim.ir.attrs import AxisAttrs, GlobalPoolAttrs, PadAttrs, Pool2dAttrs, PoolKind

_KINDS = {"MAX": PoolKind.MAX, "AVE": PoolKind.AVG}
_LOWEST = -3.4028234663852886e38


def kind_of(layer: CaffeLayer, record: Record) -> PoolKind:
    """Return the kind of a pooling."""
    word = record.text("pool", "MAX")
    if word not in _KINDS:
        raise UnsupportedForm(f"pool {word}", "use MAX or AVE")
    return _KINDS[word]


@converter("Pooling")
def pooling(layer: CaffeLayer, context: CaffeContext) -> None:
    """Window or global pooling; sizes are rounded up unless the file says otherwise."""
    if len(layer.outputs) > 1:
        raise UnsupportedForm("its second top (the mask) is used", "unpool by Upsample with scale")
    needs(layer, 1)
    record = layer.parameters("pooling_param")
    kind = kind_of(layer, record)
    image_shape(layer, context, layer.inputs[0])
    if record.flag("global_pooling"):
        _refuse_window(layer, record)
        attrs = GlobalPoolAttrs(kind=kind)
        context.emit(layer, "global_pool", layer.inputs, attrs)
        return
    kernel = pair(layer, record, "kernel_size", -1)
    stride, pad = pair(layer, record, "stride", 1), pair(layer, record, "pad", 0)
    up = record.flag("ceil_mode", True)
    if record.has("round_mode"):
        up = record.text("round_mode") == "CEIL"
    pool(layer, context, layer.inputs[0], kind, kernel, stride, pad, up=up)


def _refuse_window(layer: CaffeLayer, record: Record) -> None:
    for name, neutral in (("kernel", 0), ("pad", 0), ("stride", 1)):
        for field in (f"{name}_size", name, f"{name}_h", f"{name}_w"):
            wrong = record.has(field) and (name == "kernel" or record.whole(field) != neutral)
            if wrong:
                raise ModelImportError(
                    f"global_pooling and {field} are given",
                    where=layer.where,
                    rule="a global pooling has no kernel, pad 0 and stride 1",
                    remedy="remove one of the two",
                )


def pool(
    layer: CaffeLayer,
    context: CaffeContext,
    source: str,
    kind: PoolKind,
    kernel: Pair,
    stride: Pair,
    pad: Pair,
    *,
    up: bool = True,
    part: str = "",
) -> str:
    """Emit a pooling as Caffe computes it and return its tensor.

    With a pad on either axis, windows that begin behind the input are dropped; without pads they
    stay and give the lowest float (MAX); averages of nothing (AVE) are refused. An average divides
    by the window cut to the padded input, at the far border to one pad only.
    """
    if any(p >= k for p, k in zip(pad, kernel, strict=True)) and any(pad):
        raise ModelImportError(
            f"pad {pad} and kernel {kernel}", where=layer.where, rule="pad is below the kernel"
        )
    size, front = context.shape(source)[2:], [0, 0]
    counts, beyond = [], []
    for axis in (0, 1):
        reach = (size[axis] + 2 * pad[axis] - kernel[axis]) / stride[axis]
        count = (math.ceil(reach) if up else math.floor(reach)) + 1
        outside = (count - 1) * stride[axis] >= size[axis] + pad[axis]
        counts.append(count - outside)
        beyond.append(int(outside and not any(pad)))
    average = kind is PoolKind.AVG
    if average and any(beyond):
        raise ModelImportError(
            f"its last windows begin behind the input of {size[0]}x{size[1]}: averages of nothing",
            where=layer.where,
            rule="without a pad Caffe rounds the number of windows up and divides zero by zero",
            remedy="round_mode: FLOOR leaves these windows out",
        )
    ends = [(n - 1) * s + k for n, s, k in zip(counts, stride, kernel, strict=True)]
    back = [max(0, end - n - p) for end, n, p in zip(ends, size, pad, strict=True)]
    if average and any(pad) and any(b > p for b, p in zip(back, pad, strict=True)):
        # one pad counts, what lies behind it does not: make the first real
        zeros = (0, 0, *pad)
        source = context.emit(
            layer, "pad", (source,), PadAttrs(front=zeros, back=zeros), part=f"{part}padded"
        )
        back = [max(0, b - p) for b, p in zip(back, pad, strict=True)]
    else:
        front = list(pad)
    attrs = Pool2dAttrs(
        kind=kind,
        kernel=kernel,
        stride=stride,
        pad=(front[0], back[0], front[1], back[1]),
        count_include_pad=average and any(front),
    )
    inner = f"{part}inside" if any(beyond) else part
    out = context.emit(layer, "pool2d", (source,), attrs, part=inner)
    if not any(beyond):
        return out
    missing = PadAttrs(front=(0, 0, 0, 0), back=(0, 0, *beyond), value=_LOWEST)
    return context.emit(layer, "pad", (out,), missing, part=part)


@converter("SPP")
def pyramid(layer: CaffeLayer, context: CaffeContext) -> None:
    """Poolings to 1, 4, 16, .. cells, side by side."""
    needs(layer, 1)
    record = layer.parameters("spp_param")
    n, channels, height, width = image_shape(layer, context, layer.inputs[0])
    levels = record.whole("pyramid_height")
    if not 1 <= levels <= 16:
        raise ModelImportError(f"pyramid_height is {levels}", where=layer.where, rule="1 to 16")
    rows = []
    for level in range(levels):
        bins = 1 << level
        kernel = (-(-height // bins), -(-width // bins))
        pad = (
            (kernel[0] * bins - height + 1) // 2,
            (kernel[1] * bins - width + 1) // 2,
        )
        part = f"level_{level}"
        kind = kind_of(layer, record)
        out = pool(layer, context, layer.inputs[0], kind, kernel, kernel, pad, part=part)
        shape = context.shape(out)
        flat = (n, channels * shape[2] * shape[3])
        last = levels == 1
        rows.append(context.reshape(layer, out, flat, part="" if last else f"{part}/row"))
    if levels > 1:
        context.emit(layer, "concat", rows, AxisAttrs(axis=1))
