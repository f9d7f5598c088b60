"""What AMX tiles must get right before a process relies on them: small convolutions, every bit."""

import numpy as np
from numpy.typing import NDArray

from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Quant
from npusim.ir.tensor import TensorSpec
from npusim.kernels.windows import conv
from npusim.passes.requant import nn_requant
from npusim.runtime.calls import Calls
from npusim.runtime.convolution import amx, amx_words
from npusim.runtime.convolution.phases import Convolution, plain_phase
from npusim.runtime.convolution.step import bind_to

_Quants = tuple[Quant, Quant]
_U8_CENTRED: _Quants = Affine(scale=0.02, zero_point=3), Affine(scale=0.01, zero_point=128)
_U8: _Quants = Affine(scale=0.02, zero_point=250), Affine(scale=0.01, zero_point=77)
_I16: _Quants = DynamicFixedPoint(fl=10), DynamicFixedPoint(fl=12)
_I8: _Quants = DynamicFixedPoint(fl=3), DynamicFixedPoint(fl=5)
# type, quantization of inputs and weights, channels in and out, kernel, stride, padding, size
_CASES: tuple[tuple[DType, _Quants, int, int, int, int, int, int], ...] = (
    (DType.U8, _U8_CENTRED, 64, 80, 1, 1, 0, 7),
    (DType.U8, _U8, 70, 64, 3, 1, 1, 9),
    (DType.U8, _U8, 128, 64, 1, 1, 0, 3),
    (DType.I8, _I8, 64, 16, 3, 2, 1, 13),
    (DType.I16, _I16, 64, 48, 3, 1, 1, 6),
)
_BINDS = {
    DType.U8: (amx.bind_dense, conv.conv2d_8bit),
    DType.I8: (amx.bind_dense, conv.conv2d_8bit),
    DType.I16: (amx_words.bind_i16, conv.conv2d_i16),
}
_OFM_QUANTS: dict[DType, Quant] = {
    DType.U8: Affine(scale=2.0, zero_point=100),
    DType.I8: DynamicFixedPoint(fl=-3),
    DType.I16: DynamicFixedPoint(fl=2),
}


def fault() -> str:
    """Return which convolution differs from the portable kernel; nothing if none does."""
    for number, case in enumerate(_CASES):
        convolution, ifm = _drawn(np.random.default_rng(number), *case)
        out_n, out_c, out_h, out_w = convolution.ofm.shape
        bind, portable = _BINDS[case[0]]
        phase = convolution.phases[0]
        results = []
        for run in (bind(convolution, phase, gain=0), bind_to(portable, convolution, phase)):
            assert run is not None, "the cases are chosen to fit"
            results.append(np.zeros((out_n, out_h, out_w, out_c), ifm.dtype))
            calls = Calls()
            run(calls, ifm, results[-1])
            calls.run()
        if not np.array_equal(results[0], results[1]):
            return f"{convolution.where} differs from the portable kernel"
    return ""


def _drawn(
    rng: np.random.Generator,
    dtype: DType,
    quants: _Quants,
    in_c: int,
    out_c: int,
    kernel: int,
    stride: int,
    pad: int,
    size: int,
) -> tuple[Convolution, NDArray[np.integer]]:
    """Return a convolution of one picture, and the bit patterns of its input (N, C, H, W)."""
    out = (size + 2 * pad - kernel) // stride + 1
    ofm = TensorSpec(name="y", shape=(1, out_c, out, out), dtype=dtype, quant=_OFM_QUANTS[dtype])
    codes = np.uint8 if dtype.bits == 8 else np.int16
    limits = np.iinfo(codes)

    def drawn(*shape: int) -> NDArray[np.integer]:
        return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(codes)

    convolution = Convolution(
        where=f"{dtype.value} {kernel}x{kernel} {in_c}->{out_c} stride {stride}",
        ifm=TensorSpec(name="x", shape=(1, in_c, size, size), dtype=dtype, quant=quants[0]),
        ofm=ofm,
        weights=drawn(out_c, in_c, kernel, kernel).view(dtype.numpy),
        weights_quant=quants[1],
        bias=rng.integers(-(10**4), 10**4, out_c),
        requant=nn_requant(*quants, ofm),
        phases=(plain_phase((kernel,) * 2, (stride,) * 2, (1, 1), (pad,) * 2, (out, out)),),
        stride=(stride, stride),
    )
    return convolution, drawn(1, size, size, in_c).transpose(0, 3, 1, 2)
