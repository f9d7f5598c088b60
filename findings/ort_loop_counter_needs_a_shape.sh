#!/usr/bin/env bash
# ONNX Runtime makes a session of a Loop whose counter has no declared shape, and then cannot run it.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: the inputs of a Loop body need no shapes; the standard says what the first two are (a
# number and a truth value). The checker with full_check and the reference evaluator agree.
# Seen: a body whose condition and carried value have none runs. One whose counter has none passes
# all of session creation, shape inference included, and fails at the first run, in one line that
# says the shape is unknown. Declaring it as no axes or as one axis of one both work.
#
# Output:
#   counter (), condition unknown: [4.0, 8.0]
#   counter (1,), condition unknown: [4.0, 8.0]
#   counter unknown, condition (): Loop subgraph input 0 has unknown shape: i
#   counter unknown, condition unknown: Loop subgraph input 0 has unknown shape: i
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
X = np.array([1, 2], np.float32)
REFUSED = "Loop subgraph input 0 has unknown shape: i"
CASES = (((), None, None), ((1,), None, None), (None, (), REFUSED), (None, None, REFUSED))


def looped(counter, condition):
    """Three times s = s + x."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["go"]), helper.make_node("Add", ["s", "x"], ["sum"])],
        "body",
        [
            value("i", TensorProto.INT64, counter),
            value("c", TensorProto.BOOL, condition),
            value("s", TensorProto.FLOAT, None),
        ],
        [value("go", TensorProto.BOOL, None), value("sum", TensorProto.FLOAT, None)],
    )
    turns = helper.make_tensor("n", TensorProto.INT64, [], [3])
    begin = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)],
        "net",
        [value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, [2])],
        [turns, begin],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


for counter, condition, refusal in CASES:
    model = looped(counter, condition)
    checker.check_model(model, full_check=True)
    assert ReferenceEvaluator(model).run(None, {"x": X})[0].tolist() == [4, 8]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    try:
        found = session.run(None, {"x": X})[0].tolist()
    except Exception as error:
        found = REFUSED if REFUSED in str(error) else str(error)
    said = ["unknown" if shape is None else str(shape) for shape in (counter, condition)]
    print(f"counter {said[0]}, condition {said[1]}: {found}")
    assert found == (refusal or [4, 8])
PY
