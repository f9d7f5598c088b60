"""Hypothesis strategies that tests of several folders share.

`float_graphs` draws small float graphs. They hold the patterns that the float passes look for, and
their near misses: constants on either side, other divisors and limits, parameters that broadcast
along another axis or make the result larger, results that a second layer or an output reads.
"""

import numpy as np
from hypothesis import strategies as st

from npusim.ir.attrs import (
    AxisAttrs,
    ClipAttrs,
    Deconv2dAttrs,
    FcAttrs,
    HardSigmoidAttrs,
    NormAttrs,
    PadAttrs,
    PadMode,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.ir.graph import Graph
from npusim.testing import GraphBuilder

seeds = st.integers(0, 2**32 - 1)
MIRROR = (0, 2, 3, 1)


def _known(b: GraphBuilder, value) -> str:
    return b.constant(f"k{len(b.graph.tensors)}", np.asarray(value, np.float32))


def _noise(b: GraphBuilder, shape, low=-2.0, high=2.0):
    return b.rng.uniform(low, high, shape)


def _conv(draw, b, x):
    """A convolution, often one that a pass may change."""
    shape = b.shape(x)
    group = draw(st.sampled_from([1, 1, shape[1]]))
    kernel = draw(st.integers(1, min(3, *shape[2:])))
    return b.conv(
        x,
        draw(st.sampled_from([shape[1], shape[1] * 2])),
        kernel,
        stride=draw(st.integers(1, 2)),
        pad=draw(st.integers(0, kernel // 2 + 1)),
        group=group,
    )


def _deconv(draw, b, x):
    channels = b.shape(x)[1]
    weights = _known(b, _noise(b, (channels, channels, 2, 2)) / 4)
    bias = _known(b, _noise(b, channels))
    stride = draw(st.integers(1, 2))
    return b.node("deconv2d", [x, weights, bias], attrs=Deconv2dAttrs(stride=(stride, stride)))


def _fully_connected(draw, b, x):
    """A fully connected layer over the last axis: of a row per image, or of every line."""
    shape = b.shape(x)
    if draw(st.booleans()):
        x = b.node("reshape", [x], attrs=ReshapeAttrs(shape=(shape[0], int(np.prod(shape[1:])))))
    shape = b.shape(x)
    units = draw(st.sampled_from([shape[1], 3])) if len(shape) > 2 else 4
    weights = _known(b, _noise(b, (units, shape[-1])) / shape[-1])
    return b.node("fc", [x, weights, _known(b, _noise(b, units))], attrs=FcAttrs())


def _batch_norm(draw, b, x):
    channels = b.shape(x)[1]
    statistics = [_known(b, _noise(b, channels, 0.5, 2)) for _ in range(4)]
    epsilon = draw(st.sampled_from([1e-5, 0.1]))
    return b.node("batch_norm", [x, *statistics], attrs=NormAttrs(epsilon=epsilon))


def _affine(draw, b, x):
    """One operation with a constant on either side: of every shape that broadcasts."""
    shape = b.shape(x)
    per_axis = [tuple(n if i == axis else 1 for i, n in enumerate(shape)) for axis in range(1, 4)]
    other = draw(
        st.sampled_from(
            [(), (1,), *(per_axis[: len(shape) - 1]), shape[1:], shape, (1, *shape[1:])]
        )
    )
    op = draw(st.sampled_from(["add", "sub", "mul", "div"]))
    value = _noise(b, other, 0.5, 2) * b.rng.choice([-1, 1], other)
    operands = [x, _known(b, value)]
    if draw(st.booleans()):
        operands.reverse()
        if op == "div":  # 1 / x has no bound, and neither have its rounding errors
            operands[1] = b.node("add", [b.node("sigmoid", [x]), _known(b, 0.5)])
    return b.node(op, operands)


def _foldable(draw, b, x):
    """A layer with weights, and what may be folded into them."""
    x = draw(st.sampled_from([_conv, _deconv, _fully_connected]))(draw, b, x)
    for _ in range(draw(st.integers(1, 2))):
        x = draw(st.sampled_from([_affine, _affine, _batch_norm, _rectifier]))(draw, b, x)
    return x


def _growing(draw, b, x):
    """A sum larger than its operand: what is added is not one value per channel."""
    lead = draw(st.sampled_from([(), (1,)]))
    return b.node("add", [x, _known(b, _noise(b, (*lead, 2, *(1,) * (len(b.shape(x)) - 1))))])


def _rectifier(draw, b, x):
    return b.node(draw(st.sampled_from(["relu", "relu6", "sigmoid", "tanh"])), [x])


def _move(draw, b, x):
    """Two or three moves in a row, some of which cancel."""
    for _ in range(draw(st.integers(1, 3))):
        shape = b.shape(x)
        if draw(st.booleans()):
            perms = [MIRROR, tuple(np.argsort(MIRROR)), (0, 1, 2, 3), (0, 1, 3, 2)]
            perm = draw(st.sampled_from(perms if len(shape) == 4 else [tuple(range(len(shape)))]))
            x = b.node("transpose", [x], attrs=TransposeAttrs(perm=perm))
        else:
            n, *rest = shape
            shapes = [shape, (n, int(np.prod(rest)), 1, 1), (n, *reversed(rest))]
            x = b.node("reshape", [x], attrs=ReshapeAttrs(shape=shapes[draw(st.integers(0, 2))]))
    return x


def _padded_conv(draw, b, x):
    sizes = st.integers(0, 2)
    front = (0, draw(st.sampled_from([0, 0, 0, 1])), draw(sizes), draw(sizes))
    mode = draw(st.sampled_from([PadMode.CONSTANT, PadMode.CONSTANT, PadMode.EDGE]))
    value = draw(st.sampled_from([0.0, 0.0, 1.0])) if mode is PadMode.CONSTANT else 0.0
    attrs = PadAttrs(front=front, back=(0, 0, draw(sizes), draw(sizes)), mode=mode, value=value)
    return _conv(draw, b, b.node("pad", [x], attrs=attrs))


def _swish(draw, b, x):
    other = draw(st.sampled_from([x, x, b.graph.inputs[0]]))
    if b.shape(other) != b.shape(x):
        other = x
    factors = [other, b.node("sigmoid", [x])]
    return b.node("mul", factors[:: draw(st.sampled_from([1, -1]))])


def _near(draw, right, *wrong):
    """Mostly the right number."""
    return draw(st.sampled_from([right] * (3 * len(wrong)) + list(wrong)))


def _flipped(draw, b, op, left, right):
    return b.node(op, [right, left] if draw(st.booleans()) else [left, right])


def _per_channel(b, x, low, high):
    shape = b.shape(x)
    return np.linspace(low, high, shape[1]).reshape(-1, *(1,) * (len(shape) - 2))


def _tall(b, x):
    """Return the shape of a constant with one value, which makes a graph of one image larger."""
    return (2 if b.grows else 1, *(1,) * (len(b.shape(x)) - 1))


def _gate(draw, b, x):
    """clip(x + 3, 0, 6) and what looks like it."""
    channels = _per_channel(b, x, 2, 3)
    three = _near(draw, 3.0, 2.0, channels, np.full(_tall(b, x), 3.0))
    shifted = _flipped(draw, b, "add", x, _known(b, three))
    if draw(st.booleans()):
        return b.node("relu6", [shifted])
    limits = _near(draw, (0.0, 6.0), (0.0, 5.0), (-1.0, 6.0), (0.0, np.inf))
    return b.node("clip", [shifted], attrs=ClipAttrs(minimum=limits[0], maximum=limits[1]))


def _sixth(draw, b, x):
    """x / 6 and what looks like it."""
    form = draw(
        st.sampled_from(
            ["div", "div", "mul", "under", "tensor", "tensor", "channels", "channels", "tall"]
        )
    )
    if form == "tall":
        return b.node("div", [x, _known(b, np.full(_tall(b, x), 6.0))])
    if form == "div":
        return b.node("div", [x, _known(b, _near(draw, 6.0, 5.0, 1 / 6))])
    if form == "mul":
        return _flipped(draw, b, "mul", x, _known(b, _near(draw, 1 / 6, 1 / 5, 6.0)))
    if form == "under":  # six divided by it
        return b.node("div", [_known(b, 6.0), b.node("add", [x, _known(b, 50.0)])])
    if form == "channels":
        return b.node("div", [x, _known(b, _per_channel(b, x, 5, 7))])
    other = b.node("add", [b.node("sigmoid", [x]), _known(b, 0.5)])  # known to nobody
    return _flipped(draw, b, "mul", x, other) if draw(st.booleans()) else b.node("div", [x, other])


def _hard_swish(draw, b, x):
    form = draw(st.sampled_from(["outside", "inside", "hard_sigmoid", "gate"]))
    if form == "outside":
        return _sixth(draw, b, _flipped(draw, b, "mul", x, _gate(draw, b, x)))
    if form == "inside":
        return _flipped(draw, b, "mul", x, _sixth(draw, b, _gate(draw, b, x)))
    if form == "gate":
        return _sixth(draw, b, _gate(draw, b, x))
    attrs = HardSigmoidAttrs(alpha=_near(draw, 1 / 6, 0.2), beta=_near(draw, 0.5, 0.4))
    return _flipped(draw, b, "mul", x, b.node("hard_sigmoid", [x], attrs=attrs))


def _pool(draw, b, x):
    kind = draw(st.sampled_from(list(PoolKind)))
    kernel = min(2, *b.shape(x)[2:])
    return b.node("pool2d", [x], attrs=Pool2dAttrs(kind=kind, kernel=(kernel, kernel)))


def _join(draw, b, x):
    same = [n for n in b.graph.tensors if b.shape(n) == b.shape(x) and n not in b.graph.constants]
    other = draw(st.sampled_from(same))
    if draw(st.booleans()):
        return b.node(draw(st.sampled_from(["add", "sub", "max"])), [x, other])
    return b.node("concat", [x, other], attrs=AxisAttrs(axis=1))


def _padded_pool(draw, b, x):
    sizes = st.integers(0, 2)
    front = (0, draw(st.sampled_from([0, 0, 0, 1])), draw(sizes), draw(sizes))
    value = draw(st.sampled_from([-1e6, -1e6, -65504.0, -1e4, 0.0]))
    attrs = PadAttrs(front=front, back=(0, 0, draw(sizes), draw(sizes)), value=value)
    return _pool(draw, b, b.node("pad", [x], attrs=attrs))


ANY_RANK = (_affine, _rectifier, _swish, _hard_swish, _batch_norm, _move, _join)
MAPS = (*ANY_RANK, _foldable, _foldable, _conv, _deconv, _padded_conv, _padded_pool, _pool)
LARGEST = 4096  # elements of a tensor that is worked on


# What each float pass looks for
PATTERNS = {
    "fuse_activation_patterns": (_hard_swish, _hard_swish, _swish),
    "simplify_moves": (_move,),
    "fold_pad": (_padded_conv,),
    "fold_max_pad": (_padded_pool,),
    "fold_affine": (_foldable,),
    "affine_to_conv": (_batch_norm, _affine),
    "fuse_relu": (_foldable, _rectifier),
}


class _Builder(GraphBuilder):
    grows = False  # whether results may be larger than their operands


def _build(draw, layers, batch=1, *, grows=False, favoured=()) -> Graph:
    b = _Builder(seed=draw(seeds))
    b.grows = grows
    last = b.input("x", batch, draw(st.integers(2, 4)), draw(st.integers(3, 6)), 4)
    for _ in range(draw(st.integers(1, layers))):
        # the last result most of the time, so that chains grow; else any: a second reader
        known = [n for n in b.graph.tensors if n not in b.graph.constants]
        x = last if draw(st.integers(0, 3)) else draw(st.sampled_from(known))
        shape = b.shape(x)
        if np.prod(shape[1:]) <= LARGEST:
            motifs = [*(MAPS if len(shape) == 4 else ANY_RANK), *([_growing] if grows else [])]
            likely = [motif for motif in favoured if motif in motifs]
            if likely and draw(st.booleans()):
                motifs = likely
            last = draw(st.sampled_from(motifs))(draw, b, x)
    if not b.graph.nodes:
        last = b.node("relu", [last])
    results = [name for node in b.graph.nodes for name in node.outputs]
    exposed = draw(st.lists(st.sampled_from(results), max_size=2)) if draw(st.booleans()) else []
    read = {name for node in b.graph.nodes for name in node.inputs}
    ends = [name for name in results if name not in read]
    return b.done(*dict.fromkeys([*ends, *exposed]))


@st.composite
def float_graphs(draw, *, layers: int = 6, favour: str = "") -> Graph:
    """Draw a float graph of one input, at most ``layers`` motifs and one or more outputs.

    Half of the motifs are the patterns of the pass called ``favour``, when one is named.
    """
    return _build(draw, layers, grows=True, favoured=PATTERNS.get(favour, ()))


@st.composite
def batched_graphs(draw, *, layers: int = 6) -> tuple[Graph, Graph]:
    """Draw a float graph for one image, and the same for two of them."""
    tape = []

    def record(strategy):
        tape.append(draw(strategy))
        return tape[-1]

    one = _build(record, layers)
    again = iter(tape)
    return one, _build(lambda _: next(again), layers, batch=2)
