"""Pooling by MXNet's conventions for sizes, borders and divisors."""

import math
from itertools import pairwise
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import check_elements
from npusim.importers.common.layers import times
from npusim.importers.common.made import check_made
from npusim.importers.mxnet.context import MxContext, converter, needs, refuse_layout
from npusim.importers.mxnet.ops_conv import Sizes, kernel_of, sizes_of, spatial
from npusim.importers.mxnet.ops_unary import cube_root
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import (
    Attrs,
    GlobalPoolAttrs,
    MatmulAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
)

_LOWEST = -3.4028234663852886e38
_KINDS = ("max", "avg", "sum", "lp")
CONVENTIONS = ("valid", "full", "same")


@converter("Pooling", "Pooling_v1")
def pooling(node: MxNode, context: MxContext) -> None:
    """Maximum, mean, sum or length of windows or of the whole map."""
    needs(node, 1)
    refuse_layout(node)
    kind = node.attributes.text("pool_type", "max")
    if kind not in _KINDS:
        raise ModelImportError(
            f"pool_type is {kind!r}", where=node.where, rule=f"one of {', '.join(_KINDS)}"
        )
    shape = spatial(node, context)
    power = node.attributes.whole("p_value", 2) if kind == "lp" else 0
    if kind == "lp" and power not in (1, 2, 3):
        raise ModelImportError(f"p_value is {power}", where=node.where, rule="1, 2 or 3")
    source = node.inputs[0]
    if power == 2:
        source = context.emit(node, "square", (source,), part="power")
    elif power == 3:
        square = context.emit(node, "square", (source,), part="square")
        source = context.binary(node, "mul", square, source, part="power")
    if node.attributes.flag("global_pool"):
        axes = ReduceAttrs(axes=tuple(range(2, len(shape))))
        op = {"max": "reduce_max", "avg": "reduce_mean"}.get(kind, "reduce_sum")
        part = "sum" if power > 1 else ""
        if len(shape) == 4 and op != "reduce_sum":
            attrs = _global(kind)
            out = context.emit(node, "global_pool", (source,), attrs)
        else:
            out = context.emit(node, op, (source,), axes, part=part)
    else:
        out = _windows(node, context, source, kind, power)
    if power == 2:
        context.emit(node, "sqrt", (out,))
    elif power == 3:
        cube_root(node, context, out)


def _global(kind: str) -> Attrs:
    return GlobalPoolAttrs(kind=PoolKind.MAX if kind == "max" else PoolKind.AVG)


def _windows(node: MxNode, context: MxContext, source: str, kind: str, power: int) -> str:
    """Pool windows; of three spatial axes the depth comes second, which gives the same."""
    shape = context.shape(source)
    kernel, rank = kernel_of(node, shape), len(shape) - 2
    stride, pad = sizes_of(node, "stride", rank, 1), sizes_of(node, "pad", rank, 0, lowest=0)
    convention = node.attributes.text("pooling_convention", "valid")
    if convention not in CONVENTIONS or (convention == "same" and rank > 1):
        raise ModelImportError(
            f"pooling_convention is {convention!r} for {rank} spatial axes",
            where=node.where,
            rule="valid or full; same for one spatial axis only",
        )
    if any(p >= k for p, k in zip(pad, kernel, strict=True) if p):
        raise ModelImportError(
            f"pad {pad} and kernel {kernel}", where=node.where, rule="pad is below the kernel"
        )
    n, channels, *sizes = shape
    last = "" if power < 2 else "sum"
    if rank == 3:
        flat = (n, channels * sizes[0], *sizes[1:])
        x = context.reshape(node, source, flat, part="images")
        x = _pool(node, context, x, kind, convention, (kernel[1:], stride[1:], pad[1:]), "in_2d")
        high, wide = context.shape(x)[2:]
        deep = (n, channels, sizes[0], high * wide)
        x = context.reshape(node, x, deep, part="depths")
        depth = ((kernel[0], 1), (stride[0], 1), (pad[0], 0))
        x = _pool(node, context, x, kind, convention, depth, "pooled")
        return context.reshape(node, x, (n, channels, context.shape(x)[2], high, wide), part=last)
    if rank == 2:
        return _pool(node, context, source, kind, convention, (kernel, stride, pad), last)
    tall = context.reshape(node, source, (n, channels, 1, sizes[0]), part="tall")
    windows = ((1, *kernel), (1, *stride), (0, *pad))
    x = _pool(node, context, tall, kind, convention, windows, "in_2d")
    return context.reshape(node, x, (n, channels, context.shape(x)[3]), part=last)


def _pool(
    node: MxNode,
    context: MxContext,
    source: str,
    kind: str,
    convention: str,
    windows: tuple[Sizes, Sizes, Sizes],
    part: str,
) -> str:
    """Emit a pooling of two axes.

    A mean divides by the window cut to the padded input, or to the input. Windows that touch no
    element stay: the lowest float for a maximum, zero else.
    """
    kernel, stride, pad = windows
    size = context.shape(source)[2:]
    counts, beyond = [], []
    for n, k, s, p in zip(size, kernel, stride, pad, strict=True):
        if n + 2 * p < k and convention != "same":
            raise ModelImportError(
                f"kernel {kernel} is larger than the padded input {size}",
                where=node.where,
                rule="a window fits",
            )
        reach = (n / s - 1) if convention == "same" else (n + 2 * p - k) / s
        count = (math.floor(reach) if convention == "valid" else math.ceil(reach)) + 1
        inside = min(count, -(-(n + p) // s))  # windows that begin in front of the last element
        counts.append(inside)
        beyond.append(count - inside)
    ends = [(n - 1) * s + k for n, s, k in zip(counts, stride, kernel, strict=True)]
    back = [max(0, end - n - p) for end, n, p in zip(ends, size, pad, strict=True)]
    front = list(pad)
    average = kind != "max"
    counted = kind != "avg" or node.attributes.flag("count_include_pad", True)
    summed = kind in ("sum", "lp")
    behind = "" if not (any(beyond) or summed) else "inside"
    name = f"{part}_{behind}" if part and behind else behind or part
    if average and (summed or (counted and any(b > p for b, p in zip(back, pad, strict=True)))):
        # what lies behind one pad does not count: make real what counts
        real = back if summed else list(pad)
        attrs = PadAttrs(front=(0, 0, *front), back=(0, 0, *real))
        if any(front) or any(real):
            source = context.emit(node, "pad", (source,), attrs, part=f"{name or 'all'}_padded")
        back = [b - r for b, r in zip(back, real, strict=True)]
        back, front = [max(0, b) for b in back], [0, 0]
    pool = Pool2dAttrs(
        kind=PoolKind.AVG if average else PoolKind.MAX,
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        pad=(front[0], back[0], front[1], back[1]),
        count_include_pad=average and counted and any((*front, *back)) and any(front),
    )
    out = context.emit(node, "pool2d", (source,), pool, part=name)
    if summed:
        steps = times(float(prod(kernel)))
        word = f"{name}_sum" if any(beyond) else part
        if steps and word:
            out = context.part(node, out, steps, word)
        elif not word:
            out = context.chain(node, out, steps)
    if any(beyond):
        value = 0.0 if average else _LOWEST
        missing = PadAttrs(front=(0, 0, 0, 0), back=(0, 0, *beyond), value=value)
        out = context.emit(node, "pad", (out,), missing, part=part)
    return out


@converter("_contrib_AdaptiveAvgPooling2D")
def adaptive(node: MxNode, context: MxContext) -> None:
    """Means of windows that cover the map in a wanted number of cells."""
    needs(node, 1)
    shape = spatial(node, context, most=2)
    given = node.attributes.wholes("output_size") or (1,)
    if len(shape) != 4 or len(given) > 2 or min(given) < 1:
        raise ModelImportError(
            f"output_size is {given}, the input {shape}", where=node.where, rule="one or two sizes"
        )
    source, wanted = node.inputs[0], (given[0], given[-1])
    check_elements((*shape[:2], *wanted), "its result", node.where)
    if wanted == (1, 1):
        context.emit(node, "global_pool", (source,), GlobalPoolAttrs(kind=PoolKind.AVG))
        return
    spans = []
    for size, out in zip(shape[2:], wanted, strict=True):
        spans.append([(i * size // out, -(-(i + 1) * size // out)) for i in range(out)])
    kernel = [{end - begin for begin, end in axis} for axis in spans]
    steps = [{b[0] - a[0] for a, b in pairwise(axis)} for axis in spans]
    if all(len(k) == 1 and len(s) <= 1 and 0 not in s for k, s in zip(kernel, steps, strict=True)):
        attrs = Pool2dAttrs(
            kind=PoolKind.AVG,
            kernel=(min(kernel[0]), min(kernel[1])),
            stride=(min(steps[0], default=1), min(steps[1], default=1)),
        )
        context.emit(node, "pool2d", (source,), attrs)
        return
    shares = []
    for axis, size in zip(spans, shape[2:], strict=True):
        check_made((len(axis), size), "the shares of an axis", node.where)
        share = np.zeros((len(axis), size), np.float32)
        for row, (begin, end) in enumerate(axis):
            share[row, begin:end] = 1 / (end - begin)
        shares.append(share)
    wide = context.constant(f"{node.name}/columns", shares[1].T.copy())
    tall = context.constant(f"{node.name}/rows", shares[0].T.copy())
    x = context.emit(node, "matmul", (source, wide), MatmulAttrs(), part="columns")
    x = context.transposed(node, x, (0, 1, 3, 2), part="turned")
    x = context.emit(node, "matmul", (x, tall), MatmulAttrs(), part="means")
    context.transposed(node, x, (0, 1, 3, 2))
