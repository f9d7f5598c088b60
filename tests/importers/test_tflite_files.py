"""Files that are no TensorFlow Lite models, damaged ones, and operators without a counterpart."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npusim
from npusim.errors import ContainerError, MissingExtraError, ModelImportError, UnsupportedOpError
from npusim.importers import load
from npusim.reference.evaluate import Evaluator
from npusim.reference.litert import run_litert

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
from tests.importers.tflite_build import Model, one_op

F = (1, 4, 4, 2)
CORPUS = Path(__file__).resolve().parents[1] / "corpus"


def message(path, kind=ModelImportError, **options):
    with pytest.raises(kind) as error:
        load(path, **options)
    assert str(path) in str(error.value)
    return str(error.value)


def test_case_b22_everything_unsupported_at_once(tmp_path):
    model = Model()
    main = model.function()
    x, a, b, c, d, e = (main.tensor(name, F) for name in "xabcde")
    main.op("CUSTOM", [x], [a])
    main.op("SIN", [x], [b])
    main.op("SIN", [b], [c])
    main.op("SOFTMAX", [x], [d], "SoftmaxOptions", beta=2.0)
    main.op("RELU", [a], [e])
    weights, bias = main.constant("w", np.ones((2, 1, 1, 2), np.float32)), main.tensor("g", F)
    main.op("CONV_2D", [e, weights, main.constant("n", np.ones(2, np.float32))], [bias],
            "Conv2DOptions", strideH=1, strideW=1, fusedActivationFunction=5)  # fmt: skip
    main.proto.inputs, main.proto.outputs = [x], [c, d, bias]
    text = message(model.save(tmp_path / "net.tflite"), UnsupportedOpError)
    assert "4 unsupported operators" in text
    assert "CUSTOM TFLite_Detection_PostProcess" in text
    assert "SIN version 1, it depends on the input data; the chip has no such" in text
    assert "'b', 'c'" in text
    assert "CONV_2D version 1, its fused activation" in text  # behind what is not known
    assert "RELU" not in text
    assert "SOFTMAX is wrong in itself, axis" not in text
    assert "npusim ops" in text


def test_the_extra_is_named(tmp_path, monkeypatch):
    path = one_op("ABS", F, F).save(tmp_path / "net.tflite")
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingExtraError, match=r"npusim\[tflite\]"):
        load(path)


def test_other_files(tmp_path):
    path = tmp_path / "net.tflite"
    assert "does not exist" in message(path)
    for content in (b"", b"\x08\x07", b"PK\x03\x04" + bytes(20)):
        path.write_bytes(content)
        assert "not a TensorFlow Lite model" in message(path)
    path.write_bytes(one_op("ABS", F, F).bytes())
    with pytest.raises(ModelImportError, match="TensorFlow Lite model, not an ONNX file"):
        npusim.load_model(path.rename(tmp_path / "net.onnx"))
    with pytest.raises(ContainerError, match="TensorFlow Lite"):
        npusim.load_model((tmp_path / "net.onnx").rename(tmp_path / "net.rknn"))


def test_inputs_and_names(tmp_path):
    path = one_op("ABS", F, F).save(tmp_path / "net.tflite")
    assert "begins at its own inputs" in message(path, inputs=["x"])
    assert "did you mean 'x'" in message(path, input_shapes={"X": F})
    assert "4 sizes as in the file" in message(path, input_shapes={"x": (1, 2)})
    assert "no tensor 'z'" in message(path, outputs=["z"])
    assert load(path, outputs=["y"]).outputs == ("y",)


def test_sizes_that_do_not_fit(tmp_path):
    wrong = one_op("CONV_2D", F, F, constants=[np.zeros((2, 3, 3, 5), np.float32)],
                   options="Conv2DOptions", strideH=1, strideW=1)  # fmt: skip
    text = message(wrong.save(tmp_path / "net.tflite"))
    assert "layer 'y' (CONV_2D)" in text
    short = one_op("ADD", F, F, constants=[np.zeros(2, np.float32)], options="AddOptions")
    short.proto.buffers[-2].data = short.proto.buffers[-2].data[:3]
    assert "has 3 bytes" in message(short.save(tmp_path / "net.tflite"))


def test_sixteen_bit_activations_are_named(tmp_path):
    path = one_op("ABS", F, F, quant=((0.1, 0), (0.1, 0)), dtype="int16").save(
        tmp_path / "net.tflite"
    )
    assert "quantized to i16" in message(path, UnsupportedOpError)


WHOLE = one_op("CONV_2D", F, F, constants=[np.ones((2, 1, 1, 2), np.float32)],
               options="Conv2DOptions", strideH=1, strideW=1).bytes()  # fmt: skip


def refusal(path, default):
    """Return what the import says; other errors than npusim's come through."""
    try:
        load(path)
    except ModelImportError as error:
        return str(error)
    return default


@given(cut=st.integers(8, len(WHOLE) - 1))
@settings(max_examples=60)
def test_truncated_files_are_refused(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "cut.tflite"
    path.write_bytes(WHOLE[:cut])
    assert "cut.tflite" in refusal(path, default="cut.tflite")


@given(
    changes=st.lists(
        st.tuples(st.integers(8, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
@settings(max_examples=150)
def test_damaged_files_never_give_a_bare_traceback(tmp_path_factory, changes):
    data = bytearray(WHOLE)
    for position, value in changes:
        data[position] = value
    path = tmp_path_factory.mktemp("bad") / "bad.tflite"
    path.write_bytes(data)
    assert "bad.tflite" in refusal(path, default="bad.tflite")


def test_the_larger_of_both_operator_codes_counts():
    """As LiteRT reads them: 7 (an embedding) in the old field, 83 (a pack) in the new one."""
    graph = npusim.load_model(CORPUS / "tflite-two-operator-codes" / "net.tflite")
    assert graph.spec(graph.outputs[0]).shape == (2, 3, 4, 5, 2)


def test_litert_counts_tensors_whose_names_are_no_text():
    """It leaves them out of its list: results of other tensors were compared."""
    graph = npusim.load_model(CORPUS / "tflite-weights-without-text" / "net.tflite")
    feeds = {"x0": np.ones(graph.spec("x0").shape, np.float32)}
    own, other = Evaluator(graph).run(feeds), run_litert(graph, feeds)
    np.testing.assert_allclose(own["y0"], other["y0"], rtol=1e-4, atol=1e-5)


def test_tables_that_share_a_vector_are_counted_as_often_as_they_are_read(tmp_path):
    flatbuffers, schema = pytest.importorskip("flatbuffers"), pytest.importorskip("tflite")
    builder, many = flatbuffers.Builder(1024), 1 << 13

    def vector(offsets):
        builder.StartVector(4, len(offsets), 4)
        for offset in offsets:
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    shape = builder.CreateNumpyVector(np.ones(many, np.int32))
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape)
    tensors = vector([schema.TensorEnd(builder)] * many)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graphs = vector([schema.SubGraphEnd(builder)])
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "net.tflite"
    path.write_bytes(bytes(builder.Output()))
    assert "name the same vectors again and again" in message(path)
