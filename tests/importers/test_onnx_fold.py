"""Everything that depends on constants and shapes is evaluated (case 5.1), like ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.onnx.importer import load_onnx

node = helper.make_node


def ints(*values):
    return np.array(values, np.int64)


def ops(graph):
    return [n.op for n in graph.nodes]


def test_case_5_1_view_by_size(agrees) -> None:
    """x.view(x.size(0), -1) as PyTorch exports it."""
    graph = agrees(
        [
            node("Shape", ["x"], ["shape"]),
            node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0))),
            node("Gather", ["shape", "zero"], ["batch"], axis=0),
            node("Unsqueeze", ["batch"], ["batch1"], axes=[0]),
            node("Constant", [], ["rest"], value=numpy_helper.from_array(ints(-1))),
            node("Concat", ["batch1", "rest"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["y"]),
        ],
        {"x": (2, 3, 4, 5)}, ["y"], opset=9,
    )  # fmt: skip
    assert ops(graph) == ["reshape"]
    assert graph.spec("y").shape == (2, 60)


def test_resize_to_the_size_of_another_tensor(agrees) -> None:
    graph = agrees(
        [
            node("Shape", ["b"], ["sb"]),
            node("Slice", ["sb", "two", "four"], ["hw"]),
            node("Shape", ["a"], ["sa"]),
            node("Slice", ["sa", "zero", "two"], ["nc"]),
            node("Concat", ["nc", "hw"], ["n"], axis=0),
            node("Cast", ["n"], ["n64"], to=TensorProto.INT64),
            node("Resize", ["a", "", "", "n64"], ["r"]),
            node("Add", ["r", "b"], ["y"]),
        ],
        {"a": (1, 2, 3, 4), "b": (1, 2, 6, 8)}, ["y"],
        {"zero": ints(0), "two": ints(2), "four": ints(4)},
    )  # fmt: skip
    assert ops(graph) == ["resize", "add"]


def test_constants_built_by_arithmetic(agrees) -> None:
    graph = agrees(
        [
            node("Shape", ["x"], ["s"], start=-1),
            node("Size", ["x"], ["count"]),
            node("Squeeze", ["s"], ["n"]),
            node("Range", ["zero", "n", "one"], ["r"]),
            node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
            node("ConstantOfShape", ["s"], ["c"],
                 value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])),
            node("Mul", ["f", "c"], ["m"]),
            node("Cast", ["count"], ["k"], to=TensorProto.FLOAT),
            node("Div", ["m", "k"], ["d"]),
            node("Add", ["x", "d"], ["y"]),
        ],
        {"x": (2, 5)}, ["y"], {"zero": np.array(0), "one": np.array(1)}, opset=15,
    )  # fmt: skip
    assert ops(graph) == ["add"]
    np.testing.assert_allclose(graph.constants["d"], np.arange(5) * 0.05, rtol=1e-6)


X = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
T = TensorProto
POSITIVE = np.abs(X) + 0.5
BATCH = tuple(np.linspace(0.5, 2, 3, dtype=np.float32) + i for i in range(4))
FORMS = [  # opset, operator, attributes, values of the inputs
    *[(7, op, {}, (X,)) for op in ("Abs", "Ceil", "Exp", "Floor", "Neg", "Relu", "Sigmoid")],
    (7, "Tanh", {}, (X,)),
    *[(7, op, {}, (POSITIVE,)) for op in ("Log", "Reciprocal", "Sqrt")],
    *[(9, op, {}, (X,)) for op in ("Erf", "Sign", "NonZero")],
    *[(7, op, {}, (X, POSITIVE[:1])) for op in ("Add", "Div", "Greater", "Less", "Mul", "Sub")],
    *[(8, op, {}, (X, -X, POSITIVE[:, :1])) for op in ("Max", "Mean", "Min", "Sum")],
    *[(7, op, {}, (X > 0, X < 1)) for op in ("And", "Or", "Xor")],
    *[(11, f"Reduce{kind}", {"axes": [0, -1], "keepdims": 0}, (X,))
      for kind in ("L1", "L2", "Max", "Mean", "Min", "Prod", "Sum")],
    (7, "ReduceSum", {}, (X,)),
    (18, "ReduceMax", {}, (X, ints(1))),
    (7, "Not", {}, (X > 0,)),
    (7, "Equal", {}, (ints(1, 2), ints(1, 3))),
    (10, "Mod", {}, (ints(7, -7), ints(4))),
    (10, "Mod", {"fmod": 1}, (X, POSITIVE)),
    (7, "Pow", {}, (POSITIVE, X)),
    (7, "Div", {}, (ints(7, 9), ints(2, 4))),
    (9, "Slice", {"starts": [0, 1], "ends": [2, 9], "axes": [1, 2]}, (X,)),
    (13, "Slice", {}, (X, ints(-1), ints(-100), ints(2), ints(-2))),
    (11, "Split", {"axis": 2, "split": [1, 3]}, (X,)),
    (7, "Split", {"axis": 2}, (X,)),
    (13, "Split", {"axis": 2}, (X, ints(3, 1))),
    (11, "Pad", {}, (X, ints(0, 1, 0, 1, 0, 2), np.float32(1))),
    (11, "Clip", {}, (X, np.float32(-0.5), np.float32(0.5))),
    (13, "Softmax", {"axis": 1}, (X,)),
    (9, "Upsample", {"mode": "nearest"}, (X, np.array([1, 2, 2], np.float32))),
    (11, "Squeeze", {"axes": [1]}, (X[:, :1],)),
    (11, "Unsqueeze", {"axes": [0, 4]}, (X,)),
    (9, "Flatten", {"axis": 2}, (X,)),
    (7, "Reshape", {}, (X, ints(0, -1))),
    (7, "Transpose", {"perm": [2, 0, 1]}, (X,)),
    (7, "Tile", {}, (X, ints(1, 2, 1))),
    (8, "Expand", {}, (X[:1], ints(2, 3, 4))),
    (7, "Concat", {"axis": 1}, (X, -X)),
    (7, "Gather", {"axis": 1}, (X, ints(0, 2))),
    (11, "Gather", {"axis": 1}, (X, ints(0, -1))),
    (7, "ArgMin", {"axis": 1}, (X,)),
    (11, "ArgMax", {"axis": -1, "keepdims": 0}, (X,)),
    (11, "TopK", {"axis": -1, "largest": 0}, (X, ints(2))),
    (9, "Where", {}, (X > 0, X, -X)),
    (9, "OneHot", {"axis": 0}, (ints(1, 0), np.array(3), np.array([2, 5], np.float32))),
    (11, "ScatterND", {}, (X, ints(1).reshape(1, 1), -X[:1])),
    (11, "Range", {}, (np.array(2), np.array(9), np.array(3))),
    (9, "Cast", {"to": T.INT32}, (X * 9,)),
    (7, "Dropout", {"ratio": 0.5}, (X,)),
    (9, "BatchNormalization", {}, (X, *BATCH)),
    (7, "MatMul", {}, (X, X[0].T.copy())),
    (7, "Gemm", {"transB": 1, "alpha": 0.5}, (X[0], X[1], X[0, 0, :3])),
    (13, "CumSum", {}, (X, np.array(1))),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "op_type", "attributes", "values"), FORMS)
def test_folded_values_are_those_of_onnx_runtime(save, opset, op_type, attributes, values) -> None:
    constants = {f"i{i}": value for i, value in enumerate(values)}
    outs = ["y", "z"] if op_type in ("Split", "TopK") else ["y"]
    folded = node(op_type, list(constants), outs, **attributes)
    model = make(folded, outs, constants, opset)
    path = save(model)
    graph = load_onnx(path)
    wanted = ort.InferenceSession(path).run(outs, {"w": np.zeros(1, np.float32)})
    assert ops(graph) == ["abs"]
    for name, want in zip(outs, wanted, strict=True):
        assert graph.constants[name].shape == want.shape
        np.testing.assert_allclose(graph.constants[name], want, rtol=1e-5, atol=1e-6)


def make(folded, outs, constants, opset):
    """Return a model with the node beside an Abs; the output types are left to be inferred."""
    ends = [helper.make_value_info(n, onnx.TypeProto()) for n in outs]
    one = helper.make_tensor_value_info("w", T.FLOAT, [1])
    graph = helper.make_graph(
        [folded, node("Abs", ["w"], ["v"])], "folded", [one],
        [*ends, helper.make_tensor_value_info("v", T.FLOAT, [1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    bare = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(bare)


@pytest.mark.parametrize(
    ("opset", "op_type", "attributes", "values"),
    [
        (10, "Pad", {"pads": [0, 1, 0, 1, 0, 2], "value": 1.5}, (X,)),
        (7, "Pad", {"pads": [0, 1, 0, 1, 0, 2], "mode": "reflect"}, (X,)),
        (10, "Clip", {"min": -0.5, "max": 0.5}, (X,)),
        (7, "Clip", {"max": 0.5}, (X,)),
        (11, "Softmax", {"axis": 1}, (X,)),
        (7, "Softmax", {}, (X,)),
        (11, "Softmax", {"axis": -1}, (X,)),
        (12, "LogSoftmax", {"axis": 0}, (X,)),
        (9, "TopK", {"k": 2}, (X,)),
        (7, "TopK", {"k": 2, "axis": 1}, (X,)),
        (12, "Einsum", {"equation": "abc->cb"}, (X,)),
        (11, "CumSum", {}, (X, np.array(1))),
        (12, "LeakyRelu", {"alpha": 0.2}, (X,)),
        (11, "GatherElements", {"axis": 1}, (X, np.zeros((2, 1, 4), np.int64))),
        (11, "DepthToSpace", {"blocksize": 2}, (X.reshape(1, 4, 2, 3),)),
        (13, "LRN", {"size": 3, "alpha": 0.9}, (X.reshape(1, 4, 2, 3),)),
        (13, "LRN", {"size": 5, "alpha": 0.9, "bias": 2.0}, (X.reshape(1, 4, 2, 3),)),
        (13, "GatherElements", {}, (np.arange(70, dtype=np.float32), np.array([69, 3]))),
    ],
)
def test_old_forms_are_folded_as_well(save, opset, op_type, attributes, values) -> None:
    test_folded_values_are_those_of_onnx_runtime(save, opset, op_type, attributes, values)


def test_an_old_form_without_a_rule_is_refused(save) -> None:
    path = save(make(node("Resize", ["i0", "i1"], ["y"]), ["y"],
                     {"i0": X, "i1": np.ones(3, np.float32)}, 10))  # fmt: skip
    with pytest.raises(UnsupportedOpError, match=r"Resize[\s\S]*version_converter"):
        load_onnx(path)


def test_constant_outputs_are_kept(agrees) -> None:
    """Case 3.5: prior boxes do not vanish from the outputs."""
    graph = agrees([node("Mul", ["a", "b"], ["prior"]), node("Relu", ["x"], ["y"])],
                   {"x": (2,)}, ["y", "prior"], {"a": X, "b": X})  # fmt: skip
    assert graph.outputs == ("y", "prior")


def test_large_equal_constants_take_no_memory(save) -> None:
    """A quarter of a gigabyte, folded."""
    path = save(
        [node("Constant", [], ["s"], value=numpy_helper.from_array(ints(8192, 8192))),
         node("ConstantOfShape", ["s"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        {"x": (1, 8192)}, ["y"],
    )  # fmt: skip
    graph = load_onnx(path)
    assert sum(np.lib.array_utils.byte_bounds(v)[1] - np.lib.array_utils.byte_bounds(v)[0]
               for v in graph.constants.values()) < 100_000  # fmt: skip


@pytest.mark.parametrize(
    ("op_type", "inputs"),
    [
        ("ConstantOfShape", [ints(1 << 20, 1 << 20)]),
        ("Expand", [np.float32(1), ints(1 << 20, 1 << 20)]),
        ("Tile", [np.ones((1, 1), np.float32), ints(1 << 20, 1 << 20)]),
        ("Range", [np.array(0), np.array(1 << 40), np.array(1)]),
        ("Pad", [np.ones(1, np.float32), ints(1 << 40, 0)]),
        ("ConstantOfShape", [ints(-1)]),
    ],
)
def test_absurd_folded_shapes_are_refused_before_allocation(save, op_type, inputs) -> None:
    constants = {f"i{i}": value for i, value in enumerate(inputs)}
    path = save([node(op_type, list(constants), ["y"], name="huge")], {"x": (1,)}, ["y"],
                constants)  # fmt: skip
    with pytest.raises(ModelImportError, match="huge"):
        load_onnx(path)


def test_a_shape_that_depends_on_data_names_the_node_and_int(save) -> None:
    path = save(
        [node("Cast", ["i"], ["s"], to=TensorProto.INT64, name="caster"),
         node("Reshape", ["x", "s"], ["y"], name="view")],
        {"x": (2, 3), "i": (2,)}, ["y"], types={"i": "int32"},
    )  # fmt: skip
    with pytest.raises(UnsupportedOpError, match=r"'view'[\s\S]*int\(\)"):
        load_onnx(path)


def test_half_and_double_weights_become_float32(save) -> None:
    for dtype in (np.float16, np.float64):
        name = np.dtype(dtype).name
        weights = np.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3)
        path = save([node("Mul", ["x", "w"], ["y"])], {"x": (2, 3)}, ["y"], {"w": weights},
                    types={"x": name, "y": name})  # fmt: skip
        graph = load_onnx(path)
        assert graph.constants["w"].dtype == np.float32
        np.testing.assert_array_equal(graph.constants["w"], weights.astype(np.float32))
        assert graph.spec("x").dtype.value == graph.spec("y").dtype.value == "f32"


def test_bfloat16_weights_become_float32(save) -> None:
    weights = helper.make_tensor("w", TensorProto.BFLOAT16, [2], [1.5, -2.0])
    graph = helper.make_graph(
        [node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), node("Mul", ["x", "f"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])], [weights],
    )  # fmt: skip
    path = save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))
    assert load_onnx(path).constants["f"].tolist() == [1.5, -2.0]


def test_double_beyond_float32_is_refused(save) -> None:
    path = save([node("Mul", ["x", "w"], ["y"])], {"x": (1,)}, ["y"], {"w": np.array([1e300])},
                types={"x": "float64", "y": "float64"})  # fmt: skip
    with pytest.raises(ModelImportError, match="'w' has values beyond float32"):
        load_onnx(path)


def test_random_constants_are_not_folded(save) -> None:
    path = save([node("RandomNormal", [], ["r"], shape=[2]), node("Add", ["x", "r"], ["y"])],
                {"x": (2,)}, ["y"])  # fmt: skip
    with pytest.raises(UnsupportedOpError, match="RandomNormal"):
        load_onnx(path)


def test_local_functions_are_inlined(save) -> None:
    body = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    graph = helper.make_graph(
        [node("Twice", ["x"], ["y"], domain="mine")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, functions=[body], opset_imports=imports)
    onnx.checker.check_model(model)
    assert ops(load_onnx(save(model))) == ["add"]
