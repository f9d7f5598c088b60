"""Releases of the toolkit and concats kept apart, through the class."""

import numpy as np
import pytest
from onnx import helper

from tests.rknn.conftest import write_onnx


@pytest.fixture
def head(work):
    """Scores of a sigmoid joined with box coordinates."""
    return write_onnx(
        work / "head.onnx",
        [
            helper.make_node("Sigmoid", ["x"], ["scores"], name="s"),
            helper.make_node("Mul", ["x", "k"], ["boxes"], name="m"),
            helper.make_node("Concat", ["scores", "boxes"], ["y"], name="c", axis=1),
        ],
        {"x": (1, 3, 8, 8)},
        {"y": (1, 6, 8, 8)},
        {"k": np.float32(10.0).reshape(1)},
    )


def build(new, path, dataset, **config):
    rknn = new(verbose=False)
    rknn.config(**config)
    assert rknn.load_onnx(path) == 0
    assert rknn.build(dataset=dataset) == 0
    return rknn._built


def test_build_says_what_a_concat_costs_and_how_to_avoid_it(new, head, images, capfd):
    dataset = images(width=8).path
    graph = build(new, head, dataset)
    err = capfd.readouterr().err
    assert "Cut the model before Concat_c" in err
    assert graph.spec("scores").quant == graph.spec("y").quant
    concat = next(node for node in graph.nodes if node.op == "concat")
    apart = build(new, head, dataset, no_join=[concat.layer_id], toolkit="1.7.3")
    assert "Cut the model" not in capfd.readouterr().err
    assert apart.spec("scores").quant.scale < 0.005
    assert any("toolkit 1.7.3" in note for note in apart.notes)


@pytest.mark.parametrize(
    ("config", "rule"),
    [({"toolkit": "2.0"}, "1.7.3"), ({"no_join": "Concat_c"}, "a list of layer names")],
)
def test_unknown_words_are_refused(new, config, rule, capfd):
    rknn = new(verbose=False)
    rknn.config(**config)
    assert rule in capfd.readouterr().err
    assert rknn.build(dataset="any.txt") == -1


def test_both_steps_of_hybrid_quantization_follow_one_release(new, work, images, capfd):
    weights = np.random.default_rng(3).normal(size=(3, 4, 2, 2)).astype(np.float32)
    path = write_onnx(
        work / "up.onnx",
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2])],
        {"x": (1, 3, 8, 10)},
        {"y": (1, 4, 16, 20)},
        {"w": weights},
    )
    rknn = new(verbose=False)
    rknn.config(toolkit="1.7.3")
    assert rknn.load_onnx(path) == 0
    assert rknn.hybrid_quantization_step1(dataset=images().path) == 0
    first = [node.name for node in rknn._built.nodes]
    (stem,) = {p.name.removesuffix(".quantization.cfg") for p in work.glob("*.quantization.cfg")}
    files = (f"{stem}.json", f"{stem}.data", f"{stem}.quantization.cfg")
    again = new(verbose=False)
    assert again.hybrid_quantization_step2(*files) == 0, capfd.readouterr().err
    assert [node.name for node in again._built.nodes] == first
    assert first[0].endswith("_plane")
    assert any("toolkit 1.7.3" in note for note in again._built.notes)


def test_both_steps_of_hybrid_quantization_keep_concats_apart(new, head, work, images, capfd):
    dataset = images(width=8).path
    joined = build(new, head, dataset)
    name = next(node.name for node in joined.nodes if node.op == "concat")
    rknn = new(verbose=False)
    rknn.config(no_join=[name])
    assert rknn.load_onnx(head) == 0
    assert rknn.hybrid_quantization_step1(dataset=dataset) == 0
    (stem,) = {p.name.removesuffix(".quantization.cfg") for p in work.glob("*.quantization.cfg")}
    files = (f"{stem}.json", f"{stem}.data", f"{stem}.quantization.cfg")
    again = new(verbose=False)
    assert again.hybrid_quantization_step2(*files) == 0, capfd.readouterr().err
    assert again._built.spec("scores").quant != again._built.spec("y").quant
    assert f"not joined: {name}" in again._built.notes[-1]
