"""Cases of the vendor's question lists that concern quantized models, and interruptions."""

import numpy as np
import pytest

from npusim.ir import atomic
from npusim.ir.codes import quantize
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.quantization.schemes import Scheme, scheme_named

DTYPES = ["asymmetric_quantized-u8", "dynamic_fixed_point-8", "dynamic_fixed_point-16"]


def built(new, path, dataset, *, batch=-1, **config):
    rknn = new()
    rknn.config(**config)
    assert rknn.load_onnx(path) == 0
    assert rknn.build(dataset=dataset, rknn_batch_size=batch) == 0
    assert rknn.init_runtime() == 0
    return rknn


@pytest.mark.parametrize("dtype", DTYPES)
def test_case_1_9_every_format_from_config_to_result(new, convnet, images, dtype):
    data, path = images(6), convnet(softmax=False)
    rknn = built(new, path, data.path, quantized_dtype=dtype)
    graph, scheme = rknn._built, scheme_named(dtype)
    conv = next(node for node in graph.nodes if node.name == "Relu_r1")
    weights = graph.constants[conv.inputs[1]]
    assert weights.dtype == scheme.dtype.numpy
    quant = graph.spec(conv.inputs[1]).quant
    assert isinstance(quant, Affine if scheme is Scheme.U8 else DynamicFixedPoint)
    plain = new()
    plain.load_onnx(path)
    plain.build(do_quantization=False)
    plain.init_runtime()
    wanted = plain.inference([data.pixels[0]])[0]
    got = rknn.inference([data.pixels[0]])[0]
    limit = {Scheme.U8: 0.05, Scheme.I8: 0.2, Scheme.I16: 0.02}[scheme]  # averages: 8-bit weight
    assert np.abs(got - wanted).max() <= limit * np.abs(wanted).max()
    np.testing.assert_array_equal(
        quantize([-1e9, 1e9], scheme.dtype, quant), [scheme.dtype.min, scheme.dtype.max]
    )


@pytest.mark.parametrize("dtype", [*DTYPES, None])
def test_case_B13_batch_1_and_batch_4_give_the_same_bits(new, convnet, images, dtype):
    data, path = images(4), convnet()
    one = built(new, path, data.path, quantized_dtype=dtype)
    four = built(new, path, data.path, quantized_dtype=dtype, batch=4)
    singles = [one.inference([p])[0] for p in data.pixels]
    (together,) = four.inference([np.stack(data.pixels)])
    np.testing.assert_array_equal(np.concatenate(singles), together)


def test_case_B14_outputs_come_in_the_order_of_the_images(new, convnet, images):
    data, path = images(4), convnet(softmax=False)
    rknn = built(new, path, data.path, batch=4)
    (forward,) = rknn.inference([np.stack(data.pixels)])
    (backward,) = rknn.inference([np.stack(data.pixels[::-1])])
    np.testing.assert_array_equal(forward, backward[::-1])
    assert len({row.tobytes() for row in forward}) > 1


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_case_B32_results_are_always_float32(new, convnet, images, dtype, softmax):
    data = images()
    rknn = built(new, convnet(softmax=softmax), data.path, quantized_dtype=dtype)
    assert all(value.dtype == np.float32 for value in rknn.inference([data.pixels[0]]))


@pytest.mark.parametrize(("batch_size", "epochs"), [(1, -1), (7, -1), (100, -1), (2, 3), (6, 1)])
@pytest.mark.parametrize("algorithm", ["normal", "moving_average", "kl_divergence", "mmse"])
def test_case_B10_every_split_of_the_samples_gives_the_same_bits(
    new, convnet, images, batch_size, epochs, algorithm
):
    data, path = images(6), convnet()
    config = {"quantized_algorithm": algorithm, "quantized_divergence_nbins": 256}
    wanted = built(new, path, data.path, **config)._built
    split = built(new, path, data.path, batch_size=batch_size, epochs=epochs, **config)._built
    assert split.tensors == wanted.tensors
    assert all((split.constants[k] == v).all() for k, v in wanted.constants.items())


def test_moving_alpha_as_measured_and_as_worded(new, convnet, images, monkeypatch, capfd):
    data, path = images(3), convnet()
    config = {"quantized_algorithm": "moving_average", "quantized_moving_alpha": 0.25}
    found = []
    for word in ("old", "new"):
        monkeypatch.setenv("NPUSIM_MOVING_ALPHA", word)
        graph = built(new, path, data.path, **config)._built
        found.append(graph.spec(graph.inputs[0]).quant.scale)
    highs = [float(p.max()) for p in data.pixels]
    for scale, keep in zip(found, (0.25, 0.75), strict=True):
        high = highs[0]
        for value in highs[1:]:
            high = keep * high + (1 - keep) * value
        low = 0.0  # pixels start near 0: the range is widened to it
        assert scale == pytest.approx((high - low) / 255, rel=1e-6)
    monkeypatch.setenv("NPUSIM_MOVING_ALPHA", "both")
    rknn = new()
    rknn.config(**config)
    assert "'old' or 'new'" in capfd.readouterr().err
    assert rknn.load_onnx(path) == -1


@pytest.mark.parametrize("call", ["export_rknn", "step1"])
def test_an_interruption_leaves_no_half_written_file(new, convnet, images, work, monkeypatch, call):
    data = images()
    rknn = new()
    rknn.load_onnx(convnet())
    if call == "export_rknn":
        assert rknn.build(dataset=data.path) == 0
    before = {path.name for path in work.iterdir()}

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupted)
    calls = {
        "export_rknn": lambda: rknn.export_rknn("model.rknn"),
        "step1": lambda: rknn.hybrid_quantization_step1(dataset=data.path),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[call]()
    assert {path.name for path in work.iterdir()} == before


def test_calibration_memory_does_not_depend_on_the_number_of_samples(new, convnet, images):
    import tracemalloc

    path = convnet()
    peaks = []
    for count in (4, 40):
        data = images(count, name=f"list{count}.txt")
        rknn = new()
        rknn.load_onnx(path)
        tracemalloc.start()
        assert rknn.build(dataset=data.path) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000
