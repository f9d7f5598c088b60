"""Files with numbers, lines and bytes changed: imported, or refused with a place."""

import json
import random
import tracemalloc
from pathlib import Path

import pytest

import npusim
from npusim.conformance.importer_cases import read_cases
from npusim.conformance.importers import FRAMEWORKS
from npusim.errors import ModelImportError
from npusim.importers.caffe.context import converter
from npusim.importers.caffe.importer import load_caffe
from npusim.importers.mxnet.importer import load_mxnet
from tests.importers.mutations import changed
from tests.importers.mxnet_build import Net
from tests.importers.test_caffe_faq import DETECTION, HEAD

RECORDED = {"keras": "keras_recorded.jsonl.gz", "tflite": "loops_recorded.jsonl.gz"}


def recorded(framework):
    """Return (files, input shapes) of valid models."""
    if framework == "caffe":
        return [({"net.prototxt": (HEAD + DETECTION).encode()}, None)]
    name = RECORDED.get(framework, f"{framework}_recorded.jsonl")
    return [
        (dict(c.files), {n: v.shape for n, v in c.inputs.items()} if c.inputs else None)
        for c in read_cases(Path(__file__).with_name(name))
        if c.framework == framework and not c.error
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_changed_files_are_imported_or_refused(tmp_path, framework, seed):
    rng, how = random.Random(seed), FRAMEWORKS[framework]
    models = recorded(framework)
    refused = []
    for _ in range(30):
        files, shapes = rng.choice(models)
        name = rng.choice(sorted(files))
        files = files | {name: changed(name, files[name], rng)}
        for each, content in files.items():
            (tmp_path / each).write_bytes(content)
        ends = [end for end in how.suffixes if any(n.endswith(end) for n in files)]
        paths = [tmp_path / n for end in ends for n in files if n.endswith(end)]
        weights = paths[1] if len(paths) > 1 else False if len(how.suffixes) > 1 else None
        weights = None if framework == "keras" else weights
        try:
            npusim.load_model(
                paths[0], weights=weights, input_shapes=shapes if how.shapes else None
            )
        except ModelImportError as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert [line for line in refused if str(tmp_path) not in line] == []


def test_sizes_of_adaptive_pools_are_limited_before_they_are_used(tmp_path):
    net = Net()
    net.op("_contrib_AdaptiveAvgPooling2D", "u", net.var("data"), output_size=(10**9, 3))
    (tmp_path / "net-symbol.json").write_text(net.text())
    tracemalloc.start()
    with pytest.raises(ModelImportError, match=r"node 'u'|layer 'u'|'u'"):
        load_mxnet(tmp_path / "net-symbol.json", False, input_shapes={"data": (1, 2, 5, 7)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_scalar_operator_without_an_operand_is_named(tmp_path):
    net = Net()
    net.op("_mul_scalar", "m", net.var("data"), scalar=2)
    tree = json.loads(net.text())
    tree["nodes"][-1]["inputs"] = []
    (tmp_path / "net-symbol.json").write_text(json.dumps(tree))
    with pytest.raises(ModelImportError, match="'m'"):
        load_mxnet(tmp_path / "net-symbol.json", False, input_shapes={"data": (1, 2)})


def test_boxes_of_a_picture_without_a_width_are_refused(tmp_path):
    text = """
    layer { name: "a" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
    layer { name: "b" type: "Input" top: "y" input_param { shape { dim: 1 dim: 3 dim: 10 } } }
    layer { name: "l" type: "PriorBox" bottom: "x" bottom: "y" top: "z"
            prior_box_param { min_size: 4 } }
    """
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(ModelImportError, match="'l'"):
        load_caffe(tmp_path / "net.prototxt", False)


@pytest.mark.parametrize("error", [ValueError("of sizes"), KeyError("key"), ZeroDivisionError()])
def test_a_converter_that_trips_over_a_layer_names_it(tmp_path, monkeypatch, error):
    def trip(layer, context):
        raise error

    text = (
        'layer { name: "a" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        'layer { name: "odd" type: "ReLU" bottom: "x" top: "y" }\n'
    )
    (tmp_path / "net.prototxt").write_text(text)
    assert load_caffe(tmp_path / "net.prototxt", False).outputs == ("y",)
    monkeypatch.setitem(converter._table, "ReLU", trip)
    with pytest.raises(ModelImportError, match=rf"'odd'[\s\S]*{type(error).__name__}"):
        load_caffe(tmp_path / "net.prototxt", False)
