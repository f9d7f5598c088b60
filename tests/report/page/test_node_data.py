"""Colours for AI Edge Model Explorer."""

import dataclasses
import json

import pytest

import npusim
from npusim.errors import ConfigError
from npusim.report.page.node_data import node_data, write_node_data


@pytest.fixture
def data():
    rows = [
        {"origin": ["conv", "relu"], "alone_sqnr_db": 40.0, "entire_sqnr_db": 30.0, "time_us": 5.0},
        {"origin": ["pool"], "alone_sqnr_db": None, "entire_sqnr_db": None, "time_us": 2.0},
    ]
    return {"layers": [row | {"engine": "NN", "format": "u8", "outputs": []} for row in rows]}


def test_every_source_node_has_its_layers_values(data):
    lanes = node_data(data)
    assert lanes["time"]["results"] == {
        "conv": {"value": 5.0},
        "relu": {"value": 5.0},
        "pool": {"value": 2.0},
    }
    assert set(lanes["error-alone"]["results"]) == {"conv", "relu"}
    assert lanes["engine"]["results"]["pool"]["value"] == "NN"
    assert [stop["stop"] for stop in lanes["time"]["gradient"]] == [0.0, 0.5, 1.0]


def test_a_file_for_each_lane(data, tmp_path):
    written = write_node_data(data, tmp_path / "x.json")
    assert [path.name for path in written] == [
        f"x-{word}.json" for word in ("error-alone", "error-entire", "time", "engine", "format")
    ]
    assert json.loads(written[2].read_text())["name"] == "time (us)"
    with pytest.raises(ConfigError, match="cannot be written"):
        write_node_data(data, tmp_path / "absent" / "x.json")
    with pytest.raises(ConfigError, match="source nodes"):
        write_node_data({"layers": []}, tmp_path / "y.json")


SKIPPED = "ai-edge-model-explorer is not installed: that it takes the node data was not tested"


def test_the_real_package_finds_every_node(tmp_path):
    adapters = pytest.importorskip(
        "model_explorer.builtin_tflite_flatbuffer_adapter", reason=SKIPPED
    )
    from tests.importers.tflite_build import Model

    model = Model()
    main = model.function()
    tensors = [main.tensor(name, (1, 8, 8, 4), "float32") for name in ("x", "a", "b", "y")]
    for i, kind in enumerate(("LOGISTIC", "TANH", "LOGISTIC")):
        main.op(kind, [tensors[i]], [tensors[i + 1]])
    main.proto.inputs, main.proto.outputs = tensors[:1], tensors[3:]
    path = model.save(tmp_path / "m.tflite")
    found = adapters.BuiltinTfliteFlatbufferAdapter().convert(str(path), {})
    (graph,) = found["graphCollections"][0].graphs
    names = [
        {node["id"]}
        | {pair["value"] for out in node.get("outputsMetadata", ()) for pair in out["attrs"]}
        for node in graph["nodes"]
        if node["label"] in ("logistic", "tanh")
    ]
    assert len(names) == 3
    made = npusim.report(npusim.load_model(path))
    values = node_data(made.data)["time"]["results"]
    assert all(keys & set(values) for keys in names)


def test_the_real_package_takes_them(data):
    builder = pytest.importorskip("model_explorer.node_data_builder", reason=SKIPPED)
    for lane in node_data(data).values():
        names = {field.name for field in dataclasses.fields(builder.GraphNodeData)}
        assert set(lane) <= names
        results = {k: builder.NodeDataResult(**v) for k, v in lane["results"].items()}
        stops = [builder.GradientItem(**stop) for stop in lane.get("gradient", [])]
        built = builder.GraphNodeData(results=results, name=lane["name"], gradient=stops)
        again = json.loads(built.to_json_string())
        assert {k: v for k, v in again.items() if k in lane} == lane
