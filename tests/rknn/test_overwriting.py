"""Calls of the RKNN class write over nothing that they read."""

import shutil

import pytest


@pytest.fixture
def built(new, convnet, images):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(dataset=images().path) == 0
    return rknn


def contents(work):
    return {path: path.read_bytes() for path in work.iterdir() if path.suffix in (".onnx", ".txt")}


def test_export_over_the_source_model_is_refused(built, work, capfd):
    before = contents(work)
    assert built.export_rknn("convnet.onnx") == -1
    assert "export_path: convnet.onnx is the source model itself" in capfd.readouterr().err
    assert contents(work) == before
    assert built.export_rknn("convnet.rknn") == 0


@pytest.mark.parametrize("place", ["convnet.onnx", "dataset.txt"])
def test_a_page_over_what_the_analysis_reads_is_refused(built, work, capfd, place):
    before = contents(work)
    assert built.accuracy_analysis("dataset.txt", html=place) == -1
    assert f"html: {place} is" in capfd.readouterr().err
    assert contents(work) == before


def test_a_page_of_an_estimate_over_the_model_is_refused(built, work, capfd):
    before = contents(work)
    assert built.init_runtime() == 0
    assert built.eval_perf(is_print=False, html="convnet.onnx") is None
    assert "html: convnet.onnx is the source model itself" in capfd.readouterr().err
    assert contents(work) == before


def test_files_of_step_1_over_what_it_reads_are_refused(new, convnet, images, work, capfd):
    listing = shutil.move(images().path, "toy.quantization.cfg")
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    text = (work / listing).read_text()
    assert rknn.hybrid_quantization_step1(listing) == -1
    assert "toy.quantization.cfg is dataset itself" in capfd.readouterr().err
    assert (work / listing).read_text() == text


def test_a_model_in_json_is_not_replaced_by_step_1(new, convnet, images, work, capfd):
    rknn = new()
    source = shutil.move(convnet(), "toy.json")
    assert rknn.load_onnx(source) == 0
    before = (work / source).read_bytes()
    assert rknn.hybrid_quantization_step1(images().path) == -1
    assert "toy.json is the source model itself" in capfd.readouterr().err
    assert (work / source).read_bytes() == before
