"""Record tiny networks with loops, for tests/importers/loops_recorded.jsonl.gz.

    python -m pip install tensorflow-cpu==2.21.0          (in an environment of its own)
    python tools/record_loops.py                          writes the records again

LSTM, GRU and loops of one's own as TensorFlow keeps them: functions of ``While``, frames of
version 1, subgraphs of TensorFlow Lite. ``npusim conformance FILE`` compares. The form of the
records is that of ``npusim.conformance.importer_cases``.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from record_tensorflow import Numbers, frozen, graph, record, settled, tf1, told
from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl as cells

RECORDS = Path(__file__).resolve().parents[1] / "tests/importers/loops_recorded.jsonl.gz"
Array = Any
Shapes = list[tuple[int, ...]]
N = Numbers(7)
W, B = N(7, 16, low=-1, high=1), N(16)


def lowered(label: str, call: Any, shapes: Shapes) -> Any:
    """Record a frozen function whose loops became frames of version 1."""
    return _function(f"lowered {label}", call, shapes, lower_control_flow=True)


def function(label: str, call: Any, shapes: Shapes) -> Any:
    """Record a frozen function whose loops are functions."""
    return _function(label, call, shapes, lower_control_flow=False)


def _function(label: str, call: Any, shapes: Shapes, **options: Any) -> Any:
    numbers = Numbers(1)
    made = frozen(_concrete(call, shapes), **options)
    feeds = {t.name: numbers(*s) for t, s in zip(made.inputs, shapes, strict=True)}
    return record(label, made.graph.as_graph_def(), feeds, [t.op.name for t in made.outputs])


def _concrete(call: Any, shapes: Shapes) -> Any:
    specs = [tf.TensorSpec(shape, tf.float32, name=f"in{i}") for i, shape in enumerate(shapes)]
    return tf.function(call).get_concrete_function(*specs)


def tflite(label: str, call: Any, shapes: Shapes) -> Any:
    """Record what TensorFlow's converter makes of a function, run by its interpreter."""
    numbers = Numbers(1)
    made = frozen(_concrete(call, shapes), lower_control_flow=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([made])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    content = converter.convert()
    running = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    running.allocate_tensors()
    inputs, outputs = running.get_input_details(), running.get_output_details()
    feeds = {entry["name"]: numbers(*entry["shape"]) for entry in inputs}
    for entry in inputs:
        running.set_tensor(entry["index"], feeds[entry["name"]])
    running.invoke()
    return {
        "label": f"tflite {label}",
        "framework": "tflite",
        "program": f"TensorFlow Lite of TensorFlow {tf.__version__}, CPU",
        "layers": sorted({op["op_name"] for op in running._get_ops_details()}),
        "files": {"net.tflite": {"base64": base64.b64encode(content).decode()}},
        "inputs": {name: told(value) for name, value in feeds.items()},
        "outputs": {e["name"]: told(running.get_tensor(e["index"])) for e in outputs},
    }


# ---- networks of Keras
def series(*stack: Any, shape: tuple[int, ...] = (5, 3), batch: int = 1) -> tuple[Any, Shapes]:
    """Return a function of a sequence of Keras layers and the shape of its input."""
    keras.utils.clear_session()
    model = settled(keras.Sequential([keras.Input(shape), *stack]))
    return lambda x: model(x, training=False), [(batch, *shape)]


def with_states(layer: Any, states: int) -> tuple[Any, Shapes]:
    """Return a function of a sequence and the states it begins with, which gives those at last."""
    keras.utils.clear_session()
    begins = [keras.Input((4,)) for _ in range(states)]
    x = keras.Input((5, 3))
    model = settled(keras.Model([x, *begins], layer(x, initial_state=begins)))
    return lambda *xs: model(list(xs), training=False), [(1, 5, 3), *[(1, 4)] * states]


def keras_nets() -> Iterator[tuple[str, Any, Shapes]]:
    """Yield recurrent networks of Keras 3."""
    k = keras.layers
    yield "LSTM", *series(k.LSTM(4))
    yield "LSTM return_sequences", *series(k.LSTM(4, return_sequences=True), batch=2)
    yield "GRU return_sequences", *series(k.GRU(4, return_sequences=True))
    yield "GRU reset_after=False", *series(k.GRU(4, reset_after=False))
    yield "SimpleRNN go_backwards", *series(k.SimpleRNN(4, go_backwards=True))
    yield (
        "Bidirectional, stacked",
        *series(k.Bidirectional(k.LSTM(3, return_sequences=True)), k.GRU(2), k.Dense(2)),
    )
    yield (
        "LSTM behind LSTM",
        *series(k.LSTM(3, return_sequences=True), k.LSTM(2, return_sequences=True)),
    )
    layer = k.LSTM(4, return_sequences=True, return_state=True)
    yield "LSTM with states", *with_states(layer, 2)
    yield "GRU with states", *with_states(k.GRU(4, return_state=True), 1)
    yield "ConvLSTM2D", *series(k.ConvLSTM2D(2, 3, padding="same"), shape=(3, 4, 5, 2))
    yield "LSTM of masked steps", *series(k.Masking(0.5), k.LSTM(3))


# ---- loops of one's own
def nested(x: Any) -> Any:
    """Nest a loop in a loop; the inner one's turns depend on the outer one."""

    def outer(i: Any, y: Any) -> Any:
        def inner(j: Any, z: Any) -> Any:
            return j + 1, z * 0.5 + tf.cast(i + j, tf.float32)

        return i + 1, tf.while_loop(lambda j, z: j < i + 2, inner, [0, y])[1]

    return tf.while_loop(lambda i, y: i < 3, outer, [0, x])[1]


def branching(x: Any) -> Any:
    """Choose in every turn by its number."""

    def body(i: Any, y: Any) -> Any:
        return i + 1, tf.cond(tf.equal(i % 2, 0), lambda: y * 2.0, lambda: y - 1.0)

    return tf.while_loop(lambda i, y: i < 5, body, [0, x])[1]


def cell(x: Any) -> Any:
    """Run an LSTM written with arrays of tensors."""
    given = tf.TensorArray(tf.float32, 5).unstack(tf.transpose(x, [1, 0, 2]))

    def body(t: Any, h: Any, c: Any, out: Any) -> Any:
        z = tf.concat([given.read(t), h], 1) @ W + B
        i, j, f, o = tf.split(z, 4, 1)
        c = c * tf.sigmoid(f + 1) + tf.sigmoid(i) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
        return t + 1, h, c, out.write(t, h)

    zero = tf.zeros((1, 4))
    begin = [0, zero, zero, tf.TensorArray(tf.float32, 5)]
    found = tf.while_loop(lambda t, *rest: t < tf.shape(x)[1], body, begin)
    return [tf.transpose(found[3].stack(), [1, 0, 2]), found[1], found[2]]


def arrays(x: Any) -> Any:
    """Split, gather, leave unwritten, join."""
    parts = tf.TensorArray(tf.float32, 3, infer_shape=False).split(x, [1, 3, 2])
    rows = tf.TensorArray(tf.float32, 4, element_shape=(3,), clear_after_read=False)
    rows = rows.write(2, x[0]).write(0, x[5] * 2.0).write(1, x[3]).write(3, x[1])
    return [parts.concat() * 2.0, rows.gather([3, 0, 0]), tf.cast(rows.size(), tf.float32) * x]


def nothing(x: Any) -> Any:
    """Write a loop that never turns."""
    return tf.while_loop(lambda i, y: i < 0, lambda i, y: (i + 1, y * 2.0), [0, x])[1] + 1.0


OWN: list[tuple[str, Any, Shapes]] = [
    ("nested loops", nested, [(2, 3)]),
    ("condition in a loop", branching, [(2, 3)]),
    ("LSTM of arrays", cell, [(1, 5, 3)]),
    ("arrays", arrays, [(6, 3)]),
    ("no turn", nothing, [(2, 3)]),
    ("scan", lambda x: tf.scan(lambda a, b: a * 0.5 + b, x), [(4, 3)]),
    (
        "map of pictures",
        lambda x: tf.map_fn(lambda a: tf.image.resize(a, (2, 3)) * 2.0, x),
        [(2, 4, 4, 3)],
    ),
    (
        "case of a known index",
        lambda x: tf.switch_case(
            tf.constant(1), [lambda: x * 2.0, lambda: x - 1.0, lambda: tf.sin(x)]
        ),
        [(2, 3)],
    ),
]


# ---- version 1
def dynamic(label: str, kind: str, shape: tuple[int, ...], lengths: Any = None) -> Any:
    """Record ``dynamic_rnn`` with its variables frozen."""
    with tf.Graph().as_default() as made, tf1.Session(graph=made) as session:
        x = tf1.placeholder(tf.float32, shape, name="x")
        options = {"dtype": tf.float32, "sequence_length": lengths}
        results, state = tf1.nn.dynamic_rnn(getattr(cells, kind)(4), x, **options)
        every = [results, *(state if isinstance(state, tuple) else [state])]
        ends = [f"y{i}" for i in range(len(every))]
        for name, result in zip(ends, every, strict=True):
            tf.identity(result, name=name)
        numbers = Numbers(2)
        for variable in tf1.global_variables():
            session.run(variable.assign(numbers(*variable.shape, low=-1, high=1)))
        definition = tf1.graph_util.convert_variables_to_constants(
            session, made.as_graph_def(), ends
        )
    return record(f"dynamic_rnn {label}", definition, {"x:0": Numbers(1)(*shape)}, ends)


def kept() -> Iterator[Any]:
    """Yield the records that are committed."""
    for label, call, shapes in keras_nets():
        yield function(f"keras {label}", call, shapes)
        if label in ("LSTM", "Bidirectional, stacked", "GRU with states"):
            yield lowered(f"keras {label}", call, shapes)
        if "masked" not in label:
            yield tflite(f"keras {label}", call, shapes)
    for label, call, shapes in OWN:
        yield function(label, call, shapes)
        if label not in ("arrays", "LSTM of arrays", "case of a known index"):
            yield tflite(label, call, shapes)
    tf1.disable_control_flow_v2()
    for label, call, shapes in OWN[:-1]:
        yield graph(f"frames {label}", shapes, call)
    yield dynamic("LSTM", "LSTMCell", (1, 5, 3))
    yield dynamic("GRU", "GRUCell", (2, 5, 3))
    yield dynamic("lengths", "BasicRNNCell", (2, 5, 3), [3, 5])


def main() -> None:
    """Write the records."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    lines = "".join(json.dumps(case) + "\n" for case in kept())
    RECORDS.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main()
