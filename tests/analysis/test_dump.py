"""NN_LAYER_DUMP files: names, order, exact text, index."""

import csv
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.analysis.dump import (
    INDEX_NAME,
    DumpOptions,
    LayerDump,
    exact_text,
    file_name,
    options_from_environment,
    values_text,
)
from npusim.errors import ConfigError
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.ir.tensor import TensorSpec


class Stub:
    """Stands for a program: a dump only looks at the graph."""

    def __init__(self, graph):
        self.graph = graph


def toy(shape=(1, 2, 2, 3), name="层1/../x y", quant=None):
    spec = TensorSpec(name="t", shape=shape, dtype=DType.U8, quant=quant or Affine(scale=0.1))
    node = Node(
        name=name,
        op="conv2d",
        inputs=(),
        outputs=("t",),
        uid=7,
        engine=Engine.NN,
        origin=("a", "b"),
    )
    graph = Graph(name="g", nodes=(node,), inputs=(), outputs=("t",), tensors={"t": spec})
    return graph, node, spec


@pytest.mark.parametrize("value", ["0", "", " 0 "])
def test_unset_or_zero_means_no_dump(value):
    assert options_from_environment({"NN_LAYER_DUMP": value}) is None


def test_environment_is_read_at_call_time(monkeypatch):
    monkeypatch.setenv("NN_LAYER_DUMP", "1")
    monkeypatch.setenv("NN_LAYER_DUMP_LAYOUT", "nchw")
    monkeypatch.setenv("NN_LAYER_DUMP_FORMAT", "%.9g")
    assert options_from_environment() == DumpOptions(layout="NCHW", number_format="%.9g")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NN_LAYER_DUMP", "yes"),
        ("NN_LAYER_DUMP_LAYOUT", "WHCN"),
        ("NN_LAYER_DUMP_FORMAT", "%s"),
        ("NN_LAYER_DUMP_FORMAT", "%f\n%f"),
    ],
)
def test_bad_settings_name_the_variable(name, value):
    with pytest.raises(ConfigError, match=name):
        options_from_environment({"NN_LAYER_DUMP": "1", name: value})


def test_case_2_2_file_reads_back_as_nhwc(tmp_path):
    graph, node, spec = toy()
    value = np.arange(12, dtype=np.uint8).reshape(spec.shape)
    dump = LayerDump(Stub(graph), tmp_path)
    dump.observe(node, "t", value)
    dump.close()
    name = "NodeID_7_ConvolutionReluPoolingLayer2_w_3_h_2_d_2_batchID_0_out_0.txt"
    read = np.loadtxt(tmp_path / name).reshape(1, 2, 3, 2)
    expected = dequantize(value, spec.quant).transpose(0, 2, 3, 1)
    assert np.array_equal(read.astype(np.float32), expected)
    with open(tmp_path / INDEX_NAME, newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["layer"] == node.name
    assert (row["uid"], row["shape"], row["order"], row["file"]) == ("7", "1x2x3x2", "NHWC", name)
    assert row["origin"] == "a b"


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_arrays_hold_the_values_in_the_order_of_the_index(tmp_path, layout):
    graph, node, spec = toy()
    value = np.arange(12, dtype=np.uint8).reshape(spec.shape)
    dump = LayerDump(Stub(graph), tmp_path, DumpOptions(layout=layout, file_type="npy"))
    dump.observe(node, "t", value)
    dump.close()
    (file,) = tmp_path.glob("NodeID_*")
    found, expected = np.load(file), dequantize(value, spec.quant)
    assert file.suffix == ".npy"
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found, expected.transpose(0, 2, 3, 1) if layout == "NHWC" else expected
    )
    (row,) = npusim.read_dump(tmp_path).layers
    np.testing.assert_array_equal(row.stored, expected)


def test_driver_order_on_request(tmp_path):
    graph, node, spec = toy()
    value = np.arange(12, dtype=np.uint8).reshape(spec.shape)
    dump = LayerDump(Stub(graph), tmp_path, DumpOptions(layout="NCHW"))
    dump.observe(node, "t", value)
    dump.close()
    (file,) = tmp_path.glob("NodeID_*")
    assert np.array_equal(
        np.loadtxt(file).astype(np.float32), dequantize(value, spec.quant).ravel()
    )


def test_layer_names_never_reach_a_path(tmp_path):
    graph, node, spec = toy()
    assert os.sep not in file_name(node, spec, batch=0, output=0)
    folder = tmp_path / "dump"
    dump = LayerDump(Stub(graph), folder)
    dump.observe(node, "t", np.zeros(spec.shape, np.uint8))
    dump.close()
    assert [p.name for p in tmp_path.iterdir()] == ["dump"]
    assert len(list(folder.iterdir())) == 2


def test_one_file_per_batch_item_and_overwritten_files_are_counted(tmp_path):
    graph, node, spec = toy()
    for expected in (0, 2):
        with LayerDump(Stub(graph), tmp_path) as dump:
            for item in range(2):
                dump.observe(node, "t", np.full(spec.shape, item, np.uint8))
        assert dump.overwritten == expected
    names = sorted(p.name for p in tmp_path.glob("NodeID_*"))
    assert [n.rpartition("batchID_")[2] for n in names] == ["0_out_0.txt", "1_out_0.txt"]


@pytest.mark.parametrize(
    ("shape", "part"),
    [((1, 5), "w_5_h_1_d_1"), ((1, 7, 5), "w_5_h_7_d_1"), ((1, 2, 3, 4, 5), "w_5_h_4_d_6")],
)
def test_other_ranks(shape, part):
    _, node, spec = toy(shape=shape)
    assert part in file_name(node, spec, batch=0, output=0)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_exact_text_has_six_decimals_and_reads_back_exactly(value):
    text = exact_text(np.float32(value))
    assert np.float32(text) == np.float32(value)
    assert "e" not in text
    assert len(text.partition(".")[2]) >= 6


@given(st.integers(-8, 20), st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_i16_text_is_exact(fl, codes):
    spec = TensorSpec(
        name="t", shape=(len(codes),), dtype=DType.I16, quant=DynamicFixedPoint(fl=fl)
    )
    value = np.array(codes, np.int16)
    read = np.array(values_text(value, spec).split(), np.float32)
    assert np.array_equal(read, dequantize(value, spec.quant))


def test_float16_text_keeps_zeros_and_subnormals():
    spec = TensorSpec(name="t", shape=(4,), dtype=DType.F16, quant=Float())
    value = np.array([0.0, -0.0, 6e-8, 65504.0], np.float16)
    read = np.array(values_text(value, spec).split(), np.float32)
    assert np.array_equal(read, value.astype(np.float32))
    assert values_text(value, spec, "%.1f").split() == ["0.0", "-0.0", "0.0", "65504.0"]
