"""Settings that no chip can have: refused where the node is made, with layer, rule and remedy."""

from dataclasses import MISSING, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import GraphError, QuantizationError
from npusim.ir.attrs import (
    BlockAttrs,
    Conv2dAttrs,
    Deconv2dAttrs,
    GroupAttrs,
    LrnAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)
from npusim.ir.graph import Node
from npusim.ir.tensor import MAX_TENSOR_ELEMENTS, TensorSpec
from npusim.ops import infer_shapes, op_def
from npusim.ops.pool import reads_pads_only
from npusim.quantization.calibrate import calibrate
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder

ABSURD = [-(10**9), -2, -1, 0, 1, 2, 3, 7, 1000, 65536, 10**6, 10**9, 2**31 - 1, 2**31, 2**62]
MAP, WEIGHTS, BIAS = (1, 4, 6, 6), (4, 4, 3, 3), (4,)
MAKERS = {
    "conv2d": (Conv2dAttrs, (MAP, WEIGHTS, BIAS)),
    "deconv2d": (Deconv2dAttrs, (MAP, WEIGHTS, BIAS)),
    "pool2d": (lambda **k: Pool2dAttrs(kind=PoolKind.AVG, **k), (MAP,)),
    "lrn": (LrnAttrs, (MAP,)),
    "pad": (PadAttrs, (MAP,)),
    "tile": (TileAttrs, (MAP,)),
    "resize": (lambda **k: ResizeAttrs(mode=ResizeMode.NEAREST, **k), (MAP,)),
    "depth2space": (BlockAttrs, (MAP,)),
    "space2depth": (BlockAttrs, (MAP,)),
    "channel_shuffle": (GroupAttrs, (MAP,)),
    "reshape": (ReshapeAttrs, (MAP,)),
    "split": (lambda **k: SplitAttrs(axis=1, **k), (MAP,)),
    "slice": (SliceAttrs, (MAP,)),
}
LENGTHS = {"kernel": 2, "stride": 2, "dilation": 2, "output_pad": 2, "size": 2, "sizes": 2}
WHOLES = {*LENGTHS, "pad", "group", "block", "front", "back", "repeats", "shape"}
WHOLES |= {"begin", "end", "step"}


def infer(op, attrs, shapes):
    names = [f"t{i}" for i in range(len(shapes))]
    node = Node(name="L", op=op, inputs=tuple(names), outputs=("y",), attrs=attrs)
    return infer_shapes(
        node, [TensorSpec(name=n, shape=s) for n, s in zip(names, shapes, strict=True)]
    )


@given(st.data())
def test_every_setting_gives_a_shape_or_a_line_that_names_the_layer(data):
    op = data.draw(st.sampled_from(sorted(MAKERS)))
    make, shapes = MAKERS[op]
    chosen = {}
    for field in fields(op_def(op).attrs):
        if field.name in WHOLES and (field.default is MISSING or data.draw(st.booleans())):
            one = st.sampled_from(ABSURD)
            length = LENGTHS.get(field.name, 4)
            whole = field.name in ("group", "block") or op == "lrn"
            chosen[field.name] = data.draw(one if whole else st.tuples(*[one] * length))
    said = ""
    try:
        found = infer(op, make(**chosen), shapes)
    except GraphError as error:
        said, found = str(error), ()
    assert found or "layer 'L'" in said
    assert all(n >= 0 for shape in found for n in shape)


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        (Conv2dAttrs(dilation=(10**9, 10**9), pad=(10**9,) * 4), "pads, strides and dilations"),
        (Conv2dAttrs(dilation=(1, 10**9)), "larger than the padded input"),
        (Conv2dAttrs(stride=(0, 1)), r"stride is \(0, 1\)[\s\S]*1 to"),
        (Conv2dAttrs(stride=(1, -1)), "stride is"),
        (Conv2dAttrs(dilation=(0, 1)), "dilation is"),
        (Conv2dAttrs(group=0), "group is 0"),
        (Conv2dAttrs(pad=(0, 2**31, 0, 0)), "pad is"),
        (Conv2dAttrs(pad=(10**8, 0, 0, 0)), f"at most {MAX_TENSOR_ELEMENTS}"),
    ],
)
def test_what_is_said_of_a_convolution(attrs, said):
    with pytest.raises(GraphError, match=said) as error:
        infer("conv2d", attrs, (MAP, WEIGHTS, BIAS))
    assert "layer 'L' (conv2d)" in str(error.value)
    assert error.value.remedy


def test_a_transposed_convolution_whose_pads_cut_off_an_absurd_map():
    attrs = Deconv2dAttrs(stride=(10**8, 1), pad=(0, 5 * 10**8, 1, 1))
    with pytest.raises(GraphError, match="at most"):
        infer("deconv2d", attrs, (MAP, WEIGHTS, BIAS))


def test_a_window_that_hangs_over_the_edge_by_an_absurd_length():
    attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(10**9, 1), stride=(2 * 10**9, 1), ceil_mode=True)
    with pytest.raises(GraphError, match="windows, strides and pads"):
        infer("pool2d", attrs, (MAP,))


def test_the_largest_stride_of_one_place_is_no_fault():
    attrs = Conv2dAttrs(stride=(2**31 - 1, 10**9), dilation=(2, 1))
    assert infer("conv2d", attrs, (MAP, WEIGHTS, BIAS)) == ((1, 4, 1, 1),)


def pooling(attrs, rows=3, columns=4):
    build = GraphBuilder()
    build.graph.outputs = (
        build.node("pool2d", [build.input("x", 1, 1, rows, columns)], "y", attrs),
    )
    return build.graph


FEW = st.integers(0, 4)


@given(st.tuples(FEW, FEW, FEW, FEW), st.tuples(*[st.integers(1, 3)] * 4), st.booleans())
def test_windows_of_pads_are_those_without_a_maximum(pad, sizes, up):
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX, kernel=sizes[:2], stride=sizes[2:], pad=pad, ceil_mode=up
    )
    graph = pooling(attrs)
    found = evaluate(graph, {"x": np.zeros((1, 1, 3, 4), np.float32)})["y"]
    assert reads_pads_only(attrs, (1, 1, 3, 4), found.shape) == bool(np.isinf(found).any())


def test_calibration_names_the_window_that_has_no_maximum():
    attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2), pad=(2, 0, 0, 0))
    graph = pooling(attrs)
    samples = [("a", {"x": np.zeros((1, 1, 3, 4), np.float32)})]
    with pytest.raises(
        QuantizationError, match=r"layer 'n_y'[\s\S]*lies in the pads \(2, 0, 0, 0\)"
    ):
        calibrate(graph, samples, engine="npusim")


@pytest.mark.parametrize(
    ("begin", "end", "step", "fits"),
    [
        (0, 4, 1, True),
        (0, 5, 3, True),
        (3, -1, -1, True),
        (4, 5, 1, False),
        (0, 5, 2, False),
        (-1, 1, 1, False),
        (4, -1, -1, False),
    ],
)
def test_a_slice_lies_in_its_tensor(begin, end, step, fits):
    attrs = SliceAttrs(begin=(begin,), end=(end,), step=(step,))
    if fits:
        assert op_def("slice").infer(attrs, [(4,)]) == ((len(range(begin, end, step)),),)
    else:
        with pytest.raises(GraphError, match="reaches beyond"):
            op_def("slice").infer(attrs, [(4,)])
