"""Networks of two files with numbers and lines changed: imported, or refused with a place."""

import random
import re
from pathlib import Path

import pytest

from npusim.conformance.importer_cases import read_cases
from npusim.errors import ModelImportError
from npusim.importers.caffe.importer import load_caffe
from npusim.importers.darknet.importer import load_darknet
from tests.importers.test_caffe_faq import DETECTION, HEAD

VALUES = (
    *("0", "-1", "1", "3", "7", "100", "65536", "1000000000"),
    *("-5", "0.5", "nan", "inf", "true", "1e30"),
)
NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*")
DARKNET = [
    case.files["net.cfg"].decode()
    for case in read_cases(Path(__file__).with_name("darknet_recorded.jsonl"))
]


def mutated(text, rng):
    for _ in range(rng.randint(1, 3)):
        numbers, kind = list(NUMBER.finditer(text)), rng.random()
        lines = text.split("\n")
        if numbers and kind < 0.7:
            found = rng.choice(numbers)
            text = text[: found.start()] + rng.choice(VALUES) + text[found.end() :]
        elif kind < 0.8:
            lines.pop(rng.randrange(len(lines)))
            text = "\n".join(lines)
        elif kind < 0.9:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
            text = "\n".join(lines)
        else:
            place = rng.randrange(len(text))
            text = text[:place] + text[place + rng.randint(1, 5) :]
    return text


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("framework", ["caffe", "darknet"])
def test_changed_networks_are_imported_or_refused(tmp_path, framework, seed):
    rng = random.Random(seed)
    name, load = {
        "caffe": ("net.prototxt", load_caffe),
        "darknet": ("net.cfg", load_darknet),
    }[framework]
    outcomes = {"imported": 0, "refused": 0}
    for _ in range(60):
        text = HEAD + DETECTION if framework == "caffe" else rng.choice(DARKNET)
        (tmp_path / name).write_text(mutated(text, rng))
        try:
            load(tmp_path / name, False)
            outcomes["imported"] += 1
        except ModelImportError as error:
            outcomes["refused"] += 1
            where = str(tmp_path / name)
            outcomes["without the file"] = outcomes.get("without the file", 0) + (
                where not in str(error)
            )
    assert outcomes["refused"] > 10
    assert outcomes["without the file"] == 0
