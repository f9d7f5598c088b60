"""Random frozen graphs, for ``tools/record_tensorflow.py --random``."""

import random
from typing import Any

import numpy as np
import tensorflow as tf
from record_tensorflow import Numbers, graph

tf1 = tf.compat.v1


def drawn(seed: int) -> Any:
    """Return the record of a random graph; None where TensorFlow itself refuses it."""
    try:
        return draw(seed)
    except (tf.errors.OpError, ValueError) as error:
        print(f"random {seed}: {str(error).splitlines()[0]}")
        return None


def draw(seed: int) -> Any:
    """Return the record of a random graph."""
    rng, n = random.Random(seed), Numbers(seed)
    rank = rng.choice([2, 3, 4, 4, 4, 4, 5])
    shape = [rng.choice([1, 1, 2])] + [rng.randint(1, 6) for _ in range(rank - 1)]
    told_ops: list[str] = []

    def build(x: Any) -> Any:
        for _ in range(rng.randint(1, 6)):
            sizes = x.shape.as_list()
            if int(np.prod(sizes)) > 600:
                break
            kind = rng.choice(list(_STEPS if len(sizes) == 4 else _ANY_RANK))
            made = (_STEPS[kind] if len(sizes) == 4 else _ANY_RANK[kind])(x, rng, n)
            if made is not None and int(np.prod(made.shape.as_list())) > 0:
                x = made
                told_ops.append(kind)
        return x

    found = graph("", [tuple(shape)], build, seed)
    found["label"] = f"random {seed}: {' '.join(told_ops)} of {shape}"
    return found


def _conv(x: Any, rng: random.Random, n: Numbers) -> Any:
    _, h, w, c = x.shape.as_list()
    group = rng.choice([g for g in (1, 1, 2, 3) if c % g == 0])
    kh, kw, s, d = (rng.randint(1, 3) for _ in range(4))
    s = 1 if d > 1 else s
    rule = rng.choice(["SAME", "VALID"])
    if rule == "VALID" and ((kh - 1) * d + 1 > h or (kw - 1) * d + 1 > w):
        return None
    out = group * rng.randint(1, 3)
    if rng.random() < 0.3:
        return tf.nn.depthwise_conv2d(
            x, n(kh, kw, c, rng.randint(1, 2)), [1, s, s, 1], rule, dilations=[d, d]
        )
    y = tf.nn.conv2d(
        x,
        n(kh, kw, c // group, out),
        [1, s, rng.randint(1, 2) if d == 1 else 1, 1],
        rule,
        dilations=[1, d, d, 1],
    )
    return tf.nn.bias_add(y, n(out)) if rng.random() < 0.5 else y


def _pool(x: Any, rng: random.Random, n: Numbers) -> Any:
    _, h, w, _ = x.shape.as_list()
    k, s, rule = (rng.randint(1, 4), rng.randint(1, 4)), rng.randint(1, 3), "SAME"
    if k[0] <= h and k[1] <= w and rng.random() < 0.5:
        rule = "VALID"
    return rng.choice([tf.nn.max_pool2d, tf.nn.avg_pool2d])(x, k, s, rule)


def _deconv(x: Any, rng: random.Random, n: Numbers) -> Any:
    b, h, w, c = x.shape.as_list()
    k, s, out = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 3)
    if rng.random() < 0.5:
        size, rule = [h * s - rng.randint(0, s - 1), w * s], "SAME"
    else:
        size, rule = [(h - 1) * s + k, (w - 1) * s + k + rng.randint(0, s - 1)], "VALID"
    return tf.nn.conv2d_transpose(x, n(k, k, out, c), [b, *size, out], s, rule)


def _resize(x: Any, rng: random.Random, n: Numbers) -> Any:
    size = rng.randint(1, 9), rng.randint(1, 9)
    op = rng.choice([tf1.image.resize_bilinear, tf1.image.resize_nearest_neighbor])
    mode = rng.choice([{}, {"align_corners": True}, {"half_pixel_centers": True}])
    return op(x, size, **mode)


def _blocks(x: Any, rng: random.Random, n: Numbers) -> Any:
    _, h, w, c = x.shape.as_list()
    if c % 4 == 0 and rng.random() < 0.5:
        return tf.nn.depth_to_space(x, 2)
    return tf.nn.space_to_depth(x, 2) if h % 2 == w % 2 == 0 else None


def _dilate(x: Any, rng: random.Random, n: Numbers) -> Any:
    _, h, w, c = x.shape.as_list()
    d = rng.randint(2, 3)
    pads = [[d, d + (-h) % d], [d, d + (-w) % d]]
    y = tf.space_to_batch(x, [d, d], pads)
    y = tf.nn.conv2d(y, n(3, 3, c, 2), 1, "VALID")
    return tf.batch_to_space(y, [d, d], [[0, (-h) % d], [0, (-w) % d]])


def _fused_norm(x: Any, rng: random.Random, n: Numbers) -> Any:
    c = x.shape.as_list()[3]
    parameters = [n(c), n(c), n(c), n(c, low=0.25, high=2)]
    return tf1.nn.fused_batch_norm(x, *parameters, epsilon=0.125, is_training=False)[0]


def _reshape(x: Any, rng: random.Random, n: Numbers) -> Any:
    left, sizes = int(np.prod(x.shape.as_list())), []
    while left > 1 and len(sizes) < 4:
        by = rng.choice([k for k in range(1, left + 1) if left % k == 0])
        sizes.append(by)
        left //= by
    return tf.reshape(x, [*sizes, left])


def _transpose(x: Any, rng: random.Random, n: Numbers) -> Any:
    order = list(range(len(x.shape)))
    rng.shuffle(order)
    return tf.transpose(x, order)


def _reduce(x: Any, rng: random.Random, n: Numbers) -> Any:
    rank = len(x.shape)
    if not rank:
        return None
    axes = rng.sample(range(rank), rng.randint(1, max(1, rank - 1)))
    op = rng.choice([tf.reduce_mean, tf.reduce_max, tf.reduce_sum, tf.reduce_min])
    return op(x, axes, keepdims=rng.random() < 0.5)


def _concat(x: Any, rng: random.Random, n: Numbers) -> Any:
    axis = rng.randrange(-len(x.shape), len(x.shape)) if len(x.shape) else None
    if axis is None:
        return None
    other = rng.choice([x, tf.constant(n(*x.shape.as_list())), tf.abs(x)])
    return tf.concat([x, other], axis)


def _slice(x: Any, rng: random.Random, n: Numbers) -> Any:
    index: list[Any] = []
    for size in x.shape.as_list():
        kind = rng.random()
        if kind < 0.1:
            index.append(tf.newaxis)
        if kind < 0.3:
            index.append(rng.randrange(-size, size))
        elif kind < 0.6:
            begin = rng.randrange(size)
            index.append(slice(begin, rng.randint(begin + 1, size), rng.randint(1, 2)))
        elif kind < 0.7:
            index.append(slice(None, None, -1))
        else:
            index.append(slice(None))
    return x[tuple(index)] if len(index) < 7 else None


def _pad(x: Any, rng: random.Random, n: Numbers) -> Any:
    pairs = [[rng.randint(0, 1), rng.randint(0, 2)] for _ in x.shape]
    mode = rng.choice(["CONSTANT", "REFLECT", "SYMMETRIC"])
    limits = [s - (mode == "REFLECT") for s in x.shape.as_list()]
    if mode != "CONSTANT":
        pairs = [[min(a, m), min(b, m)] for (a, b), m in zip(pairs, limits, strict=True)]
        return tf.pad(x, pairs, mode) if x.shape else None
    return tf.pad(x, pairs, constant_values=rng.choice([0, 1.5])) if x.shape else None


def _binary(x: Any, rng: random.Random, n: Numbers) -> Any:
    sizes = [rng.choice([s, s, 1]) for s in x.shape.as_list()]
    other = tf.constant(n(*sizes[rng.randint(0, len(sizes)) :], low=0.5))
    op = rng.choice([tf.add, tf.subtract, tf.multiply, tf.divide, tf.maximum, tf.minimum])
    return op(x, other) if rng.random() < 0.7 else op(other, tf.abs(x) + 1)


def _softmax(x: Any, rng: random.Random, n: Numbers) -> Any:
    return tf.nn.softmax(x, rng.randrange(len(x.shape))) if len(x.shape) else None


def _split(x: Any, rng: random.Random, n: Numbers) -> Any:
    if not len(x.shape):
        return None
    axis = rng.randrange(len(x.shape))
    parts = tf.unstack(x, axis=axis)
    rng.shuffle(parts)
    return tf.stack(parts, axis=rng.randrange(len(x.shape)))


def _gather(x: Any, rng: random.Random, n: Numbers) -> Any:
    if not len(x.shape):
        return None
    axis = rng.randrange(len(x.shape))
    size = x.shape.as_list()[axis]
    shape = rng.choice([(), (2,), (3,), (2, 2)])
    return tf.gather(
        x,
        np.array([rng.randrange(size) for _ in range(int(np.prod(shape)))], np.int32).reshape(
            shape
        ),
        axis=axis,
    )


def _tile(x: Any, rng: random.Random, n: Numbers) -> Any:
    return tf.tile(x, [rng.choice([1, 1, 2]) for _ in x.shape]) if len(x.shape) else None


def _matmul(x: Any, rng: random.Random, n: Numbers) -> Any:
    if len(x.shape) < 2:
        return None
    k, out = x.shape.as_list()[-1], rng.randint(1, 4)
    if len(x.shape) == 2 and rng.random() < 0.5:
        return tf.matmul(x, n(x.shape[0], out), transpose_a=True)
    return (
        tf.matmul(x, n(out, k), transpose_b=True)
        if len(x.shape) == 2
        else tf.tensordot(x, n(k, out), 1)
    )


def _unary(x: Any, rng: random.Random, n: Numbers) -> Any:
    ops = [
        tf.nn.relu,
        tf.nn.relu6,
        tf.tanh,
        tf.sigmoid,
        tf.abs,
        tf.square,
        tf.nn.leaky_relu,
        tf.floor,
        tf.nn.elu,
        tf.math.sign,
    ]
    return rng.choice(ops)(x)


_ANY_RANK = {
    f.__name__[1:]: f
    for f in (
        _reshape,
        _reshape,
        _transpose,
        _transpose,
        _reduce,
        _concat,
        _slice,
        _pad,
        _binary,
        _softmax,
        _split,
        _gather,
        _tile,
        _matmul,
        _unary,
    )
}
_STEPS = _ANY_RANK | {
    f.__name__[1:]: f for f in (_conv, _pool, _deconv, _resize, _blocks, _dilate, _fused_norm)
}
