#!/usr/bin/env bash
# OpenCV's Caffe reader passes over two settings without a word: `k` of LRN, `dilation` of Deconvolution.
#
# Versions: opencv-python-headless 4.14.0.94, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: LRN divides by (k + alpha / size * sum of squares) ** beta, with the file's k; a
# deconvolution of a 2x2 kernel with dilation 2 spreads one pixel over the corners of 3x3.
# Seen: any k gives what k = 1 gives; any dilation gives the 2x2 result of dilation 1, so the map
# is smaller than the file says. Neither is refused or warned of, though both are fields of
# Caffe's own description that the reader parses.
#
# Output:
#   LRN k=1: off by 0.00 from the file's k, by 0.00 from k=1
#   LRN k=2: off by 0.23 from the file's k, by 0.00 from k=1
#   LRN k=10: off by 0.59 from the file's k, by 0.00 from k=1
#   Deconvolution dilation=1: 2x2, values [[1. 2.] [3. 4.]]
#   Deconvolution dilation=2: 2x2, values [[1. 2.] [3. 4.]]
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q opencv-python-headless==4.14.0.94 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import struct
from pathlib import Path

import cv2
import numpy as np


def field(number, content):
    assert len(content) < 128  # one byte of length
    head = number << 3 | 2
    key = bytes([head]) if head < 128 else bytes([head & 127 | 128, head >> 7])
    return key + bytes([len(content)]) + content


def weights(*shape):
    """A caffemodel with the blob 1, 2, 3, .. of the layer y."""
    values = np.arange(1, np.prod(shape) + 1)
    numbers = field(5, struct.pack(f"<{values.size}f", *values))
    blob = numbers + field(7, field(1, bytes(shape)))
    return field(100, field(1, b"y") + field(2, b"Deconvolution") + field(7, blob))


def run(layer, x, model=b""):
    sizes = " ".join(f"dim: {size}" for size in x.shape)
    text = f'input: "x" input_shape {{ {sizes} }} layer {{ name: "y" bottom: "x" top: "y" {layer} }}'
    Path("net.prototxt").write_text(text)
    Path("net.caffemodel").write_bytes(model)
    net = cv2.dnn.readNetFromCaffe("net.prototxt", *(["net.caffemodel"] if model else []))
    net.setInput(x)
    return net.forward()


def normed(x, k, size=3, alpha=0.9, beta=0.75):
    squares = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return x / (k + alpha / size * (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:])) ** beta


x = np.random.default_rng(0).uniform(1, 2, (1, 4, 2, 2)).astype(np.float32)
for k in (1, 2, 10):
    got = run(f'type: "LRN" lrn_param {{ local_size: 3 alpha: 0.9 beta: 0.75 k: {k} }}', x)
    file, one = (float(np.abs(got - normed(x, value)).max()) for value in (k, 1))
    print(f"LRN k={k}: off by {file:.2f} from the file's k, by {one:.2f} from k=1")
    assert one < 1e-5 and (file < 1e-5) == (k == 1)

pixel = np.ones((1, 1, 1, 1), np.float32)
for dilation in (1, 2):
    setting = f"num_output: 1 kernel_size: 2 dilation: {dilation} bias_term: false"
    got = run(
        f'type: "Deconvolution" convolution_param {{ {setting} }}', pixel, weights(1, 1, 2, 2)
    )[0, 0]
    values = str(got).replace("\n", "")
    print(f"Deconvolution dilation={dilation}: {'x'.join(map(str, got.shape))}, values {values}")
    assert got.tolist() == [[1, 2], [3, 4]]
PY
