"""Real networks, real images: close to float in float16, and u8 where u8 is known to do well.

``python tools/fetch_models.py && python -m pytest -m models``
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.real_models import model_path

TOOL = Path(__file__).resolve().parent.parent / "tools" / "accuracy.py"
SPEC = importlib.util.spec_from_file_location("accuracy", TOOL)
assert SPEC
assert SPEC.loader
accuracy = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = accuracy
SPEC.loader.exec_module(accuracy)
fetch = accuracy.fetch_models
MODELS = fetch.load_list()[1]
GOOD_IN_U8 = ("ch_ppocr_mobile_v2.0_cls_infer.onnx", "open-nsfw.onnx")

pytestmark = pytest.mark.models


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.file)
def test_float16_is_close_to_float(model):
    result = accuracy.measure(model_path(model.file), model, "f16")
    assert result.lowest_cosine >= 0.999
    assert np.isnan(result.same_top1) or result.same_top1 == 1.0


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.file)
def test_u8_runs_and_is_as_close_as_known(model):
    result = accuracy.measure(model_path(model.file), model, "u8")
    assert np.isfinite(result.lowest_cosine)
    if model.file in GOOD_IN_U8:
        assert result.lowest_cosine >= 0.99
