"""A small network for tests of the performance model."""

from npusim.ir.attrs import Activation, GlobalPoolAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.testing import GraphBuilder


def mobile_block(size=112, channels=32, dtype=DType.U8, batch=1) -> Graph:
    """Stem, depthwise, pointwise and global pooling."""
    b = GraphBuilder(dtype)
    relu = {"activation": Activation.RELU}
    x = b.conv(b.input("input", 1, 3, 2 * size, 2 * size), channels, 3, stride=2, **relu)
    x = b.conv(b.conv(x, channels, 3, group=channels, **relu), 2 * channels, 1, **relu)
    return b.done(b.node("global_pool", [x], attrs=GlobalPoolAttrs(kind=PoolKind.AVG)), batch=batch)


def pooled_conv() -> Graph:
    """Return a convolution and the 2x2 max pool that runs inside it."""
    b = GraphBuilder(DType.U8)
    x = b.conv(b.input("input", 1, 8, 32, 32), 16, 3, activation=Activation.RELU)
    attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2))
    return b.done(b.node("pool2d", [x], "pool", attrs))
