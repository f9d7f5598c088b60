"""Reference convolution, transposed convolution, fully connected layer and matrix product.

All four are the fixed-order product of ``npusim.kernels.windows.f32_conv``: a BLAS product would
change its last bits with the number of threads and with the number of samples.
"""

from collections.abc import Sequence

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Activation, Conv2dAttrs, Deconv2dAttrs, FcAttrs, MatmulAttrs
from npusim.ir.graph import Graph, Node
from npusim.kernels.tiles.float32 import LANES
from npusim.kernels.windows.f32_conv import BLOCK, depthwise, dot_panels
from npusim.reference.table import Array, Step, Workers, attributes, reference
from npusim.runtime.memory_order import from_channels_last

WORTH_THREADS = 4_000_000  # multiply-adds; less is done before another thread has woken up

LIMITS = {
    Activation.NONE: (-np.inf, np.inf),
    Activation.RELU: (0.0, np.inf),
    Activation.RELU6: (0.0, 6.0),
}


def pack_panels(weights: Array) -> Array:
    """Return (groups, out_c, k) as the flat panels that ``dot_panels`` reads."""
    groups, out_c, depth = weights.shape
    panels = -(-out_c // LANES)
    if out_c % LANES:
        weights = np.pad(weights, ((0, 0), (0, panels * LANES - out_c), (0, 0)))
    by_panel = weights.reshape(groups, panels, LANES, depth).swapaxes(2, 3)
    return np.asarray(by_panel, order="C").reshape(-1)


def product(
    ifm: Array,
    panels: Array,
    bias: Array,
    *,
    runs: Sequence[int],
    run_length: int,
    geometry: tuple[int, int, int, int, int],
    images: int,
    groups: int = 1,
    activation: Activation = Activation.NONE,
    workers: Workers,
) -> Array:
    """Return (pixels, out_c); parameters as in ``dot_panels``."""
    pixels, out_c = images * geometry[3] * geometry[4], bias.shape[0]
    count = groups * -(-(out_c // groups) // LANES)
    ofm = np.empty((pixels, out_c), np.float32)
    low, high = (np.float32(limit) for limit in LIMITS[activation])
    starts, sizes = np.array(runs, np.int64), np.array(geometry, np.int64)
    flat, group_step = ifm.reshape(-1), run_length if groups > 1 else 0
    kernel = dot_panels.compile()  # here, lest every thread compiles it

    def work(pixel: tuple[int, int], panel: tuple[int, int]) -> None:
        kernel(
            flat, panels, bias, starts, run_length, sizes, low, high, ofm, groups, group_step,
            *pixel, *panel,
        )  # fmt: skip

    if pixels * out_c * len(runs) * run_length < WORTH_THREADS:
        work((0, pixels), (0, count))
    elif pixels >= BLOCK * workers.threads:
        workers.run(lambda begin, end: work((begin, end), (0, count)), pixels, BLOCK)
    else:
        workers.run(lambda begin, end: work((0, pixels), (begin, end)), count, 1)
    return ofm


def rows_product(
    rows: Array, panels: Array, bias: Array, activation: Activation, workers: Workers
) -> Array:
    """Return (rows, K) times packed (K, O) plus bias, through the activation."""
    count, depth = rows.shape
    return product(
        np.asarray(rows, order="C"),
        panels,
        bias,
        runs=(0,),
        run_length=depth,
        geometry=(0, 0, depth, 1, count),
        images=1,
        activation=activation,
        workers=workers,
    )


def padded_channels_last(ifm: Array, pad: tuple[int, int, int, int]) -> Array:
    """Return (N, C, H, W) as a C-contiguous (N, H + .., W + .., C) array with zeros around."""
    moved = ifm.transpose(0, 2, 3, 1)
    if not any(pad):
        return np.asarray(moved, order="C")
    top, bottom, left, right = pad
    images, height, width, channels = moved.shape
    canvas = np.empty((images, height + top + bottom, width + left + right, channels), ifm.dtype)
    canvas[:, :top] = canvas[:, top + height :] = 0
    inside = canvas[:, top : top + height]
    inside[:, :, :left] = inside[:, :, left + width :] = 0
    inside[:, :, left : left + width] = moved
    return canvas


def _refuse_negative_pad(pad: tuple[int, int, int, int]) -> None:
    if min(pad) < 0:
        raise GraphError(f"pad {pad} is negative", rule="pads are zero or more")


@reference("conv2d")
def prepare_conv2d(node: Node, graph: Graph, workers: Workers) -> Step:
    """Convolution; weights are packed once when they are constant."""
    attrs = attributes(node, Conv2dAttrs)
    _refuse_negative_pad(attrs.pad)
    in_c = graph.spec(node.inputs[0]).shape[1]
    out_c, group_c, kernel_h, kernel_w = graph.spec(node.inputs[1]).shape
    _, _, out_h, out_w = graph.spec(node.outputs[0]).shape
    by_channel = group_c == 1 and attrs.group > 1
    multiplier = out_c // attrs.group

    def pack(weights: Array) -> Array:
        if by_channel:
            return np.asarray(weights.reshape(out_c, -1).T, order="C")
        return pack_panels(weights.transpose(0, 2, 3, 1).reshape(attrs.group, multiplier, -1))

    constant = graph.constants.get(node.inputs[1])
    packed = None if constant is None else pack(constant)

    def step(ifm: Array, weights: Array, bias: Array) -> tuple[Array, ...]:
        prepared = pack(weights) if packed is None else packed
        if by_channel and multiplier > 1:
            ifm = ifm.repeat(multiplier, axis=1)
        canvas = padded_channels_last(ifm, attrs.pad)
        images, height, width, channels = canvas.shape
        line = width * channels
        row, column = attrs.dilation[0] * line, attrs.dilation[1] * channels
        geometry = (height * line, attrs.stride[0] * line, attrs.stride[1] * channels, out_h, out_w)
        if by_channel:
            taps = [y * row + x * column for y in range(kernel_h) for x in range(kernel_w)]
            ofm = _by_channel(
                canvas, prepared, bias, taps, geometry, images, attrs.activation, workers
            )
        else:
            whole_rows = attrs.group == 1 and (attrs.dilation[1] == 1 or kernel_w == 1)
            steps_x = 1 if whole_rows else kernel_w
            ofm = product(
                canvas,
                prepared,
                np.asarray(bias, order="C"),
                runs=[y * row + x * column for y in range(kernel_h) for x in range(steps_x)],
                run_length=group_c * kernel_w // steps_x,
                geometry=geometry,
                images=images,
                groups=attrs.group,
                activation=attrs.activation,
                workers=workers,
            )
        return (from_channels_last(ofm.reshape(images, out_h, out_w, out_c)),)

    if in_c != group_c * attrs.group:
        raise GraphError(f"{in_c} input channels, weights for {group_c * attrs.group}")
    return step


def _by_channel(
    canvas: Array,
    weights: Array,
    bias: Array,
    taps: Sequence[int],
    geometry: tuple[int, int, int, int, int],
    images: int,
    activation: Activation,
    workers: Workers,
) -> Array:
    pixels = images * geometry[3] * geometry[4]
    ofm = np.empty((pixels, weights.shape[1]), np.float32)
    low, high = (np.float32(limit) for limit in LIMITS[activation])
    flat, values = canvas.reshape(-1), np.asarray(bias, order="C")
    starts, sizes = np.array(taps, np.int64), np.array(geometry, np.int64)
    kernel = depthwise.compile()

    def work(begin: int, end: int) -> None:
        kernel(flat, weights, values, starts, sizes, low, high, ofm, begin, end)

    # a tap costs several times what a multiply-add of a product costs
    small = ofm.size * len(taps) * 4 < WORTH_THREADS
    workers.run(work, pixels, pixels if small else BLOCK)
    return ofm


@reference("deconv2d")
def prepare_deconv2d(node: Node, graph: Graph, workers: Workers) -> Step:
    """Transposed convolution: one product for all taps, then the taps are added in their order."""
    attrs = attributes(node, Deconv2dAttrs)
    _refuse_negative_pad(attrs.pad)
    out_c, group_c, kernel_h, kernel_w = graph.spec(node.inputs[1]).shape
    _, _, out_h, out_w = graph.spec(node.outputs[0]).shape
    groups, group_out = attrs.group, out_c // attrs.group
    columns = kernel_h * kernel_w * group_out
    no_bias = np.zeros(groups * columns, np.float32)
    low, high = (np.float32(limit) for limit in LIMITS[attrs.activation])
    (stride_y, stride_x), (dilation_y, dilation_x) = attrs.stride, attrs.dilation
    top, _, left, _ = attrs.pad

    def pack(weights: Array) -> Array:
        moved = weights.reshape(groups, group_out, group_c, kernel_h, kernel_w)
        return pack_panels(moved.transpose(0, 3, 4, 1, 2).reshape(groups, columns, group_c))

    constant = graph.constants.get(node.inputs[1])
    packed = None if constant is None else pack(constant)

    def step(ifm: Array, weights: Array, bias: Array) -> tuple[Array, ...]:
        images, in_c, in_h, in_w = ifm.shape
        parts = product(
            padded_channels_last(ifm, (0, 0, 0, 0)),
            pack(weights) if packed is None else packed,
            no_bias,
            runs=(0,),
            run_length=group_c,
            geometry=(in_h * in_w * in_c, in_w * in_c, in_c, in_h, in_w),
            images=images,
            groups=groups,
            workers=workers,
        ).reshape(images, in_h, in_w, groups, kernel_h, kernel_w, group_out)
        # the canvas holds every scattered value and every wanted pixel
        span_y, span_x = (in_h - 1) * stride_y + 1, (in_w - 1) * stride_x + 1
        height = max(span_y + (kernel_h - 1) * dilation_y, top + out_h)
        width = max(span_x + (kernel_w - 1) * dilation_x, left + out_w)
        canvas = np.zeros((images, height, width, groups, group_out), np.float32)
        for y in range(kernel_h):
            for x in range(kernel_w):
                begin_y, begin_x = y * dilation_y, x * dilation_x
                canvas[
                    :,
                    begin_y : begin_y + span_y : stride_y,
                    begin_x : begin_x + span_x : stride_x,
                ] += parts[:, :, :, :, y, x]
        wanted = canvas[:, top : top + out_h, left : left + out_w]
        ofm = wanted.reshape(images, out_h, out_w, out_c) + bias
        if attrs.activation is not Activation.NONE:
            np.clip(ofm, low, high, out=ofm)
        return (from_channels_last(ofm),)

    return step


@reference("fc")
def prepare_fc(node: Node, graph: Graph, workers: Workers) -> Step:
    """Fully connected layer over the last axis."""
    attrs = attributes(node, FcAttrs)
    constant = graph.constants.get(node.inputs[1])
    packed = None if constant is None else pack_panels(constant[None])

    def step(ifm: Array, weights: Array, bias: Array) -> tuple[Array, ...]:
        panels = pack_panels(weights[None]) if packed is None else packed
        rows = ifm.reshape(-1, ifm.shape[-1])
        ofm = rows_product(rows, panels, np.asarray(bias, order="C"), attrs.activation, workers)
        return (ofm.reshape(*ifm.shape[:-1], -1),)

    return step


@reference("matmul")
def prepare_matmul(node: Node, graph: Graph, workers: Workers) -> Step:
    """Product of two activations; the leading axes broadcast."""
    attrs = attributes(node, MatmulAttrs)
    shape = graph.spec(node.outputs[0]).shape
    no_bias = np.zeros(shape[-1], np.float32)

    def step(left: Array, right: Array) -> tuple[Array, ...]:
        if attrs.transpose_a:
            left = left.swapaxes(-1, -2)
        if attrs.transpose_b:
            right = right.swapaxes(-1, -2)
        lead = shape[:-2]
        if right.ndim == 2 or all(n == 1 for n in right.shape[:-2]):
            rows = np.broadcast_to(left, (*lead, *left.shape[-2:])).reshape(-1, left.shape[-1])
            panels = pack_panels(right.reshape(1, *right.shape[-2:]).swapaxes(1, 2))
            ofm = rows_product(rows, panels, no_bias, Activation.NONE, workers)
            return (ofm.reshape(shape),)
        ofm = np.empty(shape, np.float32)
        lefts = np.broadcast_to(left, (*lead, *left.shape[-2:]))
        rights = np.broadcast_to(right, (*lead, *right.shape[-2:]))
        for index in np.ndindex(*lead):
            panels = pack_panels(rights[index].T[None])
            ofm[index] = rows_product(lefts[index], panels, no_bias, Activation.NONE, workers)
        return (ofm,)

    return step
