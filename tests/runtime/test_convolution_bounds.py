"""Convolution kernels stay inside their arrays: each ends (or begins) at a forbidden page."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.ir.tensor import TensorSpec
from npusim.passes.requant import nn_requant
from npusim.runtime import isa
from npusim.runtime.convolution import pairs, step, x86
from npusim.runtime.convolution.phases import Convolution, plain_phase

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
PAGE = mmap.PAGESIZE
PROT_NONE = 0  # the mmap module does not name it
_KEPT: list[mmap.mmap] = []  # the mappings live as long as the arrays inside them


def guarded(size: int, dtype, *, at_end: bool) -> np.ndarray:
    """An array between two pages that nobody may touch, close to the second or to the first."""
    size_bytes = size * np.dtype(dtype).itemsize
    pages = max(1, -(-size_bytes // PAGE))
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + (pages + 1) * PAGE):
        done = libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), PROT_NONE)
        assert done == 0
    _KEPT.append(memory)
    start = PAGE + (pages * PAGE - size_bytes if at_end else 0)
    return np.frombuffer(memory, np.uint8, size_bytes, start).view(dtype)


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
    DType.I16: (DynamicFixedPoint(fl=10), DynamicFixedPoint(fl=12)),
    DType.F16: (Float(), Float()),
}


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "path"),
    [
        *((dtype, path) for dtype in (DType.U8, DType.I16) for path in isa.available()),
        (DType.F16, ""),
    ],
)
def test_no_access_outside(monkeypatch, dtype, path, shape, at_end):
    monkeypatch.setenv("NPUSIM_ISA", path)
    monkeypatch.setenv("NPUSIM_NUM_THREADS", "1")
    isa.selected.cache_clear()
    in_c, out_c, groups, kernel, stride, pad, height, width = shape
    sizes = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
    ifm_quant, weights_quant = QUANTS[dtype]
    ofm_quant = Affine(scale=0.5, zero_point=9) if dtype is DType.U8 else ifm_quant
    ofm_spec = TensorSpec(name="y", shape=(1, out_c, *sizes), dtype=dtype, quant=ofm_quant)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 100, (out_c, in_c // groups, kernel, kernel))
    conv = Convolution(
        where="test",
        ifm=TensorSpec(name="x", shape=(1, in_c, height, width), dtype=dtype, quant=ifm_quant),
        ofm=ofm_spec,
        weights=weights.astype(dtype.numpy),
        weights_quant=weights_quant,
        bias=np.zeros(out_c, np.int64),
        requant=nn_requant(ifm_quant, weights_quant, ofm_spec),
        phases=(plain_phase((kernel,) * 2, (stride,) * 2, (1, 1), (pad,) * 2, tuple(sizes)),),
        stride=(stride, stride),
        groups=groups,
    )
    ifm = guarded(height * width * in_c, dtype.numpy, at_end=at_end)
    ifm[:] = rng.integers(0, 100, ifm.size)
    ifm = ifm.reshape(1, height, width, in_c).transpose(0, 3, 1, 2)
    (expected,) = step.ConvolutionStep(conv)(ifm)

    def scratch(key, size, dtype):
        return guarded(size, dtype, at_end=at_end)

    bound = step.ConvolutionStep(conv)
    ofm = guarded(expected.size, dtype.numpy, at_end=at_end).reshape(1, *sizes, out_c)
    for module in (step, pairs, x86):
        monkeypatch.setattr(module, "scratch", scratch)
    monkeypatch.setattr(bound, "_new_ofm", lambda: ofm)
    (actual,) = bound(ifm)
    np.testing.assert_array_equal(actual, expected)
    planes = guarded(ifm.size, dtype.numpy, at_end=at_end).reshape(ifm.shape)
    planes[:] = ifm
    np.testing.assert_array_equal(bound(planes)[0], expected)
    isa.selected.cache_clear()
    _KEPT.clear()
