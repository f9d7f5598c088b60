"""The seam between the file's order and N, C, H, W: every operator over ranks 0 to 6."""

from itertools import islice

import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
from tests.importers.tflite_run import check
from tests.importers.tflite_sweep import FAMILIES, coded, movement

STRIDE = 12


def outcomes(cases, quantized=False):
    """Return case -> what is wrong, for those that are not right."""
    found = {name: check(model, quantized=quantized) for name, model in cases}
    assert found
    return {name: what for name, what in found.items() if what != "ok"}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_some_cases_of_every_operator(family):
    """Values and shapes are LiteRT's, as loaded and after the float passes."""
    assert not outcomes(islice(family(), 5, None, STRIDE))


@pytest.mark.parametrize("family", movement(), ids=lambda family: family.__name__)
def test_some_cases_on_codes(family):
    """int8 in and out: what moves gives LiteRT's codes."""
    assert not outcomes(islice(coded(family), 5, None, 5 * STRIDE), quantized=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_all_cases_of_every_operator(family):
    assert not outcomes(family())


@pytest.mark.slow
@pytest.mark.parametrize("family", movement(), ids=lambda family: family.__name__)
def test_all_cases_on_codes(family):
    assert not outcomes(coded(family), quantized=True)
