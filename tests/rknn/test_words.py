"""What the class's log says: inputs, ignored choices, each message of the library once."""

import logging

import numpy as np
import pytest
from PIL import Image

from npusim.rknn.log import Log

FED = "input 'x': images as pixels 0..255, RGB, stretched to 10x8 (width x height); "


def test_the_log_says_what_goes_into_the_network(new, convnet, images, capfd):
    rknn = new(verbose=True)
    rknn.config(mean_values=[[1, 2, 3]], std_values=[[4, 4, 4]], reorder_channel="2 1 0")
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(dataset=images().path) == 0
    done = "channels 2 1 0 (BGR), minus mean 1 2 3, divided by std 4"
    err = capfd.readouterr().err
    assert err.count(f"I {FED}{done}\n") == 1
    assert f"I input 'x': arrays, NHWC -> NCHW; {done}\n" in err
    assert rknn.init_runtime() == 0
    pixels = np.zeros((8, 10, 3), np.uint8)
    for _ in range(2):
        assert rknn.inference([pixels]) is not None
    assert rknn.inference([pixels.transpose(2, 0, 1)], data_format="nchw") is not None
    err = capfd.readouterr().err
    assert err.count(f"I input 'x': uint8 array, NHWC -> NCHW; {done}\n") == 1
    assert err.count(f"I input 'x': uint8 array, NCHW; {done}\n") == 1


def test_quiet_objects_do_not_say_it(new, convnet, images, capfd):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(dataset=images().path) == 0
    assert "input 'x'" not in capfd.readouterr().err


def test_the_library_is_heard_only_during_calls(new, convnet, capfd):
    logger = logging.getLogger("npusim")
    before = logger.level
    rknn = new(verbose=True)
    assert rknn.load_onnx(convnet()) == 0
    assert logger.level == before
    with Log().active():
        assert logger.isEnabledFor(logging.INFO)
        with Log().active():
            pass
        assert logger.isEnabledFor(logging.INFO)
    assert logger.level == before


def test_a_path_with_blanks_goes_in_quotes(new, convnet, work, capfd):
    (work / "my cats").mkdir()
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(work / "my cats" / "a.png")
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    (work / "bare.txt").write_text("my cats/a.png\n")
    assert rknn.build(dataset="bare.txt") == -1
    assert "2 columns, 1 expected; a path with blanks goes in double quotes" in (
        capfd.readouterr().err
    )
    (work / "quoted.txt").write_text('"my cats/a.png"\n')
    assert rknn.build(dataset="quoted.txt") == 0


@pytest.mark.parametrize(
    ("config", "build", "named"),
    [
        ({"toolkit": "1.7.3"}, {"do_quantization": False}, "toolkit given"),
        ({"no_join": ["Concat_1"]}, {"do_quantization": False}, "no_join given"),
        (
            {"quantized_algorithm": "mmse", "toolkit": "1.7.3", "quantized_dtype": "float16"},
            {},
            "quantized_algorithm, toolkit given",
        ),
        ({}, {"do_quantization": False}, ""),
    ],
    ids=str,
)
def test_choices_that_a_float16_model_cannot_follow_are_named(
    new, convnet, config, build, named, capfd
):
    rknn = new()
    rknn.config(**config)
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(**({"dataset": None} | build)) == 0
    err = capfd.readouterr().err
    assert err.count("but nothing is calibrated") == bool(named)
    assert named in err


def test_the_library_says_a_thing_once_for_a_model(capfd):
    log, library = Log(), logging.getLogger("npusim")
    for _ in range(2):
        with log.active():
            library.warning("layer %s", "a")
            library.warning("layer %s", "a")
    assert capfd.readouterr().err == "W layer a\n"
    log.new_model()
    with log.active():
        library.warning("layer a")
    assert capfd.readouterr().err == "W layer a\n"
    log.warning("own")
    log.warning("own")
    assert capfd.readouterr().err == "W own\nW own\n"


def test_a_part_of_any_model_is_loaded(new, work, capfd):
    (work / "net.cfg").write_text(
        "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=4\nsize=1\nstride=1\n"
        "pad=0\nactivation=linear\n[convolutional]\nfilters=2\nsize=1\nstride=1\npad=0\n"
        "activation=linear\n"
    )
    rknn = new()
    assert rknn.load_darknet("net.cfg") == 0
    last = rknn._source.outputs[0]
    (first,) = {out for node in rknn._source.nodes[:1] for out in node.outputs}
    assert rknn.load_darknet("net.cfg", outputs=[first], input_size_list=[[3, 16, 16]]) == 0
    assert first != last
    assert rknn._source.spec(first).shape == (1, 4, 16, 16)
    assert rknn.load_darknet("net.cfg", outputs="nothing") == -1
    assert "npusim.load_model" not in capfd.readouterr().err
