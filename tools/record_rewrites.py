"""Golden vectors of what the driver makes of small graphs.

Merged averages, swapped pools, large kernels of a stride; ``tools/record_golden.py`` records them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BIAS_TYPES: dict[str, Any] = {"u8": np.int32, "i8": np.int32, "i16": np.int64, "f16": np.float32}


def merged_averages(new: Callable[[str], Any]) -> Iterator[Any]:
    """Average of 3x3 and a pointwise or depthwise convolution behind it: one convolution."""
    forms = [
        (dtype, stride, pad, depthwise)
        for dtype in ("u8", "i8", "i16", "f16")
        for stride, pad, depthwise in ((1, 1, 0), (1, 0, 0), (2, 1, 0), (1, 1, 1))
    ]
    for number, (dtype, stride, pad, depthwise) in enumerate(forms):
        case = new(f"{dtype} stride {stride} pad {pad} depthwise {depthwise}")
        asym, dfp, rng = case.oracle.asym, case.oracle.dfp, case.rng
        scales = rng.uniform(0.01, 0.04), rng.uniform(0.006, 0.03), rng.uniform(0.005, 0.02)
        bits = {"i8": (4, 5, 7, 3), "i16": (11, 12, 15, 11)}.get(dtype, (0, 0, 0, 0))
        in_q, mid_q, w_q, out_q = (dfp(n) for n in bits)
        bias_q: Any = dfp(bits[1] + bits[2])
        if dtype == "u8":
            zeros = (int(rng.integers(0, 256)) for _ in range(3))
            in_q, mid_q, w_q = (asym(s, z) for s, z in zip(scales, zeros, strict=True))
            out_q = asym(scales[0] * scales[2] * 90, 120)
            bias_q = asym(float(np.float32(mid_q[1]) * np.float32(w_q[1])))
        elif dtype == "f16":
            in_q = mid_q = w_q = out_q = bias_q = None
        outputs = 5 if depthwise else 6
        size = (9 + 2 * pad - 3) // stride + 1
        weights = case.data(dtype, (1, 5, 1, 1) if depthwise else (6, 5, 1, 1))
        if dtype in ("i8", "i16") and number % 2:
            weights = (weights // 40).astype(weights.dtype)
        bias = rng.standard_normal(outputs) * (1 if dtype == "f16" else 3000)
        case.input("x", dtype, case.data(dtype, (1, 5, 9, 9)), in_q)
        case.graph.tensor("p", (1, 5, size, size), dtype, mid_q)
        case.op("pool2d", ["x"], "p", type="avg", ksize=[3, 3], stride=[stride] * 2, pad=[pad] * 4)
        case.graph.const("w", weights, w_q)
        case.graph.const("b", bias.astype(BIAS_TYPES[dtype]), bias_q)
        case.graph.output("y", (1, outputs, size, size), dtype, out_q)
        attrs = {"mult": 1} if depthwise else {}
        case.op("conv2d", ["p", "w", "b"], "y", pad=[0] * 4, stride=[1, 1], **attrs)
        yield case


def swapped_pools(new: Callable[[str], Any]) -> Iterator[Any]:
    """Activation and max pool in three quantizations: the driver pools first."""
    forms = [
        (dtype, act, kernel)
        for dtype in ("u8", "i8", "i16", "f16")
        for act, kernel in (("leaky_relu", 2), ("relu6", 2), ("relu1", 3), ("leaky_relu", 3))
    ]
    for dtype, act, kernel in forms:
        case = new(f"{dtype} {act} pool {kernel}")
        asym, dfp, rng = case.oracle.asym, case.oracle.dfp, case.rng
        q: list[Any] = [None] * 3
        if dtype == "u8":
            q = [asym(rng.uniform(0.02, 0.06), int(rng.integers(20, 200))) for _ in range(3)]
        elif dtype != "f16":
            most = {"i8": 4, "i16": 11}[dtype]
            q = [dfp(most), dfp(most + 1), dfp(most - 1)]
        size = (12 - kernel) // 2 + 1
        case.input("x", dtype, case.data(dtype, (1, 4, 12, 12)), q[0])
        case.graph.tensor("a", (1, 4, 12, 12), dtype, q[1])
        case.op(act, ["x"], "a", **({"alpha": 0.1} if act == "leaky_relu" else {}))
        case.graph.output("y", (1, 4, size, size), dtype, q[2])
        window = {"ksize": [kernel] * 2, "stride": [2, 2], "pad": [0] * 4, "round": "floor"}
        case.op("pool2d", ["a"], "y", type="max", **window)
        yield case


def large_strides(new: Callable[[str], Any]) -> Iterator[Any]:
    """Kernels beyond 11x11 whose stride leaves phases of up to 11x11: NN, in four types."""
    asym, dfp = new("").oracle.asym, new("").oracle.dfp
    bias_q = asym(float(np.float32(0.02) * np.float32(0.01)))
    quants = {
        "u8": (asym(0.02, 77), asym(0.01, 128), asym(0.9, 120), bias_q),
        "i8": (dfp(4), dfp(6), dfp(-2), dfp(10)),
        "i16": (dfp(10), dfp(12), dfp(3), dfp(22)),
        "f16": (None, None, None, None),
    }
    for dtype, kernel, stride, pad, dilation in (
        ("f16", 12, 4, 0, 1),
        ("f16", 13, 2, 6, 1),
        ("f16", 3, 2, 6, 6),
        ("u8", 13, 2, 6, 1),
        ("i16", 12, 4, 0, 1),
        ("i8", 3, 2, 6, 6),
    ):
        case = new(f"{dtype} {kernel}x{kernel} stride {stride} dilation {dilation}")
        in_q, w_q, out_q, bias_q = quants[dtype]
        made = (16 + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1
        bias = case.rng.standard_normal(3) * (1 if dtype == "f16" else 5000)
        case.input("x", dtype, case.data(dtype, (1, 1, 16, 16)), in_q)
        case.graph.const("w", case.data(dtype, (3, 1, kernel, kernel)), w_q)
        case.graph.const("b", bias.astype(BIAS_TYPES[dtype]), bias_q)
        case.graph.output("y", (1, 3, made, made), dtype, out_q)
        attrs = {"stride": [stride] * 2, "pad": [pad] * 4, "dilation": [dilation] * 2}
        case.op("conv2d", ["x", "w", "b"], "y", **attrs)
        yield case
