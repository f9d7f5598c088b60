"""Time and memory of loading large Caffe and Darknet models, beside OpenCV's dnn where it is there.

    python benchmarks/bench_import.py [--megabytes 100] [--other PYTHON]

Models of the size wanted are made in a temporary folder. Every load runs in a process of its own,
three times in turns; the best time counts. Memory is the peak of the process above what it has
after its imports, as a multiple of the weights file. ``--other`` is a Python with OpenCV 4.
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
    "from npusim.importers.darknet import importer; load = lambda n, w: "
    "npusim.load_model(n, weights=w)",
    "OpenCV": "import cv2; load = lambda n, w: (cv2.dnn.readNetFromCaffe "
    "if n.endswith('prototxt') else cv2.dnn.readNetFromDarknet)(n, w)",
}
PROBE = r"""
import json, re, time
{imports}
def peak():
    return int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read()).group(1))
before = peak()
begin = time.perf_counter()
net = load({network!r}, {weights!r})
print(json.dumps([time.perf_counter() - begin, peak() - before]))
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


def measure(python: str, program: str, network: Path, weights: Path) -> tuple[float, float]:
    """Return seconds and peak memory in bytes of one load."""
    code = PROBE.format(imports=LOADS[program], network=str(network), weights=str(weights))
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds, kilobytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, kilobytes * 1024.0


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--other", default="", metavar="PYTHON", help="a Python with OpenCV 4")
    options = parser.parse_args()
    channels = 512
    layers = max(1, options.megabytes * 1_000_000 // (channels * channels * 9 * 4))
    programs = {"npusim": sys.executable} | ({"OpenCV": options.other} if options.other else {})
    for make in (caffe_model, darknet_model):
        with tempfile.TemporaryDirectory() as folder:
            network, weights = make(Path(folder), layers, channels)
            size = weights.stat().st_size
            found = [
                {name: measure(python, name, network, weights) for name, python in programs.items()}
                for _ in range(3)
            ]
            for name in programs:
                seconds = min(run[name][0] for run in found)
                memory = max(run[name][1] for run in found) / size
                print(
                    f"{weights.suffix:12} {size / 1e6:6.1f} MB  {name:8} {seconds * 1e3:7.1f} ms  "
                    f"peak {memory:.2f} x file"
                )


if __name__ == "__main__":
    main()
