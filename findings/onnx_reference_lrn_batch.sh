#!/usr/bin/env bash
# onnx's reference evaluator normalises (LRN) only as many channels as the batch has images.
#
# Versions: onnx 1.23.2, onnxruntime 1.30.0, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: LRN divides every channel by what the squares of its neighbours sum to, whatever the
# size of the batch; the standard says so and ONNX Runtime does it.
# Seen: with a batch of one (the usual case) channel 0 is right, and every further channel is
# divided by bias ** beta alone, so with the default bias it comes back as it went in. The
# difference vanishes when the batch has at least as many images as there are channels, as in the
# cases by which the package tests itself (5 images of 5 channels).
#
# Output:
#   1 image of 4 channels: wrong channels [1, 2, 3], unchanged [1, 2, 3]
#   3 images of 4 channels: wrong channels [3], unchanged [3]
#   4 images of 4 channels: wrong channels [], unchanged []
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.30.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(3)
SEEN = {1: [1, 2, 3], 3: [3], 4: []}

for images, seen in SEEN.items():
    shape = [images, 4, 2, 2]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("LRN", ["x"], ["y"], size=3, alpha=0.9, beta=0.75, bias=1.0)],
            "norm",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    (got,) = ReferenceEvaluator(model).run(None, {"x": x})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (want,) = session.run(None, {"x": x})
    wrong = [c for c in range(4) if not np.allclose(got[:, c], want[:, c], 1e-4)]
    same = [c for c in range(4) if np.allclose(got[:, c], x[:, c], 1e-6)]
    word = "image" if images == 1 else "images"
    print(f"{images} {word} of 4 channels: wrong channels {wrong}, unchanged {same}")
    assert wrong == same == seen
PY
