"""Compare what npusim says of single convolutions with what the vendor's estimator prints of them.

    python tools/compare_parts.py ORACLE_FOLDER [--layers 600] [--seed 1] [--worst 5]

Layers are drawn at random: plain, strided, depthwise and with a fused pool, four number formats, 0
to 98 % zeros, three DDR rates. The estimator prints the tile it took, what each of its parts takes
and what limits the layer (``NN_EXT_SHOW_PERF=2``); npusim prices the same tile. Printed are
quantiles of npusim's figure over the estimator's, and how often both name the same limit.
ORACLE_FOLDER holds ``oracle.py`` (a harness round the vendor's simulator, set up beforehand); it is
a developer's tool and neither tests nor users need it.
"""

import argparse
import importlib
import random
import re
import sys
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from npusim.perfmodel.agreement import nn_work
from npusim.perfmodel.cost import Bound
from npusim.perfmodel.engines.nn import price_tile
from npusim.perfmodel.engines.nn_plan import plan
from npusim.perfmodel.engines.nn_time import core_cycles, feed_cycles, leaving_cycles
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.tiling import make_tile
from npusim.perfmodel.workload import NnWork

RK1808 = load_machine("rk1808")
SIDES = (7, 8, 10, 13, 14, 16, 19, 20, 26, 28, 32, 38, 40, 52, 56, 64)
IN_CHANNELS = (3, 4, 8, 16, 24, 32, 40, 48, 64, 96, 112, 128, 192, 256, 384, 512)
OUT_CHANNELS = (1, 4, 8, 16, 24, 32, 48, 64, 80, 112, 128, 160, 256, 320, 512)
KERNELS = (1, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 11)
ZEROS = (0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
RATES = (3.8, 8.0, 100.0)
LIMITS = {
    "DDR": Bound.DDR,
    "COMPUTE": Bound.COMPUTE,
    "COEF_DECODE": Bound.DECODE,
    "VIP_SRAM_RD": Bound.SRAM,
    "INTERNAL_WRITE": Bound.OUTPUT,
}
NUMPY = {"u8": np.uint8, "i8": np.int8, "i16": np.int16, "f16": np.float16}


def draw(rng: random.Random) -> dict[str, Any]:
    """Return a layer that the simulator compiles quickly."""
    while True:
        kernel, width = rng.choice(KERNELS), rng.choice(SIDES)
        layer = {
            "kind": rng.choices(("plain", "depthwise", "strided", "pool"), (6, 1.5, 2, 1))[0],
            "dtype": rng.choices(tuple(NUMPY), (5, 1.5, 1.5, 2))[0],
            "kernel": kernel,
            "width": width,
            "height": rng.choice((width, width, 7, 14, 20, 28, 40)),
            "in_c": rng.choice(IN_CHANNELS),
            "out_c": rng.choice(OUT_CHANNELS),
            "zeros": rng.choice(ZEROS),
            "rate": rng.choice(RATES),
            "seed": rng.randrange(1 << 30),
        }
        small = layer["in_c"] * width * layer["height"] < 1.5e6
        small &= layer["in_c"] * layer["out_c"] * kernel**2 < 4e6
        if small and kernel <= min(width, layer["height"]):
            return layer


def build(oracle: Any, layer: dict[str, Any]) -> Any:
    """Return a layer as a graph of the simulator."""
    rng = np.random.default_rng(layer["seed"])
    dtype, kernel, depthwise = layer["dtype"], layer["kernel"], layer["kind"] == "depthwise"
    in_c = layer["in_c"]
    out_c = in_c if depthwise else layer["out_c"]
    quants = {
        "u8": (oracle.asym(0.02, 128), oracle.asym(0.005, 128), oracle.asym(0.05, 128)),
        "i8": (oracle.dfp(4), oracle.dfp(8), oracle.dfp(3)),
        "i16": (oracle.dfp(10), oracle.dfp(14), oracle.dfp(9)),
        "f16": (None, None, None),
    }[dtype]
    bias_quant = {"u8": oracle.asym(1e-4, 0), "i8": oracle.dfp(12), "i16": oracle.dfp(24)}
    zero = 128 if dtype == "u8" else 0
    shape = (1, out_c, kernel, kernel) if depthwise else (out_c, in_c, kernel, kernel)
    spread = {"u8": 25, "i8": 25, "i16": 6000, "f16": 1}[dtype]
    values = rng.standard_normal(shape) * spread + zero
    if dtype != "f16":
        info = np.iinfo(NUMPY[dtype])
        values = np.clip(np.rint(values), info.min, info.max)
    weights = values.astype(NUMPY[dtype])
    weights[rng.random(shape) < layer["zeros"]] = zero
    stride = 2 if layer["kind"] == "strided" else 1
    before = (kernel - 1) // 2
    after = kernel // 2 if stride == 1 else before
    height, width = (
        (side + before + after - kernel) // stride + 1 for side in (layer["height"], layer["width"])
    )
    graph = oracle.Graph()
    graph.input("x", (1, in_c, layer["height"], layer["width"]), dtype, quants[0])
    graph.const("w", weights, quants[1])
    bias = {"i16": np.int64, "f16": np.float32}.get(dtype, np.int32)
    graph.const("b", np.zeros(out_c, bias), bias_quant.get(dtype))
    options: dict[str, Any] = {"pad": [before, after] * 2, "stride": [stride] * 2}
    if depthwise:
        options["mult"] = 1
    pool = layer["kind"] == "pool"
    result = graph.tensor if pool else graph.output
    result("y", (1, out_c, height, width), dtype, quants[2])
    graph.op("conv2d", ["x", "w", "b"], ["y"], **options)
    if pool:
        graph.tensor("r", (1, out_c, height, width), dtype, quants[2])
        graph.op("relu", ["y"], ["r"])
        size = (1, out_c, -(-height // 2), -(-width // 2))
        graph.output("p", size, dtype, quants[2])
        window = {"pad": [0] * 4, "ksize": [2, 2], "stride": [2, 2], "ceil": 1}
        graph.op("pool2d", ["r"], ["p"], type="max", **window)
    return graph


def ask(oracle: Any, simulator: Any, layer: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the estimator prints of a layer, None when no NN operation comes of it."""
    rate = str(layer["rate"])
    env = {f"NN_EXT_DDR_{way}_BW_LIMIT": rate for way in ("READ", "WRITE", "TOTAL")}
    try:
        text = simulator.perf_log(build(oracle, layer), env=env | {"NN_EXT_SHOW_PERF": "2"})
    except oracle.OracleError:
        return None
    printed: dict[str, Any] = oracle.parse_perf(text)[-1]
    if "OutImageTileXSize" not in printed:
        return None
    detail = text.rsplit("Arch Detail is:", 1)[1]
    found = re.findall(r"(\w+) is (-?\d+(?:\.\d+)?)", detail)
    limit = re.findall(r"Bottleneck : \[\d+\](\w+)", text)[-1]
    return printed | {key: float(value) for key, value in found} | {"limit": limit}


def work_of(layer: dict[str, Any], printed: dict[str, Any]) -> NnWork:
    """Return the operation that the driver made of a layer."""
    kinds = {"depthwise": "dwconv", "pool": "convpool"}
    row = {
        "kind": kinds.get(layer["kind"], "conv"),
        "dtype": layer["dtype"],
        "zero_frac": layer["zeros"],
        "stride": 2 if layer["kind"] == "strided" else 1,
        "k": layer["kernel"],
        "kx": printed["KernelX"],
        "ky": printed["KernelY"],
        "pool": printed["PoolingStride"] if printed["PoolingSize"] > 1 else 1,
    }
    for ours, theirs in (("in", "OrigInImage"), ("out", "OutImage"), ("final", "FinalOutImage")):
        row |= {f"{ours}_{axis.lower()}": printed[f"{theirs}{axis}"] for axis in "XYZ"}
    return nn_work(row)


def main() -> None:
    """Draw layers, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("oracle", help="folder of the harness")
    parser.add_argument("--layers", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worst", type=int, default=5, help="layers to name for each figure")
    options = parser.parse_args()
    sys.path.insert(0, options.oracle)
    oracle = importlib.import_module("oracle")
    simulator = oracle.Oracle()
    rng = random.Random(options.seed)
    ratios: dict[str, list[tuple[float, str]]] = defaultdict(list)
    limits: Counter[tuple[str, str]] = Counter()
    tiles: Counter[bool] = Counter()
    for _ in range(options.layers):
        layer = draw(rng)
        printed = ask(oracle, simulator, layer)
        if printed is None:
            continue
        work = work_of(layer, printed)
        size = printed["OutImageTileXSize"], printed["OutImageTileYSize"]
        tile = make_tile(work, RK1808, *size)
        if tile is None:
            continue
        chosen = plan(work, RK1808, layer["rate"])
        tiles[(chosen.width, chosen.height) == size] += 1
        products, decode = core_cycles(work, tile, RK1808)
        stream = kernel_stream_bytes(work, tile, RK1808)
        image, once, _ = feed_cycles(work, tile, stream, RK1808)
        cost = price_tile(work, tile, RK1808, layer["rate"])
        name = ", ".join(f"{key} {value}" for key, value in layer.items() if key != "seed")
        for figure, ours, theirs in (
            ("products", products, printed["computeCC"]),
            ("decoding", decode, printed["kernelDecodeCC"]),
            ("feeding", image + once * tile.number, printed["vipSramRdCC"]),
            ("cycles", cost.cycles, printed["CycleCount"]),
        ):
            ratios[figure].append((ours / theirs, name))
        if work.dtype.bits == 8:  # of 16 bits npusim has the larger of two figures
            leaving = leaving_cycles(work, tile, RK1808)
            ratios["leaving"].append((leaving / printed["internalWrCC"], name))
        bounds = [
            (cycles, bound) for bound, cycles in cost.bound_cycles if bound is not Bound.LAUNCH
        ]
        ours = max(bounds, key=lambda pair: pair[0])[1]
        limits[printed["limit"], ours.value] += 1
    print(f"{sum(tiles.values())} layers, the vendor's tile found in {tiles[True]}")
    print(f"{'':10}  {'5 %':>7} {'25 %':>7} {'50 %':>7} {'75 %':>7} {'95 %':>7}")
    for figure, found in ratios.items():
        found.sort()
        spots = (found[int(share * len(found))][0] for share in (0.05, 0.25, 0.5, 0.75, 0.95))
        print(f"{figure:10}  " + " ".join(f"{ratio:7.4f}" for ratio in spots))
        for ratio, name in sorted(found, key=lambda pair: -abs(pair[0] - 1))[: options.worst]:
            print(f"    {ratio:.3f}: {name}")
    same = sum(
        count for (theirs, ours), count in limits.items() if LIMITS.get(theirs) == Bound(ours)
    )
    print(f"the same limit beside the launch: {same} of {sum(limits.values())}")
    for (theirs, ours), count in limits.most_common():
        print(f"    {theirs} here {ours}: {count}")


if __name__ == "__main__":
    main()
