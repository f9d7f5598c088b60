"""Classifiers, and detectors on classifiers, whose times are published, as layer lists."""

from block_builder import Block, Blocks
from board_detectors import Detector


def mobilenet_v1() -> Block:
    """MobileNetV1 as TensorFlow has it: pads below and to the right, convolution as classifier."""
    b = Blocks("mobilenet_v1_224", 1, 3, 224, 224)
    odd = {"pad": [0, 1, 0, 1]}
    x = b.conv("data", 32, 3, 2, **odd)
    steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    for channels, stride in [*steps, *[(512, 1)] * 5, (1024, 2), (1024, 1)]:
        x = b.conv(b.depthwise(x, 3, stride, **(odd if stride == 2 else {})), channels)
    x = b.layer("reshape", b.conv(b.layer("gap", x), 1001, act=None), shape=[1, 1001])
    return b.done(b.layer("softmax", x, axis=1))


def mobilenet_v2() -> Block:
    """MobileNetV2."""
    b = Blocks("mobilenet_v2_224", 1, 3, 224, 224)
    x, before = b.conv("data", 32, 3, 2), 32
    for expand, channels, count, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for step in range(count):
            stride = first if step == 0 else 1
            y = b.conv(x, expand * before) if expand > 1 else x
            y = b.conv(b.depthwise(y, 3, stride), channels, act=None)
            x = b.add(x, y) if stride == 1 and channels == before else y
            before = channels
    x = b.layer("reshape", b.layer("gap", b.conv(x, 1280)), shape=[1, 1280])
    return b.done(b.layer("fc", x, channels=1000))


def resnet50_v2() -> Block:
    """ResNet-50 with its normalization in front; what cannot be folded is a ``scale``."""
    b = Blocks("resnet50_v2_224", 1, 3, 224, 224)
    x = b.maxpool(b.conv("data", 64, 7, 2), 3, 2, 1)
    for channels, count, first in ((256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2)):
        for step in range(count):
            stride = first if step == 0 else 1
            normal = b.layer("scale", x, act="relu")
            y = b.conv(b.conv(normal, channels // 4), channels // 4, 3, stride)
            y = b.conv(y, channels, act=None)
            x = b.add(b.conv(normal, channels, 1, stride, act=None) if step == 0 else x, y)
    x = b.layer("gap", b.layer("scale", x, act="relu"))
    return b.done(b.layer("fc", b.layer("reshape", x, shape=[1, 2048]), channels=1000))


def retinaface(backbone: str) -> Block:
    """RetinaFace at 320 pixels, with MobileNetV1 x0.25 or ResNet-50."""
    small = backbone == "mobile"
    b = Detector(f"retinaface_{backbone}_320", "leaky" if small else "relu", 320)
    levels = mobile_levels(b) if small else residual_levels(b)
    channels = 64 if small else 256
    out = [b.cv(x, channels) for x in levels]
    out[1] = b.cv(b.add(out[1], b.resize(out[2])), channels, 3)
    out[0] = b.cv(b.add(out[0], b.resize(out[1])), channels, 3)
    found: list[list[str]] = [[], [], []]
    for x, size in zip(out, (40, 20, 10), strict=True):
        y = b.cv(x, channels // 4, 3)
        z = b.cv(y, channels // 4, 3)
        parts = [b.plain(x, channels // 2, 3), b.plain(y, channels // 4, 3)]
        face = b.act(b.join(*parts, b.plain(z, channels // 4, 3)), "relu")
        for kind, values in zip(found, (4, 2, 10), strict=True):
            moved = b.layer("transpose", b.plain(face, 2 * values), perm=[0, 2, 3, 1])
            kind.append(b.layer("reshape", moved, shape=[1, 2 * size * size, values]))
    ends = [b.layer("concat", *kind, axis=1) for kind in found]
    return b.done(ends[0], b.layer("softmax", ends[1], axis=2), ends[2])


def mobile_levels(b: Detector) -> list[str]:
    """Add MobileNetV1 x0.25; return its last three levels."""
    x, found = b.cv("data", 8, 3, 2), []
    for channels, stride in (
        (16, 1), (32, 2), (32, 1), (64, 2), (64, 1),
        (128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1),
    ):  # fmt: skip
        if stride == 2 and channels in (128, 256):
            found.append(x)
        x = b.cv(b.depthwise(x, 3, stride, act="leaky"), channels)
    return [*found, x]


def residual_levels(b: Detector) -> list[str]:
    """Add ResNet-50; return its last three levels."""
    x = b.maxpool(b.conv("data", 64, 7, 2), 3, 2, 1)
    found = []
    for channels, count, stride in ((256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2)):
        for step in range(count):
            s = stride if step == 0 else 1
            y = b.conv(b.conv(b.conv(x, channels // 4), channels // 4, 3, s), channels, act=None)
            if step == 0:
                x = b.conv(x, channels, 1, s, act=None)
            x = b.add(x, y, act="relu")
        found.append(x)
    return found[1:]
