"""One case or more for every compiled kernel, for ``tests.kernels.guarded``.

Lengths lie around those of vectors, and every array is exactly as long as its kernel was promised.
"""

import os
from types import SimpleNamespace

import numpy as np

from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.ir.tensor import TensorSpec
from npusim.kernels import wait
from npusim.kernels._jit import Kernel
from npusim.kernels.elementwise import (
    copy_runs,
    f16_binary,
    i16_binary,
    int8_lut_vbmi,
    lut,
    real_codes,
    store_sums,
    u8_binary,
    u8_sum_vnni,
)
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.windows import (
    conv,
    fc,
    i16_conv_amx,
    i16_conv_pairs,
    i16_depthwise_vnni,
    int8_conv_amx,
    int8_conv_avx2,
    int8_conv_vnni,
    int8_depthwise_vnni,
    pool,
)
from npusim.passes.requant import nn_requant
from npusim.runtime import isa
from npusim.runtime.convolution.phases import Convolution, plain_phase
from npusim.runtime.convolution.step import ConvolutionStep
from tests.kernels import emulated_avx512, emulated_tiles
from tests.kernels import guarded_real_cases as guarded_real_cases  # adds its cases
from tests.kernels import guarded_tape_cases as guarded_tape_cases
from tests.kernels.guarded import Case
from tests.kernels.guarded_registry import CASES as CASES
from tests.kernels.guarded_registry import LENGTHS, case, constant, drawn


def prepare() -> None:
    """Let tiles compute all convolutions; what this processor lacks is emulated."""
    patch = SimpleNamespace(setattr=setattr)
    emulated_tiles.take_all(patch)
    emulated_avx512.emulate(patch)
    if emulated_tiles.NEEDED:
        emulated_tiles.emulate(patch)


# ---- tables and conversions ----------------------------------------------------------------------
@case(lut.map_codes)
def tables() -> list[np.ndarray]:
    results = []
    for code in (np.uint8, np.uint16):
        for result in (np.uint8, np.uint16):
            table = constant(drawn(result, 1 << 8 * np.dtype(code).itemsize))
            for length in LENGTHS:
                ofm = np.zeros(length, result)
                lut.map_codes(drawn(code, length), table, ofm, 0, length)
                results.append(ofm)
    return results


@case(int8_lut_vbmi.map_bytes)
def byte_tables() -> list[np.ndarray]:
    results = [np.zeros(length, np.uint8) for length in LENGTHS]
    for ofm in results:
        table = constant(drawn(np.uint8, 256))
        int8_lut_vbmi.map_bytes(drawn(np.uint8, ofm.size), table, ofm, 0, ofm.size)
    return results


@case(lut.clip_words)
def clips() -> list[np.ndarray]:
    results = [np.zeros(length, np.int16) for length in LENGTHS]
    for ofm in results:
        lut.clip_words(drawn(np.int16, ofm.size), 0.5, -9.0, 5000.0, ofm, 0, ofm.size)
    return results


@case(real_codes.quantize_f32)
def real_to_codes() -> list[np.ndarray]:
    limits = {np.uint8: (0.0, 255.0), np.int8: (-128.0, 127.0), np.int16: (-32768.0, 32767.0)}
    results = [np.zeros(length, dtype) for dtype in limits for length in LENGTHS]
    for codes in results:
        scalars = 0.01, 3.0, *limits[codes.dtype.type]
        real_codes.quantize_f32(drawn(np.float32, codes.size), *scalars, codes, 0, codes.size)
    return results


@case(real_codes.dequantize_8bit)
def codes_to_real() -> list[np.ndarray]:
    results = [np.zeros(length, np.float32) for length in LENGTHS]
    for real in results:
        table = constant(drawn(np.float32, 256))
        real_codes.dequantize_8bit(drawn(np.uint8, real.size), table, real, 0, real.size)
    return results


# ---- two operands --------------------------------------------------------------------------------
def on_rows(kernel: Kernel, dtype, *rest: object, out=None, table=()) -> list[np.ndarray]:
    """Call a kernel on three rows: the first operand has two of them, the second one."""
    results = []
    for length in LENGTHS:
        ofm = np.zeros(3 * length, out or dtype)
        kernel(
            drawn(dtype, 2 * length),
            np.array([0, length, 0]),
            drawn(dtype, length),
            np.zeros(3, np.int64),
            *table,
            ofm,
            length,
            *rest,
            0,
            3,
        )
        results.append(ofm)
    return results


@case(lut.map_pairs)
def pair_tables() -> list[np.ndarray]:
    results = []
    for result in (np.uint8, np.uint16):
        table = constant(drawn(result, 1 << 16))
        results += on_rows(lut.map_pairs, np.uint8, out=result, table=(table,))
    return results


@case(f16_binary.binary)
def halves() -> list[np.ndarray]:
    operations = f16_binary.ADD, f16_binary.MULTIPLY, f16_binary.DIVIDE, f16_binary.ADD_ON_NN
    results = []
    for operation in operations:
        results += on_rows(f16_binary.binary, np.uint16, operation, True, False)
    return results


@case(u8_binary.shader)
def shader_bytes() -> list[np.ndarray]:
    results = []
    for operation in (u8_binary.SUM, u8_binary.PRODUCT):
        scalars = (3.0, 5.0, 0.01, 0.02, 7.0, 0.0)
        results += on_rows(u8_binary.shader, np.uint8, operation, scalars)
    return results


@case(u8_binary.weighted_sum)
def sums_of_bytes() -> list[np.ndarray]:
    scalars = (100.0, -77.0, 5.0, 2.0**-8, 100.0, 0.0)
    return on_rows(u8_binary.weighted_sum, np.uint8, scalars)


@case(u8_sum_vnni.weighted_sum)
def sums_of_bytes_vnni() -> list[np.ndarray]:
    weights = u8_sum_vnni.packed_weights(100, -77)
    return on_rows(u8_sum_vnni.weighted_sum, np.uint8, weights, 5, 2.0**-8, 100, 0)


@case(i16_binary.shader)
def shader_words() -> list[np.ndarray]:
    results = []
    for operation in (i16_binary.SUM, i16_binary.PRODUCT):
        scalars = (0.5, 0.25, 2.0, -32768.0, 32767.0)
        results += on_rows(i16_binary.shader, np.int16, operation, scalars)
    return results


@case(i16_binary.weighted_sum)
def sums_of_words() -> list[np.ndarray]:
    scalars = (100.0, -77.0, 5.0, 2.0**-8, -32768.0, 32767.0)
    return on_rows(i16_binary.weighted_sum, np.int16, scalars)


@case(store_sums.store_sums)
def stored_sums() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:
        for dtype in (np.uint8, np.int8, np.int16):
            codes = np.zeros(length, dtype)
            limits = np.iinfo(dtype)
            store_sums.store_sums(
                constant(drawn(np.float32, length)), 9.5, 3.0, True, False, float(limits.min),
                float(limits.max), codes, 0, length,
            )  # fmt: skip
            results.append(codes)
    return results


# ---- copies --------------------------------------------------------------------------------------
@case(copy_runs.copy_runs)
def runs() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:
        target = np.zeros(5 + 2 * (length + 3) + length, np.uint8)
        copy_runs.copy_runs(
            drawn(np.uint8, 3 * length), length, target, 5, length + 3, length, 0, 3
        )
        results.append(target)
    return results


@case(copy_runs.gather_pixels)
def pixels() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:
        source, target = drawn(np.uint8, 2 * 3 * length), np.zeros(4 * 5 * length, np.uint8)
        rows, columns = np.array([0, 0, 1, 1]) * 3 * length, np.array([0, 0, 1, 2, 2]) * length
        copy_runs.gather_pixels(source, constant(rows), constant(columns), target, length, 0, 4)
        results.append(target)
    return results


@case(copy_runs.copy_elements)
def elements() -> list[np.ndarray]:
    results = []
    for code in (np.int8, np.int16, np.int32, np.int64):
        source = drawn(code, 1, 2, 3, 2, 3, 5).view(f"u{np.dtype(code).itemsize}")
        target = np.zeros((1, 2, 3, 2, 5, 3), source.dtype)
        copy_runs.copy_elements(source, target.swapaxes(4, 5), 0, 36)
        results.append(target)
    return results


# ---- windows -------------------------------------------------------------------------------------
POOLS = [  # kernel, stride, padding before, size in, size out, channels
    (3, 2, 1, 7, 4, 1),
    (2, 2, 0, 6, 3, 17),
    (3, 1, 1, 5, 5, 64),
    (5, 1, 2, 3, 3, 33),
]


def pooled(kernel: Kernel, dtype, mask: int, lowest: int) -> list[np.ndarray]:
    """Call a max pool on two images."""
    results = []
    for size, stride, pad, in_size, out_size, channels in POOLS:
        ofm = np.zeros((2, out_size, out_size, channels), dtype)
        ifm = drawn(dtype, 2, in_size, in_size, channels)
        kernel(ifm, mask, lowest, size, size, stride, stride, pad, pad, ofm, 0, 2 * out_size)
        results.append(ofm)
    return results


@case(pool.max_pool_8bit)
def pools_of_bytes() -> list[np.ndarray]:
    return pooled(pool.max_pool_8bit, np.uint8, 128, 0)


@case(pool.max_pool_16bit)
def pools_of_words() -> list[np.ndarray]:
    return pooled(pool.max_pool_16bit, np.int16, 0x7FFF, -0x7C00)


@case(pool.average_maps)
def averages() -> list[np.ndarray]:
    results = []
    for length in LENGTHS:
        ofm = np.zeros((2, length), np.uint8)
        rows = pool.averaged_rows(2, length)
        sums = np.zeros(pool.AVERAGED, np.int32)
        ifm = drawn(np.uint8, 2, 5, length)
        pool.average_maps(ifm, 9, 45.0, 0.5, 0.4, 3.0, sums, ofm, 0, rows)
        results.append(ofm)
    return results


@case(pool.sum_pixels)
def sums_of_pixels() -> list[np.ndarray]:
    results = []
    for dtype in (np.uint8, np.int8, np.int16):
        for length in LENGTHS:
            sums = np.zeros((2, length), np.int64)
            pool.sum_pixels(drawn(dtype, 2, 5, length), sums)
            results.append(sums)
    return results


@case(fc.fc_tp_f16)
def layers_of_halves() -> list[np.ndarray]:
    return layers(fc.fc_tp_f16, np.uint16)


@case(fc.fc_tp_integer)
def layers_of_words() -> list[np.ndarray]:
    return layers(fc.fc_tp_integer, np.int16)


@case(fc.fc_tp_8bit)
def layers_of_bytes() -> list[np.ndarray]:
    return layers(fc.fc_tp_8bit, np.uint8, 128.0)


def layers(kernel: Kernel, dtype, *zero: float) -> list[np.ndarray]:
    """Call a fully connected layer of three panels."""
    results = []
    for length in LENGTHS:
        weights = constant(drawn(dtype, 3, length, PANEL))
        acc = drawn(np.float32, 3 * PANEL)
        kernel(
            drawn(np.float32, length), weights.reshape(-1) if zero else weights, *zero, acc, 0, 3
        )
        results.append(acc)
    return results


SHAPES = [  # channels, outputs, groups, kernel, stride, pad, height, width
    (3, 5, 1, 3, 1, 1, 5, 7),
    (3, 64, 1, 3, 2, 0, 7, 7),
    (16, 17, 1, 1, 1, 0, 3, 5),
    (64, 130, 1, 1, 2, 0, 5, 5),
    (20, 48, 1, 2, 1, 0, 4, 4),
    (12, 12, 2, 3, 1, 1, 4, 3),
    (7, 7, 7, 3, 1, 1, 5, 6),
    (24, 24, 24, 5, 2, 2, 9, 9),
    (65, 65, 65, 3, 3, 0, 7, 7),
    (64, 64, 64, 2, 1, 0, 3, 3),
]
QUANTS = {
    DType.U8: (Affine(scale=0.02, zero_point=3), Affine(scale=0.01, zero_point=77)),
    DType.I8: (DynamicFixedPoint(fl=3), DynamicFixedPoint(fl=5)),
    DType.I16: (DynamicFixedPoint(fl=10), DynamicFixedPoint(fl=12)),
    DType.F16: (Float(), Float()),
}
OFM_QUANTS = {DType.U8: Affine(scale=0.5, zero_point=9)}


def convolutions(
    path: str, ifm_dtype: DType, ofm_dtype: DType, *, depthwise: bool, codes: int = 100
) -> Case:
    """Return the case of all shapes with one path of machine code, from pixels and from planes.

    Weights are below ``codes``.
    """

    def every_shape() -> list[np.ndarray]:
        os.environ["NPUSIM_ISA"] = path
        isa.selected.cache_clear()
        return [
            result
            for shape in SHAPES
            if (shape[2] == shape[0]) == depthwise
            for result in convolved(shape, ifm_dtype, ofm_dtype, codes)
        ]

    every_shape.__name__ = f"{ifm_dtype.value} below {codes} to {ofm_dtype.value} by {path}"
    return every_shape


def convolved(
    shape: tuple[int, ...], ifm_dtype: DType, ofm_dtype: DType, codes: int
) -> list[np.ndarray]:
    """Return the results of one convolution on an input of either memory order."""
    in_c, out_c, groups, kernel, stride, pad, height, width = shape
    sizes = tuple((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
    ifm_quant, weights_quant = QUANTS[ifm_dtype]
    ofm = TensorSpec(
        name="y",
        shape=(1, out_c, *sizes),
        dtype=ofm_dtype,
        quant=OFM_QUANTS.get(ofm_dtype, QUANTS[ofm_dtype][0]),
    )
    rng = np.random.default_rng(0)
    weights = rng.integers(0, codes, (out_c, in_c // groups, kernel, kernel))
    step = ConvolutionStep(
        Convolution(
            where="test",
            ifm=TensorSpec(
                name="x", shape=(1, in_c, height, width), dtype=ifm_dtype, quant=ifm_quant
            ),
            ofm=ofm,
            weights=weights.astype(ifm_dtype.numpy),
            weights_quant=weights_quant,
            bias=np.zeros(out_c, np.int64),
            requant=nn_requant(ifm_quant, weights_quant, ofm),
            phases=(plain_phase((kernel,) * 2, (stride,) * 2, (1, 1), (pad,) * 2, sizes),),
            stride=(stride, stride),
            groups=groups,
        )
    )
    pixels = rng.integers(0, 100, (1, height, width, in_c)).astype(ifm_dtype.numpy)
    pixels = pixels.transpose(0, 3, 1, 2)
    return [step(pixels)[0], step(np.ascontiguousarray(pixels))[0]]


for found, path, pair, depthwise in (
    (conv.conv2d_8bit, isa.PORTABLE, (DType.U8, DType.U8), False),
    (conv.conv2d_8bit, isa.PORTABLE, (DType.U8, DType.U8), True),
    (conv.conv2d_8bit, isa.PORTABLE, (DType.I8, DType.I8), False),
    (conv.conv2d_8bit_to_half, isa.PORTABLE, (DType.I8, DType.F16), False),
    (conv.conv2d_8bit_to_half, isa.PORTABLE, (DType.I8, DType.F16), True),
    (conv.conv2d_f16, isa.PORTABLE, (DType.F16, DType.F16), False),
    (conv.conv2d_f16, isa.PORTABLE, (DType.F16, DType.F16), True),
    (conv.conv2d_i16, isa.PORTABLE, (DType.I16, DType.I16), False),
    (conv.conv2d_i16, isa.PORTABLE, (DType.I16, DType.I16), True),
    (int8_conv_avx2.conv2d_8bit, isa.AVX2, (DType.U8, DType.U8), False),
    (int8_conv_avx2.conv2d_8bit, isa.AVX2, (DType.I8, DType.I8), False),
    (int8_conv_vnni.conv2d_8bit, isa.AVX512_VNNI, (DType.U8, DType.U8), False),
    (int8_conv_vnni.conv2d_8bit, isa.AVX512_VNNI, (DType.I8, DType.I8), False),
    (int8_conv_amx.conv2d_8bit, isa.AMX, (DType.U8, DType.U8), False),
    (int8_conv_amx.conv2d_8bit, isa.AMX, (DType.I8, DType.I8), False),
    (int8_depthwise_vnni.depthwise_8bit, isa.AVX512_VNNI, (DType.U8, DType.U8), True),
    (i16_conv_amx.conv2d_i16, isa.AMX, (DType.I16, DType.I16), False),
    (i16_conv_pairs.conv2d_i16_avx512, isa.AVX512_VNNI, (DType.I16, DType.I16), False),
    (i16_depthwise_vnni.depthwise_i16, isa.AVX512_VNNI, (DType.I16, DType.I16), True),
):
    case(found)(convolutions(path, *pair, depthwise=depthwise))
wide = convolutions(isa.AMX, DType.U8, DType.U8, depthwise=False, codes=256)
case(int8_conv_amx.conv2d_8bit)(wide)


# ---- the rest ------------------------------------------------------------------------------------
@case(wait.until_changed)
def looks() -> list[np.ndarray]:
    board = np.arange(3)
    for place in (0, 2):
        wait.until_changed(board, place, board[place], 5, 2)
        wait.until_changed(board, place, -1, 5, 2)
    return [board]
