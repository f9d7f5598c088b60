"""Record tiny frozen graphs with TensorFlow itself, for tests/importers/tensorflow_recorded.jsonl.

    python -m pip install tensorflow-cpu==2.21.0          (in an environment of its own)
    python tools/record_tensorflow.py                     writes the records again
    python tools/record_tensorflow.py --random 500 FILE   writes records of random graphs to FILE

``npusim conformance FILE`` compares. The graphs and their numbers are made here from a seed. The form
of the records is that of ``npusim.conformance.importer_cases``.
"""

import argparse
import base64
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as frozen,
)

tf1 = tf.compat.v1
RECORDS = Path(__file__).resolve().parents[1] / "tests/importers/tensorflow_recorded.jsonl"
PROGRAM = f"TensorFlow {tf.__version__}, CPU"
Array = Any
Builder = Callable[..., Any]


class Numbers:
    """Numbers of few bits from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        value = self.random.integers(int(low * 32), int(high * 32) + 1, shape) / 32
        return value.astype(np.float32)


def record(label: str, graph_def: Any, feeds: dict[str, Array], ends: list[str]) -> dict[str, Any]:
    """Run a graph and return its record."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf1.Session(graph=graph) as session:
            found = session.run([f"{name}:0" for name in ends], feeds)
    ops = {node.op for node in graph_def.node}
    ops |= {node.op for function in graph_def.library.function for node in function.node_def}
    content = graph_def.SerializeToString(deterministic=True)
    return {
        "label": label,
        "framework": "tensorflow",
        "program": PROGRAM,
        "layers": sorted(ops - {"Const", "Placeholder", "NoOp"}),
        "files": {"net.pb": {"base64": base64.b64encode(content).decode()}},
        "inputs": {name: told(value) for name, value in feeds.items()},
        "outputs": {f"{n}:0": told(v) for n, v in zip(ends, found, strict=True)},
    }


def told(value: Array) -> dict[str, Any]:
    """Return an array as the records have it."""
    array = np.asarray(value)
    result: dict[str, Any] = {"shape": list(array.shape)}
    if array.dtype.kind == "f":
        numbers = [float(f"{v:.9g}") for v in array.reshape(-1).astype(np.float64)]
        result["data"] = [n if np.isfinite(n) else str(n) for n in numbers]
    else:
        result |= {"data": array.reshape(-1).tolist(), "dtype": array.dtype.name}
    return result


def graph(label: str, shapes: list[tuple[int, ...]], build: Builder, seed: int = 1) -> Any:
    """Record a graph that a function of tensors builds; version 1 style."""
    numbers = Numbers(seed)
    names = ["x", *(f"x{i}" for i in range(2, len(shapes) + 1))]
    with tf.Graph().as_default() as made:
        tensors = [
            tf1.placeholder(tf.float32, shape, name=name)
            for shape, name in zip(shapes, names, strict=True)
        ]
        results = build(*tensors)
        results = list(results) if isinstance(results, list | tuple) else [results]
        ends = ["y"] if len(results) == 1 else [f"y{i}" for i in range(len(results))]
        for name, result in zip(ends, results, strict=True):
            tf.identity(result, name=name)
        definition = made.as_graph_def()
    feeds = {f"{n}:0": numbers(*s) for n, s in zip(names, shapes, strict=True)}
    return record(label, definition, feeds, ends)


def function(label: str, call: Any, shapes: list[tuple[int, ...]], seed: int = 1) -> Any:
    """Record a frozen function: what Keras models and tf.function become."""
    numbers = Numbers(seed)
    specs = [tf.TensorSpec(shape, tf.float32, name=f"in{i}") for i, shape in enumerate(shapes)]
    made = frozen(tf.function(call).get_concrete_function(*specs))
    definition = made.graph.as_graph_def()
    feeds = {t.name: numbers(*s) for t, s in zip(made.inputs, shapes, strict=True)}
    return record(label, definition, feeds, [t.op.name for t in made.outputs])


def settled(model: Any, seed: int = 3) -> Any:
    """Give a Keras model numbers of few bits; variances are positive."""
    numbers = Numbers(seed)
    for variable in model.weights:
        positive = "variance" in variable.path or "gamma" in variable.path
        low, high = (0.5, 1.5) if positive else (-1.0, 1.0)
        variable.assign(numbers(*variable.shape, low=low, high=high))
    return model


def of_keras(label: str, shape: tuple[int, ...], *stack: Any) -> Any:
    """Record the frozen graph of a sequence of Keras layers."""
    keras.utils.clear_session()
    model = settled(keras.Sequential([keras.Input(shape), *stack]))
    return function(
        f"keras {label}", lambda x: model(x, training=False), [(1, *shape)]
    )


def keras_cases() -> Iterator[Any]:
    """Yield frozen graphs of Keras 3 layers."""
    k = keras.layers
    image, row = (6, 5, 4), (6,)
    yield of_keras("BatchNormalization", image, k.BatchNormalization())
    yield of_keras("Conv2D bias, BN, ReLU", image, k.Conv2D(3, 3, padding="same"),
                   k.BatchNormalization(), k.ReLU())
    yield of_keras("Conv2D groups", image, k.Conv2D(4, 3, groups=2))
    yield of_keras("Conv2D dilated", (9, 8, 2), k.Conv2D(3, 3, dilation_rate=2, padding="same"))
    yield of_keras("DepthwiseConv2D", image, k.DepthwiseConv2D(3, strides=2, padding="same"))
    yield of_keras("SeparableConv2D", image, k.SeparableConv2D(5, 3, padding="same"))
    yield of_keras("Conv2DTranspose", image, k.Conv2DTranspose(3, 3, strides=2, padding="same"))
    yield of_keras("UpSampling2D nearest", (3, 2, 2), k.UpSampling2D((2, 3)))
    yield of_keras("UpSampling2D bilinear", (3, 2, 2), k.UpSampling2D(2, interpolation="bilinear"))
    yield of_keras("Softmax axis 1", (3, 2, 4), k.Softmax(axis=1))
    yield of_keras("Flatten, Dense", image, k.Flatten(), k.Dense(3, activation="softmax"))
    yield of_keras("GlobalAveragePooling2D", image, k.GlobalAveragePooling2D(), k.Dense(2))
    yield of_keras("PReLU", image, k.PReLU(shared_axes=(1, 2)))
    for name in ("gelu", "swish", "hard_silu", "hard_sigmoid", "softplus", "selu", "mish",
                 "leaky_relu", "elu", "softsign", "hard_tanh", "squareplus"):
        yield of_keras(f"activation {name}", row, k.Activation(name))
    yield of_keras("LayerNormalization", row, k.LayerNormalization())
    yield of_keras("ZeroPadding2D, MaxPooling2D", image, k.ZeroPadding2D(((1, 0), (2, 1))),
                   k.MaxPooling2D(2))
    yield of_keras("Reshape, Permute", image, k.Permute((3, 1, 2)), k.Reshape((4, -1)))
    yield of_keras("Cropping2D", image, k.Cropping2D(((1, 0), (0, 2))))
    yield of_keras("Conv1D", (9, 3), k.Conv1D(4, 3, strides=2, padding="same"))


def kept() -> Iterator[Any]:
    """Yield the records that are committed."""
    n = Numbers(7)
    yield from keras_cases()
    w = n(3, 3, 2, 4)
    yield graph("resize float32 position 2 to 82", [(1, 2, 3, 1)],
                lambda x: tf1.image.resize_nearest_neighbor(x, (82, 5)))
    for word in ("resize_bicubic", "resize_area"):
        op = getattr(tf1.image, word)
        yield graph(word, [(1, 4, 5, 1)], lambda x, op=op: op(x, (7, 3)))
    yield graph("bicubic half pixel", [(1, 5, 4, 1)],
                lambda x: tf.image.resize(x, (3, 7), method="bicubic"))
    yield graph("round, sign, ceil, rint", [(2, 9)],
                lambda x: [tf.round(x * 4), tf.sign(x), tf.math.ceil(x), tf.math.rint(x * 2)])
    yield graph("floor mod and division", [(2, 9)],
                lambda x: [tf.math.floormod(x, 0.75), tf.math.floordiv(x, 0.75)])
    yield graph("comparisons", [(2, 8), (2, 8)],
                lambda a, b: [tf.cast(c, tf.float32) for c in (
                    a > b, a >= b, a < b, a <= b, tf.equal(tf.round(a), tf.round(b)),
                    tf.not_equal(tf.round(a), tf.round(b)), (a > 0) & (b > 0), (a > 0) | (b > 0),
                    tf.logical_not(a > 0))])
    yield graph("where", [(1, 3, 3, 2), (1, 3, 3, 2)], lambda a, b: tf.where(a > b, a, b * 2))
    yield graph("einsum", [(2, 3, 4), (2, 4, 5)], lambda a, b: tf.einsum("bij,bjk->bki", a, b))
    yield graph("einsum with weights", [(2, 3, 4)],
                lambda a: tf.einsum("abc,cde->abde", a, tf.constant(n(4, 2, 3))))
    yield graph("cumsum", [(2, 5)], lambda x: tf.cumsum(x, 1, reverse=True, exclusive=True))
    yield graph("top k of two axes", [(3, 7)], lambda x: list(tf.math.top_k(x, 4)))
    yield graph("space to batch of three axes", [(1, 6, 3)],
                lambda x: tf.batch_to_space(tf.space_to_batch(x, [3], [[0, 0]]), [3], [[1, 1]]))
    yield graph("symmetric padding of channels", [(1, 2, 2, 4)],
                lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0], [2, 1]], "SYMMETRIC"))
    yield graph("crop and resize nearest", [(2, 4, 5, 2)],
                lambda x: tf.image.crop_and_resize(
                    x, [[0.1, 0.2, 0.9, 1.2], [0.8, 0.7, 0.1, 0.2]], [1, 0], (3, 4), "nearest", 0.5))
    yield graph("batch matmul of four axes", [(1, 2, 3, 4), (1, 2, 4, 3)],
                lambda a, b: tf.matmul(a, b))
    yield graph("known matrix first", [(3, 4)], lambda x: tf.matmul(tf.constant(n(2, 3)), x))
    yield graph("embedding of argmax", [(2, 3, 4)],
                lambda x: tf.gather(tf.constant(n(4, 5)), tf.argmax(x, 2)))
    yield graph("gather with two axes of indices", [(2, 5, 3)],
                lambda x: tf.gather(x, [[0, 4], [2, 2]], axis=1))
    yield graph("unstack and stack of maps", [(1, 2, 3, 2)],
                lambda x: tf.stack(tf.unstack(x, axis=3)[::-1], axis=1))
    yield graph("instance normalisation written out", [(1, 4, 4, 3)],
                lambda x: (x - tf.reduce_mean(x, [1, 2], keepdims=True)) * tf.math.rsqrt(
                    tf.math.reduce_variance(x, [1, 2], keepdims=True) + 1e-3))
    yield graph("bias of a convolution read twice", [(1, 4, 4, 2)],
                lambda x: _read_twice(x, w))
    yield function("conditional on a constant", lambda x: _conditional(x), [(1, 3)])
    yield function("functions in functions", lambda x: _nested(x), [(1, 4)])
    yield graph("broadcast of a row of channels and rows", [(2, 1, 3, 4), (3, 1)],
                lambda a, b: a * b)
    yield graph("means over every axis", [(2, 3, 4, 5)],
                lambda x: [tf.reduce_mean(x), tf.reduce_max(x, [0, 2]), tf.reduce_sum(x, [1]),
                           tf.reduce_min(x, [3], keepdims=True)])


def _read_twice(x: Any, w: Array) -> Any:
    y = tf.nn.conv2d(x, w, 1, "SAME")
    return tf.nn.relu(tf.nn.bias_add(y, [1.0, 2.0, 3.0, 4.0])) + y


def _conditional(x: Any) -> Any:
    phase = tf.constant(False)
    return tf.cond(phase, lambda: tf.nn.dropout(x, 0.5), lambda: x * 3.0)


def _nested(x: Any) -> Any:
    @tf.function
    def inner(a: Any, b: Any) -> Any:
        return tf.split(a + b, 2, axis=1)

    @tf.function
    def outer(a: Any) -> Any:
        low, high = inner(a, a * 2.0)
        return high - low, low

    first, second = outer(x)
    return tf.concat([first, second], 1)


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
    y = tf.nn.conv2d(x, n(kh, kw, c // group, out), [1, s, rng.randint(1, 2) if d == 1 else 1, 1],
                     rule, dilations=[1, d, d, 1])
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
    return tf.gather(x, np.array([rng.randrange(size) for _ in range(int(np.prod(shape)))],
                                 np.int32).reshape(shape), axis=axis)


def _tile(x: Any, rng: random.Random, n: Numbers) -> Any:
    return tf.tile(x, [rng.choice([1, 1, 2]) for _ in x.shape]) if len(x.shape) else None


def _matmul(x: Any, rng: random.Random, n: Numbers) -> Any:
    if len(x.shape) < 2:
        return None
    k, out = x.shape.as_list()[-1], rng.randint(1, 4)
    if len(x.shape) == 2 and rng.random() < 0.5:
        return tf.matmul(x, n(x.shape[0], out), transpose_a=True)
    return tf.matmul(x, n(out, k), transpose_b=True) if len(x.shape) == 2 else tf.tensordot(
        x, n(k, out), 1)


def _unary(x: Any, rng: random.Random, n: Numbers) -> Any:
    ops = [tf.nn.relu, tf.nn.relu6, tf.tanh, tf.sigmoid, tf.abs, tf.square, tf.nn.leaky_relu,
           tf.floor, tf.nn.elu, tf.math.sign]
    return rng.choice(ops)(x)


_ANY_RANK = {f.__name__[1:]: f for f in (
    _reshape, _reshape, _transpose, _transpose, _reduce, _concat, _slice, _pad, _binary, _softmax,
    _split, _gather, _tile, _matmul, _unary)}
_STEPS = _ANY_RANK | {f.__name__[1:]: f for f in (
    _conv, _pool, _deconv, _resize, _blocks, _dilate, _fused_norm)}


def main() -> None:
    """Write the records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", nargs=2, metavar=("COUNT", "FILE"), help="random graphs")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if options.random:
        count, path = int(options.random[0]), Path(options.random[1])
        found = filter(None, map(drawn, range(count)))
    else:
        path, found = RECORDS, kept()
    with path.open("w") as file:
        for case in found:
            file.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
