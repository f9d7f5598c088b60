#!/usr/bin/env bash
# Giving TFLiteConverter the Keras model that owns the variables makes it leave the weights out.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, Python 3.11, x86-64 Linux.
# Expected: from_concrete_functions([f], model) is the documented form: the second argument is the
# object that owns the variables, and leaving it out is deprecated. Both forms should write the
# same file with the weights as constants.
# Seen: without the argument the file is right. With it the graph reads two resource variables
# (VAR_HANDLE, READ_VARIABLE) that nothing ever fills: there is no CALL_ONCE, one subgraph only, and
# the bytes of the weights are not in the file. Conversion reports success, and the interpreter
# runs such a file without an error.
#
# Output:
#   without the owner: FULLY_CONNECTED; weights in the file: True
#   with the owner: VAR_HANDLE VAR_HANDLE READ_VARIABLE READ_VARIABLE BATCH_MATMUL ADD; weights in the file: False
#   from_keras_model: FULLY_CONNECTED; weights in the file: True
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tensorflow==2.21.0 keras==3.15.1
cd "$work"
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" -W ignore - 2>"$work/log" <<'PY' || { cat "$work/log"; exit 1; }
import contextlib
import sys

import numpy as np
import tensorflow as tf

model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(3)])
kernel = np.asarray(model.layers[0].kernel)
function = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((1, 4)))
build = tf.lite.TFLiteConverter
SEEN = {
    "without the owner": (build.from_concrete_functions([function]), True),
    "with the owner": (build.from_concrete_functions([function], model), False),
    "from_keras_model": (build.from_keras_model(model), True),
}
for name, (converter, expected) in SEEN.items():
    with contextlib.redirect_stdout(sys.stderr):  # it tells about signatures
        data = converter.convert()
    interpreter = tf.lite.Interpreter(model_content=data)
    operators = [record["op_name"] for record in interpreter._get_ops_details()]
    inside = any(matrix.tobytes() in data for matrix in (kernel, np.ascontiguousarray(kernel.T)))
    print(f"{name}: {' '.join(operators)}; weights in the file: {inside}")
    assert inside == expected
    assert ("VAR_HANDLE" in operators) == (not expected)
    assert "CALL_ONCE" not in operators
PY
