"""Ordinary .rknn files of the toolkit: small ones written here, real ones where they lie."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import ContainerError, NpusimError, UnsupportedOpError
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.rknn import RKNN
from tests.importers.vendor_build import File, fmt
from tests.importers.vendor_sources import FORMATS, built, numbers

FILES = Path(__file__).resolve().parents[3] / "shared" / "vendor_files"
real = pytest.mark.skipif(not FILES.is_dir(), reason="real files are not here")
X, Y = fmt("u1", 0.02, 128), fmt("u1", 0.05, 110)
CONV = {"ksize": [3, 2], "stride": [2, 1], "pad": [1, 0, 1, 0], "group": 1, "dilation": [1, 1]}


def image(shape=(1, 3, 6, 8), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def convolved(path, version=1, **config):
    """One convolution with a relu layer of its own behind it."""
    rng, file = np.random.default_rng(1), File(**config)
    x = file.input((1, 3, 6, 8), X, "input_9")
    weights = file.constant(rng.integers(0, 256, (4, 3, 2, 3), np.uint8), fmt("u1", 0.01, 120))
    bias = file.constant(rng.integers(-900, 900, 4).astype(np.int32), fmt("i4", 0.0002, 0))
    (c,) = file.layer("CONV2D", "Conv_c", 3, (x, weights, bias), Y, nn={"conv2d": CONV})
    (r,) = file.layer("RELU", "Relu_r", 2, (c,), Y)
    file.output(r, (1, 4, 6, 4), Y, "Relu_r/out0_0")
    return file.save(path, version)


def by_hand(codes):
    """Compute the network of ``convolved`` in whole numbers and round once, by nn.md."""
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 256, (4, 3, 2, 3), np.uint8).astype(np.int64) - 120
    bias = rng.integers(-900, 900, 4)
    padded = np.pad(codes.astype(np.int64) - 128, ((0, 0), (0, 0), (1, 0), (1, 0)))
    out = np.zeros((1, 4, 6, 4))
    for row in range(6):
        for column in range(4):
            part = padded[0, :, row : row + 2, 2 * column : 2 * column + 3]
            sums = (weights * part).sum((1, 2, 3)) + bias
            out[0, :, row, column] = sums * (0.0002 / 0.05)
    return np.clip(out, 0, 255 - 110) * 0.05


@pytest.mark.parametrize("version", [1, 2, 3])
def test_sizes_pads_strides_and_codes_are_read_in_the_files_order(tmp_path, version):
    graph = npusim.load_model(convolved(tmp_path / "net.rknn", version))
    assert graph.inputs == ("input_9",)
    assert graph.spec("input_9").quant == Affine(scale=0.02, zero_point=128)
    assert [node.layer_id for node in graph.nodes] == ["Conv_c_3", "Relu_r_2"]
    codes = image()
    program = npusim.compile(graph)
    found = program.run({"input_9": codes}, pass_through=["input_9"])["Relu_r/out0_0"]
    np.testing.assert_allclose(found, by_hand(codes), atol=0.5 * 0.05 + 1e-3)


def test_means_scales_and_order_of_both_eras(tmp_path):
    new = npusim.load_model(
        convolved(
            tmp_path / "a.rknn",
            mean_value=[1, 2, 3],
            mean_value_chns=[3],
            std_value=[4.0, 5.0, 6.0],
            reorder=[2, 1, 0],
        )
    )
    how = new.preprocess["input_9"]
    assert (how.mean, how.std, how.reorder) == ((1, 2, 3), (4, 5, 6), (2, 1, 0))
    old = npusim.load_model(
        convolved(tmp_path / "b.rknn", mean_value=[127.5, 127.5, 127.5, 128.0], reorder=[0, 1, 2])
    )
    how = old.preprocess["input_9"]
    assert (how.mean, how.std, how.reorder) == ((127.5,) * 3, (128.0,) * 3, ())
    plain = npusim.load_model(
        convolved(tmp_path / "c.rknn", mean_value=[0, 0, 0], std_value=[1.0] * 3)
    )
    assert not plain.preprocess


@pytest.mark.parametrize("key", ["mean_value", "std_value", "mean_value_chns", "reorder"])
@pytest.mark.parametrize(
    "value", [5, True, {"a": 1}, [float("inf")], [float("nan")], [10**400], "abc", [-1], [0.5]]
)
def test_settings_of_inputs_are_numbers(tmp_path, key, value):
    path = convolved(tmp_path / "a.rknn", **{key: value})
    try:
        graph = npusim.load_model(path)
    except npusim.errors.ContainerError as error:
        assert str(path) in error.where  # noqa: PT017
        return
    for how in graph.preprocess.values():
        assert np.isfinite([*how.mean, *how.std]).all()


def moved(path):
    """Layers that move elements, each with axes that tell the orders apart."""
    file = File()
    x = file.input((1, 4, 3, 5), X)
    (s,) = file.layer("SHUFFLECHANNEL", "s", 9, (x,), X, nn={"s": {"group_number": 2}})
    (a,) = file.layer(
        "SLICE", "a", 8, (s,), X, nn={"slice": {"start": [1, 0, 0, 0], "length": [4, 3, 4, 1]}}
    )
    (p,) = file.layer("PERMUTE", "p", 7, (a,), X, nn={"permute": {"perm": [1, 2, 0, 3]}})
    (r,) = file.layer("RESHAPE", "r", 6, (p,), X, nn={"reshape": {"size": [-1, 4, 1]}})
    first, second = file.layer(
        "SPLIT", "q", 5, (r,), X, X, nn={"split": {"axis": 1, "slices": [1, 3]}}
    )
    (c,) = file.layer("CONCAT", "c", 4, (second, first), X, nn={"concat": {"axis": 1}})
    file.output(c, (1, 4, 12), X, "out")
    return file.save(path)


def test_axes_count_from_the_innermost(tmp_path):
    codes = image((1, 4, 3, 5))
    program = npusim.compile(npusim.load_model(moved(tmp_path / "net.rknn")))
    (found,) = program.run_stored({"input_0": codes}).values()
    wanted = codes.reshape(1, 2, 2, 3, 5).swapaxes(1, 2).reshape(1, 4, 3, 5)[:, :, :, 1:]
    # perm (1, 2, 0, 3) of W, H, C, N gives H, C, W, N: numpy's (N, W, C, H)
    wanted = wanted.transpose(0, 3, 1, 2).reshape(1, 4, 12)
    wanted = np.concatenate([wanted[:, 1:], wanted[:, :1]], 1)
    np.testing.assert_array_equal(found, wanted)


def test_fixed_point_with_float16_constants(tmp_path):
    """A product with a float16 operand and a softmax that stores float16."""
    file = File()
    x = file.input((1, 3, 2, 2), fmt("i1", fl=4))
    half = file.constant(np.array([[[[0.5]], [[2]], [[-1]]]], np.float16), fmt("f2"))
    (v,) = file.layer("VARIABLE", "v", 5, (half,), fmt("f2"))
    (m,) = file.layer("ADD", "m", 4, (x, v), fmt("i1", fl=3))
    (s,) = file.layer("SOFTMAX", "s", 3, (m,), fmt("f2"))
    file.output(s, (1, 3, 2, 2), fmt("f2"))
    graph = npusim.load_model(file.save(tmp_path / "net.rknn"))
    assert graph.spec("m_4").quant == DynamicFixedPoint(fl=3)
    codes = np.random.default_rng(0).integers(-128, 128, (1, 3, 2, 2)).astype(np.int8)
    found = npusim.compile(graph).run({"input_0": codes}, pass_through=["input_0"])["output_0"]
    real_sum = codes / 16 + np.array([0.5, 2, -1]).reshape(1, 3, 1, 1)
    powers = np.exp(np.round(real_sum * 8) / 8)
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), atol=2e-3)


def test_float16_networks_and_missing_biases(tmp_path):
    rng, file = np.random.default_rng(2), File()
    x = file.input((1, 2, 4, 4), fmt("f2"))
    weights = rng.standard_normal((1, 2, 3, 3)).astype(np.float16)
    nn = {"conv2d": {"ksize": [3, 3], "pad": [1, 1, 1, 1], "group": 2, "multiplier": 1}}
    (c,) = file.layer("CONV2D", "c", 2, (x, file.constant(weights, fmt("f2"))), fmt("f2"), nn=nn)
    (f,) = file.layer(
        "FCL",
        "f",
        1,
        (c, file.constant(rng.standard_normal((3, 32)).astype(np.float16), fmt("f2"))),
        fmt("f2"),
        nn={"fcl": {"weights": 3}},
    )
    file.output(f, (1, 3), fmt("f2"))
    graph = npusim.load_model(file.save(tmp_path / "net.rknn"))
    value = rng.standard_normal((1, 2, 4, 4)).astype(np.float16)
    (found,) = npusim.compile(graph).run({"input_0": value.astype(np.float32)}).values()
    padded = np.pad(value.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    maps = np.zeros((1, 2, 4, 4))
    for row in range(4):
        for column in range(4):
            window = padded[0, :, row : row + 3, column : column + 3]
            maps[0, :, row, column] = (window * weights[0].astype(np.float64)).sum((1, 2))
    matrix = graph.constants["const_1"].astype(np.float64)
    np.testing.assert_allclose(found, maps.reshape(1, 32) @ matrix.T, rtol=5e-3, atol=2e-2)


def test_unknown_layers_are_listed_together(tmp_path):
    file = File()
    x = file.input((1, 4), X)
    (a,) = file.layer("ROI_POOL", "a", 3, (x,), X)
    (b,) = file.layer("RELU", "b", 2, (a,), X)
    (c,) = file.layer("GRUCELL", "c", 1, (b,), X)
    file.output(c, (1, 4), X)
    with pytest.raises(UnsupportedOpError) as caught:
        npusim.load_model(file.save(tmp_path / "net.rknn"))
    assert "2 unsupported layers" in str(caught.value)
    assert "'a_3' (ROI_POOL)" in str(caught.value)
    assert "'c_1' (GRUCELL)" in str(caught.value)


def test_what_contradicts_itself_is_refused_with_a_place(tmp_path):
    data = bytearray(convolved(tmp_path / "net.rknn").read_bytes())
    text = bytes(data)
    for old, new, says in (
        (b'"len": 72', b'"len": 71', "constant"),
        (b'"size": [3, 2, 3, 4]', b'"size": [3, 2, 3, 5]', "constant 'const_0'"),
        (b'"VSI_NN_TYPE_UINT8"', b'"VSI_NN_TYPE_UINT9"', "element type UINT9"),
        (b'"zero_point": 128', b'"zero_point": 999', "zero point"),
        (b'"scale": 0.02,', b'"scale": 0.00,', "scale"),
        (b'"stride": [2, 1]', b'"stride": [0, 1]', "Conv_c_3"),
        (b'"pad": [1, 0, 1, 0]', b'"pad": [1, 0, 1]   ', "pad"),
        (b'"size": [4, 6, 4, 1]', b'"size": [4, 6, 5, 1]', "output"),
        (b'"lid": "Relu_r_2"', b'"lib": "Relu_r_2"', "damaged"),
    ):
        assert old in text, old
        (tmp_path / "bad.rknn").write_bytes(text.replace(old, new, 1))
        with pytest.raises(NpusimError, match=says) as caught:
            npusim.load_model(tmp_path / "bad.rknn")
        assert "bad.rknn" in str(caught.value)


def test_cut_files_never_end_otherwise(tmp_path):
    whole = convolved(tmp_path / "net.rknn").read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / "cut.rknn").write_bytes(whole[:size])
        with pytest.raises(ContainerError):
            npusim.load_model(tmp_path / "cut.rknn")


def test_every_door_takes_it(tmp_path, capfd):
    path = convolved(tmp_path / "net.rknn")
    run = CliRunner(env={"COLUMNS": "200"})
    np.save(tmp_path / "x.npy", np.zeros((1, 6, 8, 3), np.float32))
    given = ["--input", str(tmp_path / "x.npy")]
    for words in (["info"], ["run", *given], ["perf"], ["dump", *given, "-o", str(tmp_path / "d")]):
        done = run.invoke(app, [words[0], str(path), *words[1:]])
        assert done.exit_code == 0, (words, done.output)
    rknn = RKNN()
    assert rknn.load_rknn(str(path)) == 0
    assert rknn.init_runtime() == 0
    (found,) = rknn.inference(inputs=[np.zeros((6, 8, 3), np.uint8)])
    assert found.shape == (1, 4, 6, 4)
    stored = tmp_path / "own.npusim"
    npusim.save(npusim.load_model(path), stored)
    again = npusim.compile(npusim.load_model(stored))
    x = {"input_9": np.zeros((1, 3, 6, 8), np.float32)}
    first = npusim.compile(npusim.load_model(path)).run(x)
    np.testing.assert_array_equal(again.run(x)["Relu_r/out0_0"], first["Relu_r/out0_0"])


def test_precompiled_files_show_what_they_can(tmp_path):
    """Machine code in the data, the toolkit's word for it, or its one layer: all three are told."""
    plain = convolved(tmp_path / "net.rknn", mean_value=[1, 2, 3], std_value=[4.0] * 3)
    whole = plain.read_bytes()
    closed = [convolved(tmp_path / "a.rknn", pre_compile=1, mean_value=[1, 2, 3])]
    for change in ((b"VSI_NN_OP_CONV2D", b"VSI_NN_OP_NBG"), None):
        data = bytearray(whole)
        if change is None:
            data[24:28] = b"VPMN"
        closed.append(tmp_path / f"b{len(closed)}.rknn")
        text = bytes(data) if change is None else _smaller(whole, *change)
        closed[-1].write_bytes(text)
    run = CliRunner(env={"COLUMNS": "200"})
    for path in closed:
        done = run.invoke(app, ["info", str(path)])
        assert done.exit_code == 0, done.output
        assert "input  input_9: UINT8 [1, 3, 6, 8] scale 0.02 zero_point 128" in done.output
        assert "prepared with mean 1 2 3" in done.output
        facts = json.loads(run.invoke(app, ["info", str(path), "--json"]).stdout)
        assert facts["precompiled"]
        assert [t["direction"] for t in facts["tensors"]] == ["input", "output"]
        with pytest.raises(ContainerError, match="holds machine code for one driver"):
            npusim.load_model(path)


def _smaller(data, old, new):
    """Replace text in the JSON of a file and correct its length."""
    (size,) = struct.unpack_from("<Q", data, 16)
    begin = 24 + size
    text = data[begin + 8 :].replace(old, new)
    return data[:begin] + struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize("kind", FORMATS)
def test_every_door_speaks_the_toolkits_words(tmp_path, kind, monkeypatch):
    """The file's own description and npusim's of the same model, stored, are the same words."""
    monkeypatch.chdir(tmp_path)
    how = {"mean_value": [1.0, 2.0, 3.0], "mean_value_chns": [3], "std_value": [4.0] * 3}
    built(tmp_path / "net.rknn", *numbers(), kind, **how, reorder=[2, 1, 0])
    npusim.save(npusim.load_model("net.rknn"), "own.rknn")
    theirs, ours = (RKNN().fetch_rknn_model_config(f"{name}.rknn") for name in ("net", "own"))
    for key in (*how, "reorder", "target_platform"):
        assert ours[key] == theirs[key], key
    for key in ("lid", "name", "op", "uid"):
        assert [n[key] for n in ours["nodes"]] == [n[key] for n in theirs["nodes"]]
    for one, other in zip(ours["norm_tensor"], theirs["norm_tensor"], strict=True):
        other["dtype"] |= {"scale": np.float32(other["dtype"]["scale"])} if kind == "u8" else {}
        assert {key: one[key] for key in other} == other
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["info", "net.rknn"])
    assert {"u8": "asymmetric", "f16": "f16"}.get(kind, "fixed point") in done.output
    assert RKNN().export_rknn_quant_params("net.rknn", only_io=False) == 0
    text = (tmp_path / "net_quant_param.yml").read_text()
    words = {"u8": "asymmetric_affine", "f16": "none"}
    assert f"qtype: {words.get(kind, 'dynamic_fixed_point')}" in text
    assert "op: VSI_NN_OP_CONV2D" in text


@real
@pytest.mark.parametrize(
    "name",
    [
        "PNet_18_14",
        "mnist",
        "resize_area",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("lstm14", "static_det", "yolov5lite")),
    ],
)
def test_real_files_run_and_have_a_price(name):
    path = FILES / f"{name}.rknn"
    graph = npusim.load_model(path)
    feeds = {
        n: np.random.default_rng(0).integers(0, 256, graph.spec(n).shape).astype(np.float32)
        for n in graph.inputs
    }
    results = npusim.compile(graph).run(feeds)
    assert all(np.isfinite(value).all() for value in results.values())
    assert npusim.estimate(graph).total_time_us > 0


@real
def test_a_real_file_answers_as_its_source():
    ort = pytest.importorskip("onnxruntime")
    digit = np.zeros((1, 1, 28, 28), np.float32)
    digit[..., 4:24, 12:16] = digit[..., 4:8, 8:16] = 255
    session = ort.InferenceSession(FILES / "mnist.onnx")
    (wanted,) = session.run(None, {session.get_inputs()[0].name: digit})
    program = npusim.compile(npusim.load_model(FILES / "mnist.rknn"))
    (found,) = program.run({"input_11": digit}).values()
    np.testing.assert_allclose(found, wanted, atol=0.02)


@pytest.mark.parametrize(
    ("middle", "weights", "bias", "words", "step"),
    [
        (fmt("i2", fl=12), fmt("i2", fl=14), fmt("i8", fl=26), (np.int16, np.int64), 2.0**-12),
        (fmt("i1", fl=5), fmt("i1", fl=6), fmt("i4", fl=11), (np.int8, np.int32), 2.0**-5),
        (fmt("f2"), fmt("f2"), fmt("f4"), (np.float16, np.float32), 2.0**-9),
    ],
    ids=["i16", "i8", "f16"],
)
def test_hybrid_files_keep_every_layers_format(tmp_path, middle, weights, bias, words, step):
    """A u8 network whose convolution was given another format, with the conversions around it."""
    rng, file = np.random.default_rng(3), File()

    def stored(value, form, word):
        return (np.rint(value * 2.0 ** form["fl"]) if "fl" in form else value).astype(word)

    x = file.input((1, 2, 4, 4), X, "x")
    (up,) = file.layer("DATACONVERT", "up", 4, (x,), middle)
    matrix = stored(rng.uniform(-1, 1, (3, 2, 1, 1)), weights, words[0])
    offsets = stored(rng.uniform(-1, 1, 3), bias, words[1])
    constants = file.constant(matrix, weights), file.constant(offsets, bias)
    nn = {"conv2d": {"ksize": [1, 1], "pad": [0, 0, 0, 0], "group": 1}}
    (c,) = file.layer("CONV2D", "c", 3, (up, *constants), middle, nn=nn)
    (down,) = file.layer("DATACONVERT", "down", 2, (c,), Y)
    file.output(down, (1, 3, 4, 4), Y, "y")
    graph = npusim.load_model(file.save(tmp_path / "net.rknn"))
    stored_as = {graph.spec(node.outputs[0]).dtype.numpy for node in graph.nodes}
    assert stored_as == {np.dtype(np.uint8), np.dtype(words[0])}
    codes = rng.integers(78, 178, (1, 2, 4, 4)).astype(np.uint8)  # reals of -1 to 1
    found = npusim.compile(graph).run({"x": codes}, pass_through=["x"])["y"]
    real = (codes.astype(np.float64) - 128) * 0.02
    if "fl" in middle:
        real = np.rint(real * 2.0 ** middle["fl"]) * 2.0 ** -middle["fl"]
    kernel = matrix.astype(np.float64) * 2.0 ** -weights.get("fl", 0)
    wanted = np.einsum("oi,nihw->nohw", kernel[:, :, 0, 0], real)
    wanted += (offsets.astype(np.float64) * 2.0 ** -bias.get("fl", 0)).reshape(3, 1, 1)
    np.testing.assert_allclose(found, wanted, atol=0.025 + 0.51 * step + 1e-4)
    assert np.abs(found).max() > 0.5
