"""Record tiny Keras models with Keras itself, for tests/importers/keras_recorded.jsonl.gz.

    python -m pip install tensorflow-cpu==2.21.0 tf-keras==2.21.0   (an environment of its own)
    python tools/record_keras.py                     writes the records again
    python tools/record_keras.py --random 300 FILE   writes records of random models to FILE

``npusim conformance FILE`` compares. The models and their numbers are made here from a seed. The
form of the records is that of ``npusim.conformance.importer_cases``.
"""

import argparse
import base64
import gzip
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from record_tensorflow import Numbers, activations, settled, told

RECORDS = Path(__file__).resolve().parents[1] / "tests/importers/keras_recorded.jsonl.gz"
IMAGE, ROW, SERIES = (6, 5, 4), (6,), (7, 4)
OLD, NEW = tf_keras, keras


def record(label: str, model: Any, suffix: str, seed: int = 1, *, old: bool = False) -> Any:
    """Save a model, read it back, run it and return the record."""
    numbers = Numbers(seed)
    library = OLD if old else NEW
    _set_numbers(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"net.{suffix}")
        model.save(path)
        model = library.models.load_model(path, compile=False)
        content = path.read_bytes()
    feeds = []
    for tensor in model.inputs:
        shape = [1 if n is None else int(n) for n in tensor.shape]
        value = numbers(*shape)
        feeds.append(np.abs(value * 2).astype(np.int32) if "int" in str(tensor.dtype) else value)
    found = model(feeds if len(feeds) > 1 else feeds[0], training=False)
    found = list(found) if isinstance(found, list | tuple) else [found]
    names = [_name(t) for t in model.inputs]
    ends = [f"y{i}" for i in range(len(found))] if len(found) > 1 else ["y"]
    return {
        "label": f"{label} (.{suffix})",
        "framework": "keras",
        "program": f"Keras {library.__version__} on TensorFlow {tf.__version__}",
        "layers": sorted({type(layer).__name__ for layer in model.layers}),
        "files": {f"net.{suffix}": {"base64": base64.b64encode(content).decode()}},
        "inputs": {n: told(v) for n, v in zip(names, feeds, strict=True)},
        "outputs": {n: told(v) for n, v in zip(_ends(model, ends, old), found, strict=True)},
    }


def _set_numbers(model: Any) -> None:
    if model.__class__.__module__.startswith("keras"):
        settled(model)
        return
    numbers = Numbers(3)
    for variable in model.weights:
        positive = "variance" in variable.name or "gamma" in variable.name
        low, high = (0.5, 1.5) if positive else (-1.0, 1.0)
        variable.assign(numbers(*variable.shape, low=low, high=high))


def _name(tensor: Any) -> str:
    return str(tensor.name).partition(":")[0]


def _ends(model: Any, names: list[str], old: bool) -> list[str]:
    """Return the names of the layers that make the outputs."""
    found: list[str] = []
    for tensor in model.outputs:
        history = tensor._keras_history
        layer = history.layer if old else history.operation
        index = history.tensor_index
        base = f"{layer.name}:{index}" if index else str(layer.name)
        name, count = base, 0
        while name in found:
            count += 1
            name = f"{base}_{count}"
        found.append(name)
    return found


def chain(label: str, shape: tuple[int, ...], *stack: Any, suffix: str = "keras") -> Any:
    """Record a Sequential model."""
    return record(label, keras.Sequential([keras.Input(shape), *stack]), suffix)


def functional(
    label: str, shapes: list[tuple[int, ...]], build: Callable[..., Any], *, suffix: str = "keras",
    old: bool = False,
) -> Any:  # fmt: skip
    """Record a functional model."""
    library = OLD if old else NEW
    tensors = [library.Input(shape, name=f"in{i}") for i, shape in enumerate(shapes)]
    return record(label, library.Model(tensors, build(*tensors)), suffix, old=old)


def kept() -> Iterator[Any]:
    """Yield the records that are committed."""
    k, o, ops = keras.layers, tf_keras.layers, keras.ops
    for suffix in ("keras", "h5"):
        yield chain("LSTM of sequences", SERIES, k.LSTM(3, return_sequences=True), suffix=suffix)
        yield chain("GRU reset before", SERIES, k.GRU(3, reset_after=False), suffix=suffix)
        yield chain("GRU backwards", SERIES, k.GRU(2, go_backwards=True), suffix=suffix)
        yield chain(
            "Bidirectional GRU of sequences",
            SERIES,
            k.Bidirectional(k.GRU(2, return_sequences=True), merge_mode="ave"),
            suffix=suffix,
        )
        yield chain("SimpleRNN without bias", SERIES, k.SimpleRNN(3, use_bias=False), suffix=suffix)
        yield functional(
            "attention of two",
            [(4, 6), (5, 6)],
            lambda a, b: k.MultiHeadAttention(2, 3, value_dim=2)(a, b),
            suffix=suffix,
        )
        yield functional(
            "causal attention",
            [(4, 6)],
            lambda a: k.MultiHeadAttention(2, 3)(a, a, use_causal_mask=True),
            suffix=suffix,
        )
        yield chain(
            "TimeDistributed convolution",
            (2, 5, 4, 2),
            k.TimeDistributed(k.Conv2D(3, 2, activation="relu")),
            suffix=suffix,
        )
        yield functional(
            "a model called twice",
            [IMAGE, IMAGE],
            lambda a, b: k.Add()(
                (lambda m: [m(a), m(b)])(
                    keras.Sequential([keras.Input(IMAGE), k.Conv2D(3, 3), k.BatchNormalization()])
                )
            ),
            suffix=suffix,
        )
        yield functional(
            "models in models with equal names",
            [IMAGE],
            lambda x: _nested(_nested(x, "a"), "b"),
            suffix=suffix,
        )
        yield functional(
            "a layer called twice",
            [ROW, ROW],
            lambda a, b: k.Concatenate()(
                (lambda d: [d(a), d(b), d(a)])(k.Dense(2, activation="gelu"))
            ),
            suffix=suffix,
        )
    yield chain(
        "channels first",
        (3, 5, 4),
        k.MaxPooling2D(2, data_format="channels_first"),
        k.Flatten(data_format="channels_first"),
    )
    yield chain("Conv1DTranspose", SERIES, k.Conv1DTranspose(3, 3, strides=2, padding="same"))
    yield chain("SeparableConv1D", SERIES, k.SeparableConv1D(3, 3, depth_multiplier=2))
    yield chain("output padding", IMAGE, k.Conv2DTranspose(2, 3, strides=2, output_padding=1))
    yield chain("GroupNormalization of two", IMAGE, k.GroupNormalization(2))
    yield chain("LayerNormalization of two axes", IMAGE, k.LayerNormalization(axis=[1, 3]))
    yield chain("RMSNormalization", ROW, k.RMSNormalization())
    yield chain("EinsumDense", (3, 4), k.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"))
    yield chain(
        "Normalization of channels",
        IMAGE,
        k.Normalization(mean=[1, 2, 3, 4], variance=[1, 4, 2, 3]),
    )
    yield chain("PReLU shared", IMAGE, k.PReLU(shared_axes=[1, 2]))
    yield chain("Resizing bicubic", IMAGE, k.Resizing(3, 8, "bicubic"))
    yield chain("CenterCrop", IMAGE, k.CenterCrop(3, 3))
    yield chain("UpSampling1D, Cropping1D", SERIES, k.UpSampling1D(3), k.Cropping1D((1, 2)))
    for word in ("threshold", "sparse_plus", "glu"):
        if word == "sparse_plus":
            yield chain(f"activation {word}", ROW, k.Activation(word))
    yield functional("indices", [IMAGE], lambda x: [x[:, 1:, ::2], x[..., 0], x[:, -1, :, None]])
    yield functional("operators", [ROW, ROW], lambda a, b: ops.maximum(1 - a, b / 2) ** 2)
    yield functional(
        "keras.ops",
        [IMAGE],
        lambda x: ops.concatenate(
            [ops.mean(x, axis=(1, 2), keepdims=True), ops.max(x, axis=[1, 2], keepdims=True)], -1
        ),
    )
    yield functional(
        "keras.ops moves",
        [IMAGE],
        lambda x: ops.stack(
            ops.split(ops.moveaxis(ops.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]]), 3, 1), 2, axis=1),
            axis=2,
        ),
    )
    yield functional(
        "keras.ops functions",
        [ROW],
        lambda x: [
            ops.gelu(x),
            ops.leaky_relu(x, 0.3),
            ops.clip(x, -0.5, 1),
            ops.where(x > 0, x, -x * 2),
            ops.softmax(x),
            ops.squeeze(ops.expand_dims(x, 1), 1),
            ops.hard_sigmoid(x),
        ],
    )
    yield functional(
        "keras.ops products",
        [(3, 4), (4, 2)],
        lambda a, b: [ops.matmul(a, b), ops.einsum("bij,bjk->bki", a, b)],
    )
    old = {"suffix": "h5", "old": True}
    yield functional(
        "older: functions of tensorflow",
        [IMAGE],
        lambda x: tf.nn.relu6(x * 2.0 + 1.0) / 6.0 - tf.reduce_mean(x, axis=[1, 2], keepdims=True),
        **old,
    )
    yield functional("older: slices", [IMAGE], lambda x: x[:, 1:-1, :, ::2], **old)
    yield functional("older: LSTM", [SERIES], lambda x: o.LSTM(3)(x), **old)
    yield functional("older: GRU", [SERIES], lambda x: o.GRU(3, return_sequences=True)(x), **old)
    yield functional(
        "older: Bidirectional", [SERIES], lambda x: o.Bidirectional(o.LSTM(2))(x), **old
    )
    yield functional(
        "older: SeparableConv2D, Conv2DTranspose",
        [IMAGE],
        lambda x: o.Conv2DTranspose(2, 3)(o.SeparableConv2D(3, 3, padding="same")(x)),
        **old,
    )
    yield functional(
        "older: nested twice",
        [IMAGE],
        lambda x: o.Dense(2)(
            (lambda m: m(m(x)))(
                tf_keras.Sequential(
                    [o.InputLayer(IMAGE), o.Conv2D(4, 3, padding="same"), o.BatchNormalization()]
                )
            )
        ),
        **old,
    )
    yield functional(
        "older: attention", [(4, 6), (5, 6)], lambda a, b: o.MultiHeadAttention(2, 3)(a, b), **old
    )
    yield functional(
        "older: swish, hard_sigmoid",
        [ROW],
        lambda x: o.Multiply()([o.Activation("swish")(x), o.Activation("hard_sigmoid")(x)]),
        **old,
    )
    yield functional(
        "older: several results",
        [SERIES],
        lambda x: o.Concatenate()(o.LSTM(2, return_state=True)(x)),
        **old,
    )


def _nested(x: Any, name: str) -> Any:
    k, size = keras.layers, tuple(x.shape[1:])
    inner = keras.Sequential(
        [keras.Input(size), k.Conv2D(3, 2, name="c"), k.BatchNormalization(name="n")], name="in"
    )
    outer = keras.Sequential(
        [keras.Input(size), k.Conv2D(4, 1, name="c"), k.BatchNormalization(name="n")], name=name
    )
    start = keras.Input(size)
    middle = k.Conv2D(size[-1], 1, name="c")(start)
    whole = keras.Model(start, inner(middle), name=f"{name}_whole")
    mixed = k.Conv2D(size[-1], 1, name=f"{name}_mix")(outer(x))
    return keras.Model(start, whole(start), name=f"{name}_top")(mixed)


def drawn(seed: int) -> Any:
    """Return the record of a random Sequential model; None where Keras itself refuses it."""
    rng, k = random.Random(seed), keras.layers
    pick, whole = rng.choice, rng.randint
    act = lambda: pick([None, *activations()])  # noqa: E731
    rule = lambda: pick(["same", "valid"])  # noqa: E731
    makers: list[Callable[[], Any]] = [
        lambda: k.Conv2D(whole(1, 4), (whole(1, 3), whole(1, 3)), strides=whole(1, 2),
                         padding=rule(), activation=act(), use_bias=pick([True, False])),
        lambda: k.Conv2D(whole(1, 4), 2, dilation_rate=2, padding=rule()),
        lambda: k.DepthwiseConv2D(whole(1, 3), strides=whole(1, 2), padding=rule(),
                                  depth_multiplier=whole(1, 2), activation=act()),
        lambda: k.SeparableConv2D(whole(1, 3), whole(1, 3), padding=rule()),
        lambda: k.Conv2DTranspose(whole(1, 3), whole(1, 4), strides=whole(1, 3), padding=rule()),
        lambda: k.MaxPooling2D(whole(1, 3), strides=whole(1, 2), padding=rule()),
        lambda: k.AveragePooling2D((whole(1, 3), 2), padding=rule()),
        lambda: k.UpSampling2D((whole(1, 2), 2), interpolation=pick(["nearest", "bilinear"])),
        lambda: k.ZeroPadding2D(((whole(0, 2), 1), (0, whole(0, 2)))),
        lambda: k.Cropping2D(((whole(0, 1), 0), (1, whole(0, 1)))),
        lambda: k.BatchNormalization(axis=pick([-1, 1, 2]), scale=pick([True, False])),
        lambda: k.LayerNormalization(axis=pick([-1, [1, 2], 1])),
        lambda: k.GroupNormalization(pick([1, -1])),
        lambda: k.Permute(rng.sample([1, 2, 3], 3)),
        lambda: k.ReLU(pick([None, 2.0]), negative_slope=pick([0, 0.25]), threshold=pick([0, 0.5])),
        lambda: k.Resizing(whole(1, 8), whole(1, 8), pick(["nearest", "bilinear", "bicubic"])),
        lambda: k.Softmax(axis=pick([-1, 1, 2])),
        lambda: k.Dense(whole(1, 4), activation=act()),
        lambda: k.Rescaling(0.5, offset=1.0),
    ]  # fmt: skip
    shape = (whole(3, 8), whole(3, 8), whole(1, 4))
    ends = [[], [k.Flatten(), k.Dense(3)], [k.GlobalAveragePooling2D()],
            [k.Reshape((-1, 1))], [k.GlobalMaxPooling2D(keepdims=True)]]  # fmt: skip
    stack = [pick(makers)() for _ in range(whole(1, 4))] + pick(ends)
    words = " ".join(type(layer).__name__ for layer in stack)
    try:
        keras.utils.clear_session()
        model = keras.Sequential([keras.Input(shape), *stack])
        return record(f"random {seed}: {words}", model, pick(["keras", "h5"]), seed)
    except (ValueError, tf.errors.OpError) as error:
        print(f"random {seed}: {str(error).splitlines()[0][:100]}")
        return None


def main() -> None:
    """Write the records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", nargs=2, metavar=("COUNT", "FILE"), help="random models")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if options.random:
        path, found = (
            Path(options.random[1]),
            filter(None, map(drawn, range(int(options.random[0])))),
        )
    else:
        path, found = RECORDS, kept()
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        for case in found:
            file.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
