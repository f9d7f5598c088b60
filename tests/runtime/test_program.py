"""Compiled programs: the bundled network end to end."""

import os
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import npusim
from npusim import assets
from npusim.errors import InputError
from npusim.ir.codes import dequantize
from npusim.ir.quant import Affine
from npusim.runtime import parts

HOW = npusim.Preprocess(mean=(127.5,) * 3, std=(127.5,) * 3, reorder=(2, 1, 0))


@cache
def quantized(scheme="u8"):
    graph = npusim.load_model(
        assets.model_path(), input_shapes={assets.INPUT_NAME: assets.INPUT_SHAPE}
    )
    graph = graph.copy(preprocess={assets.INPUT_NAME: HOW})
    return npusim.quantize(graph, assets.calibration_list(), scheme=scheme)


@cache
def program(scheme="u8"):
    return npusim.compile(quantized(scheme))


def image(seed=0, batch=1):
    shape = (batch, *assets.INPUT_SHAPE[1:])
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_u8_input_is_quantized_by_the_measured_range_of_the_samples():
    spec = program().graph.spec(assets.INPUT_NAME)
    assert isinstance(spec.quant, Affine)
    assert spec.dtype.value == "u8"


def test_case_1_16_and_B13_and_B14_batch_equals_single_runs_in_order():
    four = npusim.compile(quantized().copy(batch=4))
    pixels = np.concatenate([image(seed) for seed in range(4)])
    (together,) = four.run({"x": pixels}).values()
    singles = [next(iter(program().run({"x": image(seed)}).values())) for seed in range(4)]
    assert np.array_equal(together, np.concatenate(singles))


@pytest.mark.parametrize("batch", [2, 3, 5, 9])
@pytest.mark.parametrize("scheme", ["u8", "f16"])
def test_layers_that_run_for_several_images_give_each_its_own_bits(batch, scheme):
    """Groups of images, a rest of fewer, and an output that has no kernel behind it."""
    together = npusim.compile(quantized(scheme).copy(batch=batch))
    images = [image(seed) for seed in range(batch)]
    for _ in range(2):
        (joined,) = together.run({"x": np.concatenate(images)}).values()
        singles = [next(iter(program(scheme).run({"x": one}).values())) for one in images]
        np.testing.assert_array_equal(joined, np.concatenate(singles))
    images[-1] = np.full(images[-1].shape, np.nan)
    with pytest.raises(InputError, match="NaN"):
        together.run({"x": np.concatenate(images)})


def test_images_run_together_while_their_maps_stay_in_the_cache(monkeypatch):
    graph = program().graph
    assert [parts.images_together(graph.copy(batch=n)) for n in (1, 2, 9)] == [1, 2, 4]
    monkeypatch.setattr(parts, "_MAP_BYTES", 1)
    assert parts.images_together(graph.copy(batch=9)) == 1


def test_case_B38_one_image_for_a_batch_of_eight_is_an_error():
    eight = npusim.compile(quantized().copy(batch=8))
    with pytest.raises(InputError, match=r"\(8, 3, 48, 192\)"):
        eight.run({"x": image()})


def test_observed_values_are_the_stored_ones_and_runs_repeat_exactly():
    seen = {}
    first = program().run({"x": image()}, observe=lambda n, t, v: seen.update({t: np.array(v)}))
    again = program().run({"x": image()})
    for name, value in first.items():
        assert np.array_equal(value, again[name])
        assert np.array_equal(value, dequantize(seen[name], program().graph.spec(name).quant))
    assert len(seen) == sum(len(node.outputs) for node in program().graph.nodes)


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16", "f16"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 0, 2, 1)])
@pytest.mark.parametrize("gap", [1, 2])
def test_ends_of_a_tape_are_those_of_observed_steps(scheme, order, gap):
    """Real numbers become codes inside of the tape, wherever they lie in memory."""
    given = image().astype(np.float32)
    memory = np.zeros([given.shape[axis] * gap for axis in order], np.float32)
    value = memory[(slice(None, None, gap),) * 4].transpose(np.argsort(order))
    value[...] = given
    expected = program(scheme).run({"x": given}, observe=lambda *_: None)
    actual = program(scheme).run({"x": value}, preprocessed=False)
    prepared = program(scheme).run({"x": (value[:, ::-1] - 127.5) / 127.5}, preprocessed=True)
    for name in expected:
        assert actual[name].dtype == np.float32
        np.testing.assert_array_equal(actual[name], expected[name])
        np.testing.assert_array_equal(prepared[name], expected[name])


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_the_last_number_may_not_be_infinite_either(scheme, odd):
    value = image().astype(np.float32)
    value[0, -1, -1, -1] = odd
    with pytest.raises(InputError, match="input 'x': the array holds NaN or infinity"):
        program(scheme).run({"x": value}, preprocessed=True)
    expected = program(scheme).run({"x": image()}, observe=lambda *_: None)  # all is as before
    for name, result in program(scheme).run({"x": image()}).items():
        np.testing.assert_array_equal(result, expected[name])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, np.float64])
def test_case_B33_input_types_give_equal_results(dtype):
    expected = program().run({"x": image()})
    actual = program().run({"x": image().astype(dtype)})
    for name in expected:
        assert np.array_equal(actual[name], expected[name])


def test_pass_through_takes_stored_values_only():
    spec = program().graph.spec("x")
    stored = np.full(spec.shape, 7, spec.dtype.numpy)
    assert program().run({"x": stored}, pass_through=["x"])
    with pytest.raises(InputError, match="uint8"):
        program().run({"x": stored.astype(np.float32)}, pass_through=["x"])
    for wrong in ({}, {"x": stored[..., :9]}, {"x": stored.astype(np.int8)}):
        with pytest.raises(InputError, match=r"uint8\(1, 3, 48, 192\), as stored"):
            program().run_stored(wrong)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "missing"),
        ({"x": image(), "y": image()}, "not in the model"),
        ({"x": image()[:, :, :, :100]}, r"\(1, 3, 48, 192\)"),
        ({"x": np.full(assets.INPUT_SHAPE, np.nan)}, "NaN"),
        ({"x": np.full(assets.INPUT_SHAPE, None)}, "object"),
    ],
)
def test_bad_feeds_name_input_and_rule(feeds, message):
    with pytest.raises(InputError, match=message):
        program().run(feeds)


def test_case_B16_two_programs_in_threads_do_not_disturb_each_other():
    programs = {scheme: program(scheme) for scheme in ("u8", "f16")}
    expected = {
        (scheme, seed): next(iter(programs[scheme].run({"x": image(seed)}).values()))
        for scheme in programs
        for seed in range(4)
    }
    wrong = []

    def work(scheme):
        for seed in (0, 1, 2, 3) * 3:
            (value,) = programs[scheme].run({"x": image(seed)}).values()
            if not np.array_equal(value, expected[scheme, seed]):
                wrong.append((scheme, seed))

    threads = [threading.Thread(target=work, args=(s,)) for s in ("u8", "f16", "u8", "f16")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors through /proc")
def test_case_1_4_two_thousand_inferences_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ready, pixels = program(), image()

    def state():
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return len(os.listdir("/proc/self/fd")), threading.active_count(), pages

    for _ in range(200):
        ready.run({"x": pixels})
    before = state()
    for _ in range(2000):
        ready.run({"x": pixels})
    after = state()
    assert after[:2] == before[:2]
    assert after[2] <= before[2] * 1.05
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scheme", ["u8", "f16"])
def test_every_bundled_image_gets_its_class(scheme):
    from npusim.quantization.dataset import load_sample

    for path, label in assets.test_images():
        feeds = load_sample([path], program(scheme).graph)
        (scores,) = program(scheme).run(feeds, preprocessed=True).values()
        assert int(scores.argmax()) == label, path.name
