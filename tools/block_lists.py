"""Blocks of common backbones, necks and heads as small layer lists."""

from collections.abc import Callable
from typing import Any

from block_builder import Block, Blocks


def mobilenet(
    expand: int, c: int, out: int, size: int, kernel: int, stride: int, act: str
) -> Block:
    """Inverted residual of MobileNetV2 and V3."""
    b = Blocks(f"mobilenet e{expand} {c}-{out}@{size} k{kernel} s{stride} {act}", 1, c, size, size)
    x = b.conv("data", c, act=None)
    y = b.conv(x, c * expand, act=act)
    y = b.depthwise(y, kernel, stride, act=act)
    y = b.conv(y, out, act=None)
    if stride == 1 and c == out:
        y = b.add(x, y)
    b.conv(y, out, act=act)
    return b.done()


def squeeze_excite(b: Blocks, x: str, channels: int, gate: str, mean: bool = False) -> str:
    """Squeeze-and-excite over ``channels`` channels."""
    y = b.layer("reduce_mean", x, axes=[2, 3]) if mean else b.layer("gap", x)
    y = b.conv(y, max(8, channels // 4))
    y = b.conv(y, channels, act=gate)
    return b.layer("mul", x, y)


def efficientnet(c: int, size: int, kernel: int, gate: str, act: str, mean: bool = False) -> Block:
    """Inverted residual with squeeze-and-excite."""
    b = Blocks(f"se {c}@{size} k{kernel} {gate} {act} mean{mean}", 1, c, size, size)
    x = b.conv("data", c, act=None)
    y = b.conv(x, 4 * c, act=act)
    y = b.depthwise(y, kernel, act=act)
    y = squeeze_excite(b, y, 4 * c, gate, mean)
    y = b.conv(y, c, act=None)
    y = b.add(x, y)
    b.conv(y, c)
    return b.done()


def shufflenet(c: int, size: int, stride: int) -> Block:
    """Cut, branch, join and shuffle: the unit of ShuffleNetV2."""
    b = Blocks(f"shufflenet {c}@{size} s{stride}", 1, c, size, size)
    x = b.conv("data", c)
    if stride == 1:
        left, right = b.part(x, 0, c // 2), b.part(x, c // 2, c)
    else:
        left = b.conv(b.depthwise(x, 3, 2, act=None), c // 2)
        right = x
    y = b.conv(right, c // 2)
    y = b.depthwise(y, 3, stride, act=None)
    y = b.conv(y, c // 2)
    y = b.join(left, y)
    y = b.layer("channel_shuffle", y, group=2)
    b.conv(y, c)
    return b.done()


def resnet(c: int, size: int, stride: int, bottleneck: bool) -> Block:
    """Residual block, basic or bottleneck."""
    b = Blocks(f"resnet {c}@{size} s{stride} bottleneck{bottleneck}", 1, c, size, size)
    x = b.conv("data", c)
    if bottleneck:
        y = b.conv(x, c // 4)
        y = b.conv(y, c // 4, 3, stride)
        y = b.conv(y, c, act=None)
    else:
        y = b.conv(x, c, 3, stride)
        y = b.conv(y, c, 3, act=None)
    short = x if stride == 1 else b.conv(x, c, 1, stride, act=None)
    y = b.add(short, y, act="relu")
    b.conv(y, c)
    return b.done()


def resnet_stem(channels: int, size: int, act: str = "relu") -> Block:
    """7x7 stem and max pool."""
    b = Blocks(f"resnet stem {channels}@{size} {act}", 1, 3, size, size)
    y = b.conv("data", channels, 7, 2, act=act)
    y = b.maxpool(y, 3, 2, 1)
    b.conv(y, channels)
    return b.done()


def csp(c: int, size: int, n: int, act: str, shortcut: bool) -> Block:
    """C3 of YOLOv5."""
    b = Blocks(f"csp {c}@{size} n{n} {act} add{shortcut}", 1, c, size, size)
    x = b.conv("data", c, act=act)
    y, other = b.conv(x, c // 2, act=act), b.conv(x, c // 2, act=act)
    for _ in range(n):
        z = b.conv(b.conv(y, c // 2, act=act), c // 2, 3, act=act)
        y = b.add(y, z) if shortcut else z
    b.conv(b.join(y, other), c, act=act)
    return b.done()


def c2f(c: int, size: int, n: int, act: str, shortcut: bool, split: bool) -> Block:
    """C2f of YOLOv8 with slices or a split."""
    b = Blocks(f"c2f {c}@{size} n{n} {act} add{shortcut} split{split}", 1, c, size, size)
    x = b.conv("data", c, act=act)
    x = b.conv(x, c, act=act)
    if split:
        name = b.layer("split", x, sizes=[c // 2, c // 2])
        parts = [f"{name}.0", f"{name}.1"]
    else:
        parts = [b.part(x, 0, c // 2), b.part(x, c // 2, c)]
    for _ in range(n):
        z = b.conv(b.conv(parts[-1], c // 2, 3, act=act), c // 2, 3, act=act)
        parts.append(b.add(parts[-1], z) if shortcut else z)
    b.conv(b.join(*parts), c, act=act)
    return b.done()


def elan(c: int, size: int, act: str) -> Block:
    """ELAN of YOLOv7."""
    b = Blocks(f"elan {c}@{size} {act}", 1, c, size, size)
    x = b.conv("data", c, act=act)
    parts = [b.conv(x, c // 2, act=act), b.conv(x, c // 2, act=act)]
    y = parts[-1]
    for _ in range(2):
        y = b.conv(b.conv(y, c // 2, 3, act=act), c // 2, 3, act=act)
        parts.append(y)
    b.conv(b.join(*parts), c, act=act)
    return b.done()


def downsample(c: int, size: int, act: str) -> Block:
    """MP of YOLOv7: pool and strided convolution, joined."""
    b = Blocks(f"mp {c}@{size} {act}", 1, c, size, size)
    x = b.conv("data", c, act=act)
    left = b.conv(b.maxpool(x), c // 2, act=act)
    right = b.conv(b.conv(x, c // 2, act=act), c // 2, 3, 2, act=act)
    b.conv(b.join(left, right), c, act=act)
    return b.done()


def spp(c: int, size: int, kernels: tuple[int, ...], chain: bool, act: str) -> Block:
    """SPP (side by side) or SPPF (a chain)."""
    b = Blocks(f"spp {c}@{size} {kernels} chain{chain} {act}", 1, c, size, size)
    x = b.conv("data", c // 2, act=act)
    parts = [x]
    for kernel in kernels:
        parts.append(b.maxpool(parts[-1] if chain else x, kernel, 1, kernel // 2))
    b.conv(b.join(*parts), c, act=act)
    return b.done()


def pan(c: int, size: int, mode: str, act: str) -> Block:
    """Up and down path of a neck."""
    b = Blocks(f"pan {c}@{size} {mode} {act}", 1, c, size, size)
    fine = b.conv("data", c, act=act)
    coarse = b.conv(fine, c, 3, 2, act=act)
    up = b.resize(b.conv(coarse, c, act=act), 2, mode)
    y = b.conv(b.join(up, fine), c, act=act)
    down = b.conv(y, c, 3, 2, act=act)
    z = b.conv(b.join(down, coarse), c, act=act)
    return b.done(b.conv(y, c, act=None), b.conv(z, c, act=None))


def fpn(c: int, size: int, mode: str) -> Block:
    """Sum of a map and an enlarged one, as in FPN and DB."""
    b = Blocks(f"fpn {c}@{size} {mode}", 1, c, size, size)
    fine = b.conv("data", c)
    coarse = b.conv(fine, c, 3, 2)
    y = b.add(b.conv(fine, c, act=None), b.resize(b.conv(coarse, c, act=None), 2, mode))
    b.conv(y, c, 3)
    return b.done()


def inception(c: int, size: int, pool: str) -> Block:
    """Four branches, one of them a pool and a 1x1 convolution."""
    b = Blocks(f"inception {c}@{size} {pool}", 1, c, size, size)
    x = b.conv("data", c)
    parts = [b.conv(x, c), b.conv(b.conv(x, c // 2), c, 3), b.conv(b.conv(x, c // 2), c, 5)]
    y = b.layer(pool, x, kernel=3, stride=1, pad=[1] * 4)
    parts.append(b.conv(y, c // 2))
    b.conv(b.join(*parts), c)
    return b.done()


def inception_down(c: int, size: int) -> Block:
    """Reduction of Inception: strided convolution and max pool, joined."""
    b = Blocks(f"inception down {c}@{size}", 1, c, size, size)
    x = b.conv("data", c)
    y = b.join(b.conv(x, c, 3, 2, pad=[0] * 4), b.maxpool(x, 3, 2))
    b.conv(y, c)
    return b.done()


def oblong(c: int, size: int) -> Block:
    """1x7 and 7x1 of Inception."""
    b = Blocks(f"oblong {c}@{size}", 1, c, size, size)
    x = b.conv("data", c)
    x = b.layer("conv", x, channels=c, kernel=[1, 7], pad=[0, 0, 3, 3], act="relu")
    x = b.layer("conv", x, channels=c, kernel=[7, 1], pad=[3, 3, 0, 0], act="relu")
    b.conv(x, c)
    return b.done()


def hrnet(c: int, size: int, mode: str) -> Block:
    """Exchange between two resolutions."""
    b = Blocks(f"hrnet {c}@{size} {mode}", 1, c, size, size)
    high = b.conv("data", c, 3)
    low = b.conv(high, 2 * c, 3, 2)
    up = b.resize(b.conv(low, c, act=None), 2, mode)
    down = b.conv(high, 2 * c, 3, 2, act=None)
    a = b.add(high, up, act="relu")
    z = b.add(low, down, act="relu")
    return b.done(b.conv(a, c, 3), b.conv(z, c, 3))


def db_head(c: int, size: int) -> Block:
    """Head of DB: two transposed convolutions and a sigmoid."""
    b = Blocks(f"db {c}@{size}", 1, c, size, size)
    x = b.conv("data", c // 4, 3)
    x = b.layer("deconv", x, channels=c // 4, kernel=2, stride=2, act="relu")
    b.layer("deconv", x, channels=1, kernel=2, stride=2, act="sigmoid")
    return b.done()


def crnn(c: int, size: int) -> Block:
    """Pooling over height, transposition and a classifier along the width."""
    b = Blocks(f"crnn {c}@{size}", 1, c, 4, size)
    x = b.conv("data", c, 3)
    x = b.layer("maxpool", x, kernel=[4, 1], stride=[4, 1])
    x = b.layer("reshape", x, shape=[1, c, size])
    x = b.layer("transpose", x, perm=[0, 2, 1])
    x = b.layer("fc", x, out=[1, size, 96])
    b.layer("softmax", x, axis=2)
    return b.done()


def segment_head(c: int, size: int, mode: str) -> Block:
    """Enlarged class map with its arg max left out."""
    b = Blocks(f"segment {c}@{size} {mode}", 1, c, size, size)
    x = b.conv("data", c, 3)
    x = b.conv(x, 19, act=None)
    b.resize(x, 4, mode)
    return b.done()


def aspp(c: int, size: int) -> Block:
    """Dilated convolutions side by side and a global branch."""
    b = Blocks(f"aspp {c}@{size}", 1, c, size, size)
    x = b.conv("data", c)
    parts = [b.conv(x, c)]
    parts += [b.conv(x, c, 3, dilation=d, pad=[d] * 4) for d in (2, 4)]
    y = b.resize(b.conv(b.layer("gap", x), c), size, "nearest")
    b.conv(b.join(*parts, y), c)
    return b.done()


def pooled(c: int, size: int, act: str, kernel: int = 2, pad: int = 0, k: int = 3) -> Block:
    """Convolution, activation, max pool: stages of VGG and Darknet."""
    b = Blocks(f"pooled {c}@{size} {act} {kernel} pad{pad} k{k}", 1, 3, size, size)
    x = b.conv("data", c, k, act=act)
    x = b.maxpool(x, kernel, 2, pad)
    b.conv(x, c, act=None)
    return b.done()


def tiny_tail(c: int, size: int, act: str) -> Block:
    """End of yolov3-tiny: a max pool of stride 1 with padding behind."""
    b = Blocks(f"tiny tail {c}@{size} {act}", 1, c, size, size)
    x = b.conv("data", c, 3, act=act)
    x = b.layer("maxpool", x, kernel=2, stride=1, pad=[0, 1, 0, 1])
    b.conv(x, c, 3, act=act)
    return b.done()


def detector_head(c: int, size: int, gate: str) -> Block:
    """Last convolution, an activation and a flattening transposition."""
    b = Blocks(f"head {c}@{size} {gate}", 1, c, size, size)
    x = b.conv("data", c)
    x = b.conv(x, 3 * 85, act=gate)
    x = b.layer("transpose", x, perm=[0, 2, 3, 1])
    b.layer("reshape", x, shape=[1, size * size * 3, 85])
    return b.done()


def classifier(c: int, size: int, classes: int, mean: bool) -> Block:
    """Global average, fully connected layer and softmax."""
    b = Blocks(f"classifier {c}@{size} {classes} mean{mean}", 1, c, size, size)
    x = b.conv("data", c)
    x = b.layer("reduce_mean", x, axes=[2, 3]) if mean else b.layer("gap", x)
    x = b.layer("fc", x, channels=classes)
    b.layer("softmax", x, axis=1)
    return b.done()


def vgg_tail(c: int, size: int) -> Block:
    """Fully connected layers behind a map."""
    b = Blocks(f"vgg tail {c}@{size}", 1, c, size, size)
    x = b.conv("data", c)
    x = b.layer("fc", x, channels=256, act="relu")
    x = b.layer("fc", x, channels=256, act="relu")
    b.layer("fc", x, channels=10)
    return b.done()


def ghost(c: int, size: int) -> Block:
    """Ghost module: half of the channels from cheap operations."""
    b = Blocks(f"ghost {c}@{size}", 1, c, size, size)
    x = b.conv("data", c // 2)
    y = b.join(x, b.depthwise(x))
    y = b.conv(y, c // 2, act=None)
    y = b.join(y, b.depthwise(y, act=None))
    b.conv(y, c)
    return b.done()


def dense(c: int, size: int) -> Block:
    """Three layers of DenseNet and a transition."""
    b = Blocks(f"dense {c}@{size}", 1, c, size, size)
    x = b.conv("data", c)
    for _ in range(3):
        y = b.conv(b.conv(x, c), 32, 3)
        x = b.join(x, y)
    x = b.conv(x, c)
    b.layer("avgpool", x, kernel=2, stride=2)
    return b.done()


def focus(c: int, size: int) -> Block:
    """Four strided slices, joined."""
    b = Blocks(f"focus {c}@{size}", 1, 3, size, size)
    whole = ([0, 0, y, x] for y in (0, 1) for x in (0, 1))
    parts = [
        b.layer("slice", "data", begin=begin, end=[1, 3, size, size], step=[1, 1, 2, 2])
        for begin in whole
    ]
    b.conv(b.join(*parts), c, 3)
    return b.done()


def fire(c: int, size: int) -> Block:
    """Fire module of SqueezeNet and a max pool."""
    b = Blocks(f"fire {c}@{size}", 1, c, size, size)
    x = b.conv("data", c)
    x = b.conv(x, c // 4)
    x = b.join(b.conv(x, c), b.conv(x, c, 3))
    x = b.maxpool(x, 3, 2)
    b.conv(x, c)
    return b.done()


def attention(c: int, size: int) -> Block:
    """Spatial attention of one head in channels by pixels."""
    b = Blocks(f"attention {c}@{size}", 1, c, size, size)
    x = b.conv("data", c, act=None)
    q, k, v = (
        b.layer("reshape", b.conv(x, c, act=None), shape=[1, c, size * size]) for _ in range(3)
    )
    scores = b.layer("matmul", q, k, transpose_a=True)
    y = b.layer("matmul", v, b.layer("softmax", scores, axis=2), transpose_b=True)
    y = b.layer("reshape", y, shape=[1, c, size, size])
    b.conv(y, c, act=None)
    return b.done()


def resnext(c: int, size: int, groups: int, stride: int) -> Block:
    """Bottleneck with a grouped convolution."""
    b = Blocks(f"resnext {c}@{size} g{groups} s{stride}", 1, c, size, size)
    x = b.conv("data", c)
    y = b.conv(b.conv(x, c // 2), c // 2, 3, stride, group=groups)
    y = b.conv(y, c, act=None)
    short = x if stride == 1 else b.conv(x, c, 1, stride, act=None)
    b.conv(b.add(short, y, act="relu"), c)
    return b.done()


def wide_aspp(c: int, size: int, dilations: tuple[int, ...]) -> Block:
    """Dilated convolutions that span more than 11 pixels, plain and depthwise."""
    b = Blocks(f"wide aspp {c}@{size} {dilations}", 1, c, size, size)
    x = b.conv("data", c)
    parts = [b.conv(x, c, 3, dilation=d, pad=[d] * 4) for d in dilations]
    parts.append(b.depthwise(x, dilation=dilations[0], pad=[dilations[0]] * 4))
    b.conv(b.join(*parts), c)
    return b.done()


def depthwise_aspp(c: int, size: int, dilations: tuple[int, ...]) -> Block:
    """Separable dilated convolutions side by side, as in DeepLabV3+ on MobileNet."""
    b = Blocks(f"depthwise aspp {c}@{size} {dilations}", 1, c, size, size)
    x = b.conv("data", c)
    parts = [b.conv(b.depthwise(x, dilation=d, pad=[d] * 4), c) for d in dilations]
    b.conv(b.join(*parts), c)
    return b.done()


def patches(c: int, size: int, patch: int, stride: int) -> Block:
    """Patches of a vision transformer, a mixing of pixels and one of channels (ConvMixer)."""
    b = Blocks(f"patches {c}@{size} {patch} s{stride}", 1, 3, size, size)
    x = b.layer("conv", "data", channels=c, kernel=patch, stride=stride)
    y = b.depthwise(x, 9)
    x = b.add(b.conv(x, c, act=None), y)
    b.conv(x, c)
    return b.done()


def unet_up(c: int, size: int, kernel: int, act: str) -> Block:
    """Transposed convolution joined with an earlier map."""
    b = Blocks(f"unet {c}@{size} k{kernel} {act}", 1, c, size, size)
    fine = b.conv("data", c, 3)
    coarse = b.conv(fine, c, 3, 2)
    pad = [(kernel - 2) // 2] * 4
    up = b.layer("deconv", coarse, channels=c, kernel=kernel, stride=2, pad=pad, act=act)
    b.conv(b.join(up, fine), c, 3)
    return b.done()


def darknet_up(c: int, size: int) -> Block:
    """Stages of Darknet: convolution, leaky relu and pool, three times."""
    b = Blocks(f"darknet {c}@{size}", 1, 3, size, size)
    x = "data"
    for stage in range(3):
        x = b.maxpool(b.conv(x, c << stage, 3, act="leaky"))
    b.conv(x, c, act="leaky")
    return b.done()


def all_blocks() -> list[tuple[str, Block]]:
    """Return (family, layer list) of every block of the sweep."""
    made: list[tuple[str, Block]] = []

    def of(family: Callable[..., Block], *cases: tuple[Any, ...]) -> None:
        made.extend((family.__name__, family(*case)) for case in cases)

    for act in ("relu", "hard_swish", "relu6"):
        of(mobilenet, (6, 16, 24, 56, 3, 2, act), (6, 32, 32, 28, 3, 1, act))
        of(mobilenet, (3, 40, 40, 14, 5, 1, act), (6, 24, 32, 28, 5, 2, act))
        of(mobilenet, (4, 96, 96, 7, 3, 1, act))
    of(efficientnet, (24, 28, 5, "hard_sigmoid", "hard_swish"), (40, 14, 3, "sigmoid", "silu"),
       (16, 56, 3, "sigmoid", "relu"), (24, 28, 5, "sigmoid", "silu", True),
       (96, 7, 5, "hard_sigmoid", "relu", True))  # fmt: skip
    of(shufflenet, (48, 28, 1), (116, 28, 1), (48, 28, 2), (232, 14, 1), (116, 28, 2))
    of(resnet, (64, 56, 1, False), (128, 28, 2, False), (256, 56, 1, True), (512, 28, 2, True),
       (64, 28, 1, True))  # fmt: skip
    of(resnet_stem, (64, 224), (32, 112), (32, 96, "leaky"))
    for act in ("relu", "silu", "leaky"):
        of(csp, (64, 40, 1, act, True), (128, 20, 2, act, True), (128, 20, 1, act, False))
        of(c2f, (64, 40, 1, act, True, False), (128, 20, 2, act, True, True),
           (128, 20, 1, act, False, True), (96, 20, 2, act, True, False))  # fmt: skip
        of(elan, (64, 40, act), (128, 20, act))
        of(downsample, (64, 40, act), (128, 20, act))
        of(spp, (256, 20, (5, 9, 13), False, act), (256, 20, (5, 5, 5), True, act),
           (128, 13, (5, 9, 13), False, act), (128, 13, (3, 3), True, act))  # fmt: skip
        of(pan, (64, 40, "nearest", act), (64, 20, "bilinear", act))
        of(pooled, (16, 64, act), (32, 52, act), (16, 63, act, 3), (24, 48, act, 3, 1),
           (16, 64, act, 2, 0, 1))  # fmt: skip
        of(tiny_tail, (128, 13, act))
    of(pooled, (16, 64, "sigmoid"), (16, 63, "tanh", 3), (16, 64, "relu6"), (16, 63, "relu6", 3))
    of(fpn, (64, 40, "nearest"), (64, 40, "bilinear"), (96, 14, "nearest"))
    of(
        inception,
        (64, 28, "avgpool"),
        (64, 28, "maxpool"),
        (96, 35, "avgpool"),
        (48, 14, "avgpool"),
    )
    of(inception_down, (64, 35), (96, 17))
    of(oblong, (64, 17), (32, 14))
    of(hrnet, (32, 56, "nearest"), (48, 28, "bilinear"))
    of(db_head, (96, 40), (64, 32))
    of(crnn, (64, 40), (96, 80))
    of(segment_head, (64, 32, "bilinear"), (64, 32, "nearest"))
    of(aspp, (64, 28), (48, 16))
    of(detector_head, (64, 20, "sigmoid"), (64, 13, "relu"))
    of(
        classifier,
        (128, 7, 100, False),
        (128, 7, 100, True),
        (256, 14, 10, False),
        (64, 4, 10, True),
    )
    of(vgg_tail, (32, 7), (16, 4))
    of(ghost, (32, 28), (64, 14))
    of(dense, (64, 28), (48, 14))
    of(focus, (32, 64), (16, 96))
    of(fire, (64, 28), (48, 55))
    of(attention, (32, 14), (64, 8))
    of(resnext, (64, 28, 4, 1), (128, 14, 32, 2))
    of(wide_aspp, (32, 28, (6, 12)), (16, 33, (7, 18)))
    of(depthwise_aspp, (32, 33, (6, 12, 18)), (16, 28, (9, 16)))
    of(patches, (64, 224, 16, 16), (48, 112, 14, 14), (32, 96, 7, 4))
    of(unet_up, (32, 32, 2, "relu"), (48, 28, 4, "relu"), (32, 20, 2, "leaky"))
    of(darknet_up, (16, 64), (8, 96))
    return made
