"""Convolutions beyond what the NN engine takes at once: operation lists of the vendor's driver."""

import pytest

from npusim.api.pricing import listed_network
from npusim.ir.dtypes import DType
from npusim.perfmodel.layer_list import layer_graph
from npusim.perfmodel.lowering import lower
from npusim.perfmodel.workload import NnWork
from npusim.quantization.schemes import scheme_of

U8, I8, I16, F16 = DType.U8, DType.I8, DType.I16, DType.F16


def operations(
    dtype, size, kernel, *, stride=1, dilation=1, pad=(0, 0, 0, 0), group=1, out=8, act=None
):
    """Return the operations of a convolution behind another of 8 channels; sizes in values."""
    layer = {
        "name": "c", "op": "conv", "inputs": ["first"], "channels": out, "kernel": kernel,
        "stride": stride, "dilation": dilation, "pad": list(pad), "group": group,
    }  # fmt: skip
    if act:
        layer["act"] = act
    layers = [{"name": "first", "op": "conv", "inputs": ["data"], "channels": 8}, layer]
    listed = {"name": "n", "input": [1, 8, size, size], "outputs": ["c"], "layers": layers}
    low = lower(listed_network(layer_graph(listed, "n"), scheme_of(dtype.value), 3))[-1]
    found = []
    for work in low.works:
        if isinstance(work, NnWork):
            ins, outs = (work.in_w, work.in_h, work.in_c), (work.out_w, work.out_h, work.out_c)
            sizes = ["x".join(map(str, shape)) for shape in (ins, outs)]
            text = f"NN {sizes[0]} {sizes[1]} {work.kernel_w}x{work.kernel_h}"
            found += [f"{text} pool" if work.pool > 1 else text] * work.count
        else:
            name = "SH" if work.engine.value == "SH" else work.operation
            bytes_each = dtype.itemsize
            found.append(f"{name} {work.in_bytes // bytes_each} {work.out_bytes // bytes_each}")
    return found


@pytest.mark.parametrize(
    ("dtype", "size", "kernel", "settings", "expected"),
    [
        # strides: the kernel of a phase counts
        (U8, 64, 16, {"stride": 16}, ["RESHUFFLE 32768 32768", "NN 4x4x2048 4x4x8 1x1"]),
        (F16, 48, 12, {"stride": 4}, ["RESHUFFLE 18432 18432", "NN 12x12x128 10x10x8 3x3"]),
        (I16, 24, 13, {"stride": 2, "pad": [6] * 4},
         ["RESHUFFLE 4608 10368", "NN 18x18x32 12x12x8 7x7"]),
        (U8, 24, 13, {"stride": 2, "pad": [6] * 4, "act": "relu"},
         ["RESHUFFLE 4608 10368", "NN 18x18x32 12x12x8 7x7"]),
        (U8, 32, 3, {"stride": 2, "dilation": 8, "pad": [8] * 4},
         ["RESHUFFLE 8192 18432", "NN 24x24x32 16x16x8 9x9"]),
        (U8, 32, 3, {"stride": 2, "dilation": 12, "pad": [12] * 4},
         ["SH 8192 18432", "SH 18432 2048"]),
        (U8, 32, 13, {"stride": 2, "pad": [6] * 4, "group": 2},
         ["RESHUFFLE 4096 7744", "NN 22x22x16 16x16x4 7x7"] * 2),
        (U8, 24, 13, {"stride": 2, "pad": [6] * 4, "group": 8}, ["SH 4608 1152"]),
        # shader: patches and their products; relu by TP
        (I8, 24, 13, {"pad": [6] * 4, "act": "relu"},
         ["SH 4608 778752", "SH 778752 4608", "ACTIVATION 4608 4608"]),
        (U8, 24, 13, {"pad": [6] * 4, "group": 2}, ["SH 2304 389376", "SH 389376 2304"] * 2),
        (F16, 24, [5, 3], {"dilation": 3, "pad": [6, 6, 3, 3]},
         ["REORG2 4608 960", *["SH 960 7680"] * 9, *["SH 7680 512"] * 9, "REORG2 512 4608"]),
        # depthwise, dilated
        (U8, 28, 3, {"dilation": 7, "pad": [7] * 4, "group": 8},
         ["DILATION_RESHUFFLE 6272 288", *["NN 6x6x8 4x4x8 3x3"] * 49,
          "DILATION_UPSAMPLE 128 6272", "DILATION_UPSAMPLE2 6272 6272"]),
        (U8, 28, 3, {"dilation": 9, "pad": [9] * 4, "group": 8},
         ["SH 6272 56448", "SH 56448 6272"]),
        (U8, 24, 3, {"dilation": 6, "pad": [9, 0, 0, 0], "group": 8},
         ["SH 4608 18144", "SH 18144 2016"]),
        (U8, 28, 3, {"dilation": 16, "pad": [16] * 4, "group": 8}, ["SH 6272 6272"]),
        (U8, 28, 3, {"dilation": 9, "pad": [9] * 4, "group": 8, "out": 16}, ["SH 6272 12544"]),
        (I8, 28, 3, {"dilation": 9, "pad": [9] * 4, "group": 8}, ["SH 6272 6272"]),
        (U8, 40, 3, {"dilation": 6, "stride": 2, "pad": [6] * 4, "group": 8}, ["SH 12800 3200"]),
        (U8, 24, [1, 3], {"dilation": [1, 6], "pad": [0, 0, 6, 6], "group": 8},
         ["SH 4608 13824", "SH 13824 4608"]),
        # pads in front
        (U8, 24, 3, {"pad": [8, 0, 0, 0]}, ["TENSOR_PAD 4608 6144", "NN 24x32x8 22x30x8 3x3"]),
        (U8, 24, 3, {"pad": [7, 9, 7, 9]}, ["NN 24x24x8 38x38x8 3x3"]),
        (I8, 24, 3, {"pad": [9] * 4, "group": 8}, ["TENSOR_PAD 4608 14112", "SH 14112 12800"]),
        (U8, 40, 21, {"pad": [10] * 4, "group": 8}, ["SH 12800 12800"]),
        (U8, 24, 3, {"stride": 2, "pad": [8] * 4, "group": 8},
         ["RESHUFFLE 4608 12800", "NN 20x20x32 19x19x8 2x2"]),
        (U8, 24, 3, {"stride": 2, "pad": [7] * 4, "group": 8}, ["NN 24x24x8 36x36x8 3x3 pool"]),
    ],
)  # fmt: skip
def test_operation_lists(dtype, size, kernel, settings, expected):
    found = operations(dtype, size, kernel, **settings)
    assert sorted(found) == sorted(expected)
