"""Weights in files beside the model: read when inside its folder, refused elsewhere."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from npusim.errors import ModelImportError
from npusim.importers.onnx.importer import load_onnx

WEIGHTS = np.arange(300, dtype=np.float32).reshape(3, 100)


@pytest.fixture
def external(tmp_path):
    """Return a function that writes a model whose weights lie at a location."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)

    def write(location, data=None, at="w.bin", **entries):
        if data is not None:
            (folder / at).write_bytes(data)
        tensor = TensorProto(dims=[3, 100], data_type=TensorProto.FLOAT, name="w")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "w"], ["y"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 100])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 100])], [tensor],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        path = folder / "m.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_saved_by_the_onnx_package(tmp_path, save) -> None:
    plain = save([helper.make_node("Mul", ["x", "w"], ["y"])], {"x": (3, 100)}, ["y"],
                 {"w": WEIGHTS})  # fmt: skip
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(plain), path, save_as_external_data=True, location="w", size_threshold=0)
    np.testing.assert_array_equal(load_onnx(path).constants["w"], WEIGHTS)


def test_offset_and_subfolder(external) -> None:
    path = external("sub/w.bin", b"head" + WEIGHTS.tobytes() + b"tail", at="sub/w.bin", offset=4,
                    length=1200)  # fmt: skip
    np.testing.assert_array_equal(load_onnx(path).constants["w"], WEIGHTS)


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "sub/../../w.bin", "/etc/passwd", "C:\\w.bin", "..\\w.bin", "\\\\host\\w.bin", "",
     "sub/../w.bin", "w" * 5000, "w\0.bin"],
)  # fmt: skip
def test_locations_outside_the_folder_are_refused(external, tmp_path, location) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    path = external(location, WEIGHTS.tobytes())
    with pytest.raises(ModelImportError, match="refused") as error:
        load_onnx(path)
    assert "'w'" in str(error.value)
    assert str(path) in str(error.value)


def test_links_are_refused(external, tmp_path) -> None:
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    path = external("w.bin")
    (path.parent / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelImportError, match="refused"):
        load_onnx(path)
    path = external("away/secret")
    (path.parent / "away").symlink_to(tmp_path)
    with pytest.raises(ModelImportError, match="refused"):
        load_onnx(path)


def test_missing_and_damaged_data(external) -> None:
    with pytest.raises(ModelImportError, match=r"'gone\.bin' of tensor 'w' cannot be read"):
        load_onnx(external("gone.bin"))
    with pytest.raises(ModelImportError, match="cannot be read"):
        load_onnx(external("sub"))
    with pytest.raises(ModelImportError, match="which has 1199"):
        load_onnx(external("w.bin", WEIGHTS.tobytes()[:-1]))
    with pytest.raises(ModelImportError, match="needs 1200"):
        load_onnx(external("w.bin", WEIGHTS.tobytes(), length=1196))
    with pytest.raises(ModelImportError, match="'w'"):
        load_onnx(external("w.bin", WEIGHTS.tobytes(), offset=-4))
    with pytest.raises(ModelImportError, match="whole numbers"):
        load_onnx(external("w.bin", WEIGHTS.tobytes(), offset="many"))


def test_constants_inside_nodes_may_be_external_too(external) -> None:
    path = external("w.bin", WEIGHTS.tobytes())
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer.pop()
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    model.graph.node.insert(0, constant)
    path.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(load_onnx(path).constants["w"], WEIGHTS)


def test_a_location_that_is_no_text_and_segments_are_refused(external) -> None:
    path = external("LOCATION")
    path.write_bytes(path.read_bytes().replace(b"LOCATION", b"L\xff\xfeATION"))
    with pytest.raises(ModelImportError, match="refused"):
        load_onnx(path)
    model = onnx.load(external("w.bin"), load_external_data=False)
    tensor = model.graph.initializer[0]
    tensor.data_location, tensor.raw_data = TensorProto.DEFAULT, WEIGHTS.tobytes()
    tensor.segment.end = 300
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelImportError, match="'w' is a segment"):
        load_onnx(path)
