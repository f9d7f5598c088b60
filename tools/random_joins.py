"""Random graphs round concats: views before and behind, several readers, blocks of known networks.

Parts of a concat are in its own parameters three times of four, as quantizers make them.
"""

from collections.abc import Callable

from random_chain import Chain, Quant
from random_layers import Draw, Recipe


def _fixed(chain: Chain) -> Quant:
    """Return parameters for the parts of a concat, near those that random layers fill."""
    d = chain.d
    if d.dtype == "f16":
        return None
    if d.dtype == "u8":
        return d.oracle.asym(10 ** d.rng.uniform(-1.5, 0.3), d.pick(0, d.below(255, 0)))
    return d.oracle.dfp(d.below(*{"i8": (5, 2), "i16": (11, 6)}[d.dtype]))


def _begin(d: Draw) -> tuple[Chain, tuple[int, int, int], Quant]:
    """Return a network with a layer ``s`` on its input, its size and parameters for parts."""
    chain = Chain(d)
    size = (d.below(6, 2), 2 * d.below(3), 2 * d.below(3))
    chain.into(chain.start((1, d.below(4), *size[1:])), "s", size[0], q := _fixed(chain))
    del chain.recipe.inputs["x"]
    return chain, size, q


def _part(chain: Chain, name: str, size: tuple[int, int, int], q: Quant) -> str:
    """Return a tensor of a size in parameters ``q``: a layer's result, or a view of one."""
    d, (c, h, w) = chain.d, size
    whole = {
        "rows": (c, 2 * h, w),
        "second": (c, 2 * h, 2 * w),
        "channels": (2 * c, h, w),
        "parts": (2 * c, h, w),
        "lines": (c, 2 * h, w),
        "reshape": (c * h, 1, w),
        "permuted": (h, w, c),
        "turned": (w, c, h),
    }
    kind = d.pick("layer", "layer", "layer", "table", *whole)
    inner = f"{name}_of"
    if kind not in whole:
        source = chain.start((1, d.below(4), h, w))
        if kind == "layer":
            return chain.into(source, name, c, q, d.pick(1, 3))
        return chain.activation(chain.into(source, inner, c, _fixed(chain)), name, q)
    rows, columns = whole[kind][1:]
    chain.into(chain.start((1, d.below(4), rows, columns)), inner, whole[kind][0], q)
    match kind:
        case "rows":
            return chain.part(inner, name, 2, d.below(h, 0), h)
        case "second":
            return chain.every_second(inner, name, d.below(1, 0), d.below(1, 0))
        case "channels":
            return chain.part(inner, name, 1, d.below(c, 0), c)
        case "parts":
            return chain.split(inner, name, 1, [c, c])[d.below(1, 0)]
        case "lines":
            return chain.split(inner, name, 2, [h, h])[d.below(1, 0)]
        case "reshape":
            return chain.reshape(inner, name, (1, c, h, w))
        case "permuted":
            return chain.permute(inner, name, (0, 3, 1, 2))
    chain.permute(inner, f"{name}_p", (0, 2, 3, 1))
    return chain.reshape(f"{name}_p", name, (1, c, h, w))


def _read(chain: Chain, source: str, number: int) -> None:
    """Append a reader of a feature map: a layer, a table, a view and a layer, or none."""
    d, (_, c, h, w) = chain.d, chain.shape(source)
    name, view = f"y{number}", f"v{number}"
    kind = d.pick("conv", "conv", "table", "pool", "softmax", "reshape", "part", "split", "permute")
    match kind:
        case "table":
            chain.activation(source, name)
        case "pool":
            chain.op("pool2d", [source], name, type="max", ksize=[3, 3], stride=[1, 1], pad=[1] * 4)
        case "softmax":
            unit = {"u8": d.oracle.asym(1 / 255), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(15)}
            chain.op("softmax", [source], name, unit.get(d.dtype), axis=1)
        case "reshape":
            chain.reshape(source, view, d.pick((1, c, h * w), (1, c * h, w, 1), (1, c, w, h)))
            chain.activation(view, name)
        case "part":
            length = d.below(c)
            chain.part(source, view, 1, d.below(c - length, 0), length)
            chain.activation(view, name)
        case "split" if c > 1:
            first = d.below(c - 1)
            for i, part in enumerate(chain.split(source, view, 1, [first, c - first])):
                chain.activation(part, f"{name}_{i}")
        case "permute":
            chain.permute(source, view, (0, 2, 3, 1))
            chain.activation(view, name)
        case _:
            chain.conv(source, name)


def viewed(d: Draw) -> Recipe:
    """Concat of layers and views, read by layers and through views."""
    chain, size, q = _begin(d)
    parts = [_part(chain, f"p{i}", (d.below(6), *size[1:]), q) for i in range(d.below(3))]
    parts.insert(d.below(len(parts), 0), "s")
    chain.concat(parts, "j", q=chain.joined(q))
    for number in range(d.pick(0, 1, 1, 2)):
        _read(chain, "j", number)
    if d.below(4) == 1:
        _read(chain, d.pick(*parts), 7)
    return chain.recipe


def along_axes(d: Draw) -> Recipe:
    """Concat of two to four axes along any of them, layers and reshapes of layers."""
    chain = Chain(d)
    rank, q = d.below(4, 2), _fixed(chain)
    whole = [d.pick(1, 1, 2), d.below(4), d.below(4), 2 * d.below(3)][-rank:]
    axis = d.below(rank - 1, 0)
    parts = []
    for number in range(d.below(3, 2)):
        shape = tuple(d.below(3) if i == axis else n for i, n in enumerate(whole))
        kind = d.pick("table", "table", "reshape")
        own = shape if kind == "table" else (1, shape[0], *shape[1:-1], 1, shape[-1])[-4:]
        if kind == "reshape" and rank > 2:
            own = (*shape[:-2], shape[-1], shape[-2])
        source = chain.start(own)
        chain.activation(source, f"p{number}", q)
        parts.append(f"p{number}")
        if kind == "reshape":
            parts[-1] = chain.reshape(f"p{number}", f"r{number}", shape)
    del chain.recipe.inputs["x"]
    chain.concat(parts, "j", axis, chain.joined(q))
    if d.below(3) > 1:
        chain.activation("j", "y")
    return chain.recipe


def nested(d: Draw) -> Recipe:
    """Concat of a concat, either read elsewhere or not."""
    chain, size, q = _begin(d)
    parts = ["s", _part(chain, "p0", size, q)]
    chain.concat(parts, "i", q=chain.joined(q))
    others = [_part(chain, f"o{n}", (d.below(4), *size[1:]), q) for n in range(d.below(2))]
    others.insert(d.below(len(others), 0), "i")
    chain.concat(others, "j", q=chain.joined(chain.known["i"][1]))
    if d.below(4) > 1:
        _read(chain, "j", 0)
    if d.below(3) == 1:
        _read(chain, "i", 1)
    return chain.recipe


def dense(d: Draw) -> Recipe:
    """Dense block: every layer reads the concat of all before."""
    chain, (_, _, _), q = _begin(d)
    so_far = "s"
    for number in range(d.below(3)):
        grown = chain.into(so_far, f"b{number}", d.below(6), chain.d.quant())
        grown = chain.into(grown, f"g{number}", d.below(4), q, 3)
        pair = [so_far, grown] if d.below(4) > 1 else [grown, so_far]
        so_far = chain.concat(pair, f"j{number}", q=chain.joined(q))
        q = chain.known[so_far][1]
    if d.below(4) > 1:
        chain.conv(so_far, "y")
    return chain.recipe


def dense_flat(d: Draw) -> Recipe:
    """Dense block whose concats list all layers before."""
    chain, _, q = _begin(d)
    all_parts, so_far = ["s"], "s"
    for number in range(d.below(3)):
        all_parts.append(chain.into(so_far, f"g{number}", d.below(4), q, d.pick(1, 3)))
        so_far = chain.concat(list(all_parts), f"j{number}", q=chain.joined(q))
    chain.conv(so_far, "y")
    return chain.recipe


def ssd_head(d: Draw) -> Recipe:
    """Boxes of several maps, permuted, reshaped and joined; softmax or nothing behind."""
    chain, q = Chain(d), None
    q, classes = _fixed(chain), d.below(4, 2)
    flat = []
    for number in range(d.below(3, 2)):
        boxes, side = d.below(3), d.below(4)
        source = chain.start((1, d.below(4), side, side))
        chain.into(source, f"c{number}", boxes * classes, q, d.pick(1, 3))
        chain.permute(f"c{number}", f"t{number}", (0, 2, 3, 1))
        flat.append(chain.reshape(f"t{number}", f"r{number}", (1, side * side * boxes, classes)))
    del chain.recipe.inputs["x"]
    chain.concat(flat, "j", 1, chain.joined(q))
    unit = {"u8": d.oracle.asym(1 / 255), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(15)}
    match d.pick("softmax", "sigmoid", "output"):
        case "softmax":
            chain.op("softmax", ["j"], "y", unit.get(d.dtype), axis=2)
        case "sigmoid":
            chain.op("sigmoid", ["j"], "y", unit.get(d.dtype))
    return chain.recipe


def yolo_head(d: Draw) -> Recipe:
    """Reshape, permute, sigmoid, split, products, concat; the heads of several maps joined."""
    chain, heads = Chain(d), []
    q, boxes = _fixed(chain), d.below(2)
    unit = {"u8": d.oracle.asym(1 / 255), "i8": d.oracle.dfp(7), "i16": d.oracle.dfp(15)}
    for number in range(d.below(2)):
        side = d.below(3)
        chain.into(chain.start((1, d.below(4), side, side)), f"c{number}", boxes * 6, _fixed(chain))
        chain.reshape(f"c{number}", f"r{number}", (1, boxes, 6, side * side))
        chain.permute(f"r{number}", f"t{number}", (0, 1, 3, 2))
        gate = chain.op("sigmoid", [f"t{number}"], f"g{number}", d.pick(q, unit.get(d.dtype)))
        xy, wh, rest = chain.split(gate, f"h{number}", 3, [2, 2, 2])
        made = [chain.op("mul", [part, part], f"{part}_2", q) for part in (xy, wh)]
        joined = chain.concat([*made, rest], f"j{number}", 3, q)
        flat = (1, boxes * side * side, 6)
        heads.append(chain.reshape(joined, f"f{number}", flat))
    del chain.recipe.inputs["x"]
    if len(heads) > 1:
        chain.concat(heads, "y", 1, chain.joined(q))
    return chain.recipe


def shuffle_block(d: Draw) -> Recipe:
    """ShuffleNet: concat of two branches, shuffled, split, one half goes on, joined again."""
    chain, (half, h, w), q = _begin(d)
    chain.into("s", "b", half, q, 3)
    chain.concat(["s", "b"] if d.below(2) == 1 else ["b", "s"], "j", q=chain.joined(q))
    q = chain.known["j"][1]
    if d.below(2) == 1:
        chain.op("shuffle", ["j"], "m", group=2)
    else:
        chain.reshape("j", "m5", (1, 2, half, h, w))
        chain.permute("m5", "m6", (0, 2, 1, 3, 4))
        chain.reshape("m6", "m", (1, 2 * half, h, w))
    if d.below(2) == 1:
        left, right = chain.split("m", "h", 1, [half, half])
    else:
        left = chain.part("m", "h0", 1, 0, half)
        right = chain.part("m", "h1", 1, half, half)
    chain.into(right, "r", half, q, 3)
    chain.concat([left, "r"], "k", q=chain.joined(q))
    if d.below(2) == 1:
        chain.conv("k", "y")
    return chain.recipe


def focus(d: Draw) -> Recipe:
    """Four slices of every second pixel, joined, and a convolution, as YOLOv5 begins."""
    chain = Chain(d)
    c, side = d.below(3), 2 * d.below(4)
    source = chain.start((1, c, side, side))
    if d.below(2) == 1:
        source = chain.into(source, "s", c, _fixed(chain))
    del chain.recipe.inputs["x"]
    places = [(0, 0), (1, 0), (0, 1), (1, 1)]
    if d.below(3) == 1:
        d.rng.shuffle(places)
    parts = [chain.every_second(source, f"p{i}", *place) for i, place in enumerate(places)]
    chain.concat(parts, "j", q=chain.joined(chain.known[source][1]))
    if d.below(4) > 1:
        chain.conv("j", "y")
    return chain.recipe


def elan(d: Draw) -> Recipe:
    """ELAN of YOLOv7: a chain of layers, those at every second step joined."""
    chain, (c, _, _), q = _begin(d)
    names = [chain.into("s", "b0", c, q), chain.into("s", "b1", c, q)]
    for number in range(2, 2 + d.below(4)):
        names.append(chain.into(names[-1], f"b{number}", c, q, 3))
    chain.concat(
        names[:1] + names[1::2] if d.below(2) == 1 else names[::-1], "j", q=chain.joined(q)
    )
    chain.conv("j", "y")
    return chain.recipe


def c2f(d: Draw) -> Recipe:
    """C2f of YOLOv8: a layer split in two, a chain on one half, all joined."""
    chain, (c, _, _), q = _begin(d)
    chain.into("s", "w", 2 * c, q)
    if d.below(2) == 1:
        parts = chain.split("w", "h", 1, [c, c])
    else:
        parts = [chain.part("w", f"h{i}", 1, i * c, c) for i in range(2)]
    for number in range(d.below(2)):
        parts.append(chain.into(parts[-1], f"b{number}", c, q, 3))
    whole = ["w", *parts[2:]]
    chain.concat(whole if d.below(5) == 1 else parts, "j", q=chain.joined(q))
    chain.conv("j", "y")
    return chain.recipe


def sppf(d: Draw) -> Recipe:
    """SPPF: max pools in a row, joined with their input."""
    chain, _, q = _begin(d)
    parts, k = ["s"], d.pick(3, 5)
    for number in range(d.below(3)):
        attrs = {"type": "max", "ksize": [k, k], "stride": [1, 1], "pad": [k // 2] * 4}
        parts.append(chain.op("pool2d", [parts[-1]], f"m{number}", **attrs))
    chain.concat(parts, "j", q=chain.joined(q))
    chain.conv("j", "y")
    return chain.recipe


def neck(d: Draw) -> Recipe:
    """Neck of YOLOv8: a small map enlarged and joined with a large one, and back."""
    chain = Chain(d)
    q, (c, h, w) = _fixed(chain), (d.below(6, 2), 2 * d.below(4), 2 * d.below(4))
    del chain.recipe.inputs["x"]
    chain.into(chain.start((1, d.below(4), h, w)), "l", c, q)
    small = chain.into(chain.start((1, d.below(4), h // 2, w // 2)), "m", c, q)
    chain.op("resize", [small], "u", shape=(1, c, h, w), mode="nearest", height=h, width=w)
    chain.concat(["u", "l"] if d.below(2) == 1 else ["l", "u"], "j", q=chain.joined(q))
    chain.into("j", "n", c, q)
    attrs = {"type": "max", "ksize": [2, 2], "stride": [2, 2], "pad": [0] * 4}
    chain.op("pool2d", ["n"], "e", shape=(1, c, h // 2, w // 2), **attrs)
    chain.concat(["e", "m"], "k", q=chain.joined(q))
    chain.conv("k", "y")
    return chain.recipe


JOINS: dict[str, Callable[[Draw], Recipe]] = {
    "viewed": viewed,
    "along_axes": along_axes,
    "nested": nested,
    "dense": dense,
    "dense_flat": dense_flat,
    "ssd_head": ssd_head,
    "yolo_head": yolo_head,
    "shuffle_block": shuffle_block,
    "focus": focus,
    "elan": elan,
    "c2f": c2f,
    "sppf": sppf,
    "neck": neck,
}
