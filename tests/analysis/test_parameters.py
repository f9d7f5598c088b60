"""Parameters and codes of two quantized models, tensor by tensor."""

import json
from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim.analysis.parameter_reasons import spread_of
from npusim.analysis.stored_ranges import era_of_file, quantize_like, scheme_of_maps
from npusim.errors import ConfigError, QuantizationError
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.quantization.schemes import Scheme
from npusim.testing import GraphBuilder
from tests.importers.test_vendor_files import FILES, real
from tests.importers.vendor_sources import FORMATS, built, numbers, source


def two(tmp_path, kind="u8", change=lambda w, b: (w, b), names=("c", "r", "s")):
    """Return the file's graph and its source's, with changed numbers, in the file's formats."""
    weights, bias = numbers()
    file = npusim.load_model(built(tmp_path / "net.rknn", weights, bias, kind))
    path = source(tmp_path / "net.onnx", *change(weights.copy(), bias.copy()), names)
    return file, quantize_like(npusim.load_model(path), file)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_equal_to_its_source_in_every_format(tmp_path, kind):
    file, ours = two(tmp_path, kind)
    assert scheme_of_maps(file).dtype.value == kind
    found = npusim.compare_parameters(file, ours)
    assert found.equal, found.reasons()
    assert {role: counts[1] for role, counts in found.counts().items()} == {
        "input": 1,
        "weights": 1,
        "bias": 1,
        "result": 2,  # the convolution's own is not there any more: it is fused
    }
    assert (found.only_first, found.only_second) == ((), ())
    assert npusim.compare_parameters(ours, file).equal
    json.dumps(found.to_dict())
    if kind != "f16":
        x = np.random.default_rng(0).normal(0, 1, (1, 3, 6, 8)).astype(np.float32)
        first = npusim.compile(file).run({"x_5": x}, preprocessed=True)["Sigmoid_s/out0_0"]
        second = npusim.compile(ours).run({"x": x}, preprocessed=True)["y"]
        np.testing.assert_array_equal(first, second)


def test_foreign_names_are_matched_by_weights_and_place(tmp_path):
    file, ours = two(tmp_path, names=("one", "two", "three"))
    found = npusim.compare_parameters(file, ours)
    assert found.equal
    assert {row.matched for row in found.tensors} == {"position"}
    assert len(found.tensors) == 5


def doubled(weights, bias):
    weights[1:] *= np.float32(0.5)
    return weights, bias


def other_bias(weights, bias):
    bias[2] += 1
    return weights, bias


def other_weights(weights, bias):
    weights[1] = np.random.default_rng(9).uniform(-1, 1, weights[1].shape)
    return weights, bias


def wider(weights, bias):
    weights.flat[0] = -1.7
    return weights, bias


@pytest.mark.parametrize(
    ("change", "role", "reason"),
    [
        (doubled, "weights", "each channel times a factor"),
        (other_bias, "bias", "other numbers: they differ by up to 1"),
        (other_weights, "weights", "other numbers"),
        (wider, "weights", "other numbers"),
    ],
)
def test_which_constants_differ_and_how(tmp_path, change, role, reason):
    file, ours = two(tmp_path, change=change)
    found = npusim.compare_parameters(file, ours)
    assert not found.equal
    wrong = {row.role: row for row in found.tensors if not row.equal}
    assert wrong[role].reason.startswith(reason)
    assert 0 < wrong[role].different_codes <= wrong[role].elements
    if role == "bias":
        assert set(wrong) == {"bias"}


def test_biases_follow_the_scale_of_the_weights(tmp_path):
    file, ours = two(tmp_path, change=wider)
    rows = {row.role: row for row in npusim.compare_parameters(file, ours).tensors}
    assert rows["bias"].reason.startswith("same numbers, other scale: the scale of its input")


def affine(low, high):
    scale = (high - low) / 255
    return Affine(scale=scale, zero_point=int(np.rint(-low / scale)))


CUT, FL_4 = affine(-6.3, 6.3), DynamicFixedPoint(fl=4)
AT_127, AT_128 = (Affine(scale=0.05, zero_point=zero) for zero in (127, 128))


def chain(ends, ops=("relu", "sigmoid"), dtype=DType.U8):
    """Return input -> ops with the given parameters."""
    b, name = GraphBuilder(), "x"
    b.input("x", 1, 4, 2, 2)
    for i, op in enumerate(ops):
        name = b.node(op, [name], f"t{i}")
    graph = b.done(name)
    for tensor, quant in zip(["x", *(f"t{i}" for i in range(len(ops)))], ends, strict=True):
        graph.tensors[tensor] = replace(graph.spec(tensor), dtype=dtype, quant=quant)
    return graph


@pytest.mark.parametrize(
    ("one", "other", "reader", "reason"),
    [
        (CUT, affine(-7, 9), "sigmoid", "cut to 6.3 in front of a sigmoid, only in the first"),
        (affine(-7, 6.3), affine(-6.3, 5), "relu", "measured otherwise: "),
        (affine(-7, 6), affine(-6.1, 5), "sigmoid", "measured otherwise: "),
        (AT_127, AT_128, "sigmoid", "zero point rounded otherwise: 127 against 128"),
        (affine(0, 3), affine(-1, 3), "relu", "one begins at 0"),
        (FL_4, DynamicFixedPoint(fl=5), "relu", "fraction bits: 4 against 5"),
        (affine(0, 3), FL_4, "relu", "other number format: u8 asymmetric against u8 fixed point"),
    ],
)
def test_which_rule_of_ranges_differs(one, other, reader, reason):
    ops = ("tanh", reader)
    same = affine(0, 1)
    found = npusim.compare_parameters(
        chain((same, one, same), ops), chain((same, other, same), ops)
    )
    (wrong,) = [row for row in found.tensors if not row.equal]
    assert wrong.role == "result"
    assert wrong.reason.startswith(reason)


def test_moves_and_concats_are_named():
    def graph(part, whole):
        b = GraphBuilder()
        x = b.input("x", 1, 4, 2, 2)
        c = b.node("concat", [b.node("tanh", [x], "a"), b.node("relu", [x], "b")], "c", axis(1))
        made = b.done(b.node("transpose", [c], "y", perm(0, 2, 3, 1)))
        for name, quant in {"x": whole, "a": part, "b": whole, "c": whole, "y": whole}.items():
            made.tensors[name] = replace(made.spec(name), dtype=DType.U8, quant=quant)
        return made

    one, other = affine(-1, 2), affine(-1, 3)
    found = npusim.compare_parameters(graph(one, one), graph(affine(-1, 1), one))
    (wrong,) = [row for row in found.tensors if not row.equal]
    assert wrong.reason.startswith("joined by a concat, only in the first: ")
    found = npusim.compare_parameters(graph(one, one), graph(other, other))
    reasons = [row.reason for row in found.tensors]
    assert sum(reason.startswith("measured otherwise in a group") for reason in reasons) == 3
    assert sum(reason.startswith("follows its input") for reason in reasons) == 1


def axis(number):
    return npusim.ir.attrs.AxisAttrs(axis=number)


def perm(*order):
    return npusim.ir.attrs.TransposeAttrs(perm=order)


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ((1.0005, 0.9992, 1.0008), "rounded to whole numbers"),
        ((1.008, 0.994, 1.004), "another JPEG decoder"),
        ((1.02, 0.985, 1.01), "OpenCV"),
        ((1.03, 0.97, 1.02), "corners not aligned"),
        ((1.05, 0.95, 1.04), "Pillow"),
        ((1.2, 0.9, 1.1), "centre crop"),
        ((2.0, 0.5, 1.5), "other pictures, mean, std or algorithm"),
        ((0.8, 0.9, 0.7), "the first has the narrower range in 100%"),
        ((1.3, 1.2, 1.4), "the second has the narrower range in 100%"),
    ],
)
def test_what_differences_of_ranges_look_like(factors, says):
    assert says in spread_of([(0.02 * factor, 0.02) for factor in factors])
    assert spread_of([(0.02, 0.03)]) == ""


def test_other_preparation_is_named(tmp_path):
    weights, bias = numbers()
    one = npusim.load_model(built(tmp_path / "a.rknn", weights, bias, std_value=[2.0] * 3))
    other = npusim.load_model(built(tmp_path / "b.rknn", weights, bias, reorder=[2, 1, 0]))
    found = npusim.compare_parameters(one, other)
    assert not found.equal
    assert all(row.equal for row in found.tensors)
    assert found.preparation == (
        "input 'x_5': std 2 2 2 against 1 1 1",
        "input 'x_5': reorder 0 1 2 against 2 1 0",
    )
    how = {name: replace(h, fit="letterbox") for name, h in one.preprocess.items()}
    found = npusim.compare_parameters(one, one.copy(preprocess=how))
    assert found.preparation == ("input 'x_5': fit stretch against letterbox",)


def test_what_cannot_be_compared_is_refused(tmp_path):
    weights, bias = numbers()
    graph = npusim.load_model(source(tmp_path / "net.onnx", weights, bias))
    file = npusim.load_model(built(tmp_path / "net.rknn", weights, bias))
    with pytest.raises(ConfigError, match="float32"):
        npusim.compare_parameters(file, graph)
    with pytest.raises(ConfigError, match="no layer"):
        npusim.compare_parameters(file, chain((affine(0, 1),) * 2, ("softplus",)))
    with pytest.raises(QuantizationError, match="without a counterpart in 'net': t0"):
        quantize_like(chain((npusim.ir.quant.Float(),) * 2, ("softplus",), DType.F32), file)


def test_the_rules_are_those_of_the_files_release(tmp_path):
    weights, bias = numbers()
    for release, rules in (("1.7.3", "1.7.3"), ("0.9.8", "1.7")):
        path = built(tmp_path / "net.rknn", weights, bias, version=release)
        assert era_of_file(npusim.load_model(path)).toolkit == rules
    assert era_of_file(chain((affine(0, 1),) * 3)).toolkit == "1.7"
    assert scheme_of_maps(chain((affine(0, 1),) * 3)) is Scheme.U8


@real
@pytest.mark.parametrize(
    ("name", "tensors"), [("mnist", 17), pytest.param("static_det", 232, marks=pytest.mark.slow)]
)
def test_real_files_store_what_npusim_makes_of_their_source(name, tensors):
    file = npusim.load_model(FILES / f"{name}.rknn")
    graph = npusim.load_model(FILES / f"{name}.onnx")
    if file.preprocess:
        graph = graph.copy(preprocess={graph.inputs[0]: file.preprocess[file.inputs[0]]})
    ours = quantize_like(graph, file, era=era_of_file(file))
    found = npusim.compare_parameters(file, ours)
    assert found.equal, found.reasons()
    assert len(found.tensors) == tensors
    shape = file.spec(file.inputs[0]).shape
    x = np.random.default_rng(0).normal(0, 0.5, shape).astype(np.float32)
    first = npusim.compile(file).run({file.inputs[0]: x}, preprocessed=True)
    second = npusim.compile(ours).run({ours.inputs[0]: x}, preprocessed=True)
    np.testing.assert_array_equal(first[file.outputs[0]], second[ours.outputs[0]])
