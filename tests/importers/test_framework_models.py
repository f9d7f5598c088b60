"""Real Caffe, Darknet, TensorFlow and MediaPipe models against their own frameworks.

``python tools/fetch_models.py && python -m pytest -m models``. OpenCV, TensorFlow and LiteRT are
the references; a model whose framework is not installed is skipped and says so.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import npusim
from npusim import assets
from npusim.analysis.dump import DumpOptions, LayerDump
from npusim.analysis.metrics import cosine
from tests.real_models import model_path

CAFFE, ZERO_ONE, PLUS_MINUS = ((104, 117, 123), 1, "210"), (0, 255, "012"), (127.5, 127.5, "012")
MODELS = {  # mean, std, channels; the lowest cosine of an output in u8
    "open_nsfw.prototxt": ("cv2", CAFFE, 0.99),
    "res10_ssd.prototxt": ("cv2", CAFFE, 0.98),
    "yolov3-tiny.cfg": ("cv2", ZERO_ONE, 0.98),
    "retrained_graph.pb": ("tensorflow", PLUS_MINUS, 0.9),
    "face_detection_front.tflite": ("ai_edge_litert", PLUS_MINUS, 0.9),
    "face_detection_back.tflite": ("ai_edge_litert", PLUS_MINUS, 0.9),
    "face_detection_full_range.tflite": ("ai_edge_litert", PLUS_MINUS, 0.9),
    "face_landmark.tflite": ("ai_edge_litert", PLUS_MINUS, 0.9),
    "iris_landmark.tflite": ("ai_edge_litert", PLUS_MINUS, 0.9),
}
CLASSIFIERS = ("open_nsfw.prototxt", "retrained_graph.pb")

pytestmark = [
    pytest.mark.models,
    # TensorFlow warns of its own dependencies
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def samples(graph, scaling):
    """Return preprocessed pictures: the bundled text lines, stretched."""
    (name,) = graph.inputs
    _, _, height, width = graph.spec(name).shape
    mean, std, channels = scaling
    found = []
    for path in list(assets.calibration_images())[:3]:
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.float32)[..., [int(c) for c in channels]]
        pixels = (pixels - np.float32(mean)) / np.float32(std)
        found.append({name: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
    return found


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    package, scaling, floor = MODELS[request.param]
    pytest.importorskip(package, reason=f"the reference of {request.param}")
    graph = npusim.load_model(model_path(request.param))
    return graph, samples(graph, scaling), floor


def test_float16_agrees_with_the_framework(model):
    graph, (feeds, *_), _ = model
    source = npusim.record_source(graph, feeds, reference="framework")
    wanted = {row.tensor: row.stored for row in source.layers}
    program = npusim.compile(npusim.float16(graph))
    found = npusim.record_program(program, feeds, preprocessed=True)
    given = {row.tensor: row.real for row in found.layers}
    for name in graph.outputs:
        assert cosine(given[name], wanted[name]) >= 0.9999, name
        if Path(graph.source.path).name in CLASSIFIERS:
            assert given[name].argmax() == wanted[name].argmax()
    compared = npusim.compare(found, source)
    assert compared.first_wrong is None
    # a name that stands for another value in the file would show here
    assert min(row.difference.cosine for row in compared.layers) > 0.999
    # of convolution, pool and activation only the last has one where the pool moved forward
    assert len(compared.layers) >= len(program.graph.nodes) / 2


def test_u8_runs_and_every_report_is_made(model, tmp_path):
    graph, calibration, floor = model
    named = [(f"image {i}", feeds) for i, feeds in enumerate(calibration)]
    quantized = npusim.quantize(graph, named)
    program, feeds = npusim.compile(quantized), calibration[0]
    mine = npusim.record_program(program, feeds, preprocessed=True)
    compared = npusim.compare(mine, npusim.record_source(graph, feeds))
    rows = {row.tensor: row for row in compared.layers}
    assert min(rows[name].difference.cosine for name in graph.outputs) >= floor
    found = npusim.analyze(graph, program, feeds)
    assert found.to_dict()["reference"].startswith("float (")
    assert "npusim" not in found.to_dict()["reference"]
    assert npusim.estimate(quantized).total_time_us > 0
    dump = LayerDump(program, tmp_path / "dump", DumpOptions())
    dump.close(program.run(feeds, preprocessed=True, observe=dump.observe))
    again = npusim.compare(npusim.read_dump(tmp_path / "dump"), mine)
    assert min(row.difference.cosine for row in again.layers) > 0.9999


def test_detections_are_opencvs():
    cv2 = pytest.importorskip("cv2")
    path = model_path("res10_ssd.prototxt")
    graph = npusim.load_model(path)
    (feeds, *_) = samples(graph, CAFFE)
    (name,) = graph.inputs
    net = cv2.dnn.readNetFromCaffe(str(path), str(path.with_suffix(".caffemodel")))
    net.setInput(feeds[name])
    wanted = net.forward()[0, 0]
    wanted = wanted[wanted[:, 2] > 0]
    program = npusim.compile(npusim.float16(graph))
    found = program.run(feeds, preprocessed=True)["detection_out"][0, 0]
    assert abs(len(found) - len(wanted)) <= 2  # boxes at the threshold fall either way
    np.testing.assert_allclose(found[:5], wanted[:5], atol=0.01)
