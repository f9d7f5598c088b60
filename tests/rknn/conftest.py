"""Tiny ONNX models and an empty working directory for the toolkit-compatible class."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper, save
from PIL import Image

from npusim.rknn import RKNN
from tests.onnx_models import onnx_model

_rng = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Run in an empty folder: failed calls store a log in the working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("NN_LAYER_DUMP", "NPUSIM_TARGET", "NPUSIM_PRECOMPILE", "NPUSIM_COMPAT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def new():
    """Make RKNN objects that are released after the test."""
    made = []

    def make(**options):
        made.append(RKNN(**options))
        return made[-1]

    yield make
    for rknn in made:
        rknn.release()


def write_onnx(path, nodes, inputs, outputs, weights=None, *, opset=13, name="toy"):
    """Write a model; inputs and outputs are name -> shape, weights name -> array."""
    model = onnx_model(nodes, inputs, outputs, weights, opset=opset, name=name)
    save(model, str(path))
    return str(path)


def conv_weights(out_c, in_c, kernel=3, seed=7):
    rng = np.random.default_rng(seed)
    return {
        "w": (rng.standard_normal((out_c, in_c, kernel, kernel)) * 0.1).astype(np.float32),
        "b": (rng.standard_normal(out_c) * 0.1).astype(np.float32),
    }


@pytest.fixture
def identity(work):
    """A 1x1 convolution that copies its channels, or a plain Identity node."""

    def make(channels=3, height=2, width=3, *, node="Conv", name="identity.onnx", batch=1):
        shape = (batch, channels, height, width)
        if node == "Identity":
            nodes, weights = [helper.make_node("Identity", ["x"], ["y"])], None
        else:
            nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="copy")]
            weights = {"w": np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)}
        return write_onnx(work / name, nodes, {"x": shape}, {"y": shape}, weights)

    return make


@pytest.fixture
def convnet(work):
    """conv, relu, conv, global average pool, softmax over 4 classes; 3x8x10 pixels."""

    def make(name="convnet.onnx", *, seed=7, softmax=True, channels=3):
        weights = conv_weights(8, channels, seed=seed)
        weights |= {k + "2": v for k, v in conv_weights(4, 8, seed=seed + 1).items()}
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
            helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="c2", strides=[2, 2]),
            helper.make_node("GlobalAveragePool", ["c2"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f" if softmax else "y"], name="flat"),
        ]
        if softmax:
            nodes.append(helper.make_node("Softmax", ["f"], ["y"], name="prob", axis=1))
        return write_onnx(work / name, nodes, {"x": (1, channels, 8, 10)}, {"y": (1, 4)}, weights)

    return make


@pytest.fixture
def images(work):
    """Write random pictures and their list; returns pixels and the list's path."""

    def make(count=3, height=8, width=10, *, name="dataset.txt", seed=1):
        rng = np.random.default_rng(seed)
        pixels = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]
        for i, picture in enumerate(pixels):
            Image.fromarray(picture).save(work / f"{name}.{i}.png")
        listing = work / name
        listing.write_text("".join(f"{name}.{i}.png\n" for i in range(count)))
        return SimpleNamespace(pixels=pixels, path=str(listing))

    return make


@pytest.fixture
def ready(new):
    """Load, build and initialise a model; every step must return 0."""

    def make(path, *, verbose=False, build=None, **config):
        rknn = new(verbose=verbose)
        assert rknn.config(**config) is None
        assert rknn.load_onnx(path) == 0
        assert rknn.build(**({"do_quantization": False} | (build or {}))) == 0
        assert rknn.init_runtime() == 0
        return rknn

    return make
