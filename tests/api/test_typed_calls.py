"""What the command line does is one public call: both give the same."""

import dataclasses
import json
import sys
from typing import Any

import numpy as np
import pytest

import npusim
from npusim import assets
from npusim.cli import main
from npusim.errors import ConfigError, DatasetError, InputError, QuantizationError
from npusim.evaluation.labelled import Item
from npusim.ir.graph import prune
from npusim.quantization.dataset import open_dataset
from npusim.words import FrontEnd, speaking


@pytest.fixture(scope="module")
def graph():
    """The bundled classifier with its preprocessing."""
    graph = npusim.load_model(assets.model_path(), input_shapes={"x": (1, 3, 48, 192)})
    how = npusim.Preprocess(mean=(127.5,) * 3, std=(127.5,) * 3, reorder=(2, 1, 0))
    return graph.copy(preprocess={"x": how})


@pytest.fixture(scope="module")
def u8(graph):
    return npusim.quantize(graph, assets.calibration_list())


@pytest.fixture
def printed(monkeypatch, capsys, tmp_path):
    """Return a function: arguments -> what the command prints with --json."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["npusim", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (None, 0, 1)
        return json.loads(capsys.readouterr().out)

    return call


def same_constants(one, other) -> bool:
    return one.constants.keys() == other.constants.keys() and all(
        np.array_equal(value, other.constants[name]) for name, value in one.constants.items()
    )


def test_save_and_load_give_the_graph_back_at_every_stage(graph, u8, tmp_path) -> None:
    for stage in map(prune, (graph, u8, npusim.compile(u8).graph)):
        again = npusim.load_model(npusim.save(stage, tmp_path / "m.npusim"))
        assert (again.nodes, again.tensors, again.preprocess) == (
            stage.nodes, stage.tensors, stage.preprocess,
        )  # fmt: skip
        assert same_constants(again, stage)
    assert [path.name for path in tmp_path.iterdir()] == ["m.npusim"]  # nothing half written


def test_read_input_is_what_a_list_would_give(graph, u8) -> None:
    _, listed = next(iter(open_dataset(assets.calibration_list(), graph)))
    path = assets.calibration_images()[0]
    for files in (path, [path], str(path)):
        found = npusim.read_input(u8, files)
        assert found["x"].dtype == np.float32
        assert np.array_equal(found["x"], listed["x"])
    with pytest.raises(DatasetError, match="2 files"):
        npusim.read_input(graph, [path, path])


def test_quantize_tells_how_far_it_is(graph) -> None:
    samples = list(open_dataset(assets.calibration_list(), graph, limit=2))
    seen: list[Any] = []
    told = {"bias_correction": True, "progress": lambda *step: seen.append(step)}
    npusim.quantize(graph, samples, algorithm="kl_divergence", **told)
    total = 3 * len(samples)  # two passes of the algorithm, one of the biases
    assert [(done, of) for done, of, _ in seen] == [(n + 1, total) for n in range(total)]
    assert [label for *_, label in seen] == [label for label, _ in samples] * 3
    seen.clear()
    npusim.quantize(graph, iter(samples), progress=lambda *step: seen.append(step))
    assert {of for _, of, _ in seen} == {0}


def test_choices_that_do_not_go_together_are_refused(graph, u8, tmp_path) -> None:
    samples = assets.calibration_list()
    for words, options in (
        ("-u8 needs calibration data", {"dataset": None}),
        (
            "-i16 needs calibration data",
            {"scheme": "f16", "dataset": None, "layers": {"*": "i16"}},
        ),
        ("nothing to calibrate", {"scheme": "f16", "equalize": "keep"}),
        ("nothing to calibrate", {"scheme": "f16", "write_cfg": tmp_path / "a.cfg"}),
        ("need calibration data", {"dataset": None, "cfg": "a.cfg", "bias_correction": True}),
        ("layers and a cfg", {"cfg": "a.cfg", "layers": {"Conv_1": "i16"}}),
        ("restrict", {"equalize": "all"}),
        ("int4", {"scheme": "int4"}),
        ("kl_divergence", {"algorithm": "best"}),
    ):
        with pytest.raises(ConfigError, match=words):
            npusim.quantize(graph, **({"dataset": samples} | options))
    with pytest.raises(QuantizationError, match="already quantized"):
        npusim.quantize(u8, samples)


def test_a_cfg_file_gives_the_ranges_and_formats_back(graph, u8, tmp_path) -> None:
    cfg = tmp_path / "a.cfg"
    written = npusim.quantize(graph, assets.calibration_list(), write_cfg=cfg)
    assert same_constants(written, u8)
    again = npusim.quantize(graph, cfg=cfg)
    assert again.tensors == u8.tensors
    assert same_constants(again, u8)


def test_estimate_takes_models_at_every_stage_and_files(graph, u8, printed, tmp_path) -> None:
    times = npusim.estimate(u8).to_dict()
    assert npusim.estimate(npusim.compile(u8)).to_dict() == times
    npusim.save(u8, tmp_path / "stored.npusim")
    stored = npusim.estimate(tmp_path / "stored.npusim").to_dict()
    assert stored == times | {"network": "stored"}
    shown = printed("perf", "stored.npusim", "--batch", 2, "--sram", "on", "--clock-mhz", 500)
    called = npusim.estimate(
        tmp_path / "stored.npusim", batch=2, sram=True, clock_mhz=500
    ).to_dict()
    assert {key: shown[key] for key in called if key != "layers"} | {
        "layers": called["layers"]
    } == called
    assert npusim.estimate(graph).batch == 1
    assert npusim.estimate(graph, scheme="f16").total_time_us > npusim.estimate(graph).total_time_us
    layers = npusim.estimate(assets.layer_list_path())
    shown = printed("perf", "demo-layers")
    assert layers.to_dict()["total_time_us"] == shown["total_time_us"]
    with pytest.raises(ConfigError, match="batch"):
        npusim.estimate(graph, batch=0)


def test_a_program_is_priced_in_another_format_as_its_graph_is(u8) -> None:
    program = npusim.compile(u8)
    for scheme in ("i16", "f16"):
        priced = npusim.estimate(program, scheme=scheme)
        assert priced.to_dict() == npusim.estimate(program.graph, scheme=scheme).to_dict()
        assert priced.total_time_us > npusim.estimate(program).total_time_us


def test_evaluate_is_the_command(graph, u8, printed, tmp_path) -> None:
    items = [
        Item(index=i, name=path.name, paths=(str(path),), label=str(label))
        for i, (path, label) in enumerate(assets.test_images())
    ]
    said: list[str] = []
    found = npusim.evaluate({"float": graph, "u8": u8}, items, state="auto", say=said.append)
    assert found.to_dict() == printed("evaluate", "demo", "--jobs", 1)
    assert not said
    assert not list(tmp_path.iterdir())  # what was done is not kept when all is done
    first = npusim.evaluate({"u8": u8}, items[:2], state=tmp_path / "kept.jsonl")
    again = npusim.evaluate({"u8": u8}, items[:2], state=tmp_path / "kept.jsonl", say=said.append)
    assert first == again
    assert said == [f"going on with {tmp_path / 'kept.jsonl'}"]


def test_tune_is_the_command(graph, printed, tmp_path) -> None:
    said: list[str] = []
    steps: list[Any] = []
    found = npusim.tune(
        graph,
        assets.calibration_list(),
        samples=2,
        most=3,
        state=tmp_path / "one.json",
        report=steps.append,
        say=said.append,
    )
    shown = printed("tune", "demo", "--samples", 2, "--most", 3, "-o", "t")
    differing = {"state", "cfg"}
    assert {k: v for k, v in found.to_dict().items() if k not in differing} == {
        k: v for k, v in shown.items() if k not in differing
    }
    assert said == ["raising layers from asymmetric_affine-u8 to dynamic_fixed_point-i16"]
    assert [step.measured for step in steps] == list(range(1, len(steps) + 1))
    assert 0 < len(steps) <= 3
    found.write(str(tmp_path / "own"))
    one, other = tmp_path / "own.quantization.cfg", tmp_path / "t.quantization.cfg"
    assert one.read_text() == other.read_text()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.best = None  # type: ignore[misc]
    with pytest.raises(ConfigError, match="wider format"):
        npusim.tune(graph, assets.calibration_list(), to="u8")


def test_equalize_is_the_command(graph, u8, printed) -> None:
    found = npusim.equalize(graph, assets.calibration_list())
    shown = printed("equalize", "demo", "-o", "e.onnx")
    assert {"file": "e.onnx", **found.to_dict()} == shown
    assert npusim.equalize(graph, relu6="keep").left_pairs >= found.left_pairs
    for finished in (u8, npusim.float16(graph)):
        with pytest.raises(ConfigError, match="quantized"):
            npusim.equalize(finished)
    with pytest.raises(ConfigError, match="replace"):
        npusim.equalize(graph, relu6="all")


def test_analyze_and_compare_are_the_commands(graph, u8, printed) -> None:
    from npusim.cli.common import finite

    image = assets.test_images()[0][0]
    program, feeds = npusim.compile(u8), npusim.read_input(u8, image)
    with speaking(FrontEnd.CLI):  # advice names options
        found = npusim.analyze(graph, program, feeds, sample=image.name)
    assert finite(found.to_dict()) == printed("analyze", "demo", "--input", image)
    mine = npusim.record_program(program, feeds, preprocessed=True)
    rows = npusim.compare(mine, npusim.record_source(graph, feeds)).to_dict()["layers"]
    shown = printed("compare", "demo", "--quantize", "u8", "--input", image)["layers"]
    assert json.loads(json.dumps(finite(rows))) == shown
    with pytest.raises(InputError):
        npusim.analyze(graph, program, {})
