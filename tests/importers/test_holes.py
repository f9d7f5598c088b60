"""A model with layers without a counterpart: what lies around them is kept, in every framework."""

import onnx
import pytest
from onnx import TensorProto, helper

import npusim
from npusim.errors import UnsupportedOpError
from tests.importers import test_darknet, test_keras, test_mxnet
from tests.importers.mxnet_build import Net as MxNet
from tests.importers.tensorflow_build import Net as TfNet
from tests.importers.test_vendor_files import X
from tests.importers.tflite_build import Model
from tests.importers.vendor_build import File

MAP = (1, 4, 6, 6)


def onnx_file(folder, odd="Magic", domain="elsewhere"):
    """Write relu -> odd -> neg, and a sigmoid beside them."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="before"),
        helper.make_node(odd, ["a"], ["b"], name="odd", domain=domain),
        helper.make_node("Neg", ["b"], ["y"], name="behind"),
        helper.make_node("Sigmoid", ["a"], ["z"], name="beside"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, MAP) for n in ("x", "y", "z")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def caffe(folder):
    sizes = " ".join(f"dim: {n}" for n in MAP)
    text = 'name: "net"\n'
    text += f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {sizes} }} }} }}\n'
    text += "".join(
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" }}\n'
        for name, kind, bottom in (
            ("before", "ReLU", "x"), ("odd", "Wonder", "before"), ("behind", "TanH", "odd"),
            ("beside", "Sigmoid", "before"),
        )
    )  # fmt: skip
    (folder / "net.prototxt").write_text(text)
    npusim.load_model(folder / "net.prototxt", weights=False)


def darknet(folder):
    section = test_darknet.section
    text = test_darknet.net(
        section("maxpool", size=2, stride=2), section("wonder"), section("avgpool"),
        channels=4, height=8, width=8,
    )  # fmt: skip
    test_darknet.load(folder, text)


def keras(folder):
    layer = test_keras.layer
    record = test_keras.model(
        test_keras.start((6, 6, 4)), layer("ReLU", "before", "x"), layer("Wonder", "odd", "before"),
        layer("ReLU", "behind", "odd"),
    )  # fmt: skip
    test_keras.load_keras(test_keras.archive(folder, record))


def mxnet(folder):
    net = MxNet()
    first = net.op("relu", "before", net.var("data"))
    odd = net.op("ROIPooling", "odd", first, net.op("sigmoid", "beside", first),
                 pooled_size=(2, 2), spatial_scale=1)  # fmt: skip
    net.op("relu", "behind", odd)
    test_mxnet.load(folder, net.text(), input_shapes={"data": MAP})


def tensorflow(folder):
    net = TfNet()
    net.input("x", (1, 6, 6, 4))
    net.op("before", "Relu", "x")
    net.op("odd", "Igamma", "before", "x")
    net.op("behind", "Tanh", "odd")
    net.load(folder)


def tflite(folder):
    model = Model()
    main = model.function()
    names = ("x", "before", "odd", "behind")
    x, before, odd, behind = (main.tensor(name, (1, 6, 6, 4)) for name in names)
    main.op("RELU", [x], [before])
    main.op("CUSTOM", [before], [odd])
    main.op("TANH", [odd], [behind])
    main.proto.inputs, main.proto.outputs = [x], [behind]
    npusim.load_model(model.save(folder / "net.tflite"))


def vendor(folder):
    file = File()
    x = file.input((1, 4), X)
    (before,) = file.layer("RELU", "before", 3, (x,), X)
    (odd,) = file.layer("ROI_POOL", "odd", 2, (before,), X)
    (behind,) = file.layer("RELU", "behind", 1, (odd,), X)
    file.output(behind, (1, 4), X)
    npusim.load_model(file.save(folder / "net.rknn"))


def of_onnx(folder):
    npusim.load_model(onnx_file(folder))


FRAMEWORKS = (of_onnx, caffe, darknet, keras, mxnet, tensorflow, tflite, vendor)


@pytest.mark.parametrize("load", FRAMEWORKS, ids=lambda load: load.__name__)
def test_what_lies_around_a_hole_can_be_priced(load, tmp_path):
    with pytest.raises(UnsupportedOpError) as caught:
        load(tmp_path)
    rest = caught.value.find_rest()
    (hole,) = rest.holes
    assert hole.layer in str(caught.value)
    assert hole.why in str(caught.value)
    known = {node.name for node in rest.graph.nodes}
    assert known
    assert hole.layer not in known
    # what is behind is either priced, its input standing in for the hole's result, or named
    assert len(known) + len(rest.unknown) >= 2
    assert npusim.estimate(rest.graph).total_time_us > 0


def test_a_stand_in_of_known_shape_lets_what_follows_be_priced(tmp_path):
    with pytest.raises(UnsupportedOpError) as caught:
        npusim.load_model(onnx_file(tmp_path, "Acosh", ""))
    rest = caught.value.find_rest()
    assert {node.op for node in rest.graph.nodes} == {"relu", "neg", "sigmoid"}
    assert rest.unknown == ()


def test_nothing_converted_leaves_nothing(tmp_path):
    nodes = [helper.make_node("Magic", ["x"], ["y"], name="odd", domain="elsewhere")]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, MAP) for n in ("x", "y")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOpError) as caught:
        npusim.load_model(tmp_path / "net.onnx")
    assert caught.value.find_rest() is None
