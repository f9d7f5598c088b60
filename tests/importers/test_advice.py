"""Advice is about operators that have no converter, and names operators that have one."""

import re

import onnx.defs
import pytest
from tflite.BuiltinOperator import BuiltinOperator

from npusim.importers.formats import FORMATS
from npusim.importers.onnx import advice
from npusim.importers.onnx.context import convertible_ops as onnx_ops
from npusim.importers.onnx.quantized import EXPANSIONS
from npusim.importers.tflite.table import convertible_ops as tflite_ops
from npusim.importers.tflite.walk import ADVICE as TFLITE_ADVICE

ONNX_ROUTES = {form.name: form.advice for form in FORMATS if form.advice and not form.loader}
WORD = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][A-Za-z]*)*\b")


def tflite_operators():
    """Return every operator of the format, written without underscores."""
    names = [name for name in vars(BuiltinOperator) if not name.startswith("_")]
    return {name.replace("_", "") for name in names}


def test_no_onnx_advice_for_what_is_converted():
    assert not set(advice.ADVICE) & {*onnx_ops(), *EXPANSIONS}


@pytest.mark.parametrize("op", advice.ADVICE)
def test_onnx_advice_names_operators_that_are_converted(op):
    named = {word for word in WORD.findall(advice.ADVICE[op]) if onnx.defs.has(word)}
    assert named <= set(onnx_ops())
    said = advice.ADVICE[op].replace("{cut}", "outputs=['x']")
    assert advice.advice_for(op, "", ["x", "w"]) == said


def test_no_tflite_advice_for_what_is_converted():
    assert not set(TFLITE_ADVICE) & set(tflite_ops())


@pytest.mark.parametrize("op", TFLITE_ADVICE)
def test_tflite_advice_names_operators_that_are_converted(op):
    named = {word.upper() for word in WORD.findall(TFLITE_ADVICE[op])} & tflite_operators()
    assert named <= {name.replace("_", "") for name in tflite_ops()}
