#!/usr/bin/env bash
# onnx's reference evaluator answers a TypeError inside a custom operator with a wrong diagnosis.
#
# Versions: onnx 1.23.2, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: an exception that an operator given through new_ops raises arrives as it is, or wrapped
# with its text, as every other kind of exception does.
# Seen: a TypeError, and only that, is taken for a call with wrong argument types: the message
# lists the inputs' types, which are right, and the operator's own words are only in the chained
# cause. Who prints the message alone looks for a fault in the model.
#
# Output:
#   ValueError: arrives as ValueError, own words in the message: True
#   KeyError: arrives as KeyError, own words in the message: True
#   TypeError: arrives as TypeError, own words in the message: False
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

WORDS = "half of a string"
SEEN = {ValueError: True, KeyError: True, TypeError: False}

for kind, told in SEEN.items():

    class Halve(OpRun):
        op_domain = "own"

        def _run(self, x):
            raise kind(WORDS)

    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
    node = helper.make_node("Halve", ["x"], ["y"], domain="own")
    model = helper.make_model(
        helper.make_graph([node], "g", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("own", 1)],
        ir_version=8,
    )
    try:
        ReferenceEvaluator(model, new_ops=[Halve]).run(None, {"x": np.ones(2, np.float32)})
    except Exception as error:
        found = WORDS in str(error)
        name = type(error).__name__
        print(f"{kind.__name__}: arrives as {name}, own words in the message: {found}")
        assert name == kind.__name__
        assert found == told
        if not found:
            assert WORDS in str(error.__cause__)
    else:
        raise SystemExit("no error")
PY
