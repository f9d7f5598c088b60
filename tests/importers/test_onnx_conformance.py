"""The operator tests of the onnx package itself: what imports computes the expected results."""

import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.onnx.importer import load_onnx
from npusim.reference.evaluate import evaluate

DISPUTED = {
    # the expected result divides by the fractional length scale * size, which no runtime does
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}
FEWEST_RIGHT = 500  # of about 1900 cases with onnx 1.23; guards against mass refusal


@pytest.fixture(scope="module")
def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return [
            case
            for case in collect_testcases(None)
            if all(isinstance(value, np.ndarray) for value in case.data_sets[0][0])
        ]


def fixed_parameters(case) -> onnx.ModelProto:
    """Return the case's model with all inputs but the first as constants."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    for info, value in list(zip(model.graph.input, case.data_sets[0][0], strict=True))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(value, info.name))
    return model


def tolerance(value) -> float:
    if value.dtype.kind != "f":
        return 4e-2 if value.dtype.name == "bfloat16" else 0.0
    return 2e-3 if value.dtype == np.float16 else 1e-5


@pytest.mark.slow
def test_expected_results_of_the_onnx_package(cases, save) -> None:
    count: Counter[str] = Counter()
    wrong = []
    for case in cases:
        inputs, outputs = case.data_sets[0]
        try:
            graph = load_onnx(save(fixed_parameters(case)))
        except UnsupportedOpError:
            count["unsupported"] += 1
            continue
        except ModelImportError:
            count["refused"] += 1
            continue
        if graph.is_quantized:  # tests/importers/test_quantized_*.py run these
            count["quantized"] += 1
            continue
        values = dict(zip([i.name for i in case.model.graph.input], inputs, strict=True))
        feeds = {name: values[name].astype(graph.spec(name).dtype.numpy) for name in graph.inputs}
        results = evaluate(graph, feeds)
        for name, want in zip(graph.outputs, outputs, strict=True):
            have = results[name].astype(np.float64)
            close = have.shape == want.shape and np.allclose(
                have, want.astype(np.float64), rtol=1e-3, atol=tolerance(want), equal_nan=True
            )
            if not close and case.name not in DISPUTED:
                wrong.append(case.name)
        count["right"] += 1
    assert not wrong
    assert count["right"] >= FEWEST_RIGHT, count
