#!/usr/bin/env bash
# onnx's reference evaluator refuses GatherElements along an axis of more than 63 entries.
#
# Versions: onnx 1.23.2, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: the reference evaluator runs every valid node of the standard, whatever its sizes; a
# table of 64 entries is small for GatherElements (a detector picks among thousands of boxes).
# Seen: 63 entries work, 64 end in ValueError: the elements are picked with numpy.choose, which
# takes at most 64 arrays, the indices among them. Along the same axis numpy.take_along_axis gives the right result.
#
# Output:
#   63 entries: right
#   64 entries: ValueError
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator


def outcome(size):
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("GatherElements", ["x", "i"], ["y"], axis=0)],
            "pick",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [size]),
                helper.make_tensor_value_info("i", TensorProto.INT64, [2]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    checker.check_model(model, full_check=True)
    x, i = np.arange(size, dtype=np.float32), np.array([size - 1, 0])
    try:
        (y,) = ReferenceEvaluator(model).run(None, {"x": x, "i": i})
    except ValueError:
        return "ValueError"
    return "right" if np.array_equal(y, np.take_along_axis(x, i, 0)) else "wrong"


for size, seen in ((63, "right"), (64, "ValueError")):
    print(f"{size} entries: {outcome(size)}")
    assert outcome(size) == seen
PY
