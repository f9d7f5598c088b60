#!/usr/bin/env bash
# ONNX Runtime computes every output when it is asked for none.
#
# Versions: onnxruntime 1.30.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: InferenceSession.run takes the names of the outputs wanted, or None for all; an empty
# list of names gives an empty list of results.
# Seen: an empty list means all of them, like None. A caller that collects the names it still lacks
# and has none left gets every result, and zip() of names and results hides it.
#
# Output:
#   run(None): 2 results; run(["y"]): 1; run([]): 2; run(()): 2
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.30.0 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(3)
values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xyz"}
nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
model = helper.make_model(
    helper.make_graph(nodes, "g", [values["x"]], [values["y"], values["z"]]),
    opset_imports=[helper.make_opsetid("", 13)],
    ir_version=8,
)
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
x = {"x": np.ones(2, np.float32)}
counts = [len(session.run(names, x)) for names in (None, ["y"], [], ())]
print("run(None): {} results; run([\"y\"]): {}; run([]): {}; run(()): {}".format(*counts))
assert counts == [2, 1, 2, 2]
PY
