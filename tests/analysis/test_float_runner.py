"""The source model in ONNX Runtime with all values exposed."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from npusim.analysis.float_runner import run_source_float
from npusim.errors import InputError, MissingExtraError, ModelImportError
from tests.onnx_models import onnx_model

pytest.importorskip("onnxruntime")

WEIGHTS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


def model(shape=("n", 4), elem_type=TensorProto.FLOAT, opset=17, more=()):
    """Return y = -relu(x @ w) with a named value between each."""
    nodes = [
        helper.make_node("Constant", [], ["unused"], value_float=1.0),
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Neg", ["r"], ["y"]),
        *more,
    ]
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, (shape[0], 6))],
        [numpy_helper.from_array(WEIGHTS.astype(dtype), "w")],
        value_info=[helper.make_tensor_value_info("m", elem_type, (shape[0], 6))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.fixture
def path(tmp_path):
    onnx.save(model(), tmp_path / "toy.onnx")
    return tmp_path / "toy.onnx"


def test_every_value_comes_in_execution_order(path):
    values = run_source_float(path, {"x": X})
    assert list(values) == ["m", "r", "y"]
    product = X @ WEIGHTS
    np.testing.assert_allclose(values["m"], product, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(values["r"], np.maximum(values["m"], 0))
    np.testing.assert_array_equal(values["y"], -values["r"])


def test_named_values_come_with_the_outputs_and_unknown_names_are_left_out(path):
    assert list(run_source_float(path, {"x": X}, tensors=["r", "nothing"])) == ["r", "y"]
    values = run_source_float(path, {"x": X}, tensors=["x"])
    assert list(values) == ["y", "x"]
    np.testing.assert_array_equal(values["x"], X)


def test_declared_shapes_can_be_replaced(tmp_path):
    onnx.save(model(shape=(1, 4)), tmp_path / "one.onnx")
    with pytest.raises(InputError, match=r"one\.onnx.*'x'.*\(3, 4\)(.|\n)*\(1, 4\) is expected"):
        run_source_float(tmp_path / "one.onnx", {"x": X})
    values = run_source_float(tmp_path / "one.onnx", {"x": X}, input_shapes={"x": (3, 4)})
    assert values["r"].shape == (3, 6)


def test_other_float_widths_are_converted(tmp_path):
    onnx.save(model(elem_type=TensorProto.DOUBLE), tmp_path / "wide.onnx")
    values = run_source_float(tmp_path / "wide.onnx", {"x": X})
    assert values["m"].dtype == np.float64
    np.testing.assert_allclose(values["m"], X.astype(np.float64) @ WEIGHTS, rtol=1e-12)


def test_weights_in_external_files(tmp_path):
    onnx.save(
        model(),
        tmp_path / "toy.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").stat().st_size >= WEIGHTS.nbytes
    values = run_source_float(tmp_path / "toy.onnx", {"x": X})
    np.testing.assert_allclose(values["m"], X @ WEIGHTS, rtol=1e-5, atol=1e-6)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelImportError, match=r"toy\.onnx|weights\.bin"):
        run_source_float(tmp_path / "toy.onnx", {"x": X})


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_folder_is_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "inner").mkdir()
    bad = model()
    weights = bad.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    (tmp_path / "inner" / "toy.onnx").write_bytes(bad.SerializeToString())
    with pytest.raises(ModelImportError, match="external data"):
        run_source_float(tmp_path / "inner" / "toy.onnx", {"x": X})


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"no data for \['x'\]"),
        ({"x": X, "w": WEIGHTS}, r"\['w'\] are no inputs"),
        ({"x": X[0]}, r"\(4,\)(.|\n)*\(any, 4\)"),
        ({"x": X.astype(np.int32)}, r"int32(.|\n)*astype\('float32'\)"),
    ],
)
def test_wrong_feeds_are_explained(path, feeds, message):
    with pytest.raises(InputError, match=message):
        run_source_float(path, feeds)


def test_unreadable_files_are_named(tmp_path, path):
    with pytest.raises(ModelImportError, match=r"none\.onnx: No such file"):
        run_source_float(tmp_path / "none.onnx", {"x": X})
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelImportError, match=r"cut\.onnx: .*truncated"):
        run_source_float(tmp_path / "cut.onnx", {"x": X})


def test_what_onnxruntime_refuses_is_reported_with_the_file(tmp_path):
    odd = helper.make_node("Unheard", ["y"], ["z"], domain="some.where")
    bad = model(more=[odd])
    bad.opset_import.append(helper.make_opsetid("some.where", 1))
    onnx.save(bad, tmp_path / "odd.onnx")
    with pytest.raises(ModelImportError, match=r"odd\.onnx: ONNX Runtime(.|\n)*Unheard"):
        run_source_float(tmp_path / "odd.onnx", {"x": X})


def test_missing_onnxruntime_names_the_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"npusim\[onnxruntime\]"):
        run_source_float(path, {"x": X})


@pytest.mark.parametrize("weights_type", [np.int8, np.uint8])
@pytest.mark.parametrize("op", ["QLinearConv", "QLinearMatMul", "QGemm"])
def test_integer_products_do_not_saturate(tmp_path, op, weights_type):
    """The largest uint8 values times the largest weights: on x86 without VNNI int8 would wrap."""
    ifm = np.full((1, 64), 255, np.uint8)
    weights = np.full((64, 4), np.iinfo(weights_type).max, weights_type)
    if op == "QLinearConv":
        ifm, weights = ifm.reshape(1, 64, 1, 1), weights.T.reshape(4, 64, 1, 1)
    exact = 64 * 255 * np.iinfo(weights_type).max
    constants = {
        "xs": np.float32(1),
        "xz": np.uint8(0),
        "w": weights,
        "ws": np.float32(1),
        "wz": weights_type(0),
        "ys": np.float32(exact / 100),
        "yz": np.uint8(3),
    }
    names = ["x", "xs", "xz", "w", "ws", "wz", *([""] if op == "QGemm" else []), "ys", "yz"]
    domain = "com.microsoft" if op == "QGemm" else ""
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, names, ["y"], domain=domain)],
            "toy",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, ifm.shape)],
            [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )
    onnx.save(made, tmp_path / "q.onnx")
    (values,) = run_source_float(tmp_path / "q.onnx", {"x": ifm}).values()
    np.testing.assert_array_equal(values.reshape(-1), np.full(4, 103, np.uint8))


def test_whole_numbers_go_into_integer_inputs(tmp_path):
    nodes = [onnx.helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT)]
    model = onnx_model(nodes, {"x": (1, 3)}, {"y": (1, 3)}, types={"x": np.int64})
    onnx.save(model, tmp_path / "m.onnx")
    found = run_source_float(tmp_path / "m.onnx", {"x": np.float32([[3, -1, 7]])})
    np.testing.assert_array_equal(found["y"], [[3, -1, 7]])
    with pytest.raises(InputError, match="float32 values that are not int64"):
        run_source_float(tmp_path / "m.onnx", {"x": np.float32([[3, 0.5, 7]])})


def test_unnamed_outputs_of_old_normalisations_do_not_end_the_process(tmp_path):
    """Opset 7 writes all five; run elsewhere, as ONNX Runtime ends its process on them."""
    nodes = [helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y", "", "", "", ""])]
    constants = dict.fromkeys("sbmv", np.ones(2, np.float32))
    onnx.save(onnx_model(nodes, {"x": (1, 2, 3, 3)}, ["y"], constants, opset=7, listed=True),
              tmp_path / "net.onnx")  # fmt: skip
    code = (
        "import sys, numpy as np\n"
        "from npusim.analysis.float_runner import run_source_float\n"
        "found = run_source_float(sys.argv[1], {'x': np.full((1, 2, 3, 3), 3, np.float32)})\n"
        "print(found['y'].round(3).max())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "net.onnx")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "3.0"), done.stderr[-500:]


def test_outputs_of_a_body_that_are_one_tensor_are_both_computed(tmp_path):
    """ONNX Runtime writes one of them only."""
    row, rows = [
        helper.make_tensor_value_info("", TensorProto.FLOAT, shape) for shape in ([2], [3, 2])
    ]

    def named(info, name):
        return onnx.ValueInfoProto(name=name, type=info.type)

    body = helper.make_graph(
        [helper.make_node("Add", ["s", "n"], ["t"])], "body",
        [named(row, "s"), named(row, "n")], [named(row, "t"), named(row, "t")],
    )  # fmt: skip
    scan = helper.make_node("Scan", ["i", "x"], ["y", "z"], num_scan_inputs=1, body=body)
    graph = helper.make_graph(
        [scan], "net", [named(row, "i"), named(rows, "x")], [named(row, "y"), named(rows, "z")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    start, steps = np.float32([10, 20]), np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    found = run_source_float(tmp_path / "net.onnx", {"i": start, "x": steps})
    wanted = start + np.cumsum(steps, 0)
    np.testing.assert_array_equal(found["z"], wanted)
    np.testing.assert_array_equal(found["y"], wanted[-1])


def _value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _branch(kind):
    nodes = [helper.make_node(kind, ["x"], [kind]), helper.make_node("Neg", ["x"], [f"{kind}2"])]
    return helper.make_graph(nodes, kind, [], [_value(kind), _value(f"{kind}2")])


def _turn():
    nodes = [
        helper.make_node("Identity", ["go"], ["on"]),
        helper.make_node("Relu", ["v"], ["w"]),
        helper.make_node("Neg", ["v"], ["s"]),
    ]
    counter = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    flags = [helper.make_tensor_value_info(n, TensorProto.BOOL, []) for n in ("go", "on")]
    ins, outs = [counter, flags[0], _value("v")], [flags[1], _value("w"), _value("s")]
    return helper.make_graph(nodes, "turn", ins, outs)


COUNTED = {
    "split": (["x"], {"axis": 1}, lambda x: np.split(x, 2, axis=1)),
    "split in two": (["x"], {"axis": 1, "num_outputs": 2}, lambda x: np.split(x, 2, axis=1)),
    "if": (
        ["c"],
        {"then_branch": _branch("Relu"), "else_branch": _branch("Abs")},
        lambda x: [np.maximum(x, 0), -x],
    ),
    "loop": (["n", "", "x"], {"body": _turn()}, lambda x: [np.maximum(x, 0), -x[None]]),
}


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("unnamed", [0, 1])
def test_unnamed_outputs_that_count_are_neither_fatal_nor_left_out(tmp_path, kind, unnamed):
    inputs, attributes, wanted = COUNTED[kind]
    outputs = ["y", "y"]
    outputs[unnamed] = ""
    constants = {"c": np.array(True), "n": np.array(1, np.int64)}
    graph = helper.make_graph(
        [helper.make_node(kind.split()[0].capitalize(), inputs, outputs, **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [_value("y")],
        [numpy_helper.from_array(v, k) for k, v in constants.items() if k in inputs],
    )
    opset = 18 if "num_outputs" in attributes else 13
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(made, tmp_path / "net.onnx")
    found = run_source_float(tmp_path / "net.onnx", {"x": X})["y"]
    np.testing.assert_array_equal(found, wanted(X)[1 - unnamed])
