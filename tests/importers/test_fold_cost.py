"""Small files whose constants would take minutes or gigabytes to evaluate."""

import re
from time import process_time

import numpy as np
import pytest
from onnx import helper, numpy_helper

from npusim.errors import NpusimError
from npusim.importers.onnx import fold_cost
from npusim.importers.onnx.importer import load_onnx

node = helper.make_node
F, L = np.float32, np.int64
ZERO = F(0)
TOO_LARGE, TOO_MANY = "too large to be evaluated", "values that are computed while importing"
SECONDS = 2


def filled(shape, value=ZERO):
    """Stand for an array that a ConstantOfShape makes, which takes no room in the file."""
    return ("filled", tuple(shape), value)


def nodes_of(op_type, inputs, attributes, outputs=1, label=""):
    """Return nodes and constants of one operator on constants."""
    nodes, constants, names = [], {}, []
    for position, value in enumerate(inputs):
        name = "" if value is None else f"{label}i{position}"
        names.append(name)
        if isinstance(value, tuple):
            _, shape, element = value
            constants[f"{name}_shape"] = np.array(shape, L)
            more = {"value": numpy_helper.from_array(np.atleast_1d(element))}
            nodes.append(node("ConstantOfShape", [f"{name}_shape"], [name], **more))
        elif value is not None:
            constants[name] = np.asarray(value)
    outs = [f"{label}y{k}" for k in range(outputs)]
    nodes.append(node(op_type, names, outs, name=f"{label}large", **attributes))
    return nodes, constants, outs


def written(save, parts, opset):
    nodes = [n for part in parts for n in part[0]]
    constants = {k: v for part in parts for k, v in part[1].items()}
    nodes.append(node("Abs", ["x"], ["a"]))
    outputs = [*(name for part in parts for name in part[2]), "a"]
    path = save(nodes, {"x": (1,)}, outputs, constants, opset=opset)
    assert path.stat().st_size < 3000 + 200 * len(parts)
    return path


def refused(path, match):
    """Check that loading ends soon: in an error, or with the node left to the CPU."""
    begin, message = process_time(), ""
    try:
        graph = load_onnx(path)
    except NpusimError as error:
        message = str(error)
    assert process_time() - begin < SECONDS
    if message:
        assert re.search(match, message), message
    else:
        assert "y0" not in graph.constants
        assert graph.tail is not None


ROI = np.array([[0, 0, 1000, 1000]], F)
GRAMS = {
    "mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "ngram_counts": [0, 4],
    "ngram_indexes": [0, 1, 2, 3, 4], "pool_int64s": [1, 2, 3, 4, 5, 6],
}  # fmt: skip
LARGE = [
    (13, "Erf", [filled([1 << 24])], {}),
    (13, "ScatterND", [filled([4, 4]), filled([1 << 22, 1], L(1)), filled([1 << 22, 4])], {}),
    (13, "ScatterElements", [filled([1 << 22]), filled([1 << 22], L(1)), filled([1 << 22])], {}),
    (13, "GatherND", [filled([4, 4]), filled([1 << 22, 1], L(1))], {}),
    (13, "NegativeLogLikelihoodLoss", [filled([1 << 21, 2]), filled([1 << 21], L(1))], {}),
    (13, "SoftmaxCrossEntropyLoss", [filled([1 << 21, 2]), filled([1 << 21], L(1))], {}),
    (13, "ReverseSequence", [filled([2, 1 << 21]), filled([1 << 21], L(2))], {}),
    (24, "TensorScatter", [filled([1 << 20, 4, 1])] * 2 + [filled([1 << 20], L(0))], {}),
    (17, "STFT", [filled([1, 1 << 21, 1]), L(1), filled([2], F(1))], {}),
    (17, "MelWeightMatrix", [L(1 << 10), L(1 << 14), L(1 << 14), F(0), F(8000)], {}),
    (13, "Unique", [filled([1 << 22])], {"sorted": 0}),
    (13, "Resize", [filled([1, 1, 2, 4]), None, np.array([1 << 21, 1, 1, 1], F)], {}),
    (13, "TfIdfVectorizer", [np.arange(9)], {**GRAMS, "max_skip_count": 1 << 24}),
    (13, "TfIdfVectorizer", [filled([1 << 12], L(9))], {**GRAMS, "max_skip_count": 64}),
    (16, "RoiAlign", [filled([1, 1, 4, 4]), ROI * F(1e9), [0]], {}),
    (16, "RoiAlign", [filled([1, 1, 4, 4]), ROI, [0]], {"output_height": 2, "output_width": 2}),
    (16, "RoiAlign", [filled([1, 1, 4, 4]), ROI, [0]], {"sampling_ratio": 1 << 12}),
    (16, "GridSample", [filled([1, 1, 4, 4]), filled([1, 96, 96, 2])], {}),
    (11, "NonMaxSuppression",
     [filled([1, 1500, 4]), filled([1, 1, 1500]), [1500], np.array([1], F)], {}),
    (13, "MaxPool", [filled([1, 1, 4, 4])], {"kernel_shape": [2, 2], "pads": [2048] * 4,
                                             "strides": [4096, 4096]}),
    (13, "Conv", [filled([1, 1, 4, 4]), filled([1, 1, 2, 2])],
     {"dilations": [4096, 4096], "pads": [2048] * 4}),
    (13, "MatMul", [filled([2048, 2048], L(1))] * 2, {}),
    (13, "Einsum", [filled([1 << 11] * 2)] * 2, {"equation": "ab,cd->bd"}),
    (13, "Einsum", [filled([1 << 11] * 2)] * 2, {"equation": "...a,ba->b"}),
]  # fmt: skip
WIDE = [
    (13, "TopK", [filled([1, 1, 1, 1, 1 << 24]), [1]], {}),
    (13, "NonZero", [filled([1 << 24, 1, 1, 1])], {}),
    (13, "ReduceSumSquare", [filled([1 << 26])], {}),
    (23, "Attention", [filled([1, 1, 1 << 13, 1])] * 3, {}),
    (13, "Einsum", [filled([21] * 2)] * 3, {"equation": "ab,cd,ef->a"}),
]


@pytest.mark.parametrize(
    ("opset", "op_type", "inputs", "attributes", "match"),
    [*[(*case, TOO_LARGE) for case in LARGE], *[(*case, TOO_MANY) for case in WIDE]],
)
def test_what_takes_minutes_or_gigabytes_is_refused(
    save, opset, op_type, inputs, attributes, match
) -> None:
    outputs = 2 if op_type in ("TopK", "Unique") else 1
    refused(written(save, [nodes_of(op_type, inputs, attributes, outputs)], opset), match)


def test_the_nodes_of_a_file_have_one_limit(save) -> None:
    parts = [nodes_of("Erf", [filled([1 << 16], F(k))], {}, label=f"n{k}_") for k in range(8)]
    whole = 8 * 2 * (1 << 16)
    with pytest.MonkeyPatch.context() as patch:
        for most in (whole, whole - 1):
            patch.setattr("npusim.importers.onnx.fold.MOST_COST", most)
            path = written(save, parts, 13)
            if most == whole:
                graph = load_onnx(path)
                assert graph.constants["n7_y0"].shape == (1 << 16,)
            else:
                refused(path, r"n7_large[\s\S]*" + TOO_LARGE)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("MatMul", [np.ones((2, 2), F), filled([2, 4096])], {}),
        ("Gemm", [filled([512, 512]), filled([512, 512])], {"transA": 1}),
        ("Einsum", [filled([256, 256])] * 2, {"equation": "ab,bc->ac"}),
        ("Einsum", [filled([256, 256])] * 2, {"equation": "...b,bc->...c"}),
        ("MaxPool", [filled([1, 1, 256, 256])], {"kernel_shape": [3, 3]}),
        ("RoiAlign", [filled([1, 1, 4, 4]), ROI / F(500), [0]], {}),
        ("ScatterND", [filled([1 << 20]), [[1]], np.ones(1, F)], {}),
        ("Transpose", [filled([1 << 12, 1 << 12])], {}),
    ],
)
def test_what_takes_seconds_is_not(save, op_type, inputs, attributes) -> None:
    graph = load_onnx(written(save, [nodes_of(op_type, inputs, attributes)], 16))
    assert "y0" in graph.constants


def test_every_name_of_the_tables_is_an_operator() -> None:
    from onnx import defs

    for table in (fold_cost._COSTS, fold_cost._WEIGHTS, fold_cost._PRODUCTS, fold_cost._INDICES):
        assert all(defs.has(name) for name in table)
