"""init_runtime and inference: shapes, types, batches, threads, and nothing left behind."""

import os
import tempfile
import threading

import numpy as np
import pytest
from onnx import helper

from npusim.kernels import _jit
from tests.rknn.conftest import conv_weights, write_onnx


def resident_kib():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


@pytest.mark.parametrize("value", ["128 128 128 128", [128, 128, 128, 128]])
def test_case_1_1_four_numbers(ready, identity, value):
    rknn = ready(identity(1 * 3, 1, 3), channel_mean_value=value)
    pixels = np.repeat(np.array([0, 128, 255], np.uint8)[None, :, None], 3, 2)
    (found,) = rknn.inference([pixels])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, :, 0], [[-1, 0, 0.9921875]] * 3)


def test_case_1_1_and_1_3_scale_to_0_and_1(ready, identity):
    pixels = np.full((2, 3, 3), 255, np.uint8)
    path = identity()
    (old,) = ready(path, channel_mean_value="0 0 0 255").inference([pixels])
    (new,) = ready(path, mean_values=[[0, 0, 0]], std_values=[[255, 255, 255]]).inference([pixels])
    assert (old == 1).all()
    np.testing.assert_array_equal(old, new)


def test_case_1_2_grey_images_in_every_shape_and_spelling(ready, identity):
    path = identity(channels=1)
    pixels = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    results = []
    for config in (
        {"channel_mean_value": "10 0 0 2"},
        {"channel_mean_value": "10 99 98 2"},
        {"channel_mean_value": "10 2"},
        {"mean_values": [[10]], "std_values": [[2]]},
    ):
        rknn = ready(path, **config)
        for shape in ((2, 3), (2, 3, 1), (1, 2, 3, 1)):
            (found,) = rknn.inference([pixels.reshape(shape)])
            results.append(found)
    for found in results:
        np.testing.assert_array_equal(found[0, 0], [[0, 5, 10], [15, 20, 25]])


def test_case_1_4_two_thousand_inferences_leave_nothing(
    ready, convnet, images, work, tmp_path, monkeypatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    data = images(4)
    rknn = ready(convnet(), build={"do_quantization": True, "dataset": data.path})

    def counts():
        return (
            len(os.listdir("/proc/self/fd")),
            sorted(os.listdir(temporary)),
            sorted(os.listdir(work)),
            threading.active_count(),
        )

    for _ in range(200):
        rknn.inference([data.pixels[0]])
    before, memory = counts(), resident_kib()
    for i in range(2000):
        assert rknn.inference([data.pixels[i % 4]]) is not None
    assert counts() == before
    assert resident_kib() < memory * 1.05


def test_case_1_5_verbose_tells_host_and_simulated_time(ready, convnet, images, capfd):
    data = images()
    rknn = ready(convnet(), verbose=True)
    rknn.inference([data.pixels[0]])
    text = capfd.readouterr().err
    assert "ms on this computer; the simulated NPU needs" in text


def test_case_1_6_nothing_is_compiled_in_the_first_inference(ready, convnet, images, capfd):
    data = images()
    rknn = ready(convnet(), verbose=True, build={"do_quantization": True, "dataset": data.path})
    assert "kernels compiled in" in capfd.readouterr().err
    before = {name for name, kernel in _jit._KERNELS.items() if kernel.is_compiled}
    rknn.inference([data.pixels[0]])
    assert {name for name, kernel in _jit._KERNELS.items() if kernel.is_compiled} == before
    assert before


def two_heads(work):
    weights = {"w1": np.ones((60, 3, 2, 2), np.float32), "w2": np.ones((60, 3, 1, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["small"], name="small", strides=[2, 2]),
        helper.make_node("Conv", ["x", "w2"], ["large"], name="large"),
    ]
    outputs = {"small": (1, 60, 13, 13), "large": (1, 60, 26, 26)}
    return write_onnx(work / "heads.onnx", nodes, {"x": (1, 3, 26, 26)}, outputs, weights)


def test_case_1_8_outputs_keep_rank_shape_and_order(ready, work, capfd):
    rknn = ready(two_heads(work), verbose=True)
    text = capfd.readouterr().err
    assert "output 0: 'small' [1, 60, 13, 13] f16" in text
    assert "output 1: 'large' [1, 60, 26, 26] f16" in text
    found = rknn.inference([np.zeros((26, 26, 3), np.uint8)])
    assert [a.shape for a in found] == [(1, 60, 13, 13), (1, 60, 26, 26)]
    assert [a.size for a in found] == [10140, 40560]


def add_model(work):
    """A picture plus a vector per channel."""
    nodes = [
        helper.make_node("Reshape", ["v", "shape"], ["v4"]),
        helper.make_node("Add", ["x", "v4"], ["y"], name="sum"),
    ]
    weights = {"shape": np.array([1, 3, 1, 1])}
    inputs = {"x": (1, 3, 4, 5), "v": (1, 3)}
    return write_onnx(work / "add.onnx", nodes, inputs, {"y": (1, 3, 4, 5)}, weights)


def test_case_1_14_two_inputs_in_both_spellings(new, work):
    path = add_model(work)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 5, 3), np.uint8)
    vector = np.array([[1, 2, 3]], np.float32)
    np.save(work / "p.npy", pixels)
    np.save(work / "v.npy", vector)
    (work / "list.txt").write_text("p.npy v.npy\n")
    outputs = []
    for config in (
        {"channel_mean_value": "8 16 32 4#0 0 0 1", "reorder_channel": "2 1 0#0 1 2"},
        {
            "mean_values": [[8, 16, 32], [0, 0, 0]],
            "std_values": [[4, 4, 4], [1, 1, 1]],
            "reorder_channel": "2 1 0#0 1 2",
        },
        {
            "mean_values": [[8, 16, 32], None],
            "std_values": [[4, 4, 4], None],
            "reorder_channel": [[2, 1, 0], None],
        },
    ):
        for quantize in (False, True):
            rknn = new()
            rknn.config(**config)
            assert rknn.load_onnx(path) == 0
            assert rknn.build(do_quantization=quantize, dataset="list.txt") == 0
            assert rknn.init_runtime() == 0
            (found,) = rknn.inference([pixels, vector], data_type=["uint8", "float32"])
            outputs.append(found)
    expected = (pixels[:, :, ::-1] - np.float32([8, 16, 32])) / 4 + vector
    np.testing.assert_array_equal(outputs[0][0].transpose(1, 2, 0), expected)  # exact in float16
    step = (expected.max() - expected.min()) / 255
    assert np.abs(outputs[1][0].transpose(1, 2, 0) - expected).max() < 2 * step
    for i in range(2, 6):
        np.testing.assert_array_equal(outputs[i], outputs[i % 2])


@pytest.mark.parametrize("quantize", [False, True])
def test_cases_1_16_B13_B14_batches_equal_single_runs(new, convnet, images, quantize):
    data = images(4)
    single, four = new(), new()
    for rknn, batch in ((single, -1), (four, 4)):
        rknn.config(mean_values=[[1, 2, 3]])
        assert rknn.load_onnx(convnet()) == 0
        assert rknn.build(quantize, data.path, rknn_batch_size=batch) == 0
        assert rknn.init_runtime() == 0
    alone = np.concatenate([single.inference([p])[0] for p in data.pixels])
    assert len(np.unique(alone, axis=0)) == 4  # distinct images, distinct results
    for together in (np.stack(data.pixels), np.concatenate(data.pixels)):  # (B,H,W,C), (B*H,W,C)
        (found,) = four.inference([together])
        assert found.shape == (4, 4)
        assert found.tobytes() == alone.tobytes()


def test_cases_1_16_B38_wrong_element_counts_show_the_expected_shape(new, convnet, images, capfd):
    data = images(4)
    rknn = new()
    rknn.load_onnx(convnet())
    rknn.build(False, rknn_batch_size=4)
    rknn.init_runtime()
    capfd.readouterr()
    assert rknn.inference([data.pixels[0]]) is None
    text = capfd.readouterr().err
    assert "E RKNN.inference: input 0 ('x'): array of shape (8, 10, 3) with 240 elements" in text
    assert "(4, 8, 10, 3) or (32, 10, 3) (rknn_batch_size 4), 960 elements" in text
    assert "give 4 images in one array" in text
    assert rknn.inference([np.stack(data.pixels[:3])]) is None


def test_case_2_2_layer_dump_is_read_at_call_time(ready, convnet, images, work, monkeypatch):
    data = images()
    rknn = ready(convnet())
    rknn.inference([data.pixels[0]])
    assert not list(work.glob("NodeID_*"))
    monkeypatch.setenv("NN_LAYER_DUMP", "1")
    (found,) = rknn.inference([data.pixels[0]])
    assert (work / "nn_layer_dump_index.csv").exists()
    last = [np.loadtxt(p) for p in work.glob("NodeID_*") if np.loadtxt(p).size == 4]
    assert any(np.allclose(values, found[0], atol=1e-6) for values in last)


def test_case_B2_inputs_with_many_channels(ready, identity):
    for channels in (5, 200):
        path = identity(channels, name=f"{channels}.onnx")
        values = np.arange(6 * channels).reshape(2, 3, channels) % 250
        (plain,) = ready(path).inference([values.astype(np.uint8)])
        np.testing.assert_array_equal(plain[0].transpose(1, 2, 0), values)
        rknn = ready(path, mean_values=[[2] * channels], std_values=[[4] * channels])
        (scaled,) = rknn.inference([values.astype(np.uint8)])
        np.testing.assert_array_equal(scaled[0].transpose(1, 2, 0), (values - 2) / 4)


def test_case_B3_reorder_first_then_mean_then_std(ready, identity):
    rknn = ready(
        identity(), reorder_channel="2 1 0", mean_values=[[1, 2, 3]], std_values=[[2, 4, 8]]
    )
    pixels = np.full((2, 3, 3), (10, 20, 30), np.uint8)
    (found,) = rknn.inference([pixels])
    assert found[0, :, 0, 0].tolist() == [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8]


def test_case_B6_transposed_array_is_named(ready, convnet, capfd):
    rknn = ready(convnet())
    assert rknn.inference([np.zeros((3, 8, 10), np.uint8)]) is None
    text = capfd.readouterr().err
    assert "array of shape (3, 8, 10) is in NCHW order" in text
    assert "transpose it to (8, 10, 3)" in text
    assert "data_format='nchw'" in text


def test_case_B12_softmax_sums_to_one(ready, work):
    nodes = [helper.make_node("Softmax", ["x"], ["y"], name="prob", axis=1)]
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 4, (16, 1, 100)).astype(np.float32)
    path = write_onnx(work / "s.onnx", nodes, {"x": (1, 100)}, {"y": (1, 100)})
    np.save(work / "a.npy", logits[0])
    (work / "list.txt").write_text("a.npy\n")
    for build in ({"do_quantization": False}, {"do_quantization": True, "dataset": "list.txt"}):
        rknn = ready(path, build=build)
        for row in logits:
            (found,) = rknn.inference([row], data_type="float32")
            assert abs(found.sum() - 1) < 1e-3


def test_case_B15_colour_picture_for_a_grey_model(ready, identity, capfd):
    rknn = ready(identity(channels=1))
    assert rknn.inference([np.zeros((2, 3, 3), np.uint8)]) is None
    assert "the model takes one channel: read the image as grey" in capfd.readouterr().err
    rknn = ready(identity(channels=3))
    assert rknn.inference([np.zeros((2, 3), np.uint8)]) is None
    assert "read the image in colour" in capfd.readouterr().err


def test_case_B16_two_models_in_two_threads(ready, convnet, images):
    data = images(6)
    build = {"do_quantization": True, "dataset": data.path}
    models = [
        ready(convnet("a.onnx", seed=1, softmax=False), build=build),
        ready(convnet("b.onnx", seed=5, softmax=False)),
    ]
    expected = [[m.inference([p])[0].tobytes() for p in data.pixels] for m in models]
    assert expected[0] != expected[1]
    wrong = []

    def work(model, answers):
        for _ in range(40):
            for picture, answer in zip(data.pixels, answers, strict=True):
                (found,) = model.inference([picture])
                if found.tobytes() != answer:
                    wrong.append((model, picture))

    # two threads per model: one object may be shared as well
    threads = [
        threading.Thread(target=work, args=(model, answers))
        for model, answers in zip(models * 2, expected * 2, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_case_B17_nhwc_by_default_nchw_on_request(ready, convnet, images):
    (picture, *_) = images(1).pixels
    rknn = ready(convnet())
    (expected,) = rknn.inference([picture])
    planar = np.ascontiguousarray(picture.transpose(2, 0, 1))
    for array, words in (
        (picture[None], {}),
        (picture, {"data_format": "nhwc"}),
        (picture, {"data_format": ["NHWC"]}),
        (planar, {"data_format": "NCHW"}),
        (planar[None], {"data_format": ["nchw"]}),
    ):
        (found,) = rknn.inference([array], **words)
        assert found.tobytes() == expected.tobytes()
    (found,) = rknn.inference(picture)  # a single array for a single input
    assert found.tobytes() == expected.tobytes()
    (found,) = rknn.inference([picture], "uint8", "nhwc")  # positions of 1.0
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16", None])
@pytest.mark.parametrize("data_type", ["uint8", "int8", "int16", "ing16", "float16", "float32"])
def test_cases_B32_B33_types_of_inputs_and_outputs(ready, identity, work, scheme, data_type):
    values = np.arange(18).reshape(2, 3, 3) * 3
    np.save(work / "a.npy", values.astype(np.uint8))
    (work / "list.txt").write_text("a.npy\n")
    build = {"do_quantization": scheme is not None, "dataset": "list.txt"}
    rknn = ready(identity(), build=build, quantized_dtype=scheme)
    (expected,) = rknn.inference([values.astype(np.uint8)])
    assert expected.dtype == np.float32
    given = data_type.replace("ing", "int")
    (found,) = rknn.inference([values.astype(given)], data_type=data_type)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()
    (found,) = rknn.inference([values.astype(np.float64)], data_type=[data_type.upper()])
    assert found.tobytes() == expected.tobytes()


def test_values_that_the_type_cannot_hold(ready, identity, capfd):
    rknn = ready(identity())
    assert rknn.inference([np.full((2, 3, 3), 0.5, np.float32)], data_type="uint8") is None
    text = capfd.readouterr().err
    assert "float32 values that uint8 cannot hold" in text
    assert "give data_type='float32'" in text
    assert rknn.inference([np.full((2, 3, 3), 300)], data_type="uint8") is None
    capfd.readouterr()
    (found,) = rknn.inference([np.full((2, 3, 3), 0.5, np.float32)])  # used as it is
    assert (found == 0.5).all()
    rknn.inference([np.full((2, 3, 3), 0.5, np.float32)])
    assert capfd.readouterr().err.count("data_type is not given") == 1


@pytest.mark.parametrize(
    ("inputs", "more", "says"),
    [
        (None, {}, "inputs is NoneType"),
        ([None], {}, "imread returns None"),
        ([], {}, "0 arrays for 1 inputs"),
        (["picture.jpg"], {}, "data of type <U11"),
        ([[[1, 2], [3]]], {}, "no array"),
        ([np.zeros((2, 3, 3), object)], {}, "data of type object"),
        ([np.zeros((2, 3, 3), complex)], {}, "data of type complex128"),
        ([np.full((2, 3, 3), np.nan, np.float32)], {"data_type": "float32"}, "NaN or infinity"),
        ([np.full((2, 3, 3), 1e6, np.float32)], {"data_type": "float16"}, "NaN or infinity"),
        ([np.zeros((2, 3, 4), np.uint8)], {}, "(1, 2, 3, 3) or (2, 3, 3)"),
        ([np.zeros((4, 6, 3), np.uint8)], {}, "resize the image to 2 x 3 (height x width)"),
        ([np.zeros((3, 2, 3), np.uint8)], {}, "array of shape (3, 2, 3) is in NCHW order"),
        ([np.zeros((2, 3, 3), np.uint8)], {"data_type": "int4"}, "'int4'"),
        ([np.zeros((2, 3, 3), np.uint8)], {"data_type": ["uint8"] * 2}, "2 values for 1 inputs"),
        ([np.zeros((2, 3, 3), np.uint8)], {"data_format": "chw"}, "one of nhwc, nchw"),
        ([np.zeros((2, 3, 3), np.uint8)], {"inputs_pass_through": [2]}, "0 or 1 for each input"),
        ([np.zeros((2, 3, 3), np.uint8)], {"outputs": [np.zeros(5)]}, "outputs[0] has not 18"),
    ],
)
def test_wrong_inputs_are_explained(ready, identity, capfd, inputs, more, says):
    rknn = ready(identity())
    capfd.readouterr()
    assert rknn.inference(inputs, **more) is None
    text = capfd.readouterr().err
    assert text.startswith("E RKNN.inference: ")
    assert says in text
    assert "unexpected" not in text


def test_pass_through_takes_stored_values(ready, identity, work):
    values = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 15
    np.save(work / "a.npy", values)
    (work / "list.txt").write_text("a.npy\n")
    rknn = ready(
        identity(), build={"do_quantization": True, "dataset": "list.txt"}, mean_values=[[5, 5, 5]]
    )
    quant = rknn._built.spec("x").quant
    stored = np.clip(np.rint((values - 5.0) / quant.scale + quant.zero_point), 0, 255)
    planar = stored.astype(np.uint8).transpose(2, 0, 1)
    (expected,) = rknn.inference([values])
    for array in (planar, planar[None]):
        (found,) = rknn.inference([array], inputs_pass_through=[1])
        assert found.tobytes() == expected.tobytes()
    assert rknn.inference([planar.astype(np.float32)], inputs_pass_through=[1]) is None


def test_destination_arrays_of_the_first_releases(ready, identity):
    rknn = ready(identity())
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    place = np.zeros((3, 6), np.float16)
    found = rknn.inference([pixels], outputs=[place])
    assert found[0] is place
    np.testing.assert_array_equal(place, pixels.transpose(2, 0, 1).reshape(3, 6))


def test_async_mode_returns_the_frame_before(new, identity):
    rknn = new()
    rknn.load_onnx(identity())
    rknn.build(False)
    assert rknn.init_runtime(async_mode=True) == 0
    values = []
    for i in range(4):
        found, frame = rknn.inference([np.full((2, 3, 3), i, np.uint8)], get_frame_id=True)
        values.append((frame, found[0].max()))
    assert values == [(1, 0), (1, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize("target", ["rk1808", "RK3399Pro", "rk1806", None])
def test_case_B36_init_runtime_needs_no_board(new, identity, target, capfd):
    rknn = new()
    rknn.load_onnx(identity())
    rknn.build(False)
    assert rknn.init_runtime(target, device_id="0123") == 0
    said = "npusim simulates the rk1808" in capfd.readouterr().err
    assert said is (target is not None)
    assert rknn.inference([np.zeros((2, 3, 3), np.uint8)]) is not None


def test_case_B35_targets_that_do_not_fit(new, identity, monkeypatch, capfd):
    rknn = new()
    rknn.load_onnx(identity())
    rknn.build(False)
    assert rknn.init_runtime(target="rv1126") == -1
    assert "built for rk1808" in capfd.readouterr().err
    assert rknn.init_runtime(target="rk3588") == -1
    monkeypatch.setenv("NPUSIM_TARGET", "strict")
    assert rknn.init_runtime(target="rk1808") == -1
    assert "no rk1808 board is connected" in capfd.readouterr().err
    assert rknn.init_runtime() == 0


def test_target_given_to_the_constructor_is_used(new, identity):
    rknn = new(target="rv1126")
    rknn.load_onnx(identity())
    rknn.build(False)
    assert rknn.init_runtime() == -1


def test_vectors_and_other_ranks(ready, work):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    for shape in ((1, 7), (1, 5, 6), (3, 7)):
        path = write_onnx(work / "v.onnx", nodes, {"x": shape}, {"y": shape})
        rknn = ready(path)
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        np.testing.assert_array_equal(rknn.inference([values], "float32")[0], values)
        if shape[0] == 1:
            np.testing.assert_array_equal(rknn.inference([values[0]], "float32")[0], values)
        else:
            assert rknn.inference([values[0]], "float32") is None


def test_convolution_against_numpy(ready, work):
    """One layer end to end: float16 products are close to float."""
    weights = conv_weights(4, 3, kernel=1)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c")]
    path = write_onnx(work / "c.onnx", nodes, {"x": (1, 3, 2, 3)}, {"y": (1, 4, 2, 3)}, weights)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    (found,) = ready(path).inference([pixels])
    expected = pixels.astype(np.float64) @ weights["w"][:, :, 0, 0].T.astype(np.float64)
    expected = (expected + weights["b"]).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0], expected, rtol=2e-3, atol=0.1)
