"""Random graphs of several operations, as networks contain them; only the last result shows."""

from collections.abc import Callable

from random_chain import ACTIVATIONS, Chain
from random_joins import JOINS
from random_layers import Draw, Recipe, layer


def residual(d: Draw) -> Recipe:
    """Sum or difference of two branches, maybe with relu in the same or other parameters."""
    chain, channels = Chain(d), d.below(12, 1)
    a, b = chain.branch("x", "p", channels), chain.branch("x", "q", channels)
    pair = [a, b] if d.below(2) == 1 else [b, a]
    kind, relu = d.pick("add", "add", "sub"), d.below(3) == 1
    chain.op(kind, pair, "s" if relu else "y", chain.near(a, 1.5))
    if relu:
        chain.op("relu", ["s"], "y", chain.near("s"))
    return chain.recipe


def residual_blocks(d: Draw) -> Recipe:
    """Two residual blocks in a row, as in ResNet, and a convolution behind them."""
    chain, channels = Chain(d), d.below(12, 2)
    source = chain.conv("x", "c0", channels)
    for number in range(2):
        inner = chain.conv(source, f"a{number}", channels)
        if d.below(2) == 1:
            inner = chain.op("relu", [inner], f"r{number}", chain.near(inner))
        inner = chain.conv(inner, f"d{number}", channels)
        pair = [source, inner] if d.below(2) == 1 else [inner, source]
        source = chain.op("add", pair, f"s{number}", chain.near(inner, 1.5))
        if d.below(2) == 1:
            source = chain.op("relu", [source], f"t{number}", chain.near(source))
    chain.conv(source, "y")
    return chain.recipe


def activated(d: Draw) -> Recipe:
    """Convolution, activation in the same or other parameters, maybe a pool, a convolution."""
    chain = Chain(d)
    inner = chain.conv("x", "c", 0, d.pick(1, 1, 2))
    act = d.pick(*ACTIVATIONS, "relu", "relu6")
    last = d.below(2) == 1
    attrs = {"alpha": 0.1} if act == "leaky_relu" else {}
    a = chain.op(act, [inner], "y" if last else "a", chain.near(inner), **attrs)
    if not last:
        if d.below(2) == 1 and min(chain.known[a][0][2:]) > 3:
            n, c, h, w = chain.known[a][0]
            a = chain.op(
                "pool2d",
                [a],
                "m",
                shape=(n, c, h // 2, w // 2),
                type="max",
                ksize=[2, 2],
                stride=[2, 2],
                pad=[0] * 4,
            )
        chain.conv(a, "y")
    return chain.recipe


def silu(d: Draw) -> Recipe:
    """Convolution times its sigmoid, then another convolution."""
    chain = Chain(d)
    inner = chain.conv("x", "c")
    unit = {"u8": d.oracle.asym(1 / 255), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(15)}
    chain.op("sigmoid", [inner], "g", unit.get(d.dtype))
    pair = [inner, "g"] if d.below(2) == 1 else ["g", inner]
    last = d.below(2) == 1
    chain.known["m"] = chain.known[inner]
    chain.op("mul", pair, "y" if last else "m", chain.near(inner))
    if not last:
        chain.conv("m", "y")
    return chain.recipe


def joined(d: Draw) -> Recipe:
    """Concatenation of two or three branches, equal or other parameters, then a convolution."""
    chain = Chain(d)
    names = [chain.branch("x", f"p{i}", d.below(6)) for i in range(d.below(3, 2))]
    shape = list(chain.known[names[0]][0])
    shape[1] = sum(chain.known[name][0][1] for name in names)
    last = d.below(2) == 1
    chain.op("concat", names, "y" if last else "j", chain.near(names[0]), tuple(shape), axis=1)
    if not last:
        chain.conv("j", "y")
    return chain.recipe


def parted(d: Draw) -> Recipe:
    """Part a convolution in two; one half feeds a convolution, then a sum with the other."""
    chain, half = Chain(d), d.below(5)
    inner = chain.conv("x", "c", 2 * half)
    n, _, h, w = chain.known[inner][0]
    for number in range(2):
        chain.op(
            "slice",
            [inner],
            f"h{number}",
            shape=(n, half, h, w),
            start=[0, number * half, 0, 0],
            length=[1, half, h, w],
        )
    chain.conv("h0", "d", half)
    chain.op("add", ["d", "h1"] if d.below(2) == 1 else ["h1", "d"], "y", chain.near("d", 1.5))
    return chain.recipe


def enlarged(d: Draw) -> Recipe:
    """Nearest enlargement or transposed convolution of a layer, sum or join with another."""
    chain, channels = Chain(d), d.below(8)
    small = chain.conv("x", "c", channels, 2)
    n, _, h, w = chain.known[small][0]
    if d.below(2) == 1:
        chain.op(
            "resize",
            [small],
            "u",
            shape=(n, channels, 2 * h, 2 * w),
            mode="nearest",
            height=2 * h,
            width=2 * w,
        )
    else:
        q = chain.known[small][1]
        out_q = layer(
            d,
            chain.recipe,
            "deconv2d",
            small,
            q,
            "u",
            (channels, channels, 2, 2),
            channels,
            oc=channels,
            ksize=[2, 2],
            stride=[2, 2],
            pad=[0] * 4,
            outpad=[0, 0],
        )
        chain.known["u"] = ((n, channels, 2 * h, 2 * w), out_q)
    other = chain.conv("x", "o", channels)
    if chain.known[other][0] != chain.known["u"][0]:
        chain.conv("u", "y")
        del chain.recipe.ops[-2]
        return chain.recipe
    if d.below(2) == 1:
        chain.op("add", ["u", other], "y", chain.near("u", 1.5))
    else:
        shape = (n, 2 * channels, 2 * h, 2 * w)
        chain.op("concat", ["u", other], "j", chain.near("u"), shape, axis=1)
        chain.conv("j", "y")
    return chain.recipe


def squeezed(d: Draw) -> Recipe:
    """Squeeze and excite: mean, two one-pixel layers, a gate on the map."""
    chain, channels = Chain(d), d.below(12, 2)
    inner = chain.conv("x", "c", channels)
    pixel = (1, channels, 1, 1)
    size = list(chain.known[inner][0][2:])
    if d.below(2) == 1:
        chain.op("globalpool", [inner], "m", shape=pixel, type="avg", insize=size)
    else:
        chain.op("reduce_mean", [inner], "m", shape=pixel, axis=[2, 3], keep=1)
    q = chain.known["m"][1]
    few = d.below(8)
    q = layer(d, chain.recipe, "conv2d", "m", q, "e", (few, channels, 1, 1), few)
    chain.known["e"] = ((1, few, 1, 1), q)
    chain.op("relu", ["e"], "f")
    q = layer(d, chain.recipe, "conv2d", "f", q, "g", (channels, few, 1, 1), channels)
    chain.known["g"] = (pixel, q)
    unit = {"u8": d.oracle.asym(1 / 255), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(15)}
    chain.op(
        "sigmoid" if d.below(2) == 1 else "hardsigmoid",
        ["g"],
        "h",
        unit.get(d.dtype),
        **({"alpha": 0.2, "beta": 0.5}),
    )
    chain.op("mul", [inner, "h"], "y", chain.near(inner))
    return chain.recipe


GRAPHS: dict[str, Callable[[Draw], Recipe]] = {
    "residual": residual,
    "residual_blocks": residual_blocks,
    "activated": activated,
    "silu": silu,
    "joined": joined,
    "parted": parted,
    "enlarged": enlarged,
    "squeezed": squeezed,
    **JOINS,
}
