"""What goes into inputs is said, from the data that is used; where a scale fails is named."""

import logging

import numpy as np
import pytest
from PIL import Image

import npusim
from npusim.errors import ConfigError, DatasetError, QuantizationError, located
from npusim.evaluation.labelled import open_labelled
from npusim.ir.attrs import NO_ATTRS
from npusim.ir.dtypes import DType
from npusim.ir.graph import Preprocess
from npusim.ir.quant import MAX_FL, Affine, AffinePerChannel, DynamicFixedPoint
from npusim.ir.tensor import TensorSpec
from npusim.quantization.dataset import load_sample, open_dataset
from npusim.quantization.input_text import file_text, input_text, sample_texts
from npusim.quantization.sample_files import columns
from npusim.testing import GraphBuilder

RGB = (1, 3, 4, 6)


def model(*shapes, **preprocess):
    b = GraphBuilder()
    for i, shape in enumerate(shapes):
        b.node("relu", [b.input(f"in{i}", *shape)], f"out{i}", NO_ATTRS)
    graph = b.done(*(f"out{i}" for i in range(len(shapes))))
    graph.preprocess = preprocess
    return graph


def picture(path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(path)
    return path


BGR = Preprocess(mean=(127.5,) * 3, std=(58.395, 57.12, 57.375), reorder=(2, 1, 0))


@pytest.mark.parametrize(
    ("shape", "how", "file", "said"),
    [
        (RGB, None, "a.png", "images as pixels 0..255, RGB, stretched to 6x4 (width x height); "
         "no mean or std given"),
        (RGB, BGR, "a.jpg", "images as pixels 0..255, RGB, stretched to 6x4 (width x height); "
         "channels 2 1 0 (BGR), minus mean 127.5, divided by std 58.395 57.12 57.375"),
        (RGB, Preprocess(fit="letterbox"), "a.png", "images as pixels 0..255, RGB, shrunk or "
         "enlarged to lie within grey borders in 6x4 (width x height); no mean or std given"),
        ((1, 1, 4, 6), Preprocess(std=(255.0,)), "a.bmp", "images as pixels 0..255, grey, "
         "stretched to 6x4 (width x height); divided by std 255"),
        (RGB, BGR, "a.npy", "npy, NHWC -> NCHW; channels 2 1 0 (BGR), minus mean 127.5, "
         "divided by std 58.395 57.12 57.375"),
        ((1, 10), None, "a.npy", "npy of shape 1x10; no mean or std given"),
        (RGB, Preprocess(reorder=(1, 0, 2)), "a.npy",
         "npy, NHWC -> NCHW; channels 1 0 2, no mean or std given"),
    ],
)  # fmt: skip
def test_an_input_s_line(tmp_path, shape, how, file, said):
    spec = TensorSpec(name="x", shape=shape, dtype=DType.F32)
    assert input_text("x", spec, how, file_text(tmp_path / file, spec, how)) == f"input 'x': {said}"


def test_whole_numbers_are_not_prepared(tmp_path):
    spec = TensorSpec(name="ids", shape=(1, 7), dtype=DType.I64)
    said = input_text("ids", spec, None, file_text(tmp_path / "a.npy", spec, None))
    assert said == "input 'ids': npy of shape 1x7; whole numbers (i64), as they are"


def test_a_list_says_each_kind_of_file_once_and_only_what_it_reads(tmp_path, caplog):
    picture(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", np.zeros((4, 6, 3), np.float32))
    (tmp_path / "list.txt").write_text("a.png a.png\na.png b.npy\nb.npy a.png\n")
    graph = model(RGB, RGB, in1=BGR)
    with caplog.at_level(logging.INFO, "npusim"):
        samples = open_dataset(tmp_path / "list.txt", graph)
        assert not [r for r in caplog.records if r.levelno == logging.INFO]  # nothing was read yet
        assert len(list(samples)) == 3
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert len(said) == len(set(said)) == 4
    assert sum("'in1'" in text and "minus mean" in text for text in said) == 2
    files = [["a.png", "a.png"], ["a.png", "b.npy"], ["b.npy", "a.png"]]
    assert set(sample_texts(graph, files)) == set(said)


def test_a_sample_says_it_unless_it_was_said(tmp_path, caplog):
    file = picture(tmp_path / "a.png")
    with caplog.at_level(logging.INFO, "npusim"):
        load_sample([file], model(RGB), said=True)
        assert "input 'in0'" not in caplog.text
        load_sample([file], model(RGB))
    assert "input 'in0': images as pixels 0..255" in caplog.text


# ---- columns of lists


def test_a_path_with_blanks_goes_in_quotes_and_the_error_says_so(tmp_path):
    picture(tmp_path / "my cats" / "a b.png")
    (tmp_path / "bare.txt").write_text("my cats/a b.png\n")
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path / "bare.txt", model(RGB))
    text = str(error.value)
    assert "3 columns, 1 expected; a path with blanks goes in double quotes" in text
    (tmp_path / "quoted.txt").write_text('"my cats/a b.png"\n')
    assert len(list(open_dataset(tmp_path / "quoted.txt", model(RGB)))) == 1


def test_quotes_work_in_labelled_lists_too(tmp_path):
    picture(tmp_path / "my cats" / "a.png")
    (tmp_path / "bare.txt").write_text("my cats/a.png 3\n")
    with pytest.raises(DatasetError, match="3 columns, 2 expected; a path with blanks goes in"):
        open_labelled(tmp_path / "bare.txt")
    (tmp_path / "quoted.txt").write_text('"my cats/a.png" 3\n')
    (item,) = open_labelled(tmp_path / "quoted.txt")
    assert (item.name, item.label) == ("my cats/a.png", "3")
    assert columns('a "b c"\td') == ["a", "b c", "d"]


# ---- scales and fraction bits that are no numbers


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e-60, 1e300])
def test_a_scale_that_float32_does_not_hold_is_refused(scale):
    for make in (
        lambda: Affine(scale=scale),
        lambda: AffinePerChannel(scales=(1.0, scale), zero_points=(0, 0)),
    ):
        with pytest.raises(QuantizationError) as error:
            make()
        assert error.value.rule
        assert error.value.remedy


@pytest.mark.parametrize("fl", [MAX_FL + 1, -MAX_FL - 1])
def test_fraction_bits_are_those_of_a_number(fl):
    assert DynamicFixedPoint(fl=MAX_FL).fl == MAX_FL
    with pytest.raises(QuantizationError, match="fraction bits"):
        DynamicFixedPoint(fl=fl)


def test_located_names_a_place_only_where_none_is_named():
    def wrong(where=""):
        raise ConfigError("no", where=where, rule="r", remedy="m")

    with pytest.raises(ConfigError) as error:
        located("layer 'a'", wrong)
    assert (error.value.where, error.value.rule, error.value.remedy) == ("layer 'a'", "r", "m")
    with pytest.raises(ConfigError) as error:
        located("layer 'a'", wrong, where="file")
    assert error.value.where == "file"
    assert located("x", max, 1, 2) == 2


def test_a_layer_whose_accumulator_has_no_step_is_named():
    b = GraphBuilder(seed=1)
    weights = b.constant("w", np.full((4, 3, 1, 1), 1e-30, np.float32))
    bias = b.constant("b", np.zeros(4, np.float32))
    from npusim.ir.attrs import Conv2dAttrs

    b.node("conv2d", [b.input("x", 1, 3, 4, 4), weights, bias], "y", Conv2dAttrs())
    feeds = {"x": np.full((1, 3, 4, 4), 1e-20, np.float32)}
    with pytest.raises(QuantizationError) as error:
        npusim.quantize(b.done("y"), [("a", feeds)], engine="npusim")
    assert error.value.where == "layer 'n_y'"
    assert "float32" in error.value.rule
