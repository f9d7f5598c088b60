"""Compare every layer of a quantized network with the chip vendor's own simulator.

    python tools/oracle_bridge.py ORACLE_FOLDER MODEL --dataset LIST [--scheme u8] [--whole] [...]

ORACLE_FOLDER holds ``oracle.py`` (a harness round the vendor's simulator, set up beforehand); it is
a developer's tool and neither tests nor users need it. Every layer runs alone in the simulator on
the stored inputs that npusim gave it, so differences do not add up; ``--whole`` also runs the
network in one piece with only its outputs exposed. NN and TP layers must agree bit for bit.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import npusim
from npusim.errors import NpusimError
from npusim.ir.attrs import Activation, ArgAttrs, AxisAttrs, EltwiseAttrs, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Quant
from npusim.ops import op_def
from npusim.quantization.dataset import open_dataset
from npusim.runtime.program import Program

Array = NDArray[Any]


class Emitter:
    """Writes npusim nodes into an oracle graph; tensor names there are plain counters."""

    def __init__(self, oracle: Any, graph: Graph) -> None:
        self.oracle, self.graph = oracle, graph
        self.target = oracle.Graph()
        self.names: dict[str, str] = {}
        self.feeds: dict[str, Array] = {}

    def quant(self, quant: Quant) -> Any:
        """Return the oracle's form of quantization parameters."""
        match quant:
            case Affine(scale=scale, zero_point=zero_point):
                return self.oracle.asym(scale, zero_point)
            case DynamicFixedPoint(fl=fl):
                return self.oracle.dfp(fl)
            case AffinePerChannel(scales=scales, zero_points=zero_points, axis=axis):
                return self.oracle.perchannel(axis, scales, zero_points)
            case _:
                return None

    def new_name(self) -> str:
        """Return an unused tensor name."""
        return f"t{len(self.target.tensors)}"

    def feed(self, tensor: str, value: Array) -> None:
        """Make a tensor an input of the oracle graph, holding a stored value."""
        spec = self.graph.spec(tensor)
        name = self.names[tensor] = self.new_name()
        self.target.input(name, _shape(spec.shape), spec.dtype.value, self.quant(spec.quant))
        self.feeds[name] = np.ascontiguousarray(value).reshape(_shape(spec.shape))

    def feed_through_nn(self, tensor: str, value: Array) -> None:
        """Make a tensor the result of an exact one-tap depthwise convolution of a fed input.

        The driver runs a sum on the NN engine only when both operands are intermediate results.
        """
        spec = self.graph.spec(tensor)
        self.feed(tensor, value)
        channels = spec.shape[1]
        weights, bias, out = (self.new_name() + suffix for suffix in "wby")
        ones = np.ones((1, channels, 1, 1), spec.dtype.numpy)
        weight_quant: Any = None
        bias_quant: Any = None
        bias_type = DType.F32
        if isinstance(spec.quant, Affine):
            weight_quant = self.oracle.asym(1.0, 0)
            bias_quant, bias_type = self.oracle.asym(spec.quant.scale, 0), DType.I32
        elif isinstance(spec.quant, DynamicFixedPoint):
            weight_quant, bias_quant = self.oracle.dfp(0), self.oracle.dfp(spec.quant.fl)
            bias_type = DType.I64 if spec.dtype is DType.I16 else DType.I32
        self.target.const(weights, ones, weight_quant)
        self.target.const(bias, np.zeros(channels, bias_type.numpy), bias_quant)
        self.target.tensor(out, spec.shape, spec.dtype.value, self.quant(spec.quant))
        self.target.op("conv2d", [self.names[tensor], weights, bias], [out], mult=1)
        self.names[tensor] = out

    def constant(self, tensor: str, value: Array, shape: tuple[int, ...]) -> str:
        """Add a constant; return its name there."""
        name = self.new_name()
        quant = self.quant(self.graph.spec(tensor).quant)
        self.target.const(name, np.ascontiguousarray(value).reshape(_shape(shape)), quant)
        return name

    def result(self, tensor: str, exposed: bool) -> str:
        """Add the tensor that a node writes; return its name there."""
        spec = self.graph.spec(tensor)
        name = self.names[tensor] = self.new_name()
        add = self.target.output if exposed else self.target.tensor
        add(name, _shape(spec.shape), spec.dtype.value, self.quant(spec.quant))
        return name

    def emit(self, node: Node, exposed: Callable[[str], bool]) -> None:
        """Append one node, its fused activation as an operation of its own."""
        kind, attrs = oracle_op(node, self.graph)
        rank = len(self.graph.spec(node.outputs[0]).shape)
        inputs = []
        for position, tensor in enumerate(node.inputs):
            if self.graph.is_constant(tensor):
                value = self.graph.constants[tensor]
                if kind == "conv2d" and attrs.get("mult") and position == 1:
                    value = value.transpose(1, 0, 2, 3)
                shape = value.shape
                if isinstance(node.attrs, EltwiseAttrs):
                    shape = (1,) * (rank - value.ndim) + value.shape
                inputs.append(self.constant(tensor, value, shape))
            else:
                inputs.append(self.names[tensor])
        if node.op == "batch_norm":  # the oracle wants mean and variance first
            inputs = [inputs[i] for i in (0, 3, 4, 1, 2)]
        activation = getattr(node.attrs, "activation", Activation.NONE)
        if activation is Activation.NONE:
            outs = [self.result(tensor, exposed(tensor)) for tensor in node.outputs]
            self.target.op(kind, inputs, outs, **attrs)
            return
        (tensor,) = node.outputs
        spec = self.graph.spec(tensor)
        inner = self.new_name()
        self.target.tensor(inner, _shape(spec.shape), spec.dtype.value, self.quant(spec.quant))
        self.target.op(kind, inputs, [inner], **attrs)
        self.target.op(activation.value, [inner], [self.result(tensor, exposed(tensor))])


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape or (1,)


def oracle_op(node: Node, graph: Graph) -> tuple[str, dict[str, Any]]:
    """Return the oracle's operation name and attributes of a node."""
    a: Any = node.attrs
    ifm, ofm = (graph.spec(n).shape for n in (node.inputs[0], node.outputs[0]))
    match node.op:
        case "conv2d":
            extra: dict[str, Any] = {"stride": a.stride, "pad": a.pad, "dilation": a.dilation}
            if a.group == 1:
                return "conv2d", extra
            if a.group == ifm[1]:
                return "conv2d", extra | {"mult": ofm[1] // ifm[1]}
            return "gconv2d", extra | {"group": a.group}
        case "deconv2d":
            return "deconv2d", {
                "oc": ofm[1],
                "ksize": graph.spec(node.inputs[1]).shape[2:],
                "stride": a.stride,
                "pad": a.pad,
                "outpad": a.output_pad,
                "group": a.group,
            }
        case "fc":
            return "fc", {"axis": len(ifm) - 1, "units": ofm[-1]}
        case "pool2d":
            how = {"ksize": a.kernel, "stride": a.stride, "pad": a.pad}
            return "pool2d", how | {
                "type": a.kind.value,
                "round": "ceil" if a.ceil_mode else "floor",
            }
        case "global_pool":
            return "globalpool", {"type": a.kind.value, "insize": ifm[2:]}
        case "reshape":
            return "reshape", {"shape": _shape(a.shape)}
        case "transpose":
            return "transpose", {"perm": a.perm}
        case "split":
            return "split", {"axis": a.axis, "slices": a.sizes}
        case "slice":
            if all(step == 1 for step in a.step):
                length = [e - b for b, e in zip(a.begin, a.end, strict=True)]
                return "slice", {"start": a.begin, "length": length}
            return "stridedslice", {"begin": a.begin, "end": a.end, "strides": a.step}
        case "pad":
            return "pad", {"front": a.front, "back": a.back, "value": a.value, "mode": a.mode.value}
        case "resize":
            return "resize", {
                "mode": a.mode.value,
                "align_corners": int(a.coordinates.value == "align_corners"),
                "half_pixel": int(a.coordinates.value == "half_pixel"),
                "height": a.size[0],
                "width": a.size[1],
            }
        case "depth2space":
            return "depth2space", {"block": a.block, "mode": a.mode}
        case "space2depth":
            return "space2depth", {"block": a.block}
        case "channel_shuffle":
            return "shuffle", {"group": a.group, "axis": 1}
        case "matmul":
            return "matmul", {"ta": int(a.transpose_a), "tb": int(a.transpose_b)}
        case "leaky_relu" | "elu":
            return node.op, {"alpha": a.alpha}
        case "hard_sigmoid":
            return "hardsigmoid", {"alpha": a.alpha, "beta": a.beta}
        case "clip":
            return "clip", {"min": a.minimum, "max": a.maximum}
        case "lrn":
            return "lrn", {
                "size": a.size,
                "alpha": a.alpha / a.size,
                "beta": a.beta,
                "bias": a.bias,
                "axis": 1,
            }
    kind = op_def(node.op).golden
    match a:
        case ReduceAttrs():
            return kind, {"axis": list(a.axes), "keep": int(a.keepdims)}
        case AxisAttrs() | ArgAttrs():
            return kind, {"axis": a.axis}
    return kind, {}


def captured(program: Program, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return every stored tensor of one run, inputs included."""
    values: dict[str, Array] = {}
    inner = program.run_stored

    def keep(node: Node, tensor: str, value: Array) -> None:
        values[tensor] = np.array(value)

    def record(stored: Mapping[str, Array], **more: Any) -> dict[str, Array]:
        values.update({name: np.array(value) for name, value in stored.items()})
        return inner(stored, **more)

    program.run_stored = record  # type: ignore[method-assign]
    try:
        program.run(feeds, preprocessed=True, observe=keep)
    finally:
        del program.run_stored
    return values


def differences(actual: Array, expected: Array) -> tuple[int, float]:
    """Return mismatching elements and the largest difference (f16: by value, in ulps)."""
    if actual.dtype == np.float16:
        order = [
            (lambda bits: np.where(bits < 0, -(bits & 0x7FFF), bits))(
                np.ascontiguousarray(v).view(np.int16).astype(np.int64)
            )
            for v in (actual, expected)
        ]
        gap = np.abs(order[0] - order[1])
    else:
        gap = np.abs(actual.astype(np.int64) - expected.astype(np.int64))
    return int(np.count_nonzero(gap)), float(gap.max(initial=0))


def check_layer(
    oracle: Any, runner: Any, graph: Graph, node: Node, values: Mapping[str, Array]
) -> dict[str, Any]:
    """Run one node in the vendor's simulator on npusim's inputs and compare its outputs."""
    emitter = Emitter(oracle, graph)
    through_nn = node.op in ("add", "sub") and node.engine is Engine.NN
    for tensor in dict.fromkeys(graph.activations(node)):
        (emitter.feed_through_nn if through_nn else emitter.feed)(tensor, values[tensor])
    emitter.emit(node, lambda tensor: True)
    results, trace, _ = runner.run_log(emitter.target, emitter.feeds)
    row: dict[str, Any] = {
        "layer": node.layer_id,
        "op": node.op,
        "engine": node.engine.value if node.engine else "",
        "vendor_engines": " ".join(f"{t['target']}:{t['operation'].lower()}" for t in trace),
        "elements": 0,
        "mismatches": 0,
        "max_diff": 0.0,
    }
    for tensor in node.outputs:
        expected = results[emitter.names[tensor]].reshape(values[tensor].shape)
        count, gap = differences(values[tensor], expected)
        row["elements"] += expected.size
        row["mismatches"] += count
        row["max_diff"] = max(row["max_diff"], gap)
    return row


def check_whole(
    oracle: Any, runner: Any, graph: Graph, values: Mapping[str, Array]
) -> list[dict[str, Any]]:
    """Run the network in one piece in the vendor's simulator and compare its outputs."""
    emitter = Emitter(oracle, graph)
    for tensor in graph.inputs:
        emitter.feed(tensor, values[tensor])
    for node in graph.nodes:
        emitter.emit(node, lambda tensor: tensor in graph.outputs)
    results = runner.run(emitter.target, emitter.feeds, timeout=3000)
    rows = []
    for tensor in graph.outputs:
        expected = results[emitter.names[tensor]].reshape(values[tensor].shape)
        count, gap = differences(values[tensor], expected)
        rows.append(
            {"output": tensor, "elements": expected.size, "mismatches": count, "max_diff": gap}
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; exit code 0 when every NN and TP layer agrees."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("oracle", type=Path, help="folder with oracle.py")
    parser.add_argument("model", type=Path)
    parser.add_argument("--dataset", type=Path, required=True, help="calibration list")
    parser.add_argument("--shape", action="append", default=[], help="NAME=1,3,48,192")
    parser.add_argument("--mean", type=float, nargs="+", default=[])
    parser.add_argument("--std", type=float, nargs="+", default=[])
    parser.add_argument("--scheme", default="u8", help="u8, i8, i16 or f16")
    parser.add_argument("--layers", nargs="*", help="only layers whose id contains one of these")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one layer")
    parser.add_argument("--whole", action="store_true", help="also the network in one piece")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    sys.path.insert(0, str(options.oracle))
    oracle = importlib.import_module("oracle")
    runner = oracle.Oracle(contiguous=0x40000000, timeout=options.timeout)
    shapes = {
        name: tuple(int(n) for n in sizes.split(","))
        for name, _, sizes in (text.rpartition("=") for text in options.shape)
    }
    graph = npusim.load_model(options.model, input_shapes=shapes or None)
    how = npusim.Preprocess(mean=tuple(options.mean), std=tuple(options.std))
    graph = graph.copy(preprocess=dict.fromkeys(graph.inputs, how))
    quantized = npusim.quantize(graph, options.dataset, scheme=options.scheme)
    program = npusim.compile(quantized)
    _, sample = next(iter(open_dataset(options.dataset, graph)))
    values = captured(program, sample)
    rows = []
    for node in program.graph.nodes:
        if options.layers and not any(part in node.layer_id for part in options.layers):
            continue
        if not program.graph.activations(node):
            continue
        try:
            row = check_layer(oracle, runner, program.graph, node, values)
        except oracle.OracleError as error:
            row = {"layer": node.layer_id, "op": node.op, "error": str(error)[:400]}
        rows.append(row)
        if not options.json:
            print(line(row), flush=True)
    whole = check_whole(oracle, runner, program.graph, values) if options.whole else []
    if options.json:
        print(json.dumps({"layers": rows, "outputs": whole}, indent=1))
    else:
        for row in whole:
            print("whole network:", row)
    wrong = [r for r in rows if r.get("error") or (r["engine"] != "SH" and r["mismatches"])]
    if not options.json:
        print(f"{len(rows)} layers, {len(wrong)} NN or TP layers differ or failed")
    return 1 if wrong else 0


def line(row: Mapping[str, Any]) -> str:
    """Return one printed line."""
    if "error" in row:
        return f"{row['layer'][:48]:48} {row['op']:12} ERROR {row['error']}"
    return (
        f"{row['layer'][:48]:48} {row['op']:12} {row['engine']:3} "
        f"{row['mismatches']:8d} / {row['elements']:9d} max {row['max_diff']:g}"
        f"  {row['vendor_engines']}"
    )


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except NpusimError as error:
        raise SystemExit(f"error: {error}") from error
