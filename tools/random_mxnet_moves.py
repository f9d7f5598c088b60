"""Random MXNet layers that move, reduce, search and find boxes."""

import random
from typing import Any

import numpy as np

from tests.importers.mxnet_build import Net
from tools.random_mxnet_base import (
    Array,
    Sample,
    maker,
    maybe,
    numbers,
    one,
    per_axis,
    shape_of,
)


@maker
def softmax(rng: random.Random) -> Sample:
    """Every form."""
    shape = shape_of(rng, rng.choice([2, 3, 4]))
    kind = rng.choice(["softmax", "log_softmax", "softmin", "SoftmaxActivation", "SoftmaxOutput"])
    if kind == "SoftmaxActivation":
        return one(rng, kind, [shape], mode=rng.choice(["channel", "instance", None]))
    if kind == "SoftmaxOutput":
        net = Net()
        attrs = rng.choice([{}, {"multi_output": True}, {"preserve_shape": True}])
        net.op(kind, "n", net.var("data"), net.var("n_label"), **attrs)
        return Sample(f"{kind} {shape} {attrs}", net.text(), {"data": numbers(rng, shape)})
    axis = maybe(rng, rng.randrange(-len(shape), len(shape)))
    return one(rng, kind, [shape], axis=axis, temperature=maybe(rng, 2.0))


@maker
def reshape(rng: random.Random) -> Sample:
    """Use the special numbers."""
    codes = rng.choice(
        [
            (-1,),
            (0, -1),
            (0, 0, -1),
            (-3, -3),
            (0, -3, 0),
            (-2,),
            (0, -2),
            (-4, 1, -1, -2),
            (0, -4, 2, -1, -2),
            (0, 0, -4, -1, 1, -2),
            (-1, 0),
            (-3, -2),
            (-1, 2),
        ]
    )
    reverse = maybe(rng, rng.random() < 0.5)
    shape = (rng.choice([2, 4]), 2 * rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 4))
    return one(rng, "Reshape", [shape], shape=codes, reverse=reverse)


@maker
def movement(rng: random.Random) -> Sample:
    """transpose, SwapAxis, Flatten, expand_dims, squeeze, reverse, tile, repeat."""
    shape = shape_of(rng, 4)
    axes = list(range(4))
    rng.shuffle(axes)
    choices: list[tuple[str, dict[str, Any]]] = [
        ("transpose", {"axes": maybe(rng, tuple(axes))}),
        ("SwapAxis", {"dim1": axes[0], "dim2": axes[1]}),
        ("Flatten", {}),
        ("expand_dims", {"axis": rng.randint(-5, 4)}),
        ("reverse", {"axis": tuple(axes[: rng.randint(1, 2)])}),
        ("tile", {"reps": shape_of(rng, rng.randint(1, 5), 2)}),
        ("repeat", {"repeats": rng.randint(1, 3), "axis": maybe(rng, rng.randint(-4, 3))}),
        ("squeeze", {"axis": maybe(rng, axes[0])}),
    ]
    kind, attrs = rng.choice(choices)
    if kind == "squeeze":
        shape = tuple(1 if a == axes[0] else n for a, n in enumerate(shape))
    return one(rng, kind, [shape], **attrs)


@maker
def blocks(rng: random.Random) -> Sample:
    """depth_to_space and space_to_depth."""
    size = rng.choice([1, 2])
    if rng.random() < 0.5:
        shape = (1, rng.randint(1, 2) * size * size, 2, 3)
        return one(rng, "depth_to_space", [shape], block_size=size)
    return one(rng, "space_to_depth", [(1, 2, 2 * size, 3 * size)], block_size=size)


@maker
def joined(rng: random.Random) -> Sample:
    """Concat, stack, add_n."""
    count, shape = rng.randint(1, 3), shape_of(rng, rng.choice([2, 3, 4]))
    kind = rng.choice(["Concat", "stack", "add_n"])
    axis = rng.randrange(len(shape))
    if kind == "Concat":
        return one(rng, kind, [shape] * count, num_args=count, dim=axis)
    if kind == "stack":
        return one(rng, kind, [shape] * count, num_args=count, axis=maybe(rng, axis))
    return one(rng, kind, [shape] * count, num_args=count)


@maker
def cut(rng: random.Random) -> Sample:
    """slice, slice_axis, slice_like, Crop, SliceChannel, _split_v2."""
    kind = rng.choice(["slice", "slice_axis", "slice_like", "Crop", "SliceChannel", "_split_v2"])
    shape = (2, 4, rng.randint(3, 5), rng.randint(3, 5))
    axis = rng.randrange(4)
    if kind == "slice":
        begin = tuple(rng.choice([None, 0, -2]) for _ in range(rng.randint(1, 4)))
        end = tuple(rng.choice([None, 2, 9]) for _ in begin)
        step = maybe(rng, tuple(rng.choice([None, 1, 2]) for _ in begin))
        return one(rng, kind, [shape], begin=begin, end=end, step=step)
    if kind == "slice_axis":
        return one(
            rng,
            kind,
            [shape],
            axis=rng.choice([axis, axis - 4]),
            begin=rng.choice([0, 1, -2]),
            end=rng.choice(["None", 2, -1]),
        )
    if kind == "slice_like":
        other = tuple(rng.randint(1, n) for n in shape)
        return one(rng, kind, [shape, other], axes=maybe(rng, (axis,)))
    if kind == "Crop":
        if rng.random() < 0.5:
            other = (1, 1, rng.randint(1, 3), rng.randint(1, 3))
            centre = maybe(rng, True)
            return one(rng, kind, [shape, other], num_args=2, center_crop=centre)
        return one(rng, kind, [shape], num_args=1, h_w=(2, 2), offset=maybe(rng, (1, 1)))
    if kind == "SliceChannel":
        squeezed = rng.random() < 0.3
        count = shape[axis] if squeezed else rng.choice([1, shape[axis]])
        flag = True if squeezed else None
        return one(
            rng, kind, [shape], outputs=count, num_outputs=count, axis=axis, squeeze_axis=flag
        )
    places = sorted(rng.sample(range(1, shape[3]), 1))
    return one(rng, kind, [shape], outputs=2, indices=(0, *places), axis=3)


@maker
def pad(rng: random.Random) -> Sample:
    """Constants, edges, mirrors."""
    widths = (0, 0, 0, 0, *per_axis(rng, 4, 0, 2))
    mode = rng.choice(["constant", "edge", "reflect"])
    value = 1.5 if mode == "constant" else None
    return one(rng, "Pad", [(1, 2, 4, 3)], mode=mode, pad_width=widths, constant_value=value)


@maker
def reduction(rng: random.Random) -> Sample:
    """Axes, keepdims, exclude."""
    shape = shape_of(rng, rng.choice([1, 2, 3, 4]))
    kind = rng.choice(["sum", "mean", "max", "min", "prod", "norm"])
    axes = tuple(rng.sample(range(len(shape)), rng.randint(1, len(shape))))
    axis = maybe(rng, axes if rng.random() < 0.6 else axes[0])
    if kind == "norm":
        axis = None if axis is None else (axes[0] if len(axes) != 2 else axes)
        return one(rng, kind, [shape], ord=maybe(rng, rng.randint(1, 2)), axis=axis)
    keep = maybe(rng, rng.random() < 0.5)
    return one(rng, kind, [shape], axis=axis, keepdims=keep, exclude=maybe(rng, False))


@maker
def moments(rng: random.Random) -> Sample:
    """Mean and variance."""
    shape = shape_of(rng, rng.choice([1, 2, 3, 4]))
    axes = tuple(rng.sample(range(len(shape)), rng.randint(1, len(shape))))
    return one(rng, "moments", [shape], outputs=2, axes=maybe(rng, axes), keepdims=maybe(rng, True))


@maker
def excluded(rng: random.Random) -> Sample:
    """All axes but some."""
    shape = shape_of(rng, 4)
    axes = tuple(rng.sample(range(4), rng.randint(1, 3)))
    return one(rng, rng.choice(["sum", "mean", "max"]), [shape], axis=axes, exclude=True)


@maker
def search(rng: random.Random) -> Sample:
    """argmax, argmin, topk, sort, argsort."""
    shape = shape_of(rng, rng.choice([1, 2, 3, 4]))
    axis = rng.randrange(-len(shape), len(shape))
    kind = rng.choice(["argmax", "argmin", "topk", "sort", "argsort"])
    if kind in ("argmax", "argmin"):
        return one(rng, kind, [shape], axis=maybe(rng, axis), keepdims=maybe(rng, True))
    attrs: dict[str, Any] = {"axis": maybe(rng, rng.choice([axis, "None"]))}
    attrs["is_ascend"] = maybe(rng, rng.random() < 0.5)
    outputs = 1
    if kind == "topk":
        top = shape[axis] if isinstance(attrs["axis"], int) else 1
        attrs["k"] = maybe(rng, rng.randint(1, top))
        attrs["ret_typ"] = rng.choice(["value", "indices", "both", "mask", None])
        outputs = 2 if attrs["ret_typ"] == "both" else 1
    return one(rng, kind, [shape], outputs=outputs, **attrs)


@maker
def products(rng: random.Random) -> Sample:
    """FullyConnected, dot, batch_dot."""
    kind = rng.choice(["FullyConnected", "dot", "batch_dot"])
    a, b, c = rng.randint(1, 4), rng.randint(1, 4), rng.randint(1, 4)
    left, right = rng.random() < 0.3, rng.random() < 0.3
    if kind == "FullyConnected":
        shape = shape_of(rng, rng.choice([2, 3, 4]))
        flat = maybe(rng, rng.random() < 0.5)
        inner = shape[-1] if flat is False else int(np.prod(shape[1:]))
        learned = {"weight": (a, inner), "bias": (a,)}
        return one(rng, kind, [shape], learned, num_hidden=a, flatten=flat)
    first, second = ((b, a) if left else (a, b)), ((c, b) if right else (b, c))
    flags = {"transpose_a": left or None, "transpose_b": right or None}
    if kind == "batch_dot":
        n = rng.randint(1, 3)
        return one(rng, kind, [(n, *first), (n, *second)], **flags)
    if rng.random() < 0.3:
        return one(rng, kind, [(2, a, b), (b, c, 2)])
    return one(rng, kind, [first, second], **flags)


@maker
def picks(rng: random.Random) -> Sample:
    """Embedding, take, pick, one_hot."""
    kind = rng.choice(["Embedding", "take", "pick", "one_hot"])
    if kind == "Embedding":
        sample = one(rng, kind, [(2, 3)], {"weight": (5, 2)}, input_dim=5, output_dim=2)
        sample.inputs["data"][:] = np.array([[0, 4, 2], [1, 1, 3]])
        return sample
    if kind == "one_hot":
        sample = one(rng, kind, [(3,)], depth=4, on_value=maybe(rng, 2.0))
        sample.inputs["data"][:] = [0, 3, 2]
        return sample
    shape = shape_of(rng, rng.choice([2, 3, 4]))
    axis = rng.randrange(len(shape))
    if kind == "take":
        sample = one(rng, kind, [shape, (2,)], axis=axis)
        sample.inputs["data1"][:] = [rng.randrange(shape[axis]) for _ in range(2)]
        return sample
    index = tuple(n for a, n in enumerate(shape) if a != axis)
    sample = one(rng, kind, [shape, index], axis=axis, keepdims=maybe(rng, True))
    places = [rng.randrange(-1, shape[axis] + 1) for _ in range(int(np.prod(index)))]
    sample.inputs["data1"][:] = np.array(places).reshape(index)
    return sample


@maker
def enlarged(rng: random.Random) -> Sample:
    """UpSampling and BilinearResize2D in their modes."""
    shape = (1, 2, rng.randint(2, 5), rng.randint(2, 5))
    if rng.random() < 0.4:
        scale = rng.randint(1, 3)
        if rng.random() < 0.5:
            kernel = 2 * scale - scale % 2
            learned = {"weight": (2, 1, kernel, kernel)}
            return one(
                rng,
                "UpSampling",
                [shape],
                learned,
                scale=scale,
                sample_type="bilinear",
                num_filter=2,
                num_args=2,
            )
        return one(rng, "UpSampling", [shape], scale=scale, sample_type="nearest", num_args=1)
    kind, align = "_contrib_BilinearResize2D", maybe(rng, rng.random() < 0.5)
    mode = rng.choice(
        [None, "odd_scale", "like", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up"]
    )
    if mode == "like":
        other = (1, 1, rng.randint(1, 8), rng.randint(1, 8))
        return one(rng, kind, [shape, other], mode=mode, align_corners=align)
    attrs: dict[str, Any] = {}
    if mode == "odd_scale" or (mode is None and rng.random() < 0.4):
        attrs = {"scale_height": rng.choice([0.5, 2, 3]), "scale_width": rng.choice([0.5, 1.5, 2])}
    elif mode is None:
        attrs = {"height": rng.randint(1, 8), "width": rng.randint(1, 8)}
    return one(rng, kind, [shape], mode=mode, align_corners=align, **attrs)


@maker
def adaptive(rng: random.Random) -> Sample:
    """Cells that divide the map, or do not."""
    size = rng.choice([None, rng.randint(1, 4), per_axis(rng, 2, 1, 6)])
    shape = (2, 2, rng.randint(1, 7), rng.randint(1, 7))
    return one(rng, "_contrib_AdaptiveAvgPooling2D", [shape], output_size=size)


@maker
def widened(rng: random.Random) -> Sample:
    """broadcast_to, broadcast_axis, broadcast_like, reshape_like."""
    kind = rng.choice(["broadcast_to", "broadcast_axis", "broadcast_like"])
    shape = tuple(rng.choice([1, 2]) for _ in range(3))
    target = tuple(n if n > 1 else rng.randint(1, 3) for n in shape)
    if kind == "broadcast_to":
        zeros = tuple(
            t if rng.random() < 0.7 or n != t else 0 for t, n in zip(target, shape, strict=True)
        )
        return one(rng, kind, [shape], shape=zeros)
    if kind == "broadcast_like":
        return one(rng, kind, [shape, target])
    axes = tuple(a for a, n in enumerate(shape) if n == 1) or (0,)
    shape = tuple(1 if a in axes else n for a, n in enumerate(shape))
    return one(rng, kind, [shape], axis=axes, size=tuple(2 for _ in axes))


@maker
def prior(rng: random.Random) -> Sample:
    """Sizes, ratios, steps, offsets."""
    return one(
        rng,
        "_contrib_MultiBoxPrior",
        [(1, 1, rng.randint(1, 3), rng.randint(1, 3))],
        sizes=maybe(rng, tuple(rng.choice([0.1, 0.5, 0.75]) for _ in range(rng.randint(1, 3)))),
        ratios=maybe(rng, tuple(rng.choice([1, 2, 0.5]) for _ in range(rng.randint(1, 3)))),
        clip=maybe(rng, True),
        steps=maybe(rng, (0.25, 0.5)),
        offsets=maybe(rng, (0.25, 0.75)),
    )


def _boxes(rng: random.Random, count: int) -> Array:
    first = np.array([[rng.random() * 0.5 for _ in range(2)] for _ in range(count)])
    size = np.array([[0.2 + rng.random() * 0.5 for _ in range(2)] for _ in range(count)])
    return np.concatenate([first, first + size], 1).astype(np.float32)


@maker
def detection(rng: random.Random) -> Sample:
    """MultiBoxDetection."""
    images, classes, count = rng.randint(1, 2), rng.randint(2, 4), rng.randint(1, 8)
    net = Net()
    attrs = {
        "clip": maybe(rng, False),
        "threshold": maybe(rng, rng.choice([0.3, 0.6])),
        "nms_threshold": maybe(rng, rng.choice([0.1, 0.3, 0.7, -1])),
        "force_suppress": maybe(rng, True),
        "variances": maybe(rng, (0.2, 0.2, 0.1, 0.1)),
        "nms_topk": maybe(rng, rng.randint(1, 4)),
    }
    kept = {key: value for key, value in attrs.items() if value is not None}
    refs = [net.var(name) for name in ("cls", "loc", "anchor")]
    net.op("_contrib_MultiBoxDetection", "n", *refs, **kept)
    scores = np.array([rng.random() for _ in range(images * classes * count)], np.float32)
    return Sample(
        f"MultiBoxDetection {images}x{classes}x{count} {kept}",
        net.text(),
        {
            "cls": scores.reshape(images, classes, count),
            "loc": numbers(rng, (images, 4 * count), -16, 16),
            "anchor": _boxes(rng, count)[None],
        },
    )


@maker
def box_nms(rng: random.Random) -> Sample:
    """_contrib_box_nms."""
    count = rng.randint(1, 8)
    labels = np.array([[rng.randrange(3)] for _ in range(count)], np.float32)
    scores = np.array([[rng.random()] for _ in range(count)], np.float32)
    data = np.concatenate([labels, scores, _boxes(rng, count)], 1)
    shape = rng.choice([data.shape, (1, *data.shape)])
    return one(
        rng,
        "_contrib_box_nms",
        [shape],
        values={"data": data.reshape(shape)},
        overlap_thresh=maybe(rng, rng.choice([0.1, 0.3])),
        valid_thresh=maybe(rng, 0.3),
        topk=maybe(rng, rng.randint(1, 4)),
        id_index=maybe(rng, 0),
        force_suppress=maybe(rng, True),
        background_id=maybe(rng, 0),
        in_format=maybe(rng, "corner"),
        out_format=maybe(rng, rng.choice(["corner", "center"])),
    )
