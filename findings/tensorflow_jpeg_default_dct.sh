#!/usr/bin/env bash
# TensorFlow decodes JPEG files with the fast integer DCT unless told otherwise.
#
# Versions: tensorflow-cpu 2.21.0, pillow 12.0.0, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: tf.io.decode_jpeg(data) has libjpeg's ordinary accurate DCT, as Pillow has, since its
# dct_method is documented as "a hint" whose default is "system-specific".
# Seen: it equals dct_method="INTEGER_FAST" byte for byte, and Pillow equals "INTEGER_ACCURATE".
# On a smooth 96x64 picture of quality 75 two bytes of three differ, so a network that is calibrated
# from JPEG files gets other ranges with another decoder.
#
# Output:
#   default == INTEGER_FAST: True
#   Pillow == INTEGER_ACCURATE: True
#   bytes that differ between TensorFlow's default and Pillow: 64%, by up to 4
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tensorflow-cpu==2.21.0 pillow==12.0.0 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" - "$work/picture.jpg" <<'PY'
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

path = sys.argv[1]
y, x = np.mgrid[0:64, 0:96]
waves = [127 + 120 * np.sin(x / a + y / b) for a, b in ((5, 9), (11, 4), (7, 7))]
Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(path, quality=75)
data = open(path, "rb").read()
plain, fast, accurate = (
    tf.io.decode_jpeg(data, channels=3, dct_method=method).numpy()
    for method in ("", "INTEGER_FAST", "INTEGER_ACCURATE")
)
pillow = np.asarray(Image.open(path).convert("RGB"))
share = (plain != pillow).mean()
print("default == INTEGER_FAST:", np.array_equal(plain, fast))
print("Pillow == INTEGER_ACCURATE:", np.array_equal(pillow, accurate))
print(f"bytes that differ between TensorFlow's default and Pillow: {share:.0%}, "
      f"by up to {np.abs(plain.astype(int) - pillow).max()}")
assert np.array_equal(plain, fast) and np.array_equal(pillow, accurate) and share > 0.4
PY
