"""Cases 4.1 to 4.3 of the vendor's FAQ, its example flows, names, switches and cuts."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.tensorflow.importer import load_tensorflow
from npusim.rknn import RKNN
from tests.importers.tensorflow_build import BOOL, FLOAT, INT32, Net, run

RNG = np.random.default_rng(11)


def weights(*shape):
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def tower(net, x, channels, name="FeatureExtractor/MobilenetV1"):
    """MobileNet v1 blocks: convolution, then depthwise and pointwise, each with its norm."""
    for index, out in enumerate(channels):
        for part in ("Conv2d_0",) if index == 0 else ("depthwise", "pointwise"):
            scope = f"{name}/Conv2d_{index}_{part}"
            depth = channels[max(index - 1, 0)] if index else 3
            stride = 2 if part != "pointwise" else 1
            shape = (3, 3, depth, 1) if part == "depthwise" else (1, 1, depth, out)
            shape = (3, 3, 3, out) if index == 0 else shape
            kind = "DepthwiseConv2dNative" if part == "depthwise" else "Conv2D"
            read = net.op(f"{scope}/weights/read", "Identity", weights(*shape))
            x = net.op(
                f"{scope}/conv", kind, x, read, strides=[1, stride, stride, 1], padding="SAME"
            )
            count = depth if part == "depthwise" else out
            statistics = (np.ones(count), weights(count), weights(count), np.ones(count))
            x = net.op(
                f"{scope}/BatchNorm/FusedBatchNorm", "FusedBatchNorm", x,
                *(np.float32(value) for value in statistics), epsilon=0.001, is_training=False,
            )  # fmt: skip
            x = net.op(f"{scope}/Relu6", "Relu6", x)
    return x


def mobilenet(side=32):
    net = Net()
    x = tower(net, net.input("input", (-1, side, side, 3)), (8, 16, 16), "MobilenetV1")
    x = net.op(
        "pool", "AvgPool", x, ksize=[1, side // 8, side // 8, 1], strides=[1, 1, 1, 1],
        padding="VALID",
    )  # fmt: skip
    x = net.op("logits", "Conv2D", x, weights(1, 1, 16, 10), strides=[1, 1, 1, 1], padding="SAME")
    x = net.op("bias", "BiasAdd", x, weights(10))
    x = net.op("SpatialSqueeze", "Squeeze", x, squeeze_dims=[1, 2])
    shape = net.op("Shape", "Shape", x, T=FLOAT)
    flat = net.op("Reshape", "Reshape", x, np.array([-1, 10]))
    x = net.op("Softmax", "Softmax", flat)
    net.op("MobilenetV1/Predictions/Reshape_1", "Reshape", x, shape)
    return net


def ssd(side=32):
    """The shape of the detection API's graphs: loops before and behind the network."""
    net = Net()
    net.input("image_tensor", (-1, -1, -1, 3), FLOAT.__class__(4))
    x = net.op("ToFloat", "Cast", "image_tensor", SrcT=FLOAT.__class__(4), DstT=FLOAT)
    x = net.op("Preprocessor/map/while/Enter", "Enter", x, frame_name="loop")
    x = net.op("Preprocessor/map/TensorArrayStack/TensorArrayGatherV3", "TensorArrayGatherV3", x)
    x = net.op("Preprocessor/mul", "Mul", np.float32(1 / 127.5), x)
    x = net.op("Preprocessor/sub", "Sub", x, np.float32(1))
    x = tower(net, x, (8, 16, 16))
    boxes, scores = [], []
    for index in range(2):
        if index:
            x = net.op("extra", "MaxPool", x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1],
                       padding="SAME")  # fmt: skip
        for kind, list_, size in (("BoxEncoding", boxes, 4), ("Class", scores, 5)):
            name = f"BoxPredictor_{index}/{kind}Predictor"
            y = net.op(
                f"{name}/Conv2D", "Conv2D", x, weights(1, 1, 16, 3 * size),
                strides=[1, 1, 1, 1], padding="SAME",
            )  # fmt: skip
            y = net.op(f"{name}/BiasAdd", "BiasAdd", y, weights(3 * size))
            shape = net.op(f"{name}/Shape", "Shape", y)
            batch = net.op(
                f"{name}/batch", "StridedSlice", shape, np.array([0]), np.array([1]),
                np.array([1]), shrink_axis_mask=1,
            )  # fmt: skip
            rest = [np.int32(-1), np.int32(1), np.int32(4)] if size == 4 else [-1, 5]
            pack = net.op(f"{name}/stack", "Pack", batch, *map(np.int32, rest))
            list_.append(net.op(f"{name}/Reshape", "Reshape", y, pack))
    net.op("concat", "ConcatV2", *boxes, np.int32(1))
    net.op("concat_1", "ConcatV2", *scores, np.int32(1))
    net.op("Squeeze", "Squeeze", "concat", squeeze_dims=[2])
    net.op("Postprocessor/convert_scores", "Sigmoid", "concat_1")
    for index, source in enumerate(("Squeeze", "Postprocessor/convert_scores")):
        net.op(f"Postprocessor/map/while/Enter_{index}", "Enter", source, frame_name="nms")
    net.op(
        "detections", "NonMaxSuppressionV3", "Postprocessor/map/while/Enter_0",
        "Postprocessor/map/while/Enter_1",
    )  # fmt: skip
    return net


def test_4_1_a_wrong_input_is_answered_with_names(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = mobilenet().save(tmp_path)
    rknn = RKNN()
    ends = ["MobilenetV1/Predictions/Reshape_1"]
    wrong = rknn.load_tensorflow(
        tf_pb=str(path), inputs=["inptu"], outputs=ends, input_size_list=[[32, 32, 3]]
    )
    assert wrong == -1
    text = capfd.readouterr().err
    assert "there is no node 'inptu' to begin at" in text
    assert "placeholders: 'input'" in text
    assert "did you mean 'input'" in text
    with pytest.raises(
        ModelImportError,
        match=r"no node 'Predictions'[\s\S]*nodes that nothing "
        r"reads: 'MobilenetV1/Predictions/Reshape_1'",
    ):
        load_tensorflow(path, outputs=["Predictions"])
    graph = load_tensorflow(path, inputs=["input:0"], input_shapes=[(1, 32, 32, 3)])
    assert "'input:0' is taken as node 'input'" in graph.notes
    with pytest.raises(ModelImportError, match="node 'input' has no result '3'"):
        load_tensorflow(path, inputs=["input:3"])


@pytest.mark.parametrize("op", ["VarHandleOp", "VariableV2"])
def test_4_2_a_graph_with_variables_says_how_to_freeze_it(tmp_path, op):
    net = Net()
    net.input("x", (1, 2))
    net.op("layer/kernel", op, dtype=FLOAT.__class__(20), shape=(2, 3))
    net.op("y", "MatMul", "x", "layer/kernel")
    with pytest.raises(ModelImportError, match=r"'layer/kernel' is a variable[\s\S]*freeze it"):
        net.load(tmp_path)


def test_4_3_outputs_keep_the_layout_of_the_file(tmp_path):
    net = Net()
    net.input("x", (1, 4, 5, 2))
    net.op("y", "Conv2D", "x", weights(1, 1, 2, 3), strides=[1, 1, 1, 1], padding="SAME")
    graph = net.load(tmp_path)
    assert graph.spec("x:0").shape == (1, 2, 4, 5)
    assert graph.spec("y:0").shape == (1, 4, 5, 3)
    rknn = RKNN()
    assert rknn.load_tensorflow(str(tmp_path / "net.pb"), ["x"], [[4, 5, 2]], ["y"]) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    x = RNG.standard_normal((4, 5, 2)).astype(np.float32)
    (y,) = rknn.inference([x], data_type="float32")
    np.testing.assert_allclose(y, run(graph, x[None])[0], atol=5e-3)


def test_the_toolkits_flow_for_mobilenet_v1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = mobilenet().save(tmp_path)
    image = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "dataset.txt").write_text("image.npy\n")
    graph = load_tensorflow(path)
    (wanted,) = run(graph, (image[None].astype(np.float32) - 127.5) / 127.5)
    for quantize, tolerance in ((False, 0.01), (True, 0.12)):
        rknn = RKNN()
        rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3], reorder_channel="0 1 2")
        assert (
            rknn.load_tensorflow(
                tf_pb=str(path),
                inputs=["input"],
                outputs=["MobilenetV1/Predictions/Reshape_1"],
                input_size_list=[[32, 32, 3]],
            )
            == 0
        )
        assert rknn.build(do_quantization=quantize, dataset="dataset.txt") == 0
        assert rknn.export_rknn("net.rknn") == 0
        assert rknn.init_runtime() == 0
        (found,) = rknn.inference(inputs=[image])
        assert found.shape == (1, 10)
        np.testing.assert_allclose(found, wanted, atol=tolerance)
        assert found.argmax() == wanted.argmax()


def test_the_toolkits_flow_for_ssd_cut_at_the_concats(tmp_path):
    path = ssd().save(tmp_path)
    rknn = RKNN()
    assert (
        rknn.load_tensorflow(str(path), ["Preprocessor/sub"], [[32, 32, 3]], ["concat", "concat_1"])
        == 0
    )
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    x = RNG.standard_normal((32, 32, 3)).astype(np.float32)
    found = rknn.inference([x], data_type="float32")
    assert [out.shape for out in found] == [(1, 60, 1, 4), (1, 60, 5)]
    graph = load_tensorflow(
        path,
        inputs=["Preprocessor/sub"],
        input_shapes=[(1, 32, 32, 3)],
        outputs=["concat", "concat_1"],
    )
    for ours, wanted in zip(found, run(graph, x[None]), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=0.02)


def test_the_whole_detection_graph_is_answered_with_the_cut(tmp_path):
    with pytest.raises(UnsupportedOpError) as caught:
        ssd().load(tmp_path, input_shapes=[(1, 32, 32, 3)])
    text = str(caught.value)
    assert "'Preprocessor/map/while/Enter': Enter" in text
    assert "'detections': NonMaxSuppressionV3" in text
    assert "inputs=['Preprocessor/sub']" in text
    assert "outputs=['Squeeze', 'Postprocessor/convert_scores']" in text
    assert "outputs=['concat', 'concat_1']" in text
    begin = re.search(r"inputs=(\[.*?\])", text)[1]
    for ends in re.findall(r"outputs=(\[.*?\])", text):
        graph = load_tensorflow(
            tmp_path / "net.pb",
            inputs=eval(begin),
            input_shapes=[(1, 32, 32, 3)],
            outputs=eval(ends),
        )
        assert len(graph.outputs) == 2


def test_every_fault_is_listed_and_what_is_wrong_in_itself_named(tmp_path):
    net = Net()
    net.input("x", (1, 4))
    net.op("s", "Sin", "x")
    net.op("m", "Mul", "s", "x")
    net.op("c", "Cos", "m")
    net.op("i", "Igamma", "c", "x")
    net.op("y", "AddV2", "i", "s")
    with pytest.raises(UnsupportedOpError, match="3 unsupported nodes") as caught:
        net.load(tmp_path)
    for word in ("'s': Sin", "'c': Cos", "'i': Igamma", "outputs="):
        assert word in str(caught.value) or word == "outputs="


# ---- inputs
def test_open_sizes_need_shapes_and_the_batch_is_one(tmp_path):
    net = Net()
    net.input("x", (-1, -1, -1, 3))
    net.op("y", "Relu", "x")
    with pytest.raises(ModelImportError, match=r"'x' are open: \(-?1, -1, -1, 3\)[\s\S]*input_sh"):
        net.load(tmp_path)
    for shapes in ([(1, 4, 5, 3)], {"x": (4, 5, 3)}, {"x:0": (None, 4, 5, None)}, [(2, 4, 5, 3)]):
        graph = load_tensorflow(tmp_path / "net.pb", input_shapes=shapes)
        assert graph.spec("x:0").shape[1:] == (3, 4, 5)
    for shapes in ([(4, 5)], {"z": (1, 4, 5, 3)}, [(1, 4, 5, 3), (1,)], [(1, -1, 5, 3)]):
        with pytest.raises(ModelImportError, match=r"input_shapes|sizes|shapes"):
            load_tensorflow(tmp_path / "net.pb", input_shapes=shapes)


@pytest.mark.parametrize(("producer", "known"), [(21, False), (22, True)])
def test_an_empty_shape_is_a_scalar_from_producer_22_on(tmp_path, producer, known):
    net = Net(producer)
    net.input("x", ())
    net.op("y", "Relu", "x")
    if known:
        assert net.load(tmp_path).spec("x:0").shape == ()
        return
    with pytest.raises(ModelImportError, match="'x' has no shape in the file"):
        net.load(tmp_path)


def test_a_placeholder_that_is_no_input_needs_its_value(tmp_path, monkeypatch):
    net = Net()
    net.input("x", (1, 3))
    net.input("scope/factor", (1,))
    net.op("y", "Mul", "x", "scope/factor")
    path = net.save(tmp_path)
    with pytest.raises(ModelImportError, match=r"'scope/factor'[\s\S]*savez\('predef.npz'.*#fac"):
        load_tensorflow(path, inputs=["x"])
    np.savez(tmp_path / "predef.npz", **{"scope#factor": np.float32([3])})
    rknn = RKNN()
    monkeypatch.chdir(tmp_path)
    assert rknn.load_tensorflow(str(path), ["x"], [[3]], ["y"], predef_file="predef.npz") == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    (y,) = rknn.inference([np.float32([[1, 2, 3]])], data_type="float32")
    assert y.tolist() == [[3, 6, 9]]
    np.savez(tmp_path / "predef.npz", **{"scope#fcator": np.float32([3])})
    with pytest.raises(ModelImportError, match=r"'scope/fcator'[\s\S]*'scope/factor'"):
        load_tensorflow(path, predefined=tmp_path / "predef.npz")
    (tmp_path / "predef.npz").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ModelImportError, match=r"predef.npz[\s\S]*an .npz"):
        load_tensorflow(path, predefined=tmp_path / "predef.npz")


@pytest.mark.parametrize(
    ("name", "value"), [("keras_learning_phase", 0.0), ("is_inference", 1.0), ("phase_train", 0.0)]
)
def test_truth_values_are_the_phase(tmp_path, name, value):
    net = Net()
    net.input("x", (2,))
    net.input(name, (), BOOL)
    net.op("c", "Cast", name, SrcT=BOOL, DstT=FLOAT)
    net.op("y", "AddV2", "x", "c")
    graph = net.load(tmp_path)
    assert graph.inputs == ("x:0",)
    assert run(graph, [0, 0])[0].tolist() == [value] * 2


def test_nothing_is_dropped_when_keep_prob_is_a_placeholder(tmp_path):
    net = Net()
    net.input("x", (2,))
    net.input("keep_prob", ())
    net.op("y", "RealDiv", "x", "keep_prob")
    assert run(net.load(tmp_path), [1, 2])[0].tolist() == [1, 2]
    assert "nothing is dropped" in str(net.load(tmp_path).notes)


def test_a_network_is_cut_in_the_middle(tmp_path):
    path = mobilenet().save(tmp_path)
    graph = load_tensorflow(
        path, inputs=["pool"], input_shapes=[(1, 1, 1, 16)], outputs=["SpatialSqueeze"]
    )
    assert (graph.inputs, graph.outputs) == (("pool:0",), ("SpatialSqueeze:0",))
    assert [node.op for node in graph.nodes] == ["conv2d", "reshape"]
    with pytest.raises(ModelImportError, match=r"do not depend on \['input'\]"):
        load_tensorflow(path, inputs=["pool", "input"], input_shapes=[(1, 1, 1, 16), (1, 9, 9, 3)])
    with pytest.raises(ModelImportError, match="single string"):
        load_tensorflow(path, inputs="pool")


def test_pictures_of_whole_numbers_are_real_inputs_and_ids_are_not(tmp_path):
    net = Net()
    net.input("x", (1, 2, 2, 3), FLOAT.__class__(4))
    net.input("ids", (3,), INT32)
    net.op("c", "Cast", "x", SrcT=FLOAT.__class__(4), DstT=FLOAT)
    net.op("y", "Relu", "c")
    net.op("z", "GatherV2", weights(5, 2), "ids", np.int32(0))
    graph = net.load(tmp_path)
    assert graph.spec("x:0").dtype.value == "f32"
    assert graph.spec("ids:0").dtype.value == "i32"
    assert "'x' holds whole numbers" in str(graph.notes)
    assert npusim.load_model(tmp_path / "net.pb").outputs == ("y:0", "z:0")


def test_commands_cut_a_model_and_run_on_it(tmp_path):
    path = str(ssd().save(tmp_path))
    np.save(tmp_path / "x.npy", RNG.standard_normal((32, 32, 3)).astype(np.float32))
    cut = [
        "--cut-inputs",
        "Preprocessor/sub",
        "--cut-outputs",
        "concat,concat_1:0",
        "--shape",
        "Preprocessor/sub=1,32,32,3",
    ]
    runner = CliRunner()
    for words in (
        ["info", path, *cut],
        ["perf", path, *cut],
        ["run", path, *cut, "--input", str(tmp_path / "x.npy")],
        ["compare", path, *cut, "--input", str(tmp_path / "x.npy")],
    ):
        result = runner.invoke(app, words)
        assert result.exit_code == 0, result.output
    for wrong in (",", ""):
        result = runner.invoke(app, ["info", path, "--cut-inputs", wrong])
        assert result.exit_code != 0
