#!/usr/bin/env bash
# Freezing a TensorFlow function without lowering control flow lowers switch_case all the same.
#
# Versions: tensorflow 2.21.0, Python 3.11, x86-64 Linux.
# Expected: convert_variables_to_constants_v2(function, lower_control_flow=False) leaves control
# flow functional, as it does for tf.cond (StatelessIf) and tf.while_loop (StatelessWhile) whose
# bodies stay in the graph's library.
# Seen: StatelessCase, which tf.switch_case writes, becomes _SwitchN and Merge with either setting,
# and its branches leave the library. A reader of frozen graphs that knows the functional operators
# only (and no operator whose name begins with an underscore) meets dataflow switches in graphs
# that were frozen with lowering off.
#
# Output:
#   cond: StatelessIf stays, 2 functions
#   while_loop: StatelessWhile stays, 2 functions
#   switch_case: StatelessCase becomes Merge _SwitchN, 0 functions
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tensorflow==2.21.0
cd "$work"
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" -W ignore - 2>"$work/log" <<'PY' || { cat "$work/log"; exit 1; }
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

INDEX, FLAG, ROW = (
    tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool), tf.TensorSpec([3], tf.float32)
)
FLOWS = {
    "cond": (lambda flag, x: tf.cond(flag, lambda: x + 1.0, lambda: x * 2.0), (FLAG, ROW)),
    "while_loop": (
        lambda n, x: tf.while_loop(lambda i, _: i < n, lambda i, v: (i + 1, v * 2.0), (0, x))[1],
        (INDEX, ROW),
    ),
    "switch_case": (
        lambda i, x: tf.switch_case(i, [lambda: x + 1.0, lambda: x * 2.0, lambda: x - 3.0]),
        (INDEX, ROW),
    ),
}
DATAFLOW = {"Merge", "Switch", "_SwitchN", "Enter", "Exit", "NextIteration", "LoopCond"}
for name, (call, specs) in FLOWS.items():
    function = tf.function(call).get_concrete_function(*specs)
    before = {node.op for node in function.graph.as_graph_def().node}
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    after = {node.op for node in graph.node}
    (functional,) = (op for op in before if op.startswith("Stateless"))
    if functional in after:
        said = f"{functional} stays"
        assert not after & DATAFLOW
    else:
        said = f"{functional} becomes {' '.join(sorted(after & DATAFLOW))}"
    count = len(graph.library.function)
    print(f"{name}: {said}, {count} functions")
    assert (functional in after) == (name != "switch_case")
    assert count == (0 if name == "switch_case" else 2)
PY
