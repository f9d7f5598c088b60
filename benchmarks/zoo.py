"""Networks for the benchmarks: known structures with seeded random weights, as ONNX models."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Builds an ONNX graph; every method returns the name of its result."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels = {"x": 3}
        self.size = size

    def _add(self, op: str, inputs: Sequence[str], channels: int, **attrs: object) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        self.channels[name] = channels
        return name

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"c_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def conv(
        self, x: str, out_c: int, kernel: int, stride: int = 1, *, pad: int | None = None,
        depthwise: bool = False, act: str = "",
    ) -> str:  # fmt: skip
        in_c = 1 if depthwise else self.channels[x]
        scale = np.sqrt(2.0 / (in_c * kernel * kernel))
        weights = self.rng.normal(0, scale, (out_c, in_c, kernel, kernel)).astype(np.float32)
        bias = self.rng.normal(0, 0.05, out_c).astype(np.float32)
        pad = kernel // 2 if pad is None else pad
        y = self._add(
            "Conv",
            [x, self.constant(weights), self.constant(bias)],
            out_c,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            group=out_c if depthwise else 1,
        )
        return self.act(y, act) if act else y

    def act(self, x: str, kind: str) -> str:
        channels = self.channels[x]
        if kind == "relu6":
            limits = [self.constant(np.float32(v)) for v in (0, 6)]
            return self._add("Clip", [x, *limits], channels)
        if kind == "silu":
            return self._add("Mul", [x, self._add("Sigmoid", [x], channels)], channels)
        if kind == "hard_swish":
            shifted = self.scalar("Add", x, 3)
            limits = [self.constant(np.float32(v)) for v in (0, 6)]
            gate = self._add("Clip", [shifted, *limits], channels)
            return self.scalar("Div", self._add("Mul", [x, gate], channels), 6)
        if kind == "hard_sigmoid":
            return self._add("HardSigmoid", [x], channels, alpha=1 / 6, beta=0.5)
        return self._add({"relu": "Relu", "sigmoid": "Sigmoid"}[kind], [x], channels)

    def scalar(self, op: str, x: str, value: float) -> str:
        return self._add(op, [x, self.constant(np.float32([value]))], self.channels[x])

    def squeeze_excite(self, x: str, reduced: int) -> str:
        channels = self.channels[x]
        y = self._add("GlobalAveragePool", [x], channels)
        y = self.conv(self.conv(y, reduced, 1, act="relu"), channels, 1, act="hard_sigmoid")
        return self._add("Mul", [x, y], channels)

    def deconv2(self, x: str, out_c: int, act: str) -> str:
        weights = self.rng.normal(0, 0.2, (self.channels[x], out_c, 2, 2)).astype(np.float32)
        bias = self.constant(np.zeros(out_c, np.float32))
        y = self._add(
            "ConvTranspose", [x, self.constant(weights), bias], out_c,
            kernel_shape=[2, 2], strides=[2, 2],
        )  # fmt: skip
        return self.act(y, act)

    def add(self, a: str, b: str, act: str = "") -> str:
        y = self._add("Add", [a, b], self.channels[a])
        return self.act(y, act) if act else y

    def concat(self, *parts: str) -> str:
        return self._add("Concat", parts, sum(self.channels[p] for p in parts), axis=1)

    def max_pool(self, x: str, kernel: int, stride: int) -> str:
        pads = [kernel // 2] * 4
        return self._add(
            "MaxPool", [x], self.channels[x],
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads,
        )  # fmt: skip

    def up(self, x: str, factor: int = 2) -> str:
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        return self._add(
            "Resize", [x, "", scales], self.channels[x],
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def head(self, x: str, classes: int) -> str:
        channels = self.channels[x]
        y = self._add("Flatten", [self._add("GlobalAveragePool", [x], channels)], channels)
        weights = self.rng.normal(0, np.sqrt(1 / channels), (classes, channels)).astype(np.float32)
        bias = np.zeros(classes, np.float32)
        return self._add(
            "Gemm", [y, self.constant(weights), self.constant(bias)], classes, transB=1
        )

    def model(self, name: str, *outputs: str) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, self.size, self.size))
        outs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, name, [x], outs, self.constants)
        opset = [helper.make_opsetid("", 13)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def mobilenet_v2() -> onnx.ModelProto:
    """MobileNetV2 1.0 at 224: 0.30 GMAC."""
    net = Net(224)
    x = net.conv("x", 32, 3, 2, act="relu6")
    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
              (6, 160, 3, 2), (6, 320, 1, 1)]  # fmt: skip
    for expand, out_c, count, first_stride in blocks:
        for i in range(count):
            stride, in_c = (first_stride if i == 0 else 1), net.channels[x]
            y = net.conv(x, in_c * expand, 1, act="relu6") if expand > 1 else x
            y = net.conv(y, in_c * expand, 3, stride, depthwise=True, act="relu6")
            y = net.conv(y, out_c, 1)
            x = net.add(x, y) if stride == 1 and in_c == out_c else y
    return net.model("mobilenet_v2", net.head(net.conv(x, 1280, 1, act="relu6"), 1000))


def resnet50() -> onnx.ModelProto:
    """ResNet-50 v1.5 at 224: 4.1 GMAC."""
    net = Net(224)
    x = net.max_pool(net.conv("x", 64, 7, 2, act="relu"), 3, 2)
    for width, count, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            stride = first_stride if i == 0 else 1
            y = net.conv(x, width, 1, act="relu")
            y = net.conv(y, width, 3, stride, act="relu")
            y = net.conv(y, width * 4, 1)
            x = net.add(net.conv(x, width * 4, 1, stride) if i == 0 else x, y, act="relu")
    return net.model("resnet50", net.head(x, 1000))


def yolov5s(act: str, size: int = 640, width: float = 1.0) -> onnx.ModelProto:
    """YOLOv5s with three sigmoid outputs, 8.2 GMAC at 640; ``width`` 0.5 is YOLOv5n."""
    net = Net(size)

    def conv(x: str, out_c: int, *args: int, **how: Any) -> str:
        return net.conv(x, out_c if out_c == 255 else int(out_c * width), *args, **how)

    def c3(x: str, out_c: int, count: int, shortcut: bool = True) -> str:
        a, b = conv(x, out_c // 2, 1, act=act), conv(x, out_c // 2, 1, act=act)
        for _ in range(count):
            y = conv(conv(a, out_c // 2, 1, act=act), out_c // 2, 3, act=act)
            a = net.add(a, y) if shortcut else y
        return conv(net.concat(a, b), out_c, 1, act=act)

    x = conv("x", 32, 6, 2, pad=2, act=act)
    x = c3(conv(x, 64, 3, 2, act=act), 64, 1)
    p3 = c3(conv(x, 128, 3, 2, act=act), 128, 2)
    p4 = c3(conv(p3, 256, 3, 2, act=act), 256, 3)
    x = c3(conv(p4, 512, 3, 2, act=act), 512, 1)
    x = conv(x, 256, 1, act=act)
    pools = [x]
    for _ in range(3):
        pools.append(net.max_pool(pools[-1], 5, 1))
    p5 = conv(conv(net.concat(*pools), 512, 1, act=act), 256, 1, act=act)
    n4 = conv(c3(net.concat(net.up(p5), p4), 256, 1, False), 128, 1, act=act)
    out3 = c3(net.concat(net.up(n4), p3), 128, 1, False)
    out4 = c3(net.concat(conv(out3, 128, 3, 2, act=act), n4), 256, 1, False)
    out5 = c3(net.concat(conv(out4, 256, 3, 2, act=act), p5), 512, 1, False)
    heads = [net.act(conv(out, 255, 1), "sigmoid") for out in (out3, out4, out5)]
    return net.model(f"yolov5s_{act}", *heads)


def ppocr_det() -> onnx.ModelProto:
    """PP-OCRv4 text detection (mobile) at 480: its layers, 1.2 GMAC."""
    net = Net(480)

    def block(x: str, out_c: int, kernel: int, stride: int = 1, reduced: int = 0) -> str:
        def act(y: str) -> str:  # with the learned scale and offset behind it
            return net.scalar("Add", net.scalar("Mul", net.act(y, "hard_swish"), 1.1), 0.1)

        y = net.conv(x, net.channels[x], kernel, stride, depthwise=True)
        y = y if stride > 1 else act(y)
        y = net.squeeze_excite(y, reduced) if reduced else y
        return act(net.conv(y, out_c, 1))

    def residual(x: str, out_c: int, kernel: int) -> str:
        y = net.conv(x, out_c, kernel)
        return net.add(y, net.squeeze_excite(y, out_c // 4))

    x = block(net.conv("x", 16, 3, 2), 32, 3)
    c2 = block(block(x, 48, 3, 2), 48, 3)
    c3 = block(block(c2, 96, 3, 2), 96, 3)
    c4 = block(c3, 192, 3, 2)
    for _ in range(4):
        c4 = block(c4, 192, 5)
    c5 = block(block(c4, 384, 5, 2, reduced=48), 384, 5, reduced=96)
    c5 = block(block(c5, 384, 5), 384, 5)
    narrow = [net.conv(c, n, 1) for c, n in ((c2, 12), (c3, 18), (c4, 42), (c5, 360))]
    maps = [residual(c, 96, 1) for c in narrow]
    for i in (2, 1, 0):
        maps[i] = net.add(maps[i], net.up(maps[i + 1]))
    maps = [residual(m, 24, 3) for m in maps]
    joined = net.concat(*(net.up(m, 2**i) if i else m for i, m in reversed([*enumerate(maps)])))
    y = net.conv(joined, 24, 3, act="relu")
    return net.model("ppocr_det", net.deconv2(net.deconv2(y, 24, "relu"), 1, "sigmoid"))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet50": resnet50,
    "yolov5s_relu": lambda: yolov5s("relu"),
    "yolov5s_silu": lambda: yolov5s("silu"),
    "ppocr_det": ppocr_det,
}
