"""A name in a file is never an error: whatever names a file uses, it loads with the same values."""

import random
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import npusim
from npusim.importers.common.builder import suggestion
from npusim.importers.common.names import claim
from npusim.reference.evaluate import evaluate
from tests.importers import caffe_build
from tests.onnx_models import onnx_model

STEMS = ("a", "a1", "a2", "a12", "y", "x", "w", "x/nhwc", "a/nchw", "a/linear", "y/bias", "a/bias")
PARTS = ("a/tanh", "a/square", "a/cube", "y/half", "a/4d", "a@1", "a@2", "tensor_1", "a/scaled",
         "a/indices", "y/copy", "a/u8", "a/codes", "state/a", "a/part0", "a/operand1")  # fmt: skip
NAMES = st.sampled_from((*STEMS, *PARTS))
R = np.random.default_rng(0)


@given(st.lists(NAMES, max_size=20), st.sets(NAMES))
def test_claimed_names_differ(bases, taken):
    seen = set(taken)
    for base in bases:
        name = claim(base, taken, {"w2", "y2"})
        assert name not in seen
        assert name not in ("w2", "y2")
        seen.add(name)


def _tflite(names: list[str]) -> bytes:
    """Return convolutions with shared weights and biases, gelu, a fused relu6 and views."""
    from tests.importers.tflite_build import Model

    model = Model()
    main = model.function()
    left = iter(names)
    x = main.tensor(next(left), (1, 4, 4, 3))
    weights = [main.constant(next(left), w) for w in _WEIGHTS]
    bias = main.constant(next(left), _BIAS)
    previous = x
    for i in range(6):
        made = main.tensor(next(left), (1, 4, 4, 3))
        main.op("CONV_2D", [previous, weights[i % 2], bias], [made], "Conv2DOptions", strideH=1,
                strideW=1, fusedActivationFunction=3 * (i % 2))  # fmt: skip
        previous = made
    bent = main.tensor(next(left), (1, 4, 4, 3))
    main.op("GELU", [previous], [bent], "GeluOptions", approximate=True)
    wide = main.tensor(next(left), (2, 1, 4, 4, 3))
    main.op("PACK", [bent, previous], [wide], "PackOptions", axis=0, valuesCount=2)
    mean = main.tensor(next(left), (2, 4, 4, 3))
    axes = main.constant(next(left), np.array([1], np.int32))
    main.op("MEAN", [wide, axes], [mean], "ReducerOptions")
    main.proto.inputs, main.proto.outputs = [x], [mean, previous]
    return model.bytes()


_WEIGHTS = R.standard_normal((2, 3, 1, 1, 3)).astype(np.float32)
_BIAS = R.standard_normal(3).astype(np.float32)
_IMAGE = R.standard_normal((1, 3, 4, 4)).astype(np.float32)


def _values(graph, image=_IMAGE):
    (name,) = graph.inputs
    return list(evaluate(graph, {name: image}).values())


def _load(content: bytes, suffix: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{suffix}"
        path.write_bytes(content)
        return npusim.load_model(path)


@settings(max_examples=25, deadline=None)
@given(st.lists(NAMES | st.just(""), min_size=14, max_size=14))
def test_tflite_takes_any_multiset_of_names(names):
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert")
    plain = _values(_load(_tflite([f"t{i}" for i in range(14)]), ".tflite"))
    graph = _load(_tflite(names), ".tflite")
    for ours, want in zip(_values(graph), plain, strict=True):
        np.testing.assert_array_equal(ours, want)
    for ours, want in zip(_values(npusim.optimize(graph)), plain, strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)


def _onnx(tensors: list[str], nodes: list[str]) -> bytes:
    x, a, b, c, w, bias, y = tensors
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [x, w, bias], [a], name=nodes[0]),
            helper.make_node("Gelu", [a], [b], name=nodes[1], approximate="tanh"),
            helper.make_node("Conv", [b, w], [c], name=nodes[2]),
            helper.make_node("Gelu", [c], [y], name=nodes[3], approximate="tanh"),
        ],
        "net",
        [helper.make_tensor_value_info(x, onnx.TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, (1, 3, 4, 4))],
        [
            numpy_helper.from_array(_WEIGHTS[0].reshape(3, 3, 1, 1), w),
            numpy_helper.from_array(_BIAS, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return model.SerializeToString()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(NAMES, min_size=7, max_size=7, unique=True),
    st.lists(NAMES | st.just(""), min_size=4, max_size=4),
)
def test_onnx_takes_any_names(tensors, nodes):
    """Tensors bear different names, nodes any."""
    plain = _values(_load(_onnx(list("abcdefg"), list("ijkl")), ".onnx"))
    graph = _load(_onnx(tensors, nodes), ".onnx")
    np.testing.assert_array_equal(_values(graph)[0], plain[0])
    assert graph.outputs == (tensors[-1],)
    got = _values(npusim.optimize(graph))[0]
    np.testing.assert_allclose(got, plain[0], rtol=1e-4, atol=1e-5)


def test_an_initializer_with_the_name_of_an_invented_tensor():
    """The tanh form of gelu makes tensors ``a/square``; a weight of that name is not it."""

    def net(weight):
        nodes = [
            helper.make_node("Gelu", ["x"], ["a"], approximate="tanh"),
            helper.make_node("Mul", ["a", weight], ["y"]),
        ]
        shapes = {"x": (1, 3, 4, 4)}
        return onnx_model(nodes, shapes, ["y"], {weight: _IMAGE}, opset=20).SerializeToString()

    plain = _values(_load(net("w"), ".onnx"))
    for part in ("square", "cube", "small", "inner", "scaled", "tanh", "gate", "halved"):
        graph = _load(net(f"a/{part}"), ".onnx")
        np.testing.assert_array_equal(_values(graph)[0], plain[0])


def _caffe(tops: list[str], names: list[str]) -> str:
    text = caffe_build.input_layer(tops[0], (1, 3, 4, 4))
    bottom = tops[0]
    for top, name, kind in zip(tops[1:], names, _CAFFE, strict=True):
        text += caffe_build.layer(kind, [bottom], [top], _CAFFE[kind]).replace(
            'name: "l"', f'name: "{name}"'
        )
        bottom = top
    return text


_CAFFE = {
    "ReLU": "relu_param { negative_slope: 0.1 }",
    "BNLL": "",
    "Power": "power_param { power: 2 scale: 0.5 shift: 1 }",
    "MVN": "",
    "LRN": "",
    "ELU": "",
}


@settings(max_examples=25, deadline=None)
@given(st.lists(NAMES, min_size=7, max_size=7), st.lists(NAMES, min_size=6, max_size=6))
def test_caffe_takes_any_names(tops, names):
    """A top of the layer's own bottom works in place; other tops bear different names."""
    for i in range(1, 7):
        if tops[i] != tops[i - 1] and tops[i] in tops[:i]:
            tops[i] = f"{tops[i]}/{i}"
    with tempfile.TemporaryDirectory() as folder:
        plain = _values(caffe_build.load(Path(folder), _caffe(list("tuvwxyz"), list("abcdef"))))
        graph = caffe_build.load(Path(folder), _caffe(tops, names))
    np.testing.assert_array_equal(_values(graph)[0], plain[0])
    got = _values(npusim.optimize(graph))[0]
    np.testing.assert_allclose(got, plain[0], rtol=1e-4, atol=1e-5)


def test_long_names_are_not_compared_letter_by_letter():
    """Likeness takes the square of their lengths: seconds for two names of 100 000."""
    letters = [chr(0x4E00 + number) for number in range(300)]
    draw = random.Random(1)
    long = ["".join(draw.choices(letters, k=60_000)) for _ in range(2)]
    begin = time.process_time()
    assert suggestion(long[0], long[1:]) == "check the spelling"
    assert suggestion("conv_2", [long[0], "conv_1"]) == "did you mean 'conv_1'?"
    assert time.process_time() - begin < 1.0
