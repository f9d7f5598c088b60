"""The bundled classifier imports whole."""

from importlib.resources import as_file, files

import numpy as np
import pytest

from npusim.errors import ModelImportError
from npusim.importers import load
from npusim.ir.dtypes import DType

MODEL = files("npusim.assets") / "ch_ppocr_mobile_v2.0_cls_infer.onnx"


@pytest.fixture(scope="module")
def graph():
    with as_file(MODEL) as path:
        return load(path, input_shapes={"x": (1, 3, 48, 192)})


def test_shapes_and_types(graph) -> None:
    assert graph.inputs == ("x",)
    assert graph.outputs == ("save_infer_model/scale_0.tmp_1",)
    assert graph.spec("x").shape == (1, 3, 48, 192)
    assert graph.spec(graph.outputs[0]).shape == (1, 2)
    assert {s.dtype for s in graph.tensors.values()} == {DType.F32}
    assert all(v.dtype == np.float32 for v in graph.constants.values())


def test_ops_are_those_of_the_file(graph) -> None:
    count = {op: sum(n.op == op for n in graph.nodes) for op in {n.op for n in graph.nodes}}
    assert count["conv2d"] == 53
    assert count["batch_norm"] == 35
    assert count["relu6"] == 18
    assert count["fc"] == 1
    assert count["softmax"] == 1
    assert "identity" not in count


def test_names_uids_and_origin(graph) -> None:
    uids = [n.uid for n in graph.nodes]
    assert uids[-1] == 1  # 0 is the output
    assert graph.nodes[0].layer_id == f"Conv_Conv@0_{uids[0]}"
    assert all(len(n.origin) == 1 for n in graph.nodes)


def test_source(graph) -> None:
    assert graph.source.framework == "onnx"
    assert graph.source.detail == "opset 11, ir 7, producer PaddlePaddle"
    assert graph.source.sha256.startswith("e47acedf663230f8863ff1ab0e64dd2d")


def test_dynamic_sizes_are_named() -> None:
    with as_file(MODEL) as path, pytest.raises(ModelImportError, match="input_shapes") as error:
        load(path)
    assert "axis 2" in str(error.value)
    assert "cls_infer.onnx" in str(error.value)


def test_shape_without_batch() -> None:
    with as_file(MODEL) as path:
        assert load(path, input_shapes=[(3, 48, 192)]).spec("x").shape == (1, 3, 48, 192)


def test_other_formats_name_the_onnx_route(tmp_path) -> None:
    (tmp_path / "model.params").write_bytes(b"graph")
    with pytest.raises(ModelImportError, match=r"MXNet models are not imported[\s\S]*ONNX"):
        load(tmp_path / "model.params")
