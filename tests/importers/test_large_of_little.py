"""Small files of every framework that ask for gigabytes while they are read."""

import tracemalloc

import numpy as np
import pytest

import npusim
from npusim.errors import NpusimError
from npusim.importers.common import resize_weights
from npusim.importers.tensorflow import boxes
from npusim.ir.attrs import Coordinates
from tests.importers import test_keras as keras
from tests.importers.mxnet_build import Net
from tests.importers.tflite_build import one_op

MOST_BYTES = 64 << 20
LIMIT = "values that are computed while importing have at most"


def refused(make):
    tracemalloc.start()
    try:
        with pytest.raises(NpusimError, match=LIMIT):
            make()
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def mxnet(folder, shape, kind, **attrs):
    net = Net()
    net.op(kind, "n", net.var("data"), **attrs)
    (folder / "net-symbol.json").write_text(net.text())
    return npusim.load_model(folder / "net-symbol.json", input_shapes={"data": shape})


def test_a_table_of_mxnet(tmp_path):
    refused(lambda: mxnet(tmp_path, (1, 1), "one_hot", depth=9000))


def test_adaptive_pools_of_mxnet(tmp_path):
    sizes = {"output_size": "(7001, 1)"}
    refused(lambda: mxnet(tmp_path, (1, 1, 9001, 1), "_contrib_AdaptiveAvgPooling2D", **sizes))


def test_a_mask_of_keras(tmp_path):
    start = keras.start((9000, 1))
    node = [{"args": [[keras.tensor("x")] * 2], "kwargs": {"use_causal_mask": True}}]
    layer = keras.layer("Attention", "a", "x") | {"inbound_nodes": node}
    path = keras.archive(tmp_path, keras.model(start, layer))
    refused(lambda: npusim.load_model(path))


def test_sums_of_darknet(tmp_path):
    text = "[net]\nchannels=9000\nheight=1\nwidth=1\n[normalization]\nsize=5\n"
    (tmp_path / "net.cfg").write_text(text)
    refused(lambda: npusim.load_model(tmp_path / "net.cfg", weights=False))


def test_zeros_of_tflite(tmp_path):
    shape = (1, 6000, 6000, 1)
    path = one_op("ZEROS_LIKE", shape, shape).save(tmp_path / "net.tflite")
    refused(lambda: npusim.load_model(path))


@pytest.mark.parametrize("rows", [resize_weights.area_matrix, resize_weights.cubic_matrix])
def test_weights_of_resizes(rows):
    refused(lambda: rows(9000, 9000, Coordinates.HALF_PIXEL))


def test_weights_of_boxes():
    ends = np.float32(0), np.float32(1)
    refused(lambda: boxes._weights(9000, 9000, *ends, False))


@pytest.mark.parametrize(("kind", "attrs"), [("ones_like", {}), ("_power_scalar", {"scalar": 0})])
def test_one_number_takes_no_memory(tmp_path, kind, attrs):
    tracemalloc.start()
    graph = mxnet(tmp_path, (1, 1, 9000, 9000), kind, **attrs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES
    (name,) = graph.outputs
    assert (graph.constants[name] == 1).all()
