"""Random MXNet layers that compute."""

import random

from npusim.ops import is_function, ops_named_in
from tools.random_mxnet_base import (
    Sample,
    maker,
    maybe,
    one,
    per_axis,
    shape_of,
)


@maker
def convolution(rng: random.Random) -> Sample:
    """One to three spatial axes, groups, strides, dilation."""
    rank = rng.choice([1, 2, 2, 2, 3])
    group = rng.choice([1, 1, 2])
    channels, filters = group * rng.randint(1, 2), group * rng.randint(1, 2)
    kernel = per_axis(rng, rank, 1, 3)
    learned = {"weight": (filters, channels // group, *kernel)}
    bias = rng.random() < 0.5
    if bias:
        learned["bias"] = (filters,)
    return one(
        rng,
        "Convolution",
        [(rng.randint(1, 2), channels, *per_axis(rng, rank, 5, 8))],
        learned,
        kernel=kernel,
        num_filter=filters,
        num_group=group if group > 1 else None,
        stride=maybe(rng, per_axis(rng, rank, 1, 3)),
        pad=maybe(rng, per_axis(rng, rank, 0, 2)),
        dilate=maybe(rng, per_axis(rng, rank, 1, 2)),
        no_bias=None if bias else True,
    )


@maker
def deconvolution(rng: random.Random) -> Sample:
    """Use padding, adj or a target shape."""
    rank = rng.choice([1, 2, 2])
    group = rng.choice([1, 1, 2])
    channels, filters = group * rng.randint(1, 2), group * rng.randint(1, 2)
    kernel, stride = per_axis(rng, rank, 2, 4), per_axis(rng, rank, 1, 3)
    sizes = per_axis(rng, rank, 2, 4)
    learned = {"weight": (channels, filters // group, *kernel)}
    bias = rng.random() < 0.5
    if bias:
        learned["bias"] = (filters,)
    full = tuple(s * (n - 1) + k for s, n, k in zip(stride, sizes, kernel, strict=True))
    whole = rng.random() < 0.2  # with a target the program disagrees with itself about pad
    return one(
        rng,
        "Deconvolution",
        [(rng.randint(1, 2), channels, *sizes)],
        learned,
        kernel=kernel,
        num_filter=filters,
        num_group=group if group > 1 else None,
        stride=stride,
        pad=None if whole else maybe(rng, tuple(rng.randint(0, 1) for _ in range(rank))),
        adj=maybe(rng, tuple(rng.randint(0, s - 1) for s in stride)),
        target_shape=full if whole else None,
        no_bias=False if bias else None,
    )


@maker
def pooling(rng: random.Random) -> Sample:
    """All kinds, conventions and borders."""
    rank = rng.choice([1, 2, 2, 2, 3])
    kernel = per_axis(rng, rank, 1, 3)
    kind = rng.choice(["max", "avg", "avg", "sum", "lp"])
    # means of windows without an element are 0 with MKL-DNN, which has no three axes, else NaN
    conventions = ["valid", None] if rank == 3 else ["valid", "full", None]
    return one(
        rng,
        "Pooling",
        [(rng.randint(1, 2), 2, *per_axis(rng, rank, 3, 7))],
        kernel=kernel,
        pool_type=kind,
        p_value=rng.randint(1, 3) if kind == "lp" else None,
        stride=maybe(rng, per_axis(rng, rank, 1, 3)),
        pad=maybe(rng, tuple(rng.randint(0, k - 1) for k in kernel)),
        pooling_convention=rng.choice(["same", *conventions] if rank == 1 else conventions),
        count_include_pad=maybe(rng, rng.random() < 0.5) if kind == "avg" else None,
        global_pool=True if rng.random() < 0.15 else None,
    )


@maker
def batch_norm(rng: random.Random) -> Sample:
    """fix_gamma, epsilon, axis."""
    shape = shape_of(rng, rng.choice([2, 3, 4, 4, 5]))
    axis = rng.choice([1, 1, 1, -1, len(shape) - 1])
    words = ("gamma", "beta", "moving_mean", "moving_var")
    return one(
        rng,
        "BatchNorm",
        [shape],
        dict.fromkeys(words, (shape[axis],)),
        fix_gamma=maybe(rng, rng.random() < 0.5),
        eps=maybe(rng, rng.choice([1e-5, 1e-2])),
        axis=axis if axis != 1 else None,
        use_global_stats=maybe(rng, True),
    )


@maker
def normalisation(rng: random.Random) -> Sample:
    """InstanceNorm, LayerNorm, GroupNorm, L2Normalization, LRN."""
    kind = rng.choice(["InstanceNorm", "LayerNorm", "GroupNorm", "L2Normalization", "LRN"])
    shape = (rng.randint(1, 2), rng.choice([2, 4]), rng.randint(2, 4), rng.randint(2, 4))
    if kind == "LRN":
        size, alpha = rng.choice([1, 3, 5]), maybe(rng, 0.5)
        return one(rng, kind, [shape], nsize=size, alpha=alpha, knorm=maybe(rng, 1.0))
    if kind == "L2Normalization":
        mode = rng.choice(["instance", "channel", "spatial", None])
        return one(rng, kind, [shape], mode=mode, eps=maybe(rng, 0.01))
    eps = maybe(rng, 0.01)
    if kind == "LayerNorm":
        axis = rng.choice([-1, 1, 2, 3])
        size = (shape[axis],)
        return one(rng, kind, [shape], {"gamma": size, "beta": size}, axis=axis, eps=eps)
    if kind == "GroupNorm":
        groups = rng.choice([1, 2])
        size = (groups,)
        return one(rng, kind, [shape], {"gamma": size, "beta": size}, num_groups=groups, eps=eps)
    return one(rng, kind, [shape], {"gamma": shape[1:2], "beta": shape[1:2]}, eps=eps)


@maker
def activation(rng: random.Random) -> Sample:
    """Activation and LeakyReLU."""
    shape = shape_of(rng, rng.choice([2, 3, 4]))
    if rng.random() < 0.5:
        functions = ops_named_in("mxnet", lambda d: is_function(d) and d.activation)
        words = [word for word in functions if word != "mish"]  # of 2.0
        return one(rng, "Activation", [shape], act_type=rng.choice(words))
    kind = rng.choice(["leaky", "elu", "selu", "gelu", "prelu", "rrelu", None])
    learned = {"gamma": rng.choice([(1,), shape[1:2]])} if kind == "prelu" else {}
    return one(rng, "LeakyReLU", [shape], learned, act_type=kind, slope=maybe(rng, 0.125))


_NO_OPERATOR = ("softrelu", "mish")  # words of Activation only


@maker
def function(rng: random.Random) -> Sample:
    """Functions of one tensor."""
    shape = shape_of(rng, rng.choice([1, 2, 4]))
    named = " ".join(
        word for word in ops_named_in("mxnet", is_function) if word not in _NO_OPERATOR
    )
    anywhere = named + (
        " ceil round rint fix trunc sign hard_sigmoid expm1 degrees radians cbrt smooth_l1"
        " logical_not _copy BlockGrad"
    )
    above = "log sqrt rsqrt reciprocal log2 log10 log1p rcbrt"
    kind = rng.choice((anywhere + " " + above).split())
    attrs = {"scalar": rng.choice([1.0, 2.0])} if kind == "smooth_l1" else {}
    return one(rng, kind, [shape], positive=kind in above.split(), **attrs)


@maker
def clip(rng: random.Random) -> Sample:
    """Limits."""
    low = rng.choice([-1.5, 0, "-inf"])
    return one(rng, "clip", [shape_of(rng, 3)], a_min=low, a_max=rng.choice([0.5, 6, "inf"]))


_SCALARS = [
    *("plus", "minus", "rminus", "mul", "div", "rdiv", "maximum", "minimum"),
    *("mod", "rmod", "hypot", "power", "rpower"),
]
_ORDERS = ["equal", "not_equal", "greater", "greater_equal", "lesser", "lesser_equal"]
_LOGIC = ["logical_and", "logical_or", "logical_xor"]


@maker
def scalar(rng: random.Random) -> Sample:
    """Combine a tensor and a number."""
    word = rng.choice(_SCALARS + _ORDERS + _LOGIC)
    number = rng.choice([0.5, 2.0, -1.25 if word not in ("power", "rpower") else 1.5, 0.25])
    shape = shape_of(rng, rng.choice([1, 2, 3, 4]))
    positive = word in ("power", "rdiv", "rmod")
    return one(rng, f"_{word}_scalar", [shape], scalar=number, positive=positive)


_ELEMWISE = ("add", "sub", "mul")


@maker
def binary(rng: random.Random) -> Sample:
    """Two tensors, of one shape or widened."""
    pairs = ops_named_in("mxnet", lambda d: d.inputs == (2, 2))
    words = [name.removeprefix("broadcast_") for name in pairs]
    words += ["mod", "hypot", *_ORDERS, *_LOGIC]
    word = rng.choice(words)
    shape = shape_of(rng, rng.choice([1, 2, 3, 4]))
    positive = word in ("div", "power", "mod")
    if rng.random() < 0.4:
        plain = f"elemwise_{word}" if word in _ELEMWISE else f"_{word}"
        return one(rng, plain, [shape, shape], positive=positive)
    other = tuple(n if rng.random() < 0.5 else 1 for n in shape)
    return one(rng, f"broadcast_{word}", rng.sample([shape, other], 2), positive=positive)


@maker
def where(rng: random.Random) -> Sample:
    """Choose by a condition of the whole shape or of the first axis."""
    shape = shape_of(rng, rng.choice([2, 3, 4]))
    return one(rng, "where", [rng.choice([shape, shape[:1]]), shape, shape])
