"""load, build, export: what users of the vendor's question lists ran into."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from npusim import compile
from npusim.ir import archive
from npusim.ir.dtypes import DType
from npusim.rknn import RKNN
from tests.rknn.conftest import conv_weights, write_onnx


def built(rknn):
    return rknn._built


def scales(rknn):
    graph = built(rknn)
    return {name: spec.quant for name, spec in graph.tensors.items()}


def load_and_build(new, path, dataset, *, verbose=False, build=None, **config):
    rknn = new(verbose=verbose)
    rknn.config(**config)
    assert rknn.load_onnx(path) == 0
    assert rknn.build(dataset=dataset, **(build or {})) == 0
    return rknn


def test_case_1_7_pre_compile_is_accepted_with_one_warning(new, convnet, images, capfd):
    data = images()
    rknn = load_and_build(new, convnet(), data.path, build={"pre_compile": True})
    assert capfd.readouterr().err == (
        "W pre_compile=True has no effect: npusim files run everywhere\n"
    )
    assert rknn.init_runtime() == 0
    assert rknn.inference([data.pixels[0]])[0].shape == (1, 4)


def test_case_1_10_without_quantization_everything_is_float16(new, work, capfd):
    path = write_onnx(
        work / "big.onnx",
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c")],
        {"x": (1, 64, 6, 6)},
        {"y": (1, 128, 4, 4)},
        conv_weights(128, 64),
    )
    rknn = new(verbose=True)
    assert rknn.load_onnx(path) == 0
    assert rknn.build(do_quantization=False, dataset="no such file.txt") == 0
    assert "I do_quantization=False: weights and activations become float16" in (
        capfd.readouterr().err
    )
    assert rknn.export_rknn("half.rknn") == 0
    stored = archive.load("half.rknn")
    (weights,) = (v for v in stored.constants.values() if v.ndim == 4)
    np.testing.assert_array_equal(weights, conv_weights(128, 64)["w"].astype(np.float16))
    ratio = (work / "half.rknn").stat().st_size / (128 * 64 * 9 * 4)
    assert 0.49 < ratio < 0.55


@pytest.mark.parametrize("content", ["", "\n\n", "none.jpg\n", "a.txt\n"])
def test_case_1_11_unusable_lists_stop_the_build(new, convnet, work, capfd, content):
    (work / "list.txt").write_text(content)
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(dataset="list.txt") == -1
    text = capfd.readouterr().err
    assert "E RKNN.build: list.txt: " in text
    assert rknn.build(dataset="missing.txt") == -1
    assert "does not exist" in capfd.readouterr().err
    assert rknn.build(dataset=None) == -1
    assert rknn.init_runtime() == -1


def test_case_1_11_mixed_list_builds_with_warnings(new, convnet, images, work, capfd):
    data = images()
    (work / "bad.png").write_text("no picture")
    with open(data.path, "a") as listing:
        listing.write("bad.png\nnone.png\n")
    load_and_build(new, convnet(), data.path)
    text = capfd.readouterr().err
    assert "W dataset.txt:4: bad.png cannot be read" in text
    assert "W dataset.txt:5: none.png does not exist" in text


def test_case_1_15_log_tells_samples_and_ranges(new, convnet, images, capfd):
    path = convnet()
    one = load_and_build(new, path, images(5).path, verbose=True)
    text = capfd.readouterr().err
    assert "asymmetric_affine-u8: ranges from 5 samples" in text
    assert "D tensor 'x': 0 .. 255 1@0" in text
    assert "D sample 5 of 5: dataset.txt:5" in text
    other = load_and_build(new, path, images(5, name="other.txt", seed=2).path)
    assert scales(one) != scales(other)


def test_case_1_19_object_array_in_the_list(new, convnet, work, capfd):
    np.save(work / "a.npy", np.array([None, 1], dtype=object), allow_pickle=True)
    (work / "list.txt").write_text("a.npy\n")
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(dataset="list.txt") == -1
    assert "list.txt:1: a.npy holds Python objects" in capfd.readouterr().err


def test_case_2_1_and_B10_batch_size_does_not_change_the_result(new, convnet, images):
    path, data = convnet(), images(20)
    splits = [{"batch_size": 200}, {"batch_size": 1, "epochs": 20}, {"batch_size": 2, "epochs": 10}]
    found = [scales(load_and_build(new, path, data.path, **split)) for split in splits]
    assert found[0] == found[1] == found[2]


def test_case_B8_every_sample_is_used_unless_epochs_limit_them(new, convnet, images, capfd):
    path, data = convnet(), images(7)
    load_and_build(new, path, data.path, verbose=True, batch_size=3)
    assert "ranges from 7 samples" in capfd.readouterr().err
    load_and_build(new, path, data.path, verbose=True, batch_size=3, epochs=1)
    assert "ranges from 3 samples" in capfd.readouterr().err


def test_case_B4_values_for_0_to_1_are_suspected(new, convnet, images, capfd):
    load_and_build(
        new,
        convnet(),
        images().path,
        mean_values=[[0.485, 0.456, 0.406]],
        std_values=[[0.229, 0.224, 0.225]],
    )
    text = capfd.readouterr().err
    assert text.count("W input 'x': mean (0.485, 0.456, 0.406)") == 1
    assert "multiply mean and std by 255" in text


def test_case_B3_order_of_preprocessing_is_in_the_log(new, convnet, images, capfd):
    load_and_build(
        new,
        convnet(),
        images().path,
        verbose=True,
        mean_values=[[1, 2, 3]],
        reorder_channel="2 1 0",
    )
    assert "; channels 2 1 0 (BGR), minus mean 1 2 3\n" in capfd.readouterr().err


def test_case_B22_all_unsupported_operators_in_one_message(new, work, capfd):
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("NonZero", ["x"], ["b"], name="second"),
        helper.make_node("Hardmax", ["x"], ["c"], name="third"),
    ]
    shape = (1, 3, 4, 4)
    path = write_onnx(work / "m.onnx", nodes, {"x": shape}, dict.fromkeys("abc", None))
    assert new().load_onnx(path) == -1
    text = capfd.readouterr().err
    for name in ("first", "second", "third", "Det", "NonZero", "Hardmax"):
        assert name in text


def test_case_B23_newer_opsets_load(new, work):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["y"], axes=[2, 3], keepdims=0),
    ]
    path = write_onnx(work / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, {"y": (1, 3)}, opset=17)
    assert new().load_onnx(path) == 0


def test_case_B25_dynamic_inputs_need_sizes(new, work, capfd):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    shape = ("batch", 3, "height", "width")
    path = write_onnx(work / "m.onnx", nodes, {"x": shape}, {"y": shape})
    rknn = new()
    assert rknn.load_onnx(path) == -1
    text = capfd.readouterr().err
    assert "height" in text
    assert "width" in text
    assert rknn.load_onnx(path, inputs=["x"], input_size_list=[[3, 8, 9]]) == 0
    assert rknn._source.spec("x").shape == (1, 3, 8, 9)
    assert rknn.load_onnx(path, input_size_list=[[3, 8, 9]]) == 0
    assert rknn.load_onnx(path, inputs=["x"]) == -1
    assert "inputs is given without input_size_list" in capfd.readouterr().err


@pytest.mark.parametrize("sizes", [[], [[]], "3,8,9", [[3, -8, 9]], [["a"]], {"x": 1}])
def test_malformed_sizes(new, convnet, sizes):
    assert new().load_onnx(convnet(), input_size_list=sizes) == -1


def test_case_B25_constants_listed_as_inputs_are_no_inputs(new, convnet):
    path = convnet()
    model = onnx.load(path)
    for weights in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(weights.name, TensorProto.FLOAT, list(weights.dims))
        )
    onnx.save(model, path)
    rknn = new()
    assert rknn.load_onnx(path) == 0
    assert rknn._source.inputs == ("x",)


def test_case_5_1_view_with_a_dynamic_size(new, work):
    """What PyTorch exports for ``x.view(x.size(0), -1)``."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["r", "shape"], ["y"]),
    ]
    weights = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])}
    path = write_onnx(work / "m.onnx", nodes, {"x": (1, 3, 4, 5)}, {"y": (1, 60)}, weights)
    rknn = new()
    assert rknn.load_onnx(path) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    (found,) = rknn.inference([pixels])
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1).reshape(1, 60))


def test_case_3_3_any_layer_name_works(new, work, images):
    names = ["_plus0", "a b", "层1", "x:y/z", "../../up"]
    nodes, last = [], "x"
    weights = {"w": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)}
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Conv", [last, "w"], [f"{name} out"], name=name))
        nodes.append(helper.make_node("Sigmoid", [f"{name} out"], [f"s{i}"], name=f"{name}'"))
        last = f"s{i}"
    shape = (1, 3, 8, 10)
    path = write_onnx(work / "m.onnx", nodes, {"x": shape}, {last: shape}, weights)
    data = images()
    rknn = load_and_build(new, path, data.path)
    assert rknn.export_rknn("层 model.rknn") == 0
    again = new()
    assert again.load_rknn("层 model.rknn") == 0
    layers = [node.name for node in built(again).nodes]
    assert layers == [node.name for node in built(rknn).nodes]
    for name in names:
        assert any(name in layer for layer in layers)
    assert rknn.init_runtime() == again.init_runtime() == 0
    np.testing.assert_array_equal(
        rknn.inference([data.pixels[0]]), again.inference([data.pixels[0]])
    )


def test_stored_model_gives_the_same_bits(new, convnet, images, work):
    data = images()
    for number, build in enumerate(({"dataset": data.path}, {"do_quantization": False})):
        rknn = new()
        rknn.config(mean_values=[[127.5] * 3], std_values=[[64, 65, 66]], reorder_channel="2 1 0")
        assert rknn.load_onnx(convnet()) == 0
        assert rknn.build(**build) == 0
        assert rknn.export_rknn(str(work / f"{number}.rknn")) == 0
        assert rknn.init_runtime() == 0
        again = new()
        assert again.load_rknn(str(work / f"{number}.rknn")) == 0
        assert again.init_runtime() == 0
        for pixels in data.pixels:
            (one,), (two,) = rknn.inference([pixels]), again.inference([pixels])
            assert one.tobytes() == two.tobytes()
        # the typed API lowers once more, which must change nothing
        program = compile(archive.load(work / f"{number}.rknn"))
        (three,) = program.run({"x": pixels.transpose(2, 0, 1)[None]}).values()
        assert three.tobytes() == one.tobytes()


def test_calls_in_unusual_orders(new, convnet, images, work):
    data = images()
    rknn = load_and_build(new, convnet(), data.path)
    assert rknn.export_rknn("m.rknn") == 0
    assert rknn.load_rknn("m.rknn") == 0  # on the same object
    assert rknn.build(dataset=data.path) == -1  # nothing to build
    assert rknn.init_runtime() == 0
    assert len(rknn.inference([data.pixels[0]])) == 1
    other = new()
    other.config()
    assert other.load_rknn("m.rknn") == 0
    assert other.export_rknn("copy.rknn") == 0
    assert (work / "copy.rknn").read_bytes() == (work / "m.rknn").read_bytes()
    assert other.release() is None
    assert other.release() is None
    assert other.inference([data.pixels[0]]) is None
    with RKNN() as inside:
        assert inside.load_rknn("m.rknn") == 0
    assert inside.init_runtime() == -1


def test_a_failed_load_forgets_the_model_before(new, convnet):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.load_rknn("missing.rknn") == -1
    assert rknn.init_runtime() == -1


def test_failed_exports_leave_nothing(new, convnet, work):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.export_rknn("early.rknn") == -1
    assert rknn.build(do_quantization=False) == 0
    assert rknn.export_rknn(str(work / "none" / "m.rknn")) == -1
    assert rknn.export_rknn(str(work)) == -1
    assert sorted(p.name for p in work.iterdir()) == ["convnet.onnx", "npusim_error.log"]


def test_case_1_18_vendor_files_are_explained(new, work, capfd):
    (work / "v.rknn").write_bytes(b"CYPTRKNN" + bytes(100))
    assert new().load_rknn("v.rknn") == -1
    assert "encrypted" in capfd.readouterr().err


def test_case_B35_models_of_another_family(new, convnet, work, capfd):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(do_quantization=False) == 0
    graph = built(rknn)
    archive.save(graph.copy(target="rk9999"), work / "other.rknn")
    assert rknn.load_rknn("other.rknn") == -1
    assert "the model was built for rk9999" in capfd.readouterr().err
    archive.save(graph.copy(target="rv1126"), work / "other.rknn")
    assert rknn.load_rknn("other.rknn") == 0
    assert rknn.init_runtime(target="rk1808") == -1
    assert "the model runs on rv1109, rv1126" in capfd.readouterr().err
    assert rknn.init_runtime(target="rv1126") == 0
    assert "was not measured" in capfd.readouterr().err


@pytest.mark.parametrize("batch", [0, -3, 2.5, "4", True])
def test_wrong_batch_sizes(new, convnet, batch):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(do_quantization=False, rknn_batch_size=batch) == -1


def test_large_batches_are_advised_against(new, convnet, capfd):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(do_quantization=False, rknn_batch_size=32) == 0
    assert "W rknn_batch_size 32" in capfd.readouterr().err


def test_schemes_change_the_stored_type(new, convnet, images):
    path, data = convnet(), images()
    for word, dtype in (("asymmetric_quantized-u8", DType.U8), ("dynamic_fixed_point-8", DType.I8)):
        rknn = load_and_build(new, path, data.path, quantized_dtype=word)
        assert built(rknn).spec("x").dtype is dtype


def test_models_without_nodes_are_explained(new, identity):
    rknn = new()
    path = identity(node="Identity")
    assert rknn.load_onnx(path) in (0, -1)  # never an exception


def test_precompiled_sync_and_encrypted_export(new, convnet, work, monkeypatch):
    rknn = new()
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.export_rknn("m.rknn") == 0
    assert rknn.export_rknn_precompile_model("p.rknn") == -1
    monkeypatch.setenv("NPUSIM_PRECOMPILE", "copy")
    assert rknn.export_rknn_precompile_model("p.rknn") == 0
    assert (work / "p.rknn").read_bytes() == (work / "m.rknn").read_bytes()
    uid = built(rknn).nodes[0].uid
    assert rknn.export_rknn_sync_model("m.rknn", [uid], "s.rknn") == 0
    assert archive.load_with_meta("s.rknn")[1]["sync_uids"] == [uid]
    assert rknn.export_rknn_sync_model("m.rknn", [uid + 1000], "t.rknn") == -1
    assert rknn.export_encrypted_rknn_model("m.rknn") == -1
    assert not (work / "t.rknn").exists()
    assert rknn.load_firmware() == 0
    assert rknn.register_op("op") is None


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_case_1_17_torchscript_is_imported(new, work, capfd):
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    torch.jit.trace(net, torch.zeros(1, 3, 8, 8)).save("net.pt")
    rknn = new()
    assert rknn.load_pytorch("net.pt") == -1
    assert "input_size_list is not given" in capfd.readouterr().err
    assert rknn.load_pytorch("net.pt", input_size_list=[[3, 8, 8]]) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    image = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    (got,) = rknn.inference([image], data_type="float32")
    want = net(torch.from_numpy(image.transpose(2, 0, 1)[None].copy())).detach().numpy()
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_sizes_that_hold_the_batch_are_understood(new, identity, capfd):
    """As in the toolkit's example of custom operators; where both readings fit, the batch is
    left out."""
    rknn = new()
    assert rknn.load_onnx(identity(channels=3), inputs=["x"], input_size_list=[[1, 3, 2, 3]]) == 0
    assert "holds the batch, which sizes leave out" in capfd.readouterr().err
    assert rknn.load_onnx(identity(channels=1), inputs=["x"], input_size_list=[[1, 2, 3]]) == 0
    assert "batch" not in capfd.readouterr().err
    assert rknn.load_onnx(identity(channels=3), inputs=["x"], input_size_list=[[1, 4, 2, 3]]) == -1
    assert rknn.load_onnx(identity(channels=3), inputs=["x"], input_size_list=[[2, 3, 2, 3]]) == -1
    assert "contradicts" not in capfd.readouterr().out
