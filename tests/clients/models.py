"""The same small classifier in every format, and pictures, for scripts.

A convolution with relu, the mean of each map, and a softmax where the format makes that easy.
"""

import importlib.util
import json
import struct
import warnings

import numpy as np
import onnx
from onnx import helper
from PIL import Image

from tests.importers import caffe_build, mxnet_build, tensorflow_build
from tests.onnx_models import onnx_model

SIZE, CLASSES = 16, 10
HEAD = "import numpy as np\nfrom PIL import Image\nfrom rknn.api import RKNN\nrknn = RKNN()\n"


def has(module):
    return importlib.util.find_spec(module) is not None


def kernel(channels=3):
    """Return weights (classes, channels, 3, 3)."""
    return np.random.default_rng(3).normal(0, 0.2, (CLASSES, channels, 3, 3)).astype(np.float32)


def picture(path, size=SIZE, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def dataset(count=2, size=SIZE, name="dataset.txt"):
    """Write a list of pictures beside it."""
    for index in range(count):
        picture(f"{index}.jpg", size, index)
    with open(name, "w", encoding="utf-8") as file:
        file.writelines(f"{index}.jpg\n" for index in range(count))


def small_onnx(path, *, inputs=1, channels=3, size=SIZE, name="data", output="out", softmax=False):
    """Write a model; several inputs are added."""
    names = [f"in{i}" if inputs > 1 else name for i in range(inputs)]
    nodes = [helper.make_node("Sum", names, ["all"], name="all")] if inputs > 1 else []
    first, last = "all" if nodes else name, "flat" if softmax else output
    nodes += [
        helper.make_node("Conv", [first, "w"], ["c"], name="c", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="p"),
        helper.make_node("Flatten", ["p"], [last], name="f"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["flat"], [output], name="s"))
    shapes = dict.fromkeys(names, (1, channels, size, size))
    made = onnx_model(nodes, shapes, {output: (1, CLASSES)}, {"w": kernel(channels)})
    onnx.save(made, path)
    return path


def small_tflite(path, size=SIZE):
    from tests.importers.tflite_build import Model

    model = Model()
    main = model.function()
    x = main.tensor("input", (1, size, size, 3))
    weights = main.constant("w", np.ascontiguousarray(kernel().transpose(0, 2, 3, 1)))
    bias = main.constant("b", np.zeros(CLASSES, np.float32))
    c = main.tensor("c", (1, size, size, CLASSES))
    main.op("CONV_2D", [x, weights, bias], [c], "Conv2DOptions", strideH=1, strideW=1,
            dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)  # fmt: skip
    m = main.tensor("m", (1, CLASSES))
    axes = main.constant("axes", np.array([1, 2], np.int32))
    main.op("MEAN", [c, axes], [m], "ReducerOptions", keepDims=False)
    y = main.tensor("y", (1, CLASSES))
    main.op("SOFTMAX", [m], [y], "SoftmaxOptions", beta=1.0)
    main.proto.inputs, main.proto.outputs = [x], [y]
    with open(path, "wb") as file:
        file.write(model.bytes())
    return path


def small_tensorflow(folder, name="net.pb", size=SIZE, output="probs"):
    net = tensorflow_build.Net()
    net.input("input", (None, size, size, 3))
    weights = np.ascontiguousarray(kernel().transpose(2, 3, 1, 0))
    net.op("c", "Conv2D", "input", weights, strides=[1, 1, 1, 1], padding="SAME")
    net.op("r", "Relu", "c")
    net.op("m", "Mean", "r", np.array([1, 2], np.int32), keep_dims=False)
    net.op(output, "Softmax", "m")
    return net.save(folder, name)


def small_caffe(prototxt, caffemodel, size=SIZE):
    text = (
        'name: "net"\n' + caffe_build.input_layer("data", (1, 3, size, size)) + "layer {"
        ' name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {'
        f" num_output: {CLASSES} kernel_size: 3 pad: 1 bias_term: false }} }}\n"
        'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }\n'
        'layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"'
        " pooling_param { pool: AVE global_pooling: true } }\n"
        'layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" }\n'
    )
    with open(prototxt, "w", encoding="utf-8") as file:
        file.write(text)
    with open(caffemodel, "wb") as file:
        file.write(caffe_build.weights({"conv": [kernel()]}))


def small_darknet(cfg, weights, size=SIZE):
    text = (
        f"[net]\nchannels=3\nheight={size}\nwidth={size}\n"
        f"[convolutional]\nfilters={CLASSES}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
        "[avgpool]\n[softmax]\n"
    )
    with open(cfg, "w", encoding="utf-8") as file:
        file.write(text)
    numbers = np.concatenate([np.zeros(CLASSES), kernel().reshape(-1)]).astype("<f4")
    with open(weights, "wb") as file:
        file.write(struct.pack("<iii", 0, 2, 0) + b"\0" * 8 + numbers.tobytes())


def small_keras(path, size=SIZE):
    import h5py

    def layer(kind, name, source=None, **config):
        inbound = [[[source, 0, 0, {}]]] if source else []
        return {"class_name": kind, "name": name, "config": {"name": name, **config},
                "inbound_nodes": inbound}  # fmt: skip

    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, size, size, 3]),
        layer("Conv2D", "c", "x", filters=CLASSES, kernel_size=[3, 3], strides=[1, 1],
              padding="same", activation="relu", use_bias=False),
        layer("GlobalAveragePooling2D", "g", "c"),
        layer("Activation", "s", "g", activation="softmax"),
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["s", 0, 0]]}
    config = {"name": "net", "layers": layers, **ends}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config})
        file.attrs["keras_version"] = "2.2.4-tf"
        group = file.create_group("model_weights").create_group("c")
        group.attrs["weight_names"] = np.array(["c/kernel:0"], dtype="S")
        group["c/kernel:0"] = kernel().transpose(2, 3, 1, 0)


def small_mxnet(symbol, params):
    net = mxnet_build.Net()
    x = net.op("Convolution", "conv", net.var("data"), net.var("w"), kernel="(3, 3)", pad="(1, 1)",
               num_filter=CLASSES, no_bias="True")  # fmt: skip
    x = net.op("Activation", "relu", x, act_type="relu")
    x = net.op("Pooling", "pool", x, global_pool="True", pool_type="avg", kernel="(1, 1)")
    net.op("Flatten", "flat", x)
    with open(symbol, "w", encoding="utf-8") as file:
        file.write(net.text())
    with open(params, "wb") as file:
        file.write(mxnet_build.params({"w": kernel()}))


def small_torch(path, channels=3, size=SIZE):
    import torch

    layers = torch.nn
    net = layers.Sequential(
        layers.Conv2d(channels, CLASSES, 3, padding=1),
        layers.ReLU(),
        layers.AdaptiveAvgPool2d(1),
        layers.Flatten(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(net.eval(), torch.zeros(1, channels, size, size)).save(str(path))
