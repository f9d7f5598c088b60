"""Time and memory of loading large Caffe, Darknet and TensorFlow models, beside their frameworks.

    python benchmarks/bench_import.py [--megabytes 100] [--runs 5] [--other PYTHON]

OpenCV 4's dnn reads the Caffe and Darknet models, tensorflow parses and imports the frozen graph,
where ``--other`` (this Python, when it is left out) has them. Models of the size wanted are made in
a temporary folder. Every load runs in a process of its own, the programs in turns. Wall and
processor time are each program's best; on a busy machine only the latter says much. Memory is the
peak of the process above what it has after its imports, as a multiple of the weights file.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LOADS = {
    "npusim": "import npusim; from npusim.importers.caffe import importer; "
    "from npusim.importers.darknet import importer; from npusim.importers.tensorflow import "
    "importer; load = lambda n, w: npusim.load_model(n, weights=None if n == w else w)",
    "OpenCV": "import cv2; load = lambda n, w: (cv2.dnn.readNetFromCaffe "
    "if n.endswith('prototxt') else cv2.dnn.readNetFromDarknet)(n, w)",
    "tensorflow": """import tensorflow as tf
def load(network, weights):
    with tf.Graph().as_default():
        record = tf.compat.v1.GraphDef.FromString(open(network, "rb").read())
        tf.import_graph_def(record, name="")
""",
}
MODULES = {"OpenCV": "cv2", "tensorflow": "tensorflow"}
PROBE = r"""
import json, re, time
{imports}
def peak():
    return int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read()).group(1))
before = peak()
begin, used = time.perf_counter(), time.process_time()
net = load({network!r}, {weights!r})
wall, cpu = time.perf_counter() - begin, time.process_time() - used
print(json.dumps([wall, cpu, (peak() - before) * 1024]))
"""


def varint(value: int) -> bytes:
    """Return a protobuf variable-length number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def block(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def caffe_model(folder: Path, layers: int, channels: int) -> tuple[Path, Path]:
    """Write a chain of 3x3 convolutions."""
    rng = np.random.default_rng(0)
    text = [
        'layer { name: "x" type: "Input" top: "x" input_param { shape '
        f"{{ dim: 1 dim: {channels} dim: 16 dim: 16 }} }} }}"
    ]
    net = folder / "net.prototxt"
    with (folder / "net.caffemodel").open("wb") as file:
        for index in range(layers):
            bottom = f"c{index - 1}" if index else "x"
            text.append(
                f'layer {{ name: "c{index}" type: "Convolution" bottom: "{bottom}" '
                f'top: "c{index}" convolution_param {{ num_output: {channels} kernel_size: 3 '
                "pad: 1 bias_term: false } }"
            )
            data = rng.standard_normal(channels * channels * 9, np.float32).tobytes()
            dims = b"".join(map(varint, (channels, channels, 3, 3)))
            blob = block(7, block(1, dims)) + block(5, data)
            name = f"c{index}".encode()
            file.write(block(100, block(1, name) + block(2, b"Convolution") + block(7, blob)))
    net.write_text("\n".join(text))
    return net, folder / "net.caffemodel"


def darknet_model(folder: Path, layers: int, channels: int) -> tuple[Path, Path]:
    """Write a chain of 3x3 convolutions."""
    rng = np.random.default_rng(0)
    section = (
        f"[convolutional]\nfilters={channels}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
        "batch_normalize=1\n"
    )
    net = folder / "net.cfg"
    net.write_text(f"[net]\nchannels={channels}\nheight=16\nwidth=16\n" + section * layers)
    with (folder / "net.weights").open("wb") as file:
        file.write(struct.pack("<iiiq", 0, 2, 0, 0))
        for _ in range(layers):
            file.write(rng.uniform(0.5, 1, 4 * channels).astype("<f4").tobytes())
            file.write(rng.standard_normal(channels * channels * 9, np.float32).tobytes())
    return net, folder / "net.weights"


def tensorflow_model(folder: Path, layers: int, channels: int) -> tuple[Path, Path]:
    """Write a chain of 3x3 convolutions."""
    rng = np.random.default_rng(0)

    def attr(name: str, value: bytes) -> bytes:
        return block(5, block(1, name.encode()) + block(2, value))

    def shape(*sizes: int) -> bytes:
        return b"".join(block(2, b"\x08" + varint(size)) for size in sizes)

    def node(name: str, op: str, inputs: list[str], *attrs: bytes) -> bytes:
        words = [block(1, name.encode()), block(2, op.encode())]
        words += [block(3, word.encode()) for word in inputs]
        return block(1, b"".join([*words, *attrs]))

    real = b"\x30\x01"  # attribute value: type float32
    ones = block(1, block(3, b"\x01" * 4))  # a list of four integers
    path = folder / "net.pb"
    with path.open("wb") as file:
        size = block(7, shape(1, 16, 16, channels))
        file.write(node("x", "Placeholder", [], attr("dtype", real), attr("shape", size)))
        for index in range(layers):
            data = rng.standard_normal(channels * channels * 9, np.float32).tobytes()
            dims = block(2, shape(3, 3, channels, channels))
            tensor = block(8, b"\x08\x01" + dims + block(4, data))
            name, before = f"c{index}", f"c{index - 1}" if index else "x"
            file.write(node(f"w{index}", "Const", [], attr("dtype", real), attr("value", tensor)))
            same = attr("padding", block(2, b"SAME"))
            inputs = [before, f"w{index}"]
            file.write(node(name, "Conv2D", inputs, attr("T", real), attr("strides", ones), same))
    return path, path


def measure(python: str, program: str, network: Path, weights: Path) -> tuple[float, float, float]:
    """Return wall seconds, processor seconds and peak memory in bytes of one load."""
    code = PROBE.format(imports=LOADS[program], network=str(network), weights=str(weights))
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    wall, cpu, memory = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, memory


def has(python: str, program: str) -> bool:
    """Tell whether a Python has what a program needs."""
    code = f"import importlib.util as u; exit(u.find_spec({MODULES[program]!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--other", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args()
    channels = 512
    layers = max(1, options.megabytes * 1_000_000 // (channels * channels * 9 * 4))
    makers = {"OpenCV": (caffe_model, darknet_model), "tensorflow": (tensorflow_model,)}
    for other, make in ((o, m) for o, several in makers.items() for m in several):
        programs = {"npusim": sys.executable}
        if has(options.other, other):
            programs[other] = options.other
        with tempfile.TemporaryDirectory() as folder:
            network, weights = make(Path(folder), layers, channels)
            size = weights.stat().st_size
            found = [
                {name: measure(python, name, network, weights) for name, python in programs.items()}
                for _ in range(options.runs)
            ]
            for name in programs:
                wall, cpu = (min(run[name][i] for run in found) * 1e3 for i in (0, 1))
                memory = max(run[name][2] for run in found) / size
                print(
                    f"{weights.suffix:12} {size / 1e6:6.1f} MB  {name:10} {wall:7.1f} ms  "
                    f"processor {cpu:7.1f} ms  peak {memory:.2f} x file",
                    flush=True,
                )


if __name__ == "__main__":
    main()
