"""Record tiny frozen graphs with TensorFlow itself, for tests/importers/tensorflow_recorded.jsonl.

    python -m pip install tensorflow-cpu==2.21.0          (in an environment of its own)
    python tools/record_tensorflow.py                     writes the records again
    python tools/record_tensorflow.py --random 500 FILE   writes records of random graphs to FILE

``npusim conformance FILE`` compares. The graphs and their numbers are made here from a seed. The
form of the records is that of ``npusim.conformance.importer_cases``.
"""

import argparse
import base64
import json
import os
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
        """Return an array between limits."""
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
    return function(f"keras {label}", lambda x: model(x, training=False), [(1, *shape)])


def activations() -> list[str]:
    """Return the names of Keras's activations of one tensor."""
    functions = {"get", "serialize", "deserialize", "glu", "threshold", "sparsemax"}
    found = [name for name in dir(keras.activations) if not name.startswith("_")]
    return [n for n in found if n not in functions and callable(getattr(keras.activations, n))]


def keras_cases() -> Iterator[Any]:
    """Yield frozen graphs of Keras 3 layers."""
    k = keras.layers
    image, row = (6, 5, 4), (6,)
    yield of_keras("BatchNormalization", image, k.BatchNormalization())
    yield of_keras(
        "Conv2D bias, BN, ReLU",
        image,
        k.Conv2D(3, 3, padding="same"),
        k.BatchNormalization(),
        k.ReLU(),
    )
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
    for name in activations():
        yield of_keras(f"activation {name}", row, k.Activation(name))
    yield of_keras("LayerNormalization", row, k.LayerNormalization())
    yield of_keras(
        "ZeroPadding2D, MaxPooling2D", image, k.ZeroPadding2D(((1, 0), (2, 1))), k.MaxPooling2D(2)
    )
    yield of_keras("Reshape, Permute", image, k.Permute((3, 1, 2)), k.Reshape((4, -1)))
    yield of_keras("Cropping2D", image, k.Cropping2D(((1, 0), (0, 2))))
    yield of_keras("Conv1D", (9, 3), k.Conv1D(4, 3, strides=2, padding="same"))


def kept() -> Iterator[Any]:
    """Yield the records that are committed."""
    n = Numbers(7)
    yield from keras_cases()
    w = n(3, 3, 2, 4)
    yield graph(
        "resize float32 position 2 to 82",
        [(1, 2, 3, 1)],
        lambda x: tf1.image.resize_nearest_neighbor(x, (82, 5)),
    )
    for word in ("resize_bicubic", "resize_area"):
        op = getattr(tf1.image, word)
        yield graph(word, [(1, 4, 5, 1)], lambda x, op=op: op(x, (7, 3)))
    yield graph(
        "bicubic half pixel", [(1, 5, 4, 1)], lambda x: tf.image.resize(x, (3, 7), method="bicubic")
    )
    yield graph(
        "round, sign, ceil, rint",
        [(2, 9)],
        lambda x: [tf.round(x * 4), tf.sign(x), tf.math.ceil(x), tf.math.rint(x * 2)],
    )
    yield graph(
        "floor mod and division",
        [(2, 9)],
        lambda x: [tf.math.floormod(x, 0.75), tf.math.floordiv(x, 0.75)],
    )
    yield graph(
        "comparisons",
        [(2, 8), (2, 8)],
        lambda a, b: [
            tf.cast(c, tf.float32)
            for c in (
                a > b,
                a >= b,
                a < b,
                a <= b,
                tf.equal(tf.round(a), tf.round(b)),
                tf.not_equal(tf.round(a), tf.round(b)),
                (a > 0) & (b > 0),
                (a > 0) | (b > 0),
                tf.logical_not(a > 0),
            )
        ],
    )
    yield graph("where", [(1, 3, 3, 2), (1, 3, 3, 2)], lambda a, b: tf.where(a > b, a, b * 2))
    yield graph("einsum", [(2, 3, 4), (2, 4, 5)], lambda a, b: tf.einsum("bij,bjk->bki", a, b))
    yield graph(
        "einsum with weights",
        [(2, 3, 4)],
        lambda a: tf.einsum("abc,cde->abde", a, tf.constant(n(4, 2, 3))),
    )
    yield graph("cumsum", [(2, 5)], lambda x: tf.cumsum(x, 1, reverse=True, exclusive=True))
    yield graph("top k of two axes", [(3, 7)], lambda x: list(tf.math.top_k(x, 4)))
    yield graph(
        "space to batch of three axes",
        [(1, 6, 3)],
        lambda x: tf.batch_to_space(tf.space_to_batch(x, [3], [[0, 0]]), [3], [[1, 1]]),
    )
    yield graph(
        "symmetric padding of channels",
        [(1, 2, 2, 4)],
        lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0], [2, 1]], "SYMMETRIC"),
    )
    yield graph(
        "crop and resize nearest",
        [(2, 4, 5, 2)],
        lambda x: tf.image.crop_and_resize(
            x, [[0.1, 0.2, 0.9, 1.2], [0.8, 0.7, 0.1, 0.2]], [1, 0], (3, 4), "nearest", 0.5
        ),
    )
    yield graph(
        "batch matmul of four axes", [(1, 2, 3, 4), (1, 2, 4, 3)], lambda a, b: tf.matmul(a, b)
    )
    yield graph("known matrix first", [(3, 4)], lambda x: tf.matmul(tf.constant(n(2, 3)), x))
    yield graph(
        "embedding of argmax",
        [(2, 3, 4)],
        lambda x: tf.gather(tf.constant(n(4, 5)), tf.argmax(x, 2)),
    )
    yield graph(
        "gather with two axes of indices",
        [(2, 5, 3)],
        lambda x: tf.gather(x, [[0, 4], [2, 2]], axis=1),
    )
    yield graph(
        "unstack and stack of maps",
        [(1, 2, 3, 2)],
        lambda x: tf.stack(tf.unstack(x, axis=3)[::-1], axis=1),
    )
    yield graph(
        "instance normalisation written out",
        [(1, 4, 4, 3)],
        lambda x: (
            (x - tf.reduce_mean(x, [1, 2], keepdims=True))
            * tf.math.rsqrt(tf.math.reduce_variance(x, [1, 2], keepdims=True) + 1e-3)
        ),
    )
    yield graph("bias of a convolution read twice", [(1, 4, 4, 2)], lambda x: _read_twice(x, w))
    yield function("conditional on a constant", lambda x: _conditional(x), [(1, 3)])
    yield function("functions in functions", lambda x: _nested(x), [(1, 4)])
    yield graph(
        "broadcast of a row of channels and rows", [(2, 1, 3, 4), (3, 1)], lambda a, b: a * b
    )
    yield graph(
        "means over every axis",
        [(2, 3, 4, 5)],
        lambda x: [
            tf.reduce_mean(x),
            tf.reduce_max(x, [0, 2]),
            tf.reduce_sum(x, [1]),
            tf.reduce_min(x, [3], keepdims=True),
        ],
    )


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


def main() -> None:
    """Write the records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", nargs=2, metavar=("COUNT", "FILE"), help="random graphs")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if options.random:
        import random_tensorflow

        count, path = int(options.random[0]), Path(options.random[1])
        found = filter(None, map(random_tensorflow.drawn, range(count)))
    else:
        path, found = RECORDS, kept()
    with path.open("w") as file:
        for case in found:
            file.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
