"""What a release has stored, this one loads and computes alike."""

import json
from pathlib import Path

import numpy as np
import pytest

import npusim

FOLDER = Path(__file__).parent / "releases"
FILES = sorted(FOLDER.glob("*.npusim"))


def test_every_release_has_its_file():
    text = (FOLDER.parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    told = {line.split()[1] for line in text.splitlines() if line.startswith("## ")}
    assert {path.stem for path in FILES} == told


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_a_release_loads_and_gives_the_same(path):
    graph = npusim.load_model(path)
    assert graph.source.path == Path(graph.source.path).name  # no folder of a machine
    (name,) = graph.inputs
    shape = graph.spec(name).shape
    pixels = (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    found = npusim.compile(graph).run({name: pixels})
    assert {k: [float(v) for v in value.reshape(-1)] for k, value in found.items()} == expected
