"""Record golden vectors for what the shared set does not show, from the chip vendor's simulator.

    python tools/record_golden.py ORACLE_FOLDER [--to tests/golden] [--seed 1]

ORACLE_FOLDER holds ``oracle.py`` (a harness round the vendor's simulator, set up beforehand). Files
``measured/*.npz`` and their entries of ``manifest.json`` are written in the common golden format.
Developer's tool; tests only read the files.
"""

import argparse
import hashlib
import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record_rewrites import large_strides, merged_averages, swapped_pools

from npusim.ops import TpTable, ops_named_in

REPOSITORY = Path(__file__).resolve().parent.parent
Array = NDArray[Any]
f32 = np.float32


class Case:
    """A graph under construction, with its inputs."""

    def __init__(self, oracle: Any, name: str, rng: np.random.Generator) -> None:
        self.oracle, self.name, self.rng = oracle, name, rng
        self.graph, self.feeds = oracle.Graph(), {}

    def input(self, name: str, dtype: str, value: Array, q: Any = None) -> str:
        """Add an input."""
        self.graph.input(name, value.shape, dtype, q)
        self.feeds[name] = value
        return name

    def data(self, dtype: str, shape: tuple[int, ...], high: int | None = None) -> Array:
        """Return random codes over the whole type, or from 0 below ``high``; f16: normal."""
        if dtype == "f16":
            return (self.rng.standard_normal(shape) * 2).astype(np.float16)
        info = np.iinfo({"u8": np.uint8, "i8": np.int8, "i16": np.int16}[dtype])
        low, high = (info.min, info.max + 1) if high is None else (0, high)
        return self.rng.integers(low, high, shape).astype(info.dtype)

    def op(self, kind: str, inputs: list[str], output: str, **attrs: Any) -> None:
        """Add an operation."""
        self.graph.op(kind, inputs, [output], **attrs)

    def record(self, runner: Any) -> tuple[dict[str, Any], dict[str, Array]]:
        """Run the graph; return its meta record and its arrays."""
        results, trace, _ = runner.run_log(self.graph, self.feeds)
        tensors, arrays = {}, dict(self.feeds) | results
        for name, tensor in self.graph.tensors.items():
            q = tensor["q"] and list(tensor["q"])
            kept = ("role", "dtype")
            tensors[name] = {key: tensor[key] for key in kept} | {"shape": tensor["shape"], "q": q}
            if tensor["role"] == "const":
                arrays[name] = tensor["data"]
        engines = [f"{t['target']}:{t['kernel'] or t['operation'].lower()}" for t in trace]
        meta = {"name": self.name, "tensors": tensors, "ops": self.graph.ops, "engines": engines}
        return meta, arrays


Cases = Iterator[Case]
New = Callable[[str], Case]


def weighted_u8(
    case: Case, weights_shape: tuple[int, ...], x: Array, *, zero_point: int = 0, wide: bool = False
) -> tuple[list[str], Any]:
    """Add x, weights and a bias that puts results near ties; return input names, output q."""
    rng, q = case.rng, case.oracle.asym
    in_q = q(rng.uniform(0.003, 0.05), zero_point)
    weights_q = q(rng.uniform(0.003, 0.03), int(rng.integers(80, 180)))
    bias_scale = float(f32(f32(in_q[1]) * f32(weights_q[1])))
    out_q = q(bias_scale * (2.0**30 / 200 if wide else 10 ** rng.uniform(1.5, 3.2)), 120)
    weights = case.data("u8", weights_shape)
    flat = weights.reshape(len(weights), -1).astype(np.int64) - weights_q[2]
    core = (flat * (x.reshape(-1).astype(np.int64) - zero_point)).sum(axis=1)
    scale = bias_scale / out_q[1]
    wanted = (rng.integers(-100, 120, len(core)) + 0.5) / scale
    wanted += rng.standard_normal(len(core)) * (40 if wide else 0.002 / scale)
    case.input("x", "u8", x, in_q)
    case.graph.const("w", weights, weights_q)
    case.graph.const("b", (np.rint(wanted) - core).astype(np.int32), q(bias_scale))
    return ["x", "w", "b"], out_q


def fully_connected_u8(new: New) -> Cases:
    """u8 without an input zero point: ties, wide sums, relu, windows; and what stays on NN."""
    for name, units, inputs, options in [
        ("ties", 900, 16, {}),
        ("ties", 900, 33, {}),
        ("sums beyond 24 bits", 60, 400, {"wide": True}),
        ("one result", 1, 200, {}),
        ("input zero point", 300, 16, {"zero_point": 9}),
    ]:
        case = new(name)
        names, q = weighted_u8(case, (units, inputs), case.data("u8", (1, inputs)), **options)
        case.graph.output("y", (1, units), "u8", q)
        case.op("fc", names, "y", axis=1, units=units)
        yield case
    case = new("kernel over the input, relu")
    names, q = weighted_u8(case, (300, 4, 5, 5), case.data("u8", (1, 4, 5, 5)))
    case.graph.tensor("t", (1, 300, 1, 1), "u8", q)
    case.graph.output("y", (1, 300, 1, 1), "u8", q)
    case.op("conv2d", names, "t")
    case.op("relu", ["t"], "y")
    yield case
    case = new("kernel over the input, stride 2")
    names, q = weighted_u8(case, (60, 4, 5, 5), case.data("u8", (1, 4, 5, 5)))
    case.graph.output("y", (1, 60, 1, 1), "u8", q)
    case.op("conv2d", names, "y", stride=[2, 2])
    yield case


def one_result_f16(new: New) -> Cases:
    """Fully connected float16 with one result, or stride 2: sums of the NN engine."""
    for inputs in (50, 200, 333):
        case = new("one result")
        case.input("x", "f16", case.data("f16", (1, inputs)))
        case.graph.const("w", case.data("f16", (1, inputs)))
        case.graph.const("b", case.rng.standard_normal(1).astype(f32))
        case.graph.output("y", (1, 1), "f16")
        case.op("fc", ["x", "w", "b"], "y", axis=1, units=1)
        yield case
    case = new("kernel over the input, stride 2")
    case.input("x", "f16", case.data("f16", (1, 12, 5, 5)))
    case.graph.const("w", case.data("f16", (60, 12, 5, 5)))
    case.graph.const("b", case.rng.standard_normal(60).astype(f32))
    case.graph.output("y", (1, 60, 1, 1), "f16")
    case.op("conv2d", ["x", "w", "b"], "y", stride=[2, 2])
    yield case


def means(new: New) -> Cases:
    """Means and averages of whole maps on NN and TP."""
    forms: list[tuple[str, str, tuple[int, ...], int]] = [
        ("reduce_mean", "u8", (1, 200, 3, 24), 0),
        ("reduce_mean", "u8", (1, 60, 3, 24), 7),
        ("reduce_mean", "u8", (1, 60, 11, 10), 0),
        ("reduce_mean", "f16", (1, 60, 7, 7), 0),
        ("reduce_mean", "f16", (1, 1, 7, 7), 0),
        ("reduce_mean", "i8", (1, 60, 4, 12), 0),
        ("pool2d", "u8", (1, 200, 7, 7), 0),
        ("pool2d", "f16", (1, 1, 7, 7), 0),
        ("globalpool", "u8", (1, 60, 2, 2), 0),
        ("globalpool", "u8", (1, 20, 12, 20), 5),
        ("globalpool", "f16", (1, 60, 2, 2), 0),
        ("globalpool", "f16", (1, 20, 12, 20), 0),
    ]
    for kind, dtype, shape, zero_point in forms:
        case = new(f"{kind} {dtype}")
        size = list(shape[2:])
        attrs: dict[str, Any] = {
            "reduce_mean": {"axis": [2, 3], "keep": 1},
            "pool2d": {"type": "avg", "ksize": size, "stride": [1, 1]},
            "globalpool": {"type": "avg", "insize": size},
        }[kind]
        in_q, out_q = quants(case, dtype, zero_point)
        case.input("x", dtype, case.data(dtype, shape), in_q)
        case.graph.output("y", (*shape[:2], 1, 1), dtype, out_q)
        case.op(kind, ["x"], "y", **attrs)
        yield case


def quants(case: Case, dtype: str, zero_point: int) -> tuple[Any, Any]:
    """Return quantizations of an input and of a finer output."""
    asym, dfp = case.oracle.asym, case.oracle.dfp
    if dtype == "u8":
        scale = case.rng.uniform(0.01, 0.05)
        return asym(scale, zero_point), asym(scale * case.rng.uniform(0.55, 0.7), 11)
    return {"i8": (dfp(4), dfp(5)), "i16": (dfp(9), dfp(10)), "f16": (None, None)}[dtype]


def oblong_averages(new: New) -> Cases:
    """Averages of i8 and i16 over windows that are not square: the 8-bit weight."""
    for dtype in ("i8", "i16"):
        for height, width in ((3, 1), (2, 3), (7, 1), (4, 3), (11, 1)):
            case = new(f"{dtype} {height}x{width}")
            in_q, out_q = quants(case, dtype, 0)
            case.input("x", dtype, case.data(dtype, (1, 3, 12, 9)), in_q)
            case.graph.output("y", (1, 3, 13 - height, 10 - width), dtype, out_q)
            case.op("pool2d", ["x"], "y", type="avg", ksize=[height, width], stride=[1, 1])
            yield case


def sums(new: New) -> Cases:
    """Add and subtract two hidden convolutions: NN, one pixel on TP, and scales too far apart."""
    for kind in ("add", "sub"):
        for dtype, size, zero_point, ratio in [
            ("u8", 6, 90, 1.3),
            ("u8", 6, 90, 0.4),
            ("u8", 6, 90, 30.0),
            ("u8", 1, 0, 1.7),
            ("u8", 1, 40, 1.7),
            ("f16", 6, 0, 1.0),
            ("f16", 1, 0, 1.0),
        ]:
            case = new(f"{kind} {dtype} {size}x{size} {ratio}")
            yield sum_of_convolutions(case, kind, dtype, size, zero_point, ratio)


def fixed_point_sums(new: New) -> Cases:
    """Add and subtract hidden i8 and i16 results of unequal fraction bits: shifts, wraps, a pixel.

    The last forms have results finer than their sums, which i16 stores as -32768 below zero.
    """
    for kind in ("add", "sub"):
        for dtype, size, first, second, result in [
            ("i8", 6, 4, 5, 3),
            ("i8", 6, 8, 1, 1),
            ("i8", 6, 9, 1, 0),
            ("i8", 1, 6, 4, 4),
            ("i16", 6, 9, 11, 8),
            ("i16", 6, 15, 0, 0),
            ("i16", 1, 9, 12, 8),
            ("i16", 6, 4, 4, 6),
        ]:
            case = new(f"{kind} {dtype} {size}x{size} {first} {second} {result}")
            dfp, channels = case.oracle.dfp, 8
            shape = (1, channels, size, size)
            ones = np.ones((1, channels, 1, 1), {"i8": np.int8, "i16": np.int16}[dtype])
            zeros = np.zeros(channels, {"i8": np.int32, "i16": np.int64}[dtype])
            for name, bits in (("p", first), ("q", second)):
                case.input(f"x{name}", dtype, case.data(dtype, shape), dfp(bits))
                case.graph.const(f"w{name}", ones, dfp(0))
                case.graph.const(f"b{name}", zeros, dfp(bits))
                case.graph.tensor(name, shape, dtype, dfp(bits))
                case.op("conv2d", [f"x{name}", f"w{name}", f"b{name}"], name, mult=1)
            case.graph.output("y", shape, dtype, dfp(result))
            case.op(kind, ["p", "q"], "y")
            yield case


def beyond_tables(new: New) -> Cases:
    """Activations of i16 at the ends of TP's tables, and finer inputs, on the shader."""
    for kind in ops_named_in("golden", lambda d: d.tp_table is TpTable.ACTIVATION):
        for bits, result in ((-2, -2), (-3, -2), (15, 15), (16, 15)):
            case = new(f"{kind} {bits}")
            codes = np.arange(-32768, 32768, 128).astype(np.int16).reshape(1, 1, 16, 32)
            case.input("x", "i16", codes, case.oracle.dfp(bits))
            case.graph.output("y", codes.shape, "i16", case.oracle.dfp(result))
            case.op(kind, ["x"], "y", **({"alpha": 0.1} if kind == "leaky_relu" else {}))
            yield case


def shader_steps(new: New) -> Cases:
    """i16 products near ties, i16 matrix products, i8 layer norm with negative sums, wide LRN."""
    dfp = new("").oracle.dfp
    case = new("mul i16, two products near ties")
    a, b = (case.data("i16", (1, 2, 16, 32)) for _ in range(2))
    a[0, 0, 0, :2], b[0, 0, 0, :2] = (19188, -29792), (-19884, -19979)
    case.input("a", "i16", a, dfp(12))
    case.input("b", "i16", b, dfp(15))
    case.graph.output("y", a.shape, "i16", dfp(12))
    case.op("mul", ["a", "b"], "y")
    yield case
    case = new("matmul i16")
    case.input("a", "i16", case.data("i16", (1, 16, 37)), dfp(13))
    case.input("b", "i16", case.data("i16", (1, 37, 19)), dfp(12))
    case.graph.output("y", (1, 16, 19), "i16", dfp(9))
    case.op("matmul", ["a", "b"], "y")
    yield case
    case = new("layernorm i8")
    case.input("x", "i8", case.data("i8", (1, 6, 8, 11)), dfp(4))
    case.graph.const("beta", case.rng.normal(0, 0.5, 11).astype(f32))
    case.graph.const("gamma", case.rng.uniform(0.5, 1.5, 11).astype(f32))
    case.graph.output("y", (1, 6, 8, 11), "i8", dfp(5))
    case.op("layernorm", ["x", "beta", "gamma"], "y", axis=3)
    yield case
    for size in (6, 7):
        case = new(f"lrn i16 {size}")
        case.input("x", "i16", case.data("i16", (1, 12, 5, 6)), dfp(10))
        case.graph.output("y", (1, 12, 5, 6), "i16", dfp(10))
        case.op("lrn", ["x"], "y", size=size, alpha=0.01, beta=0.75, bias=1.0, axis=1)
        yield case


def hidden_layer(case: Case, dtype: str, source: str, output: str, q: Any, **attrs: Any) -> Any:
    """Add a 1x1 convolution of 6 to 6 channels whose result is hidden; return its quantization."""
    asym, dfp, rng = case.oracle.asym, case.oracle.dfp, case.rng
    weights_q, out_q, bias_q, bias = None, None, None, rng.standard_normal(6).astype(f32)
    if dtype == "u8":
        weights_q, out_q = asym(0.011, 131), asym(0.09, 101)
        bias_q, bias = asym(float(f32(f32(q[1]) * f32(0.011)))), rng.integers(-4000, 4000, 6)
    elif dtype != "f16":
        bits = {"i8": 7, "i16": 15}[dtype]
        weights_q, out_q, bias_q = dfp(bits), dfp(q[1] - 1), dfp(q[1] + bits)
        bias = rng.integers(-4000, 4000, 6)
    kinds = {"u8": np.int32, "i8": np.int32, "i16": np.int64, "f16": f32}
    case.graph.const(f"w{output}", case.data(dtype, (6, 6, 1, 1)), weights_q)
    case.graph.const(f"b{output}", bias.astype(kinds[dtype]), bias_q)
    case.graph.tensor(output, (1, 6, 5, 7), dtype, out_q)
    case.op("conv2d", [source, f"w{output}", f"b{output}"], output, **attrs)
    return out_q


def blocks(new: New) -> Cases:
    """Build what the driver fuses in quantized graphs: relu in other parameters, SiLU, sums."""
    oracle = new("").oracle
    for dtype in ("u8", "i8", "i16", "f16"):
        start = {"u8": oracle.asym(0.02, 77), "f16": None}.get(dtype, oracle.dfp(4))
        unit = {"u8": oracle.asym(1 / 255), "i8": oracle.dfp(7), "i16": oracle.dfp(15)}.get(dtype)
        for form in ("relu", "silu", "silu reversed", "sum"):
            case = new(f"{form} {dtype}")
            case.input("x", dtype, case.data(dtype, (1, 6, 5, 7)), start)
            q = hidden_layer(case, dtype, "x", "p", start)
            finer = None if q is None else oracle.dfp(q[1] + 1)
            if dtype == "u8":
                finer = oracle.asym(0.05, 20)
            if form == "relu":
                case.graph.tensor("r", (1, 6, 5, 7), dtype, finer)
                case.op("relu", ["p"], "r")
            elif form == "sum":
                hidden_layer(case, dtype, "x", "o", start)
                case.graph.tensor("s", (1, 6, 5, 7), dtype, q)
                case.op("add", ["p", "o"], "s")
                case.graph.tensor("r", (1, 6, 5, 7), dtype, finer)
                case.op("relu", ["s"], "r")
            else:
                case.graph.tensor("g", (1, 6, 5, 7), dtype, unit)
                case.op("sigmoid", ["p"], "g")
                case.graph.tensor("r", (1, 6, 5, 7), dtype, finer)
                case.op("mul", ["p", "g"] if form == "silu" else ["g", "p"], "r")
            hidden_layer(case, dtype, "r", "y", finer)
            case.graph.tensors["y"]["role"] = "output"
            yield case


def dilated_on_shader(new: New) -> Cases:
    """Dilated kernels that span more than 11 pixels: shader, i16 with rows that wrap."""
    oracle = new("").oracle
    for dtype, kernel, dilation, depthwise in (
        ("u8", (3, 3), 6, 2),
        ("u8", (3, 5), 3, 0),
        ("i8", (3, 3), 6, 1),
        ("i16", (5, 5), 3, 2),
        ("i16", (3, 3), 6, 1),
        ("f16", (3, 3), 6, 2),
    ):
        case = new(f"{dtype} {kernel} {dilation} {depthwise}")
        asym, dfp = oracle.asym, oracle.dfp
        height, width = ((k - 1) * dilation + 3 for k in kernel)
        outputs = 4 * depthwise if depthwise else 5
        in_q, weights_q, out_q, bias_q = {
            "u8": (
                asym(0.02, 77),
                asym(0.01, 128),
                asym(0.08, 120),
                asym(float(f32(0.02) * f32(0.01))),
            ),
            "i8": (dfp(4), dfp(6), dfp(2), dfp(10)),
            "i16": (dfp(10), dfp(12), dfp(5), dfp(22)),
            "f16": (None, None, None, None),
        }[dtype]
        bias = case.rng.standard_normal(outputs) * (1 if dtype == "f16" else 5000)
        kinds = {"u8": np.int32, "i8": np.int32, "i16": np.int64, "f16": f32}
        shape = (1, outputs, *kernel) if depthwise else (outputs, 4, *kernel)
        case.input("x", dtype, case.data(dtype, (1, 4, height, width)), in_q)
        case.graph.const("w", case.data(dtype, shape), weights_q)
        case.graph.const("b", bias.astype(kinds[dtype]), bias_q)
        case.graph.output("y", (1, outputs, 3, 3), dtype, out_q)
        attrs = {"mult": depthwise} if depthwise else {}
        case.op("conv2d", ["x", "w", "b"], "y", dilation=[dilation] * 2, **attrs)
        yield case


def ends_of_lrn(new: New) -> Cases:
    """LRN below and above the range of the driver's table, and u8, where it has no such ends."""
    oracle = new("").oracle
    for dtype, q in (
        ("u8", oracle.asym(0.006, 128)),
        ("i16", oracle.dfp(14)),
        ("i16", oracle.dfp(3)),
    ):
        case = new(f"lrn {dtype} {q}")
        codes = case.data(dtype, (1, 4, 12, 16))
        small = codes // 64 if dtype == "i16" and q[1] > 9 else codes // 16 + 120
        case.input("x", dtype, small if q[-1] != 3 else codes, q)
        case.graph.output("y", codes.shape, dtype, q)
        case.op("lrn", ["x"], "y", size=3, alpha=0.02, beta=0.5, bias=2.0, axis=1)
        yield case
    case = new("lrn f16")
    case.input("x", "f16", case.data("f16", (1, 4, 12, 16)) / np.float16(32))
    case.graph.output("y", (1, 4, 12, 16), "f16")
    case.op("lrn", ["x"], "y", size=3, alpha=0.02, beta=0.5, bias=2.0, axis=1)
    yield case


def sum_of_convolutions(
    case: Case, kind: str, dtype: str, size: int, zero_point: int, ratio: float
) -> Case:
    """Add two 1x1 convolutions of one input and their sum; return the case."""
    asym, rng, channels = case.oracle.asym, case.rng, 16 if size > 1 else 300
    shape = (1, channels, size, size)
    u8 = dtype == "u8"
    case.input("x", dtype, case.data(dtype, (1, 9, size, size)), asym(0.02, 77) if u8 else None)
    for name, scale, zero in (("p", 0.04, zero_point), ("q", 0.04 * ratio, 120)):
        case.graph.const(
            f"w{name}", case.data(dtype, (channels, 9, 1, 1)), asym(0.01, 128) if u8 else None
        )
        bias = rng.integers(-999, 999, channels).astype(np.int32)
        real_bias = rng.standard_normal(channels).astype(f32)
        bias_q = asym(float(f32(0.02) * f32(0.01))) if u8 else None
        case.graph.const(f"b{name}", bias if u8 else real_bias, bias_q)
        case.graph.tensor(name, shape, dtype, asym(scale, zero) if u8 else None)
        case.op("conv2d", ["x", f"w{name}", f"b{name}"], name)
    case.graph.output("y", shape, dtype, asym(0.04 * max(1.0, ratio), 131) if u8 else None)
    case.op(kind, ["p", "q"], "y")
    return case


FAMILIES: dict[str, Callable[[New], Cases]] = {
    "fully_connected_u8": fully_connected_u8,
    "one_result_f16": one_result_f16,
    "means": means,
    "oblong_averages": oblong_averages,
    "sums": sums,
    "fixed_point_sums": fixed_point_sums,
    "beyond_tables": beyond_tables,
    "shader_steps": shader_steps,
    "blocks": blocks,
    "dilated_on_shader": dilated_on_shader,
    "ends_of_lrn": ends_of_lrn,
    "merged_averages": merged_averages,
    "swapped_pools": swapped_pools,
    "large_strides": large_strides,
}


def main(arguments: list[str] | None = None) -> int:
    """Record every family; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("oracle", type=Path, help="folder with oracle.py")
    parser.add_argument("--to", type=Path, default=REPOSITORY / "tests" / "golden")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(options.oracle))
    oracle = importlib.import_module("oracle")
    runner = oracle.Oracle(timeout=300)
    manifest_path = options.to / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    (options.to / "measured").mkdir(parents=True, exist_ok=True)
    for family in options.families:
        cases = FAMILIES[family]
        rng = np.random.default_rng(options.seed)
        metas, arrays = [], {}
        for number, case in enumerate(cases(lambda name, rng=rng: Case(oracle, name, rng))):  # type: ignore[misc]
            meta, values = case.record(runner)
            metas.append(meta)
            arrays |= {f"{number}.{name}": value for name, value in values.items()}
            print(family, meta["name"], *meta["engines"], flush=True)
        packed = io.BytesIO()
        np.savez_compressed(packed, meta=np.array(json.dumps(metas)), **arrays)
        file = f"measured/{family}.npz"
        (options.to / file).write_bytes(packed.getvalue())
        manifest["files"][file] = {
            "sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
            "recorder": "tools/record_golden.py",
            "seed": options.seed,
            "cases": list(range(len(metas))),
        }
    manifest_path.write_text(json.dumps(manifest, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
