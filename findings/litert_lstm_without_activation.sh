#!/usr/bin/env bash
# An LSTM of LiteRT whose fused activation is NONE gives output gate times cell gate: its state plays no part.
#
# Versions: ai-edge-litert 2.3.0, flatbuffers 25.12.19, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: NONE is a legal activation of UNIDIRECTIONAL_SEQUENCE_LSTM. Without one the result of a
# step is output gate times cell state, o * c, as with TANH it is o * tanh(c); or the file is refused.
# Seen: the file is taken, and every step gives o * g, where g is this step's cell gate (w x + r h + b).
# The cell state is in no result. With TANH the result is o * tanh(c).
#
# Output:
#   NONE, step 0: LiteRT 0.5073, o * c 0.3275, o * g 0.5073
#   NONE, step 1: LiteRT 0.6259, o * c 0.6662, o * g 0.6259
#   NONE, step 2: LiteRT 0.6546, o * c 0.9389, o * g 0.6546
#   TANH, step 0: LiteRT 0.2564, o * tanh(c) 0.2564
#   TANH, step 1: LiteRT 0.4205, o * tanh(c) 0.4205
#   TANH, step 2: LiteRT 0.5129, o * tanh(c) 0.5129
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { cat "$work/log"; exit 1; }
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

STEPS = 3
# a unit with one input; of the input, forget, cell and output gate: weight, recurrent weight, bias
GATES = {"i": (0.5, 0.1, 0.1), "f": (0.7, 0.2, 0.3), "g": (0.6, 0.3, 0.2), "o": (0.4, 0.2, 0.15)}


def network(activation):
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []

    def tensor(name, shape, value=None, variable=False):
        made, buffer = schema.TensorT(), schema.BufferT()
        made.name, made.shape, made.type = name, list(shape), schema.TensorType.FLOAT32
        made.isVariable = variable
        if value is not None:
            buffer.data = list(np.float32(value).tobytes())
        made.buffer = len(model.buffers)
        model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    x = tensor("x", (1, STEPS, 1))
    weights = [tensor(f"w{k}", (1, 1), gate[0]) for k, gate in GATES.items()]
    again = [tensor(f"r{k}", (1, 1), gate[1]) for k, gate in GATES.items()]
    biases = [tensor(f"b{k}", (1,), gate[2]) for k, gate in GATES.items()]
    states = [tensor(name, (1, 1), variable=True) for name in ("h", "c")]
    none = [-1]
    operator.inputs = [x, *weights, *again, *none * 3, *biases, *none * 2, *states, *none * 4]
    operator.outputs = [tensor("y", (1, STEPS, 1))]
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = activation
    operator.builtinOptions = options
    operator.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = (
        schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    )
    code.version = 1
    graph.operators, graph.inputs, graph.outputs = [operator], [x], operator.outputs
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def litert(activation):
    runtime = Interpreter(
        model_content=network(activation),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    runtime.allocate_tensors()
    runtime.set_tensor(runtime.get_input_details()[0]["index"], np.ones((1, STEPS, 1), np.float32))
    runtime.invoke()
    return runtime.get_tensor(runtime.get_output_details()[0]["index"]).reshape(-1).tolist()


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def step(h, bend):
    """Return the gates of a step whose input is 1; the cell gate is bent."""
    i, f, g, o = (w + r * h + b for w, r, b in GATES.values())
    return sigmoid(i), sigmoid(f), bend(g), sigmoid(o)


kinds = schema.ActivationFunctionType
h = c = 0.0
for number, found in enumerate(litert(kinds.NONE)):
    i, f, g, o = step(h, lambda value: value)
    c = f * c + i * g
    print(f"NONE, step {number}: LiteRT {found:.4f}, o * c {o * c:.4f}, o * g {o * g:.4f}")
    assert abs(found - o * g) < 1e-5 < 0.01 < abs(found - o * c)
    h = found
h = c = 0.0
for number, found in enumerate(litert(kinds.TANH)):
    i, f, g, o = step(h, np.tanh)
    c = f * c + i * g
    print(f"TANH, step {number}: LiteRT {found:.4f}, o * tanh(c) {o * np.tanh(c):.4f}")
    assert abs(found - o * np.tanh(c)) < 1e-5
    h = found
PY
