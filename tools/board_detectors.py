"""Detectors whose times are published, as layer lists.

Shapes follow the papers and repositories, heads the exports that the times were measured with:
outputs of the last convolutions, sigmoid kept, sum of the classes beside it. Source: rknn_model_zoo
2.3.2.
"""

from collections.abc import Callable

from block_builder import Block, Blocks

CLASSES = 80


class Detector(Blocks):
    """A network of convolutions that share one activation."""

    def __init__(self, name: str, act: str, size: int = 640) -> None:
        super().__init__(name, 1, 3, size, size)
        self.activation = act

    def cv(self, x: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        """Add a convolution with the network's activation."""
        return self.conv(x, channels, kernel, stride, act=self.activation)

    def plain(self, x: str, channels: int, kernel: int = 1) -> str:
        """Add a convolution without an activation."""
        return self.conv(x, channels, kernel, act=None)

    def bottleneck(self, x: str, channels: int, first: int, shortcut: bool) -> str:
        """Add two convolutions, the second 3x3, and the sum with their input."""
        y = self.cv(self.cv(x, channels, first), channels, 3)
        return self.add(x, y) if shortcut else y

    def c3(self, x: str, channels: int, count: int, shortcut: bool = True) -> str:
        """Add a cross stage of half the channels (YOLOv5, YOLOX)."""
        y, other = self.cv(x, channels // 2), self.cv(x, channels // 2)
        for _ in range(count):
            y = self.bottleneck(y, channels // 2, 1, shortcut)
        return self.cv(self.join(y, other), channels)

    def c2f(self, x: str, channels: int, count: int, shortcut: bool = False) -> str:
        """Add a cross stage that joins every step (YOLOv8)."""
        half = channels // 2
        both = self.cv(x, channels)
        parts = [self.part(both, 0, half), self.part(both, half, channels)]
        for _ in range(count):
            parts.append(self.bottleneck(parts[-1], half, 3, shortcut))
        return self.cv(self.join(*parts), channels)

    def pools(self, x: str, sides: tuple[int, ...] = (5, 9, 13)) -> list[str]:
        """Add max pools of growing windows as one chain of 3x3, as the exports have them."""
        found, reach = [x], 1
        for side in sides:
            while reach < side:
                x, reach = self.maxpool(x, 3, 1, 1), reach + 2
            found.append(x)
        return found

    def sppf(self, x: str, channels: int, hidden: int | None = None) -> str:
        """Add a pyramid of max pools between two pointwise convolutions."""
        y = self.cv(x, hidden or channels // 2)
        return self.cv(self.join(*self.pools(y)), channels)

    def scores(self, x: str) -> list[str]:
        """Add the sigmoid of the classes and its clipped sum."""
        y = self.act(x, "sigmoid")
        total = self.layer("reduce_sum", y, axes=[1], keepdims=True)
        return [y, self.layer("act", total, kind="relu1")]


def scaled(width: float, channels: int, most: int = 1024) -> int:
    """Return channels times a width, in multiples of eight."""
    return int(-(-min(channels, most) * width // 8) * 8)


def repeats(depth: float, count: int) -> int:
    """Return repetitions times a depth, one at least."""
    return max(1, round(count * depth))


def yolov5(letter: str, act: str = "silu", masks: bool = False) -> Block:
    """YOLOv5 version 6 and later."""
    depth, width = {"n": (0.33, 0.25), "s": (0.33, 0.5), "m": (0.67, 0.75)}[letter]
    kind = f"{letter}_seg" if masks else letter if act == "silu" else f"{letter}_{act}"
    b = Detector(f"yolov5{kind}_640", act)

    def c(channels: int) -> int:
        return scaled(width, channels)

    x = b.cv(b.conv("data", c(64), 6, 2, act=act, pad=[2] * 4), c(128), 3, 2)
    x = b.c3(x, c(128), repeats(depth, 3))
    p3 = b.c3(b.cv(x, c(256), 3, 2), c(256), repeats(depth, 6))
    p4 = b.c3(b.cv(p3, c(512), 3, 2), c(512), repeats(depth, 9))
    x = b.c3(b.cv(p4, c(1024), 3, 2), c(1024), repeats(depth, 3))
    x = b.sppf(x, c(1024))
    n = repeats(depth, 3)
    low = b.cv(x, c(512))
    mid = b.cv(b.c3(b.join(b.resize(low), p4), c(512), n, False), c(256))
    p3 = b.c3(b.join(b.resize(mid), p3), c(256), n, False)
    p4 = b.c3(b.join(b.cv(p3, c(256), 3, 2), mid), c(512), n, False)
    p5 = b.c3(b.join(b.cv(p4, c(512), 3, 2), low), c(1024), n, False)
    ends = [b.act(b.plain(p, 3 * (CLASSES + 5)), "sigmoid") for p in (p3, p4, p5)]
    if masks:
        ends += [b.plain(p, 3 * 32) for p in (p3, p4, p5)]
        ends.append(prototypes(b, p3, c(256), b.resize))
    return b.done(*ends)


def prototypes(b: Detector, x: str, channels: int, grow: Callable[[str], str]) -> str:
    """Add the prototypes of masks."""
    y = grow(b.cv(x, channels, 3))
    return b.cv(b.cv(y, channels, 3), 32)


def yolov8(letter: str, task: str = "") -> Block:
    """YOLOv8: boxes, with masks ("seg") or with angles ("obb")."""
    depth, width, most = {
        "n": (0.33, 0.25, 1024),
        "s": (0.33, 0.5, 1024),
        "m": (0.67, 0.75, 768),
    }[letter]
    b = Detector(f"yolov8{letter}{'_' + task if task else ''}_640", "silu")

    def c(channels: int) -> int:
        return scaled(width, channels, most)

    n, more = repeats(depth, 3), repeats(depth, 6)
    x = b.c2f(b.cv(b.cv("data", c(64), 3, 2), c(128), 3, 2), c(128), n, True)
    p3 = b.c2f(b.cv(x, c(256), 3, 2), c(256), more, True)
    p4 = b.c2f(b.cv(p3, c(512), 3, 2), c(512), more, True)
    p5 = b.c2f(b.cv(p4, c(1024), 3, 2), c(1024), n, True)
    p5 = b.sppf(p5, c(1024))
    p4 = b.c2f(b.join(b.resize(p5), p4), c(512), n)
    p3 = b.c2f(b.join(b.resize(p4), p3), c(256), n)
    p4 = b.c2f(b.join(b.cv(p3, c(256), 3, 2), p4), c(512), n)
    p5 = b.c2f(b.join(b.cv(p4, c(512), 3, 2), p5), c(1024), n)
    classes = 15 if task == "obb" else CLASSES
    boxes, class_c = max(16, c(256) // 4, 64), max(c(256), classes)
    ends = []
    for p in (p3, p4, p5):
        ends.append(b.plain(b.cv(b.cv(p, boxes, 3), boxes, 3), 64))
        y = b.plain(b.cv(b.cv(p, class_c, 3), class_c, 3), classes)
        ends += [b.act(y, "sigmoid")] if task == "obb" else b.scores(y)
        if task:
            more_c = 1 if task == "obb" else 32
            hidden = max(c(256) // 4, more_c)
            ends.append(b.plain(b.cv(b.cv(p, hidden, 3), hidden, 3), more_c))
    if task == "seg":
        ends.append(prototypes(b, p3, c(256), lambda x: grown(b, x, c(256))))
    return b.done(*ends)


def grown(b: Detector, x: str, channels: int) -> str:
    """Add a transposed convolution that doubles the map."""
    return b.layer("deconv", x, channels=channels, kernel=2, stride=2, pad=[0] * 4)


def yolox(letter: str) -> Block:
    """YOLOX with a 6x6 convolution in place of its first layer's rearrangement."""
    depth, width = {"s": (0.33, 0.5), "m": (0.67, 0.75)}[letter]
    b = Detector(f"yolox_{letter}_640", "silu")

    def c(channels: int) -> int:
        return scaled(width, channels)

    n, more = repeats(depth, 3), repeats(depth, 9)
    x = b.conv("data", c(64), 6, 2, act="silu", pad=[2] * 4)
    x = b.c3(b.cv(x, c(128), 3, 2), c(128), n)
    p3 = b.c3(b.cv(x, c(256), 3, 2), c(256), more)
    p4 = b.c3(b.cv(p3, c(512), 3, 2), c(512), more)
    x = b.sppf(b.cv(p4, c(1024), 3, 2), c(1024))
    low = b.cv(b.c3(x, c(1024), n, False), c(512))
    mid = b.cv(b.c3(b.join(b.resize(low), p4), c(512), n, False), c(256))
    p3 = b.c3(b.join(b.resize(mid), p3), c(256), n, False)
    p4 = b.c3(b.join(b.cv(p3, c(256), 3, 2), mid), c(512), n, False)
    p5 = b.c3(b.join(b.cv(p4, c(512), 3, 2), low), c(1024), n, False)
    ends = []
    for p in (p3, p4, p5):
        stem = b.cv(p, c(256))
        y = b.cv(b.cv(stem, c(256), 3), c(256), 3)
        z = b.cv(b.cv(stem, c(256), 3), c(256), 3)
        classes = b.act(b.plain(y, CLASSES), "sigmoid")
        objects = b.act(b.plain(z, 1), "sigmoid")
        ends.append(b.join(b.plain(z, 4), objects, classes))
    return b.done(*ends)


def yolov6(letter: str) -> Block:
    """YOLOv6 3.0."""
    depth, width = {"n": (0.33, 0.25), "s": (0.33, 0.5), "m": (0.6, 0.75)}[letter]
    b = Detector(f"yolov6{letter}_640", "relu")
    cross = letter == "m"

    def c(channels: int) -> int:
        return scaled(width, channels)

    def stage(x: str, channels: int, count: int) -> str:
        count = repeats(depth, count)
        if not cross:
            for _ in range(count):
                x = b.cv(x, channels, 3)
            return x
        hidden = int(channels * 2 / 3)
        y, other = b.cv(x, hidden), b.cv(x, hidden)
        for _ in range(count // 2):
            y = b.bottleneck(y, hidden, 3, True)
        return b.cv(b.join(y, other), channels)

    def fusion(low: str, mid: str, high: str, channels: int) -> str:
        """Join three levels on the middle one's map."""
        high = b.cv(b.cv(high, channels), channels, 3, 2)
        return b.cv(b.join(grown(b, low, channels), b.cv(mid, channels), high), channels)

    x = b.cv("data", c(64), 3, 2)
    p2 = stage(b.cv(x, c(128), 3, 2), c(128), 6)
    p3 = stage(b.cv(p2, c(256), 3, 2), c(256), 12)
    p4 = stage(b.cv(p3, c(512), 3, 2), c(512), 18)
    x = stage(b.cv(p4, c(1024), 3, 2), c(1024), 6)
    x = b.sppf(x, c(1024)) if cross else csp_pools(b, x, c(1024), c(512))
    low = b.cv(x, c(256))
    y = stage(fusion(low, p4, p3, c(256)), c(256), 12)
    mid = b.cv(y, c(128))
    p3 = stage(fusion(mid, p3, p2, c(128)), c(128), 12)
    p4 = stage(b.join(b.cv(p3, c(128), 3, 2), mid), c(256), 12)
    p5 = stage(b.join(b.cv(p4, c(256), 3, 2), low), c(512), 12)
    ends = []
    for p, channels in ((p3, c(128)), (p4, c(256)), (p5, c(512))):
        stem = b.conv(p, channels, act="silu")
        ends.append(b.plain(b.conv(stem, channels, 3, act="silu"), 68 if cross else 4))
        ends += b.scores(b.plain(b.conv(stem, channels, 3, act="silu"), CLASSES))
    return b.done(*ends)


def csp_pools(b: Detector, x: str, channels: int, hidden: int) -> str:
    """Add the pyramid of max pools in a cross stage."""
    other = b.cv(x, hidden)
    y = b.cv(b.cv(b.cv(x, hidden), hidden, 3), hidden)
    y = b.cv(b.cv(b.join(*b.pools(y)), hidden), hidden, 3)
    return b.cv(b.join(other, y), channels)


def yolov7_tiny() -> Block:
    """YOLOv7-tiny with its leaky activation."""
    b = Detector("yolov7_tiny_640", "leaky")

    def elan(x: str, hidden: int, channels: int) -> str:
        a, y = b.cv(x, hidden), b.cv(x, hidden)
        z = b.cv(y, hidden, 3)
        return b.cv(b.join(b.cv(z, hidden, 3), z, y, a), channels)

    x = elan(b.cv(b.cv("data", 32, 3, 2), 64, 3, 2), 32, 64)
    p3 = elan(b.maxpool(x), 64, 128)
    p4 = elan(b.maxpool(p3), 128, 256)
    x = elan(b.maxpool(p4), 256, 512)
    other, y = b.cv(x, 256), b.cv(x, 256)
    low = b.cv(b.join(b.cv(b.join(*b.pools(y)), 256), other), 256)
    mid = elan(b.join(b.cv(p4, 128), b.resize(b.cv(low, 128))), 64, 128)
    p3 = elan(b.join(b.cv(p3, 64), b.resize(b.cv(mid, 64))), 32, 64)
    p4 = elan(b.join(b.cv(p3, 128, 3, 2), mid), 64, 128)
    p5 = elan(b.join(b.cv(p4, 256, 3, 2), low), 128, 256)
    ends = []
    for p, channels in ((p3, 128), (p4, 256), (p5, 512)):
        ends.append(b.act(b.plain(b.cv(p, channels, 3), 3 * (CLASSES + 5)), "sigmoid"))
    return b.done(*ends)


def yolov7() -> Block:
    """YOLOv7."""
    b = Detector("yolov7_640", "silu")

    def elan(x: str, hidden: int, channels: int, narrow: bool = False) -> str:
        a, y = b.cv(x, hidden), b.cv(x, hidden)
        steps = [a, y]
        for _ in range(4):
            steps.append(b.cv(steps[-1], hidden // 2 if narrow else hidden, 3))
        kept = steps if narrow else [steps[i] for i in (5, 3, 1, 0)]
        return b.cv(b.join(*kept), channels)

    def halved(x: str, channels: int, *others: str) -> str:
        pooled = b.cv(b.maxpool(x), channels)
        return b.join(b.cv(b.cv(x, channels), channels, 3, 2), pooled, *others)

    x = b.cv(b.cv(b.cv(b.cv("data", 32, 3), 64, 3, 2), 64, 3), 128, 3, 2)
    p3 = elan(halved(elan(x, 64, 256), 128), 128, 512)
    p4 = elan(halved(p3, 256), 256, 1024)
    low = csp_pools(b, elan(halved(p4, 512), 256, 1024), 512, 512)
    mid = elan(b.join(b.cv(p4, 256), b.resize(b.cv(low, 256))), 256, 256, True)
    p3 = elan(b.join(b.cv(p3, 128), b.resize(b.cv(mid, 128))), 128, 128, True)
    p4 = elan(halved(p3, 128, mid), 256, 256, True)
    p5 = elan(halved(p4, 256, low), 512, 512, True)
    ends = []
    for p, channels in ((p3, 256), (p4, 512), (p5, 1024)):
        ends.append(b.act(b.plain(b.cv(p, channels, 3), 3 * (CLASSES + 5)), "sigmoid"))
    return b.done(*ends)


def ppyoloe(letter: str) -> Block:
    """PP-YOLOE."""
    depth, width = {"s": (0.33, 0.5), "m": (0.67, 0.75)}[letter]
    b = Detector(f"ppyoloe_{letter}_640", "silu")
    c = [max(round(n * width), 1) for n in (64, 128, 256, 512, 1024)]

    def stage(x: str, channels_in: int, channels: int, count: int) -> str:
        middle = (channels_in + channels) // 2
        x = b.cv(x, middle, 3, 2)
        y, other = b.cv(x, middle // 2), b.cv(x, middle // 2)
        for _ in range(repeats(depth, count)):
            y = b.bottleneck(y, middle // 2, 3, True)
        y = b.join(other, y)
        gate = b.conv(b.layer("gap", y), middle, act=None)
        return b.cv(b.layer("mul", y, b.act(gate, "hard_sigmoid")), channels)

    def neck(x: str, channels: int, pooled: bool = False) -> str:
        other, y = b.cv(x, channels // 2), b.cv(x, channels // 2)
        for step in range(repeats(depth, 3)):
            y = b.bottleneck(y, channels // 2, 3, False)
            if pooled and step == 0:
                y = b.cv(b.join(*b.pools(y)), channels // 2)
        return b.cv(b.join(other, y), channels)

    x = b.cv(b.cv(b.cv("data", c[0] // 2, 3, 2), c[0] // 2, 3), c[0], 3)
    p3 = stage(stage(x, c[0], c[1], 3), c[1], c[2], 6)
    p4 = stage(p3, c[2], c[3], 6)
    p5 = stage(p4, c[3], c[4], 3)
    wide = [int(n * width) for n in (768, 384, 192)]
    low = neck(p5, wide[0], True)
    mid = neck(b.join(b.resize(b.cv(low, wide[0] // 2)), p4), wide[1])
    p3 = neck(b.join(b.resize(b.cv(mid, wide[1] // 2)), p3), wide[2])
    p4 = neck(b.join(b.cv(p3, wide[2], 3, 2), mid), wide[1])
    p5 = neck(b.join(b.cv(p4, wide[1], 3, 2), low), wide[0])
    ends = []
    for p, channels in ((p3, wide[2]), (p4, wide[1]), (p5, wide[0])):
        mean = b.layer("gap", p)
        gates = [b.act(b.conv(mean, channels, act=None), "sigmoid") for _ in range(2)]
        boxes, classes = (b.cv(b.layer("mul", p, gate), channels) for gate in gates)
        ends.append(b.plain(boxes, 4 * 17, 3))
        ends += b.scores(b.plain(b.add(classes, p), CLASSES, 3))
    return b.done(*ends)
