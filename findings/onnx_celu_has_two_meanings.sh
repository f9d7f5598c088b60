#!/usr/bin/env bash
# ONNX says twice what Celu is, by a formula and by a function body; with alpha < 0 they differ.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: (opset 28) the body that an operator's schema carries gives what the schema's text says, for every
# value of an attribute that the checker takes. Celu's alpha has no bound in the text.
# Seen: text max(0, x) + min(0, alpha * (exp(x / alpha) - 1)), body alpha * Elu(x / alpha). For
# alpha = 2 both agree. For alpha = -2 the checker takes the model, ONNX Runtime and onnx's own
# reference evaluator follow the text, and the body gives other numbers on both sides of 0: x / alpha
# changes its sign, so Elu bends where it was straight. A tool that expands functions computes
# another network than one that knows the operator.
#
# Output:
#   alpha 2: text [-0.787  0.5  ], runtime [-0.787  0.5  ], reference [-0.787  0.5  ], body [-0.787  0.5  ]
#   alpha -2: text [-1.297  0.5  ], runtime [-1.297  0.5  ], reference [-1.297  0.5  ], body [-1.     0.442]
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { cat "$work/log"; exit 1; }
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, defs, helper
from onnx.reference import ReferenceEvaluator

x = np.array([-1, 0.5], np.float32)


def model(nodes, name_in, name_out):
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in (name_in, name_out)]
    graph = helper.make_graph(nodes, "celu", info[:1], info[1:])
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=13)
    onnx.checker.check_model(found, full_check=True)
    return found


def run(found):
    session = onnxruntime.InferenceSession(
        found.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def body(alpha):
    schema = defs.get_schema("Celu", 28, "")
    function = onnx.FunctionProto.FromString(schema.get_function_with_opset_version(28))
    nodes = []
    for proto in function.node:
        node = onnx.NodeProto.FromString(proto.SerializeToString())
        for attribute in node.attribute:
            if attribute.ref_attr_name == "alpha":
                name = attribute.name
                attribute.CopyFrom(helper.make_attribute(name, alpha))
        nodes.append(node)
    return model(nodes, function.input[0], function.output[0])


for alpha in (2.0, -2.0):
    celu = model([helper.make_node("Celu", ["x"], ["y"], alpha=alpha)], "x", "y")
    seen = {
        "text": np.maximum(0, x) + np.minimum(0, alpha * (np.exp(x / alpha) - 1)),
        "runtime": run(celu),
        "reference": ReferenceEvaluator(celu).run(None, {"x": x})[0],
        "body": run(body(alpha)),
    }
    print(f"alpha {alpha:g}:", ", ".join(f"{k} {np.round(v, 3)}" for k, v in seen.items()))
    for who in ("runtime", "reference"):
        assert np.allclose(seen[who], seen["text"], atol=1e-6), who
    assert np.allclose(seen["body"], seen["text"], atol=1e-6) == (alpha > 0)
PY
