"""The real runtimes give the same bits as in this process; what is said where one dies."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import npusim
from npusim.errors import NpusimError
from npusim.foreign import child, with_litert, with_onnxruntime, with_opencv
from npusim.foreign.runtimes import LITERT, ONNX_RUNTIME, OPENCV
from npusim.reference.float_engine import OnnxRuntimeEngine, OwnEngine, float_engine
from tests.analysis.test_references import caffe
from tests.analysis.test_references import model as lite_model
from tests.importers.tflite_build import one_op
from tests.onnx_models import onnx_model

ROOT = Path(__file__).resolve().parents[2]
R = np.random.default_rng(11)
X = R.standard_normal((1, 3, 40, 40)).astype(np.float32)


def network():
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4),
        node("Sigmoid", ["a"], ["s"]),
        node("Mul", ["a", "s"], ["m"]),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "v"], ["y"]),
    ]
    shapes = {"w": (64, 3, 3, 3), "b": (64,), "v": (64, 10)}
    constants = {name: R.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
    return onnx_model(nodes, {"x": X.shape}, ["y"], constants)


@pytest.fixture
def path(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def same(here, there):
    assert len(here) == len(there)
    for mine, theirs in zip(here, there, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.tobytes() == theirs.tobytes()


def asked(runtime, function, *arguments):
    return child.asked(runtime, function, *arguments, where="net", remedy="none")


def test_onnx_runtime_leaves_no_files_of_its_own(path, tmp_path):
    """Since 1.29 it writes an identifier and a database when it is imported, unless told not to."""
    pytest.importorskip("onnxruntime")
    places = {word: tmp_path / word for word in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    environment = {key: value for key, value in os.environ.items() if "TELEMETRY" not in key}
    environment |= {word: str(place) for word, place in places.items()}
    np.save(tmp_path / "x.npy", X.transpose(0, 2, 3, 1))
    command = ["compare", str(path), "--input", str(tmp_path / "x.npy"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "npusim", *command],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert "ONNX Runtime" in done.stdout, done.stderr
    left = [str(file) for place in places.values() for file in place.rglob("*")]
    assert not [name for name in left if name.endswith(".ses") or "Microsoft" in name]


@pytest.mark.parametrize("alone", [False, True])
def test_onnx_runtime_gives_the_same_bits(alone):
    pytest.importorskip("onnxruntime")
    names = list("asmpfy")
    exposed = network()
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names[:-1])
    content = exposed.SerializeToString()
    number = with_onnxruntime.opened(content, alone)
    here = with_onnxruntime.ran(number, names, {"x": X})
    with_onnxruntime.closed(number)
    number = asked(ONNX_RUNTIME, "opened", content, alone)
    same(here, asked(ONNX_RUNTIME, "ran", number, names, {"x": X}))


@pytest.mark.parametrize("quantized", [False, True])
def test_litert_gives_the_same_bits(tmp_path, quantized):
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert")
    content = Path(lite_model(quantized).save(tmp_path / "net.tflite")).read_bytes()
    number, names, (index,) = with_litert.opened(content)
    x = R.integers(-90, 90, (1, 6, 8, 4)).astype(np.int8 if quantized else np.float32)
    wanted = list(range(len(names)))
    here = with_litert.ran(number, [(index, x)], wanted)
    number, *rest = asked(LITERT, "opened", content)
    assert rest == [names, [index]]
    there = asked(LITERT, "ran", number, [(index, x)], wanted)
    assert [value is None for value in here] == [value is None for value in there]
    same(*([value for value in values if value is not None] for values in (here, there)))


def test_a_result_without_axes_comes_from_litert(tmp_path):
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert")
    axes = [np.array([0, 1], np.int32)]
    net = one_op("SUM", (2, 3), (), constants=axes, options="ReducerOptions", keepDims=False)
    content = Path(net.save(tmp_path / "net.tflite")).read_bytes()
    number, names, (index,) = asked(LITERT, "opened", content)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (found,) = asked(LITERT, "ran", number, [(index, x)], [names.index("y")])
    assert (found.shape, found.dtype, float(found)) == ((), np.float32, 15.0)


def test_opencv_gives_the_same_bits(tmp_path):
    pytest.importorskip("cv2")
    graph = caffe(tmp_path)
    shape = graph.spec(graph.inputs[0]).shape
    files = [str(file) for file in sorted(tmp_path.iterdir(), reverse=True)]
    feeds = {graph.inputs[0]: R.standard_normal(shape).astype(np.float32)}
    wanted = [node.origin[-1] for node in graph.nodes]
    here = with_opencv.ran(*files, feeds, wanted, False)
    there = asked(OPENCV, "ran", *files, feeds, wanted, False)
    assert list(here) == list(there)
    same(*([value for layer in found.values() for value in layer] for found in (here, there)))


FAKES = {
    "onnxruntime.py": (
        "import os\n__version__ = '9'\n"
        "class SessionOptions: pass\n"
        "class GraphOptimizationLevel: ORT_DISABLE_ALL = 0\n"
        "class InferenceSession:\n"
        "    def __init__(self, *a, **k): pass\n"
        "    def get_outputs(self, *a): os.abort()\n"
        "    run = get_outputs\n"
    ),
    "ai_edge_litert/__init__.py": "__version__ = '9'\n",
    "ai_edge_litert/interpreter.py": (
        "import signal\nclass OpResolverType: BUILTIN_WITHOUT_DEFAULT_DELEGATES = 0\n"
        "def Interpreter(**how): signal.raise_signal(11)\n"
    ),
    "cv2.py": (
        "import os\n__version__ = '9'\nclass error(Exception): pass\n"
        "class dnn:\n    readNetFromCaffe = staticmethod(lambda *a: os._exit(66))\n"
    ),
}
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Runtimes that end their process stand before the real ones."""
    folder = tmp_path / "fakes"
    for name, text in FAKES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    child.stop_all()
    yield folder
    child.stop_all()


@posix
def test_compare_says_that_the_runtime_has_died(path, deadly):
    np.save(path.with_suffix(".npy"), X.transpose(0, 2, 3, 1))
    given = ["compare", path.name, "--quantize", "f16", "--input", "net.npy"]
    paths = os.pathsep.join(filter(None, [str(deadly), str(ROOT), os.environ.get("PYTHONPATH")]))

    def npusim_does(*more):
        return subprocess.run(
            [sys.executable, "-P", "-m", "npusim", *given, *more], capture_output=True, text=True,
            check=False, cwd=path.parent, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip

    died = npusim_does()
    assert died.returncode == 2
    assert "error: net.onnx: ONNX Runtime was ended by SIGABRT" in died.stderr
    assert "--reference npusim" in died.stderr
    assert "Traceback" not in died.stderr
    assert npusim_does("--reference", "npusim").returncode == 0


@posix
def test_the_float_engine_says_so_and_can_be_changed(path, deadly, monkeypatch):
    graph = npusim.load_model(path)
    with pytest.raises(NpusimError) as caught:
        float_engine(graph).run({"x": X})
    assert caught.value.what == "ONNX Runtime was ended by SIGABRT"
    assert caught.value.where == str(path)
    assert "NPUSIM_ENGINE=npusim" in caught.value.remedy
    monkeypatch.setenv("NPUSIM_ENGINE", "npusim")
    assert isinstance(float_engine(graph), OwnEngine)
    assert isinstance(float_engine(graph, "onnxruntime"), OnnxRuntimeEngine)


def lite(folder):
    return npusim.load_model(lite_model().save(folder / "net.tflite"))


@posix
@pytest.mark.parametrize(
    ("make", "said"),
    [(lite, "LiteRT was ended by SIGSEGV"), (caffe, "OpenCV dnn has ended with code 66")],
)
def test_other_runtimes_that_die(tmp_path, deadly, make, said):
    pytest.importorskip("tflite")
    (tmp_path / "model").mkdir()
    graph = make(tmp_path / "model")
    feeds = {n: np.zeros(graph.spec(n).shape, np.float32) for n in graph.inputs}
    with pytest.raises(NpusimError) as caught:
        npusim.record_source(graph, feeds, reference="framework")
    assert (caught.value.what, caught.value.where) == (said, graph.source.path)
    assert "reference='npusim'" in caught.value.remedy
    found = npusim.record_source(graph, feeds)  # auto: npusim's evaluator, and a note says why
    assert any(said in note for note in found.notes)


def test_an_engine_goes_on_when_its_process_has_ended(path):
    pytest.importorskip("onnxruntime")
    engine = OnnxRuntimeEngine(npusim.load_model(path))
    (first,) = engine.run({"x": X}).values()
    child.stop_all()
    (second,) = engine.run({"x": X}).values()
    assert first.tobytes() == second.tobytes()


def test_sessions_are_freed_with_their_engines(path):
    pytest.importorskip("onnxruntime")
    graph = npusim.load_model(path)
    told = []
    running = child.running(ONNX_RUNTIME)
    tell, running.tell = running.tell, lambda *note: told.append(note)
    try:
        engine = OnnxRuntimeEngine(graph)
        number = engine._session.number
        del engine
    finally:
        running.tell = tell
    assert told == [("closed", number)]
