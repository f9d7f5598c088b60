"""Constants that a format does not hold are named: too large, read as 0, or drowning the rest."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.errors import QuantizationError
from npusim.ir.attrs import EltwiseAttrs, PadAttrs
from npusim.quantization.fits import does_not_fit, misfits
from npusim.quantization.float16 import to_float16
from npusim.quantization.schemes import Scheme
from npusim.testing import GraphBuilder

SUM = EltwiseAttrs()
X = np.random.default_rng(4).uniform(-4, 4, (1, 3, 5, 5)).astype(np.float32)


def pair(op, value, *, first=False, then=None):
    b = GraphBuilder()
    b.input("x", *X.shape)
    k = b.constant("k", np.float32(value))
    b.node(op, [k, "x"] if first else ["x", k], "s", SUM)
    match then:
        case None:
            return b.done("s")
        case "div":
            return b.done(b.node("div", ["x", "s"], "y", SUM))
        case _:
            return b.done(b.node(then, ["s"], "y"))


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "pow", "max"])
def test_too_large_for_float16_is_refused_with_name_value_and_limit(op):
    graph = pair(op, 123456.0)
    with pytest.raises(QuantizationError) as caught:
        to_float16(graph)
    text = str(caught.value)
    assert all(word in text for word in ("'k'", "'n_s'", "123456", "65504"))
    assert "i16" in caught.value.remedy


@pytest.mark.parametrize(("op", "refused"), [("add", True), ("mul", False), ("pow", True)])
def test_u8_keeps_operands_of_sums_in_float16(op, refused):
    graph = pair(op, 70000.0 if op != "pow" else -70000.0)
    assert bool(does_not_fit(graph)["u8"]) is refused
    if op != "pow":
        if refused:
            with pytest.raises(QuantizationError, match=r"70000; u8 layers keep.*65504"):
                npusim.quantize(graph, [("s", {"x": X})])
        else:
            npusim.quantize(graph, [("s", {"x": X})])


@given(st.sampled_from([1e300, -1e39, 7e4, 65519.9, 65504, 1e-8, -3e-5, 2.0**-14, 0.0, 1.0]))
def test_what_is_listed_is_what_conversion_says(value):
    with np.errstate(over="ignore"):
        graph = pair("mul", value)
    held = np.float32(value) if abs(value) < 1e38 else np.float32(np.inf)
    listed = misfits(graph, lambda _: Scheme.F16)
    too_large = abs(float(held)) >= 65520
    vanishes = 0 < abs(float(held)) < 2.0**-14
    assert [misfit.vanishes for misfit in listed] == [vanishes] * (too_large or vanishes)
    if too_large:
        with pytest.raises(QuantizationError):
            to_float16(graph)
    else:
        stored = to_float16(graph)
        name = stored.nodes[0].inputs[1]
        assert np.isfinite(stored.constants[name]).all()


@pytest.mark.parametrize(
    ("op", "then", "named"),
    [
        ("add", "sqrt", "sqrt"),
        ("add", "rsqrt", "rsqrt"),
        ("add", "log", "log"),
        ("add", "div", "div"),
        ("max", "log", "log"),
        ("add", "relu", ""),
        ("mul", "sqrt", ""),
    ],
)
def test_an_epsilon_that_float16_reads_as_0_is_named(op, then, named, caplog):
    graph = pair(op, 1e-8, then=then)
    with caplog.at_level(logging.WARNING, logger="npusim"):
        to_float16(graph)
    (text,) = [record.getMessage() for record in caplog.records]
    assert "'k'" in text
    assert "1e-08" in text
    assert "6.1e-05" in text
    assert "(npusim explain constant-vanishes)" in text
    assert (f"({named}) from 0" in text) if named else ("from 0" not in text)


def test_i16_holds_an_epsilon_and_normal_numbers_are_not_named(caplog):
    with caplog.at_level(logging.WARNING, logger="npusim"):
        to_float16(pair("add", 1e-4, then="rsqrt"))
        npusim.quantize(pair("add", 1e-8, then="relu"), [("s", {"x": X})], scheme="i16")
    assert caplog.records == []


def test_biases_and_normalisation_parameters_are_float32_in_every_format():
    b = GraphBuilder()
    b.input("x", *X.shape)
    conv = b.conv("x", 4)
    graph = b.done(conv)
    bias = graph.nodes[0].inputs[2]
    graph.constants[bias] = np.full(4, 1e6, np.float32)
    assert not any(does_not_fit(graph).values())


@pytest.mark.parametrize("scheme", ["u8", "i8"])
def test_a_constant_that_drowns_the_other_operand_is_named(scheme, caplog):
    mask = np.where(np.eye(5) > 0, np.float32(-9e3), np.float32(0))
    for then, said in (("sigmoid", True), (None, True)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="npusim"):
            npusim.quantize(pair("add", mask, then=then), [("s", {"x": X})], scheme=scheme)
        texts = [r.getMessage() for r in caplog.records if "constant-drowns" in r.getMessage()]
        assert bool(texts) is said
        assert all("-9000" in text and "'k'" in text and "'n_s'" in text for text in texts)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="npusim"):
        npusim.quantize(pair("add", 0.5), [("s", {"x": X})], scheme=scheme)
    assert caplog.records == []


@pytest.mark.parametrize(("value", "said"), [(0.0, False), (3.0, False), (50.0, True), (-9, True)])
def test_a_fill_value_beyond_the_range_is_named(value, said, caplog):
    b = GraphBuilder()
    b.input("x", *X.shape)
    b.node("pad", ["x"], "p", PadAttrs(front=(0, 0, 1, 1), back=(0, 0, 1, 1), value=value))
    graph = b.done(b.node("sigmoid", ["p"], "y"))
    with caplog.at_level(logging.WARNING, logger="npusim"):
        npusim.quantize(graph, [("s", {"x": X})], scheme="i16")
    texts = [r.getMessage() for r in caplog.records]
    assert bool(texts) is said
    assert all(f"{value:g}" in text and "'n_p'" in text for text in texts)
