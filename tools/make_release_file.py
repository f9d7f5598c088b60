"""Keep a file that this release stores: every later release must load it and compute the same.

``python tools/make_release_file.py`` writes ``VERSION.npusim`` into tests/ir/releases: a small
network in u8 with its preprocessing, and ``VERSION.json``: what it gives for a fixed input. A file
that is there stays: what a release has stored does not change afterwards.
"""

import json
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run in a bare checkout too

import numpy as np
from chaos_commands import make_inputs

import npusim
from npusim.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "ir" / "releases"


def picture(shape: tuple[int, ...]) -> np.ndarray:
    """Return the fixed input: no generator of random numbers is trusted for ever."""
    return (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)


def main() -> None:
    """Write both files of this version."""
    path = FOLDER / f"{npusim.__version__}.npusim"
    if path.exists():
        raise ConfigError("this release has its file", where=str(path), remedy="leave it as it is")
    # inside of it: the file keeps the model's path, which is none of this machine's then
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        make_inputs(Path())
        graph = npusim.load_model("net.onnx", mean=127.5, std=127.5)
        made = npusim.quantize(graph, "list.txt", scheme="u8")
        npusim.save(made, path)
    (name,) = made.inputs
    found = npusim.compile(made).run({name: picture(made.spec(name).shape)})
    values = {output: [float(v) for v in value.reshape(-1)] for output, value in found.items()}
    path.with_suffix(".json").write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
