"""Every operator of the float reference against ONNX Runtime, one node at a time."""

import numpy as np
import onnx
import pytest
from onnx import helper

from npusim.ir.dtypes import DType
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_names
from npusim.reference.evaluate import Evaluator
from npusim.testing import GraphBuilder
from tests.onnx_models import onnx_model
from tests.reference.cases import CASES, COMPOSED, Case

ort = pytest.importorskip("onnxruntime")


def by_onnx(case: Case) -> list:
    feeds = {f"x{i}": value for i, value in enumerate(case.inputs)}
    constants = {f"c{i}": value for i, value in enumerate(case.onnx_constants) if value is not None}
    names = list(feeds)
    names += [f"c{i}" if value is not None else "" for i, value in enumerate(case.onnx_constants)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    model = onnx_model(
        [helper.make_node(case.onnx_op, names, outputs, **case.onnx_attrs)],
        {name: value.shape for name, value in feeds.items()},
        (),
        constants,
        types={name: value.dtype for name, value in feeds.items()},
        opset=case.opset,
    )
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    model = onnx.shape_inference.infer_shapes(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, feeds)


def by_npusim(case: Case, expected: list, *, threads=None) -> list:
    b = GraphBuilder()
    names = []
    for i, value in enumerate(case.inputs):
        names.append(b.input(f"x{i}", *value.shape))
        b.graph.tensors[names[-1]] = TensorSpec(
            name=names[-1], shape=value.shape, dtype=DType.of(value.dtype)
        )
    names += [b.constant(f"c{i}", value) for i, value in enumerate(case.constants)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    b.node(case.op, names, outputs[0], case.attrs, others=outputs[1:])
    for name, value in zip(outputs, expected, strict=True):
        b.graph.tensors[name] = TensorSpec(
            name=name, shape=b.graph.tensors[name].shape, dtype=DType.of(value.dtype)
        )
    feeds = {f"x{i}": value for i, value in enumerate(case.inputs)}
    results = Evaluator(b.done(*outputs), threads=threads).run(feeds)
    return [results[name] for name in outputs]


def assert_close(actual, expected, *, case=""):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-30)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6 * scale, err_msg=case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id or case.op)
def test_agrees_with_onnxruntime(case):
    expected = by_onnx(case)
    for actual, wanted in zip(by_npusim(case, expected), expected, strict=True):
        assert_close(actual, wanted)


def test_every_operator_is_covered():
    assert {case.op for case in CASES} | COMPOSED == set(op_names())
