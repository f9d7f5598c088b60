"""Input shapes, symbolic sizes (case B25) and cutting a graph (case B45)."""

import numpy as np
import pytest
from onnx import helper
from PIL import Image

import npusim
from npusim.analysis.float_runner import run_source_float
from npusim.errors import ModelImportError
from npusim.importers.onnx.importer import load_onnx
from npusim.reference.evaluate import evaluate

node = helper.make_node
RELU = [node("Relu", ["x"], ["y"])]


def shape_of(path, **kwargs):
    return load_onnx(path, **kwargs).spec("x").shape


def test_symbolic_sizes_are_named(save) -> None:
    path = save([node("Add", ["x", "z"], ["y"])], {"x": ["batch", 3, "height", None], "z": [1]},
                ["y"])  # fmt: skip
    with pytest.raises(ModelImportError) as error:
        load_onnx(path)
    text = str(error.value)
    assert "(1, 3, height, ?): axis 2 is 'height', axis 3 is '?'" in text
    assert "input_shapes={'x': (1, 3, 224, 224)}" in text
    assert "'z'" not in text


@pytest.mark.parametrize(
    "given",
    [
        {"x": (1, 3, 8, 9)},
        {"x": [3, 8, 9]},
        [(1, 3, 8, 9)],
        [[3, 8, 9]],
        {"x": (-1 + 2, None, 8, 9)},
        {"x": (1, -1, np.int64(8), 9)},
    ],
)
def test_shapes_in_all_spellings(save, given) -> None:
    path = save(RELU, {"x": ["n", 3, "h", "w"]}, ["y"])
    assert shape_of(path, input_shapes=given) == (1, 3, 8, 9)


def test_left_out_batch_is_the_models_own(save) -> None:
    path = save(RELU, {"x": [4, 3, "h", "w"]}, ["y"])
    assert shape_of(path, input_shapes={"x": (3, 8, 9)}) == (4, 3, 8, 9)


def test_fixed_inputs_need_no_shape(save) -> None:
    path = save([node("Add", ["x", "z"], ["y"])], {"x": ["n", 3], "z": [1, 3]}, ["y"])
    graph = load_onnx(path, input_shapes={"x": (2, 3)})
    assert graph.spec("z").shape == (1, 3)


def test_a_symbol_has_one_value(save) -> None:
    path = save([node("Add", ["x", "z"], ["y"])], {"x": ["n", 3], "z": ["n", 3]}, ["y"])
    assert load_onnx(path, input_shapes={"x": (2, 3)}).spec("z").shape == (2, 3)
    with pytest.raises(ModelImportError, match="one symbol has one value"):
        load_onnx(path, input_shapes={"x": (2, 3), "z": (4, 3)})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": (1, 4, 8, 9)}, "contradicts"),
        (
            {"x": (1, 3, 8)},
            r"\(1, 3, 8\) given(.|\n)*has 3 sizes(.|\n)*has 4 sizes: (.|\n)*all 4 sizes",
        ),
        ({"x": (8, 9)}, "2 sizes"),
        ({"x": (1, 3, 8, 9, 1)}, "5 sizes"),
        ({"x": (1, 3, 0, 9)}, "positive"),
        ({"x": (1, 3, -5, 9)}, "positive"),
        ({"x": "1x3"}, "positive"),
        ({"x": 5}, "positive"),
        ({"X": (1, 3, 8, 9)}, r"'X', which is no input[\s\S]*did you mean 'x'"),
        ([(1, 3, 8, 9)] * 2, "2 input shapes for 1 inputs"),
        ({"x": (1, 3, None, 9)}, "axis 2 is 'h'"),
    ],
)
def test_bad_shapes(save, given, said) -> None:
    path = save(RELU, {"x": ["n", 3, "h", "w"]}, ["y"])
    with pytest.raises(ModelImportError, match=said):
        load_onnx(path, input_shapes=given)


def test_a_shape_of_another_rank_is_said_as_it_was_given(save) -> None:
    path = save(RELU, {"x": (1, 3, 48, 192)}, ["y"])
    with pytest.raises(ModelImportError) as error:
        load_onnx(path, input_shapes={"x": (1, 3, 48)})
    assert "the shape (1, 3, 48) given for input 'x' has 3 sizes" in str(error.value)
    assert "the model's has 4 sizes: (1, 3, 48, 192)" in str(error.value)
    assert "give input_shapes={'x': (1, 3, 48, 192)}, or no shape" in str(error.value)


def test_constants_listed_as_inputs_are_no_inputs(agrees) -> None:
    graph = agrees([node("Add", ["x", "c"], ["y"])], {"x": (2, 3)}, ["y"],
                   {"c": np.ones(3, np.float32)}, opset=8, listed=True)  # fmt: skip
    assert graph.inputs == ("x",)
    assert graph.is_constant("c")


def test_byte_images_that_are_cast_become_float_inputs(save) -> None:
    path = save([node("Cast", ["x"], ["f"], to=1), node("Relu", ["f"], ["y"])], {"x": (1, 3)},
                ["y"], types={"x": "uint8"})  # fmt: skip
    graph = load_onnx(path)
    assert graph.spec("x").dtype.value == "f32"
    assert [n.op for n in graph.nodes] == ["relu"]
    assert "uint8" in graph.notes[0] or "u8" in graph.notes[0]


CHAIN = [
    node("Relu", ["x"], ["a"], name="first"),
    node("Abs", ["a"], ["b"], name="second"),
    node("Neg", ["b"], ["c"], name="third"),
    node("Exp", ["a"], ["d"], name="side"),
]


def cut(save, **kwargs):
    return load_onnx(save(CHAIN, {"x": (2, 3)}, ["c", "d"]), **kwargs)


def test_outputs_cut_the_graph(save) -> None:
    graph = cut(save, outputs=["b"])
    assert [n.op for n in graph.nodes] == ["relu", "abs"]
    assert graph.outputs == ("b",)
    graph = cut(save, outputs=["d", "b"])
    assert graph.outputs == ("d", "b")
    assert cut(save, outputs=["second"]).outputs == ("b",)
    assert cut(save, outputs=["x", "b"]).outputs == ("x", "b")


def test_inputs_cut_the_graph(save) -> None:
    graph = cut(save, inputs=["b"], outputs=["c"], input_shapes=[(2, 3)])
    assert [n.op for n in graph.nodes] == ["neg"]
    x = np.array([[1.0, -2.0, 3.0]] * 2, np.float32)
    np.testing.assert_array_equal(evaluate(graph, {"b": x})["c"], -x)
    both = cut(save, inputs=["a"], input_shapes={"a": (2, 3)})
    assert [n.op for n in both.nodes] == ["abs", "neg", "exp"]


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"outputs": ["bb"]}, r"'bb' to end at[\s\S]*did you mean 'b'"),
        ({"inputs": ["zz"]}, "'zz' to begin at"),
        ({"inputs": ["b"], "outputs": ["c"]}, "'b' has no shape at all"),
        ({"inputs": ["b"], "outputs": ["d"]}, r"also need the model's inputs \['x'\]"),
        ({"inputs": ["x", "b"], "outputs": ["d"]}, r"do not depend on \['b'\]"),
        ({"inputs": ["a", "a"]}, "repeat"),
        ({"outputs": ["b", "b"]}, "repeat"),
        ({"outputs": []}, "no outputs"),
        ({"outputs": "b"}, "a list of names"),
    ],
)
def test_bad_cuts(save, kwargs, said) -> None:
    with pytest.raises(ModelImportError, match=said):
        cut(save, **kwargs)


def test_unsupported_nodes_outside_the_cut_do_not_matter(save) -> None:
    nodes = [*CHAIN, node("NonZero", ["c"], ["bad"])]
    path = save(nodes, {"x": (2, 3)}, ["bad"], types={"bad": "int64"})
    assert load_onnx(path, outputs=["c"]).outputs == ("c",)


def test_an_open_batch_is_one_and_said(save, agrees) -> None:
    path = save([node("Add", ["x", "z"], ["y"])], {"x": ["n", 3, 4, 4], "z": ["n", 3, 4, 4]}, ["y"])
    graph = load_onnx(path)
    assert graph.spec("x").shape == graph.spec("z").shape == (1, 3, 4, 4)
    (note,) = graph.notes
    assert "input 'x': the batch (axis 0, 'n')" in note
    assert "1 is taken" in note
    assert load_onnx(path, input_shapes={"z": (2, 3, 4, 4)}).spec("x").shape == (2, 3, 4, 4)
    assert load_onnx(save(RELU, {"x": [None, 3]}, ["y"])).spec("x").shape == (1, 3)


def test_the_batch_of_a_recurrent_network_is_its_second_axis(save) -> None:
    path = save(RELU, {"x": [7, "batch_size", 3]}, ["y"])
    assert load_onnx(path).spec("x").shape == (7, 1, 3)
    for shape in (["seq", "batch", 3], ["time", 2, 3]):
        with pytest.raises(ModelImportError, match="axis 0 is"):
            load_onnx(save(RELU, {"x": shape}, ["y"]))


def test_pictures_in_the_order_of_tensorflow(save, tmp_path) -> None:
    scaled = [node("Sub", ["x", "mean"], ["a"]), node("Mul", ["a", "factor"], ["b"])]
    turned = node("Transpose", ["b"], ["t"], perm=[0, 3, 1, 2])
    nodes = [*scaled, turned, node("Relu", ["t"], ["y"])]
    constants = {"mean": np.array([1, 2, 3], np.float32), "factor": np.float32(0.5)}
    path = save(nodes, {"x": ["n", 6, 5, 3]}, ["y"], constants)
    graph = npusim.load_model(path)
    assert graph.spec("x").shape == (1, 3, 6, 5)
    assert any("picture" in note for note in graph.notes)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    feeds = npusim.read_input(graph, [tmp_path / "p.png"])
    want = np.maximum((pixels.astype(np.float32) - [1, 2, 3]) * 0.5, 0).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(evaluate(graph, feeds)["y"], want)
    found = run_source_float(path, feeds, tensors=["x", "y"])
    np.testing.assert_array_equal(found["y"], want)
    np.testing.assert_array_equal(found["x"], feeds["x"])


def test_other_inputs_keep_their_order(save) -> None:
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Abs", ["x"], ["z"])]
    for outputs in (["t", "z"], ["t", "x"]):
        graph = load_onnx(save(nodes, {"x": (1, 6, 5, 3)}, outputs))
        assert graph.spec("x").shape == (1, 6, 5, 3)
    graph = load_onnx(save(nodes[:1], {"x": (1, 6, 5, 8)}, ["t"]))
    assert graph.spec("x").shape == (1, 6, 5, 8)
