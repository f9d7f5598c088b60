"""Compare random Caffe and Darknet networks with OpenCV's dnn module; writes nothing.

    python -m pip install npusim[opencv]
    python tools/random_opencv.py --framework caffe --count 300 [--seed 0]
    python tools/random_opencv.py --framework darknet --count 300

Chains of three to six layers with branches. Each is computed by npusim's float evaluator (within
1e-4 of the largest result) and in float16 (within 2e-2). What OpenCV is known to compute in its own
way (LRN, MVN, prior boxes; Darknet's softmax over a map, scaled upsampling, connected layers with
statistics; dilation of Caffe's Deconvolution, which it ignores) is not made.
"""

import argparse
import logging
import random
import struct
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2

import npusim
from npusim.errors import NpusimError
from npusim.importers.caffe.importer import load_caffe
from npusim.importers.darknet.importer import load_darknet
from npusim.importers.darknet.net import FORK
from npusim.importers.darknet.weights_file import Numbers
from npusim.reference.evaluate import evaluate
from npusim.reference.opencv import reads_beside
from tests.importers.caffe_build import input_layer, weights
from tools.record_darknet import section

Array = NDArray[Any]
FLOAT_TOLERANCE, F16_TOLERANCE = 1e-4, 2e-2
PROGRAM = FORK  # OpenCV follows its groups of routes
ANGLED, SMOOTH = ["linear", "relu", "leaky"], ["logistic", "tanh", "swish", "mish"]
ACTIVATIONS = [*ANGLED, *SMOOTH]


class _Notes(logging.Handler):
    """Keeps what npusim says about the chip's driver instead of showing it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


_NOTES = _Notes()


class CaffeNet:
    """A network being written: text, blobs, and the shape of every tensor."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.rng, self.folder = rng, folder
        self.numbers = np.random.default_rng(rng.randrange(1 << 30))
        shape = (1, rng.choice([2, 3, 4, 8]), rng.randint(5, 11), rng.randint(5, 11))
        self.text = input_layer("x", shape)
        self.shapes: dict[str, tuple[int, ...]] = {"x": shape}
        self.blobs: dict[str, list[Array]] = {}
        self.last = "x"

    def add(self, kind: str, bottoms: list[str], more: str = "", *blobs: Array) -> str:
        """Append a layer and return its top; its shape is npusim's."""
        name = f"n{len(self.shapes)}"
        ends = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.text += f'layer {{ name: "{name}" type: "{kind}" {ends} top: "{name}" {more} }}\n'
        if blobs:
            self.blobs[name] = list(blobs)
        path = self.folder / "net.prototxt"
        path.write_text(self.text)
        graph = load_caffe(path, False, outputs=[name])
        self.shapes[name] = tuple(graph.spec(graph.outputs[0]).shape)
        self.last = name
        return name

    def uniform(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Array:
        """Return numbers for a blob."""
        return self.numbers.uniform(low, high, shape).astype(np.float32)

    def one(self, *words: str) -> str:
        """Return one of several words."""
        return self.rng.choice(words)


def _pair(net: CaffeNet, name: str, low: int, high: int) -> str:
    first, second = net.rng.randint(low, high), net.rng.randint(low, high)
    short = name.removesuffix("_size")
    if net.rng.random() < 0.4:
        return f"{short}_h: {first} {short}_w: {second}"
    return f"{name}: {first}"


def _convolution(net: CaffeNet, kind: str = "Convolution") -> None:
    _, channels, height, width = net.shapes[net.last]
    rng = net.rng
    group = rng.choice([n for n in (1, 1, 2, channels) if channels % n == 0])
    filters = group * rng.randint(1, 3)
    k, dilation = rng.randint(1, 3), rng.choice([1, 1, 2])
    dilation = dilation if kind == "Convolution" and (k - 1) * dilation < min(height, width) else 1
    bias = rng.random() < 0.7
    more = (
        f"convolution_param {{ num_output: {filters} kernel_size: {k} group: {group} "
        f"{_pair(net, 'stride', 1, 2)} {_pair(net, 'pad', 0, k // 2)} dilation: {dilation} "
        f"bias_term: {str(bias).lower()} }}"
    )
    sizes = (filters, channels // group)
    if kind == "Deconvolution":
        sizes = (channels, filters // group)
    scale = np.float32(2 / np.sqrt(channels // group * k * k))
    blobs = [net.uniform(*sizes, k, k) * scale]
    blobs += [net.uniform(filters)] if bias else []
    net.add(kind, [net.last], more, *blobs)


def _pool(net: CaffeNet) -> None:
    _, _, height, width = net.shapes[net.last]
    kind = net.one("MAX", "AVE")
    if net.rng.random() < 0.2:
        net.add("Pooling", [net.last], f"pooling_param {{ pool: {kind} global_pooling: true }}")
        return
    k = net.rng.randint(1, min(4, height, width))
    more = (
        f"kernel_size: {k} stride: {net.rng.randint(1, k)} pad: {net.rng.randint(0, (k - 1) // 2)}"
    )
    more += net.one("", "", " ceil_mode: false")
    net.add("Pooling", [net.last], f"pooling_param {{ pool: {kind} {more} }}")


def _batch_norm(net: CaffeNet) -> None:
    c = net.shapes[net.last][1]
    factor = net.rng.choice([1.0, 2.0, 0.5])
    blobs = (net.uniform(c), net.uniform(c, low=0.25, high=2.0), np.array([factor], np.float32))
    net.add("BatchNorm", [net.last], net.one("", "batch_norm_param { eps: 0.001 }"), *blobs)
    _scale(net)


def _scale(net: CaffeNet) -> None:
    c, bias = net.shapes[net.last][1], net.rng.random() < 0.7
    blobs = [net.uniform(c)] + ([net.uniform(c)] if bias else [])
    net.add("Scale", [net.last], f"scale_param {{ bias_term: {str(bias).lower()} }}", *blobs)


def _prelu(net: CaffeNet) -> None:
    shared = net.rng.random() < 0.3
    count = 1 if shared else net.shapes[net.last][1]
    more = f"prelu_param {{ channel_shared: {str(shared).lower()} }}"
    net.add("PReLU", [net.last], more, net.uniform(count))


def _function(net: CaffeNet) -> None:
    chosen = net.rng.choice(
        [
            ("ReLU", net.one("", "relu_param { negative_slope: 0.1 }")),
            ("ELU", net.one("", "elu_param { alpha: 0.5 }")),
            ("Sigmoid", ""),
            ("TanH", ""),
            ("AbsVal", ""),
            ("BNLL", ""),
            ("ReLU6", ""),
            ("Dropout", ""),
            ("Power", "power_param { power: 2 scale: 0.5 shift: 1 }"),
            ("Power", "power_param { scale: -1.5 shift: 0.25 }"),
            ("Exp", net.one("", "exp_param { base: 2 scale: 0.5 shift: 0.1 }")),
        ]
    )
    net.add(chosen[0], [net.last], chosen[1])


def _eltwise(net: CaffeNet) -> None:
    source = net.last
    _convolution_same(net)
    several = [net.last, source]
    net.rng.shuffle(several)
    operation = net.one("SUM", "PROD", "MAX", "SUM coeff: 0.5 coeff: -2")
    net.add("Eltwise", several, f"eltwise_param {{ operation: {operation} }}")


def _convolution_same(net: CaffeNet) -> None:
    c = net.shapes[net.last][1]
    more = f"convolution_param {{ num_output: {c} kernel_size: 3 pad: 1 }}"
    blobs = (net.uniform(c, c, 3, 3) * np.float32(2 / np.sqrt(9 * c)), net.uniform(c))
    net.add("Convolution", [net.last], more, *blobs)


def _concat(net: CaffeNet) -> None:
    source = net.last
    _convolution_same(net)
    axis = net.rng.choice([1, 1, 2, 3])
    net.add("Concat", [source, net.last], f"concat_param {{ axis: {axis} }}")


def _slice(net: CaffeNet) -> None:
    source, shape = net.last, net.shapes[net.last]
    axis = net.rng.choice([a for a in (1, 2, 3) if shape[a] > 1] or [0])
    if axis == 0:
        return
    point = net.rng.randint(1, shape[axis] - 1)
    name, other = f"n{len(net.shapes)}", f"n{len(net.shapes)}b"
    more = f"slice_param {{ axis: {axis} slice_point: {point} }}"
    net.text += (
        f'layer {{ name: "{name}" type: "Slice" bottom: "{source}" top: "{name}" '
        f'top: "{other}" {more} }}\n'
    )
    for top, size in ((name, point), (other, shape[axis] - point)):
        net.shapes[top] = (*shape[:axis], size, *shape[axis + 1 :])
    net.add("Concat", [other, name], f"concat_param {{ axis: {axis} }}")


def _permute(net: CaffeNet) -> None:
    order = [1, 2, 3]
    net.rng.shuffle(order)
    words = " ".join(f"order: {n}" for n in (0, *order))
    net.add("Permute", [net.last], f"permute_param {{ {words} }}")


def _shuffle(net: CaffeNet) -> None:
    c = net.shapes[net.last][1]
    group = net.rng.choice([n for n in range(1, c + 1) if c % n == 0])
    net.add("ShuffleChannel", [net.last], f"shuffle_channel_param {{ group: {group} }}")


def _crop(net: CaffeNet) -> None:
    source, (_, _, height, width) = net.last, net.shapes[net.last]
    if min(height, width) < 3:
        return
    small = net.add("Pooling", [source], "pooling_param { kernel_size: 2 stride: 2 }")
    most = min(n - m for n, m in zip((height, width), net.shapes[small][2:], strict=True))
    offset = net.rng.randint(0, most)
    net.add("Crop", [source, small], f"crop_param {{ axis: 2 offset: {offset} }}")


def _reshape(net: CaffeNet) -> None:
    shape = net.shapes[net.last]
    words = net.one(
        "dim: 0 dim: -1 dim: 1 dim: 1", f"dim: 0 dim: {shape[2]} dim: -1 dim: {shape[3]}"
    )
    net.add("Reshape", [net.last], f"reshape_param {{ shape {{ {words} }} }}")


def _normalize(net: CaffeNet) -> None:
    spatial = net.rng.random() < 0.5
    shared = net.rng.random() < 0.5
    more = (
        f"norm_param {{ across_spatial: {str(spatial).lower()} "
        f"channel_shared: {str(shared).lower()} }}"
    )
    net.add("Sigmoid", [net.last])
    count = 1 if shared else net.shapes[net.last][1]
    net.add("Normalize", [net.last], more, net.uniform(count, low=0.5, high=3.0))


def _end(net: CaffeNet) -> None:
    shape, kind = net.shapes[net.last], net.one("InnerProduct", "Softmax", "Flatten")
    if kind == "InnerProduct":
        inner, units = int(np.prod(shape[1:])), net.rng.randint(1, 5)
        blobs = (net.uniform(units, inner) * np.float32(2 / np.sqrt(inner)), net.uniform(units))
        net.add(kind, [net.last], f"inner_product_param {{ num_output: {units} }}", *blobs)
    elif kind == "Softmax":
        net.add(kind, [net.last], net.one("", "softmax_param { axis: 2 }"))
    else:
        net.add(kind, [net.last], net.one("", "flatten_param { axis: 2 }"))


CAFFE: dict[str, Callable[[CaffeNet], None]] = {
    "convolution": _convolution,
    "deconvolution": lambda net: _convolution(net, "Deconvolution"),
    "pooling": _pool,
    "batch norm": _batch_norm,
    "scale": _scale,
    "prelu": _prelu,
    "function": _function,
    "eltwise": _eltwise,
    "concat": _concat,
    "slice": _slice,
    "permute": _permute,
    "shuffle": _shuffle,
    "crop": _crop,
    "reshape": _reshape,
    "normalize": _normalize,
}


def caffe(rng: random.Random, folder: Path) -> tuple[Path, Path, list[str]]:
    """Write a random Caffe network; return its files and kinds of layers."""
    net = CaffeNet(rng, folder)
    _convolution_same(net)
    kinds = [rng.choice(list(CAFFE)) for _ in range(rng.randint(2, 5))]
    for kind in kinds:
        CAFFE[kind](net)
    if rng.random() < 0.3:
        _end(net)
        kinds.append("end")
    (folder / "net.prototxt").write_text(net.text)
    (folder / "net.caffemodel").write_bytes(weights(net.blobs))
    return folder / "net.prototxt", folder / "net.caffemodel", kinds


def _darknet_convolution(rng: random.Random, **options: Any) -> str:
    size = rng.choice([1, 3, 3, 5])
    chosen = {
        "batch_normalize": rng.randint(0, 1),
        "filters": rng.choice([2, 4, 4, 8]),
        "size": size,
        "stride": 1 if size == 1 else rng.choice([1, 1, 2]),
        "pad": 1,
        "activation": rng.choice(ACTIVATIONS),
    }
    return section("convolutional", **{**chosen, **options})


def darknet_weights(cfg: Path, rng: random.Random) -> bytes:
    """Return a weights file with the numbers that a network asks for, of moderate size."""
    made: list[Array] = []
    original = Numbers.take

    def take(self: Numbers, shape: tuple[int, ...], what: str, where: str, *, fill: float) -> Array:
        seeded = original(self, shape, what, where, fill=fill)
        numbers = np.random.default_rng(rng.randrange(1 << 30))
        if fill != fill:
            made.append(seeded * np.float32(1.5))
        elif "variance" in what:  # epsilon differs from program to program and must not show
            made.append(numbers.uniform(2, 6, shape))
        else:
            made.append(fill + numbers.uniform(-0.5, 0.5, shape))
        return seeded

    with mock.patch.object(Numbers, "take", take):
        load_darknet(cfg, False, program=PROGRAM)
    content = [np.asarray(values, "<f4").tobytes() for values in made]
    return struct.pack("<iiiq", 0, 2, 0, 0) + b"".join(content)


def darknet(rng: random.Random, folder: Path) -> tuple[Path, Path, list[str]]:
    """Write a random Darknet network; return its files and kinds of layers."""
    same = {"filters": 4, "stride": 1, "size": 3, "groups": 1}
    word = rng.choice(ACTIVATIONS)
    makers: dict[str, Callable[[], str]] = {
        "convolutional": lambda: _darknet_convolution(rng),
        "grouped": lambda: _darknet_convolution(rng, filters=4, groups=rng.choice([2, 4])),
        "maxpool": lambda: section(
            "maxpool", size=rng.choice([2, 3, 5]), stride=rng.choice([1, 2])
        ),
        "padded maxpool": lambda: section("maxpool", size=3, stride=2, padding=rng.choice([0, 2])),
        "upsample": lambda: section("upsample", stride=2),
        "shortcut": lambda: (
            _darknet_convolution(rng, **same)
            + _darknet_convolution(rng, **same)
            + section("shortcut", **{"from": -2}, activation=word)
        ),
        "route": lambda: (
            _darknet_convolution(rng, **same)
            + _darknet_convolution(rng, **same)
            + section("route", layers="-1,-2")
        ),
        "route of a group": lambda: (
            _darknet_convolution(rng, **same)
            + section("route", layers="-1", groups=2, group_id=rng.randint(0, 1))
        ),
        "reorg": lambda: _darknet_convolution(rng, **same) + section("reorg", stride=2),
        "dropout": lambda: section("dropout", probability=0.5),
        "scale_channels": lambda: (
            _darknet_convolution(rng, **same)
            + section("avgpool")
            + _darknet_convolution(rng, filters=4, size=1, stride=1)
            + section("scale_channels", **{"from": -3}, activation="linear")
        ),
        "sam": lambda: (
            _darknet_convolution(rng, **same)
            + _darknet_convolution(rng, **same)
            + section("sam", **{"from": -2}, activation="linear")
        ),
    }
    kinds = [rng.choice(list(makers)) for _ in range(rng.randint(2, 4))]
    ends = {
        "avgpool": lambda: section("avgpool"),
        "connected": lambda: section("connected", output=3, activation=word),
        "classifier": lambda: section("avgpool") + section("softmax"),
    }
    size = [8 * rng.randint(1, 3) for _ in range(2)]
    text = section("net", channels=rng.choice([1, 3, 4]), height=size[0], width=size[1])
    text += _darknet_convolution(rng, filters=4, stride=1)
    text += "".join(makers[kind]() for kind in kinds)
    if rng.random() < 0.3:
        kinds.append(rng.choice(list(ends)))
        text += ends[kinds[-1]]()
    cfg = folder / "net.cfg"
    cfg.write_text(text)
    cfg.with_suffix(".weights").write_bytes(darknet_weights(cfg, rng))
    return cfg, cfg.with_suffix(".weights"), kinds


def _difference(found: Array, wanted: Array) -> float:
    """Return the largest difference over the largest wanted number (1 at least)."""
    if found.size != wanted.size or not np.isfinite(found).all():
        return float("inf")
    apart = np.abs(found.reshape(-1).astype(np.float64) - wanted.reshape(-1))
    return float(apart.max() / max(1.0, float(np.abs(wanted).max())))


def compare(framework: str, rng: random.Random, folder: Path) -> tuple[str, str]:
    """Return what came out of one network ("agrees", ..) and what is to say of it."""
    network, stored, kinds = (caffe if framework == "caffe" else darknet)(rng, folder)
    label = " ".join(kinds)
    graph = (
        load_caffe(network, stored)
        if framework == "caffe"
        else load_darknet(network, stored, program=PROGRAM)
    )
    shape = graph.spec(graph.inputs[0]).shape
    x = np.random.default_rng(rng.randrange(1 << 30)).uniform(-1, 1, shape).astype(np.float32)
    read = cv2.dnn.readNetFromCaffe if framework == "caffe" else cv2.dnn.readNetFromDarknet
    if any(reads_beside(node, graph) for node in graph.nodes):
        return "OpenCV reads beside the map", label
    try:
        net = read(str(network), str(stored))
        net.enableFusion(False)
        net.setInput(x)
        theirs = np.asarray(net.forward())
    except cv2.error as error:
        return "OpenCV refuses", f"{label}: {str(error).splitlines()[0][-120:]}"
    if not np.isfinite(theirs).all():
        return "OpenCV gives no numbers", label
    ours = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    if (apart := _difference(ours, theirs)) > FLOAT_TOLERANCE:
        return "float differs", f"{label}: {apart:.2g}, {ours.shape} and {theirs.shape}"
    _NOTES.lines.clear()
    program = npusim.compile(npusim.quantize(graph, scheme="f16"))
    (half,) = program.run({graph.inputs[0]: x}).values()
    if (apart := _difference(half, theirs)) > F16_TOLERANCE:
        if any("and so does npusim" in line for line in _NOTES.lines):
            return "agrees in float, not as the chip computes it", label
        return "float16 differs", f"{label}: {apart:.2g}"
    return "agrees", label


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=["caffe", "darknet"], required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the networks that differ")
    options = parser.parse_args()
    logging.getLogger("npusim").addHandler(_NOTES)
    logging.getLogger("npusim").propagate = False
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.count):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            try:
                verdict, text = compare(options.framework, random.Random(seed), folder)
            except NpusimError as error:
                verdict, text = "npusim refuses", str(error)
            counts[verdict] += 1
            if verdict != "agrees":
                print(f"{seed}: {verdict}: {text}", flush=True)
                if options.keep:
                    target = options.keep / str(seed)
                    target.mkdir(parents=True, exist_ok=True)
                    for file in folder.iterdir():
                        (target / file.name).write_bytes(file.read_bytes())
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return int(any("differs" in verdict for verdict in counts))


if __name__ == "__main__":
    sys.exit(main())
