"""Kernels one by one against the machine's own limits, measured in the same run. One thread.

    python benchmarks/bench_kernels.py [--json]

Convolutions: multiply-adds per second, and their share of what a loop of the instructions they are
made of reaches (u8: vpdpbusd; i16: half of that, vpdpwssd has half the products; f16: fused
float32 multiply-adds). All other kernels: bytes read and written per second, and their share of a
copy of as many bytes. Shares below 25 % are marked; docs/performance.md gives the reasons.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["NPUSIM_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import numpy as np
from peaks import copy_rate, fma_peak, pairs_peak, seconds, vnni_peak

from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import TensorSpec
from npusim.kernels.elementwise import (
    copy_runs,
    i16_binary,
    int8_lut_vbmi,
    lut,
    real_codes,
    u8_binary,
    u8_sum_vnni,
)
from npusim.kernels.windows import fc, pool
from npusim.passes.requant import nn_requant
from npusim.runtime.convolution.phases import Convolution, plain_phase
from npusim.runtime.convolution.step import ConvolutionStep

MARK = 0.25
QUANTS: dict[DType, tuple[Quant, Quant, Quant]] = {
    DType.U8: (
        Affine(scale=0.02, zero_point=3),
        Affine(scale=0.01, zero_point=120),
        Affine(scale=0.5, zero_point=100),
    ),
    DType.I16: (DynamicFixedPoint(fl=10), DynamicFixedPoint(fl=14), DynamicFixedPoint(fl=8)),
    DType.F16: (Float(), Float(), Float()),
}
# family: in channels, out channels, input size, kernel, stride, groups
CONVOLUTIONS = {
    "1x1 256->64": (256, 64, 56, 1, 1, 1),
    "1x1 64->256": (64, 256, 56, 1, 1, 1),
    "1x1 16->96": (16, 96, 112, 1, 1, 1),
    "1x1 144->24": (144, 24, 56, 1, 1, 1),
    "1x1 160->960 at 7x7": (160, 960, 7, 1, 1, 1),
    "3x3 64->64": (64, 64, 56, 3, 1, 1),
    "3x3 stride 2 128->256": (128, 256, 80, 3, 2, 1),
    "3x3 stride 2 3->32": (3, 32, 224, 3, 2, 1),
    "3x3 grouped 4 x 32": (128, 128, 28, 3, 1, 4),
    "depthwise 3x3": (144, 144, 56, 3, 1, 144),
    "depthwise 3x3 stride 2": (96, 96, 112, 3, 2, 96),
    "depthwise 5x5": (192, 192, 28, 5, 1, 192),
}


def convolution(dtype: DType, shape: tuple[int, ...]) -> tuple[Callable[[], object], int]:
    """Return a call of a convolution and its multiply-adds."""
    in_c, out_c, size, kernel, stride, groups = shape
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    rng = np.random.default_rng(0)
    ifm_quant, weights_quant, ofm_quant = QUANTS[dtype]
    weights_shape = (out_c, in_c // groups, kernel, kernel)
    if dtype is DType.F16:
        weights, codes = rng.normal(0, 0.1, weights_shape), rng.normal(size=(1, size, size, in_c))
    else:
        centre, spread = (120, 28) if dtype is DType.U8 else (0, 5500)
        weights = np.rint(rng.normal(centre, spread, weights_shape)).clip(dtype.min, dtype.max)
        codes = rng.integers(dtype.min, dtype.max + 1, (1, size, size, in_c))
    ofm = TensorSpec(name="y", shape=(1, out_c, out, out), dtype=dtype, quant=ofm_quant)
    step = ConvolutionStep(
        Convolution(
            where="benchmark",
            ifm=TensorSpec(name="x", shape=(1, in_c, size, size), dtype=dtype, quant=ifm_quant),
            ofm=ofm,
            weights=weights.astype(dtype.numpy),
            weights_quant=weights_quant,
            bias=np.zeros(out_c, np.float32 if dtype is DType.F16 else np.int64),
            requant=nn_requant(ifm_quant, weights_quant, ofm),
            phases=(
                plain_phase((kernel,) * 2, (stride,) * 2, (1, 1), (kernel // 2,) * 2, (out, out)),
            ),
            stride=(stride, stride),
            groups=groups,
        )
    )
    ifm = codes.astype(dtype.numpy).transpose(0, 3, 1, 2)
    if in_c <= 4:
        ifm = np.ascontiguousarray(ifm)  # pictures come as planes
    return lambda: step(ifm), out * out * weights.size


def movers() -> Iterator[tuple[str, Callable[[], object], int]]:
    """Yield (name, call, bytes read and written) of everything that is not a convolution."""
    size = 56 * 56 * 256
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, size)).astype(np.uint8)
    words, more = (x.astype(np.int16) for x in rng.integers(-(2**15), 2**15, (2, size)))
    u8, i16, real = np.empty(size, np.uint8), np.empty(size, np.int16), np.empty(size, np.float32)
    numbers = rng.normal(size=size).astype(np.float32)
    start = np.zeros(1, np.int64)
    if int8_lut_vbmi.map_bytes.is_available:
        yield (
            "table u8, registers",
            lambda: int8_lut_vbmi.map_bytes(a, a[:256], u8, 0, size),
            2 * size,
        )
    yield "table u8, memory", lambda: lut.map_codes(a, a[:256], u8, 0, size), 2 * size
    table = rng.integers(0, 2**16, 2**16).astype(np.uint16)
    halves, mapped = words.view(np.uint16), i16.view(np.uint16)
    yield "table 16 bit", lambda: lut.map_codes(halves, table, mapped, 0, size), 4 * size
    yield "clip i16", lambda: lut.clip_words(words, 0.5, 0.0, 12000.0, i16, 0, size), 4 * size
    sums = (100.0, 90.0, -3000.0, 0.01, 3.0, 0.0)
    if u8_sum_vnni.weighted_sum.is_available:
        store = (u8_sum_vnni.packed_weights(100, 90), -3000, 0.01, 3, 0)
        yield (
            "add u8 on NN, vnni",
            lambda: u8_sum_vnni.weighted_sum(a, start, b, start, u8, size, *store, 0, 1),
            3 * size,
        )
    yield (
        "add u8 on NN, portable",
        lambda: u8_binary.weighted_sum(a, start, b, start, u8, size, sums, 0, 1),
        3 * size,
    )
    ratios = (3.0, 5.0, 0.7, 0.6, 9.0, 0.0)
    yield (
        "add u8 on shader",
        lambda: u8_binary.shader(a, start, b, start, u8, size, 0, ratios, 0, 1),
        3 * size,
    )
    scales = (0.01, 0.01, 100.0, -32768.0, 32767.0)
    yield (
        "add i16 on shader",
        lambda: i16_binary.shader(words, start, more, start, i16, size, 0, scales, 0, 1),
        6 * size,
    )
    pairs = rng.integers(0, 256, 2**16).astype(np.uint8)
    yield (
        "pairs of u8 by table",
        lambda: lut.map_pairs(a, start, b, start, pairs, u8, size, 0, 1),
        3 * size,
    )
    ifm = a.reshape(1, 56, 56, 256)
    pooled = np.empty((1, 28, 28, 256), np.uint8)
    geometry = (3, 3, 2, 2, 1, 1)
    yield (
        "max pool 3x3 stride 2",
        lambda: pool.max_pool_8bit(ifm, 0, 0, *geometry, pooled, 0, 28),
        size + pooled.size,
    )
    totals = np.empty((1, 256), np.int64)
    yield "sum of pixels", lambda: pool.sum_pixels(ifm.reshape(1, -1, 256), totals), size
    target = np.empty(2 * size, np.uint8)
    yield (
        "concat of channels",
        lambda: copy_runs.copy_runs(a, 256, target, 0, 512, 256, 0, size // 256),
        2 * size,
    )
    rows, columns = np.arange(112) // 2 * (56 * 64), np.arange(112) // 2 * 64
    small = a[: 56 * 56 * 64]
    resized = np.empty(4 * small.size, np.uint8)
    yield (
        "nearest resize x 2",
        lambda: copy_runs.gather_pixels(small, rows, columns, resized, 64, 0, 112),
        2 * resized.size,
    )
    weights = rng.integers(0, 256, 1280 * 1024).astype(np.uint8)
    values, acc = numbers[:1280], np.zeros(1024, np.float32)
    yield (
        "fully connected u8 on TP",
        lambda: fc.fc_tp_8bit(values, weights, 120.0, acc, 0, 16),
        weights.size,
    )
    yield (
        "quantize",
        lambda: real_codes.quantize_f32(numbers, 0.02, 3.0, 0.0, 255.0, u8, 0, size),
        5 * size,
    )
    yield (
        "dequantize",
        lambda: real_codes.dequantize_8bit(a, numbers[:256], real, 0, size),
        5 * size,
    )


def measure() -> list[dict[str, Any]]:
    """Return one row per kernel: name, rate, unit, bound and share of it."""
    vnni, fma = vnni_peak(), fma_peak()
    peaks = {DType.U8: vnni or pairs_peak() or fma, DType.I16: vnni / 2 or fma, DType.F16: fma}
    rows: list[dict[str, Any]] = []

    def add(name: str, rate: float, unit: str, bound: float) -> None:
        rows.append(
            {
                "kernel": name,
                "rate": round(rate / 1e9, 2),
                "unit": unit,
                "bound": round(bound / 1e9, 2),
                "share": round(rate / bound, 3),
            }
        )

    for dtype, peak in peaks.items():
        for name, shape in CONVOLUTIONS.items():
            call, macs = convolution(dtype, shape)
            add(f"{dtype.value} {name}", macs / seconds(call), "GMAC/s", peak)
    for name, call, size in movers():
        add(name, size / seconds(call, 30), "GB/s", copy_rate(size // 2))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure()
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        weak = "  below 25 %" if row["share"] < MARK else ""
        bound = f"of {row['bound']:7.1f} {row['unit']:6}"
        print(f"{row['kernel']:28} {row['rate']:7.1f} {bound} {row['share']:6.0%}{weak}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
