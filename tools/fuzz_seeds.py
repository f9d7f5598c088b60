"""What ``fuzz.py`` starts from: small sound files of every kind, and what reads them.

A seed is a dictionary of file names and contents; a loader reads the folder they are written to and
returns what it made. ``check`` compares that with a reference, or runs it.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_networks
import fuzz_operators
import fuzz_project
import numpy as np
from fuzz_next import then

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

Files = dict[str, bytes]
SHAPES = "shapes.bin"  # of inputs, where the network does not say them
EVERY = 11  # of the models that tests sweep over
LARGEST_ALPHA = 1e4
MOST_WORK = 1 << 21
"""Elements and multiply-adds of a network that is still run."""


@dataclass(frozen=True)
class Loader:
    """A way into npusim.

    Attributes
    ----------
    seeds : callable
        Yields sound inputs.
    load : callable
        Reads a folder.
    check : callable
        Returns what is wrong with the result, in a line; empty when nothing is.
    """

    seeds: Callable[[], Iterator[Files]]
    load: Callable[[Path], Any]
    check: Callable[[Path, Any], str] = lambda folder, result: ""


def _first(folder: Path, *suffixes: str) -> Path:
    names = sorted(folder.iterdir())
    return next(path for suffix in suffixes for path in names if path.name.endswith(suffix))


# ---- networks
def feeds_of(graph: Any) -> dict[str, Any]:
    """Return seeded inputs in the graph's own types."""
    rng, feeds = np.random.default_rng(0), {}
    for name in graph.inputs:
        spec = graph.spec(name)
        real = rng.uniform(-1, 1, spec.shape) * (1 if spec.dtype.is_float else 40)
        feeds[name] = np.asarray(real if spec.dtype.is_float else np.abs(real)).astype(
            spec.dtype.numpy
        )
    return feeds


def small(graph: Any) -> bool:
    """Tell whether a network is run in a moment."""
    from npusim.ops import node_macs

    work = sum(spec.elements for spec in graph.tensors.values())
    for node in graph.nodes:
        shapes = [graph.spec(name).shape for name in node.inputs]
        work += node_macs(node, shapes, graph.spec(node.outputs[0]).shape)
        top, bottom, left, right = getattr(node.attrs, "pad", (0, 0, 0, 0))
        if top + bottom + left + right > 0:
            n, c, height, width = shapes[0]
            work += n * c * (height + top + bottom) * (width + left + right)
    return work <= MOST_WORK


def run(folder: Path, graph: Any) -> str:
    """Run a network, on codes or in the float evaluator; it must not fail."""
    import npusim
    from npusim.reference.evaluate import Evaluator

    if not small(graph):
        return ""
    feeds = feeds_of(graph)
    if graph.is_quantized:
        npusim.compile(graph).run(feeds, pass_through=graph.inputs)
        return ""
    results = Evaluator(graph, threads=1).run(feeds)
    for name in graph.outputs:
        if results[name].shape != graph.spec(name).shape:
            return f"output {name!r} is {results[name].shape}, not {graph.spec(name).shape}"
    return ""


def rounded_away(node: Any) -> bool:
    """Tell whether ONNX Runtime loses the result: exp(x / alpha) - 1 is 0 for a large alpha."""
    alphas = [attribute.f for attribute in node.attribute if attribute.name == "alpha"]
    return node.op_type == "Celu" and any(abs(alpha) > LARGEST_ALPHA for alpha in alphas)


def against_onnxruntime(folder: Path, graph: Any) -> str:
    """Compare a float network with ONNX Runtime, where that takes it."""
    import onnx
    import onnxruntime

    from npusim.analysis.safe_forms import to_safe_forms
    from npusim.reference.evaluate import Evaluator

    floats = all(graph.spec(n).dtype.value == "f32" for n in (*graph.inputs, *graph.outputs))
    if graph.is_quantized:
        return run(folder, graph)
    if not floats or not small(graph) or graph.tail is not None:
        return ""
    feeds = feeds_of(graph)
    found = Evaluator(graph, threads=1).run(feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        model = onnx.load(_first(folder, ".onnx"))
        if any(map(rounded_away, model.graph.node)):
            return ""
        to_safe_forms(model.graph)  # what ONNX Runtime is known to get wrong
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        wanted = dict(zip(graph.outputs, session.run(list(graph.outputs), feeds), strict=True))
    except Exception:
        return ""  # there is no reference for what ONNX Runtime does not take
    return _gap(wanted, {name: found[name] for name in wanted})


def against_litert(folder: Path, graph: Any) -> str:
    """Compare a float network with LiteRT, where that takes it."""
    from npusim.errors import NpusimError
    from npusim.importers.tflite.context import TANH_NOTE
    from npusim.importers.tflite.ops_lstm import MERGED_NOTE
    from npusim.reference.evaluate import Evaluator
    from npusim.reference.litert import run_litert

    floats = all(spec.dtype.value == "f32" for spec in graph.tensors.values())
    if graph.is_quantized:
        return run(folder, graph)
    if not floats or not small(graph) or not {TANH_NOTE, MERGED_NOTE}.isdisjoint(graph.notes):
        return ""
    feeds = feeds_of(graph)
    found = Evaluator(graph, threads=1).run(feeds)
    try:
        wanted = run_litert(graph, feeds)
    except NpusimError:
        return ""
    return _gap({n: wanted[n] for n in graph.outputs if n in wanted}, found)


def _gap(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    for name, value in wanted.items():
        own = found[name]
        if own.size != value.size:
            return f"output {name!r} is {own.shape}, the reference's {value.shape}"
        own = own.reshape(value.shape)  # LiteRT keeps no results without axes
        both = np.isfinite(own) & np.isfinite(value)
        if not both.any():
            continue
        a, b = own[both].astype(np.float64), value[both].astype(np.float64)
        largest = np.abs(b).max(initial=0)
        if not np.abs(a - b).max() <= 1e-3 + 1e-2 * largest:
            return f"output {name!r} is {np.abs(a - b).max():.3g} off, of {largest:.3g}"
    return ""


def onnx_seeds() -> Iterator[Files]:
    """Yield small ONNX networks: layers, arithmetic on shapes, quantized ones; then operators."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def model(nodes: Any, shape: Any, constants: Any, *, opset: int = 13, kind: int = 1) -> Files:
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        made.ir_version = 8
        return {"net.onnx": made.SerializeToString()}

    def real(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    node = helper.make_node
    yield model(
        [
            node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
            node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"]),
            node("Relu", ["n"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "g", "h"], ["q"], transB=1, alpha=0.5),
            node("Softmax", ["q"], ["y"], axis=-1),
        ],
        (1, 3, 8, 8),
        {"w": real(4, 3, 3, 3), "b": real(4), "s": real(4), "o": real(4), "m": real(4),
         "v": np.ones(4, np.float32), "g": real(5, 16), "h": real(5)},
    )  # fmt: skip
    yield model(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "i"], ["n"]),
            node("Unsqueeze", ["n", "a"], ["u"]),
            node("Concat", ["u", "k"], ["z"], axis=0),
            node("Reshape", ["x", "z"], ["r"]),
            node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
            node("Slice", ["t", "b", "e", "i1"], ["l"]),
            node("Tile", ["l", "rep"], ["w"]),
            node("ReduceMean", ["w"], ["y"], axes=[1], keepdims=0),
        ],
        (2, 3, 4),
        {"i": np.int64(0), "a": np.array([0]), "k": np.array([4, 3]), "b": np.array([0]),
         "e": np.array([2]), "i1": np.array([1]), "rep": np.array([1, 2, 2])},
    )  # fmt: skip
    yield model(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
            node("Conv", ["d", "dw"], ["c"]),
            node("QuantizeLinear", ["c", "s", "z"], ["o"]),
            node("DequantizeLinear", ["o", "s", "z"], ["y"]),
        ],
        (1, 2, 4, 4),
        {"s": np.float32(0.02), "z": np.uint8(128), "ws": np.array([0.01, 0.02], np.float32),
         "wz": np.zeros(2, np.int8), "w": rng.integers(-9, 9, (2, 2, 1, 1), np.int8)},
    )  # fmt: skip
    yield model(
        [
            node("ConvTranspose", ["x", "w"], ["c"], strides=[2, 2], output_padding=[1, 1]),
            node("Resize", ["c", "", "sc"], ["r"], mode="linear",
                 coordinate_transformation_mode="half_pixel"),
            node("Pad", ["r", "p"], ["d"]),
            node("AveragePool", ["d"], ["a"], kernel_shape=[2, 2], ceil_mode=1),
            node("LeakyRelu", ["a"], ["l"], alpha=0.2),
            node("Clip", ["l", "lo", "hi"], ["y"]),
        ],
        (1, 2, 3, 3),
        {"w": real(2, 2, 3, 3), "sc": np.array([1, 1, 2, 2], np.float32),
         "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "lo": np.float32(-1), "hi": np.float32(1)},
    )  # fmt: skip
    yield model(
        [
            node("LSTM", ["x", "w", "r"], ["s", "h"], hidden_size=3),
            node("Squeeze", ["s", "a"], ["q"]),
            node("Pow", ["q", "two"], ["p"]),
            node("Sqrt", ["p"], ["t"]),
            node("Where", ["c", "t", "q"], ["v"]),
            node("Expand", ["v", "sh"], ["y"]),
        ],
        (4, 1, 2),
        {"w": real(1, 12, 2), "r": real(1, 12, 3), "a": np.array([1]), "two": np.float32(2),
         "c": np.array([True, False, True]), "sh": np.array([4, 2, 3])},
    )  # fmt: skip
    yield from fuzz_networks.onnx_networks()
    yield from fuzz_operators.onnx_operators()


def tflite_seeds() -> Iterator[Files]:
    """Yield one-operator models of every operator that is tested, loops, calls and LSTMs."""
    from tests.importers import tflite_sweep

    for part in (tflite_sweep.maps, tflite_sweep.products, tflite_sweep.slices,
                 tflite_sweep.shapes, tflite_sweep.joins, tflite_sweep.reductions):  # fmt: skip
        for _, made in islice(part(), 0, None, EVERY):
            yield {"net.tflite": made.bytes()}
    yield from fuzz_networks.tflite_networks()


def recorded(name: str) -> Callable[[], Iterator[Files]]:
    """Return seeds from the recorded models of a framework."""

    def seeds() -> Iterator[Files]:
        from npusim.conformance.importer_cases import read_cases

        (path,) = (ROOT / "tests/importers").glob(f"{name}_recorded.jsonl*")
        for case in read_cases(path):
            shapes = {key: value.shape for key, value in case.inputs.items()}
            own = {SHAPES: json.dumps(shapes).encode()} if name == "mxnet" else {}
            yield own | {Path(key).name: content for key, content in case.files.items()}

    return seeds


def caffe_seeds() -> Iterator[Files]:
    """Yield networks of the usual layers with weights of both forms."""
    from tests.importers import caffe_build as caffe

    rng = np.random.default_rng(0)
    conv = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 }"
    blobs = [rng.standard_normal((4, 3, 3, 3)).astype(np.float32), np.zeros(4, np.float32)]
    text = caffe.input_layer("x", (1, 3, 8, 8)) + caffe.layer("Convolution", more=conv)
    text += 'layer { name: "p" type: "Pooling" bottom: "y" top: "p" pooling_param { pool: MAX '
    text += 'kernel_size: 2 stride: 2 } }\nlayer { name: "s" type: "Softmax" bottom: "p" top: "s"}'
    for form in ({}, {"legacy": True}, {"form": "V1"}, {"packed": False}):
        made = caffe.weights({"l": blobs}, **form)
        yield {"net.prototxt": text.encode(), "net.caffemodel": made}
    more = "inner_product_param { num_output: 2 }"
    text = caffe.input_layer("x", (1, 3)) + caffe.layer("InnerProduct", more=more)
    made = caffe.weights({"l": [np.ones((2, 3), np.float32), np.zeros(2, np.float32)]})
    yield {"net.prototxt": text.encode(), "net.caffemodel": made}


def stored_seeds() -> Iterator[Files]:
    """Yield npusim's own files: float, quantized and lowered."""
    import npusim
    from npusim.passes.pipeline import lower
    from npusim.testing import GraphBuilder

    with TemporaryDirectory() as folder:
        net = GraphBuilder()
        x = net.conv(net.input("x", 1, 3, 6, 6), 4)
        net.node("relu", [net.node("add", [x, net.conv(x, 4)])])
        graph = net.done()
        rng = np.random.default_rng(0)
        samples = [("s", {"x": rng.uniform(-1, 1, (1, 3, 6, 6)).astype(np.float32)})]
        quantized = npusim.quantize(graph, samples)
        for made in (graph, quantized, lower(quantized), npusim.float16(graph)):
            path = Path(folder) / "net.npusim"
            npusim.save(made, path)
            yield {"net.npusim": path.read_bytes()}
    yield from fuzz_operators.stored_operators()


def vendor_seeds() -> Iterator[Files]:
    """Yield files in the vendor's container, written by the tests."""
    from tests.importers.test_vendor_files import convolved
    from tests.importers.vendor_sources import FORMATS, built, numbers

    with TemporaryDirectory() as folder:
        for kind in FORMATS:
            yield {"net.rknn": built(Path(folder) / "net.rknn", *numbers(), kind).read_bytes()}
        for version in (1, 2, 3):
            path = convolved(Path(folder) / "net.rknn", version)
            yield {"net.rknn": path.read_bytes()}


def _model(*suffixes: str, weights: str = "") -> Callable[[Path], Any]:
    def load(folder: Path) -> Any:
        import npusim

        second = _first(folder, weights) if weights else None
        known = folder / SHAPES
        shapes = json.loads(known.read_bytes()) if known.is_file() else None
        return npusim.load_model(_first(folder, *suffixes), weights=second, input_shapes=shapes)

    return load


LOADERS = {
    "onnx": Loader(onnx_seeds, _model(".onnx"), then(against_onnxruntime, small)),
    "tflite": Loader(tflite_seeds, _model(".tflite"), then(against_litert, small)),
    "caffe": Loader(caffe_seeds, _model(".prototxt", weights=".caffemodel"), then(run, small)),
    "darknet": Loader(recorded("darknet"), _model(".cfg"), then(run, small)),
    "keras": Loader(recorded("keras"), _model(".keras", ".h5"), then(run, small)),
    "mxnet": Loader(recorded("mxnet"), _model("-symbol.json"), then(run, small)),
    "tensorflow": Loader(recorded("tensorflow"), _model(".pb"), then(run, small)),
    "npusim": Loader(stored_seeds, _model(".npusim"), then(run, small)),
    "vendor": Loader(vendor_seeds, _model(".rknn"), then(run, small)),
    "dataset": Loader(fuzz_project.dataset_seeds, fuzz_project.load_dataset),
    "hybrid": Loader(fuzz_project.hybrid_seeds, fuzz_project.load_hybrid_files),
    "project": Loader(fuzz_project.project_seeds, fuzz_project.load_project),
    "dump": Loader(fuzz_project.dump_seeds, fuzz_project.load_dump),
    "golden": Loader(
        fuzz_operators.golden_operators, fuzz_project.load_golden, fuzz_project.replayed
    ),
}
