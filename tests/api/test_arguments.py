"""Arguments of a wrong kind are errors that say what to give instead, for every public function."""

import inspect

import numpy as np
import pytest

import npusim
from npusim.api import arguments
from npusim.api.arguments import KINDS, SAMPLED, checked
from npusim.errors import ConfigError, DatasetError, GraphError, InputError, NpusimError
from npusim.quantization.dataset import open_dataset
from npusim.testing import GraphBuilder
from npusim.words import FrontEnd, speaking

X = np.ones((1, 3, 6, 6), np.float32)


@pytest.fixture(scope="module")
def made():
    """Return a graph, what becomes of it, and a recording."""
    b = GraphBuilder(seed=1)
    b.conv(b.input("x", 1, 3, 6, 6), 4, 1, output="c")
    graph = b.done("c")
    quantized = npusim.quantize(graph, [("a", {"x": X})], engine="npusim")
    program = npusim.compile(quantized)
    run = npusim.record_program(program, {"x": X}, preprocessed=True)
    return {
        "graph": graph, "quantized": quantized, "program": program, "model": quantized,
        "first": quantized, "second": quantized, "actual": run, "reference": run,
        "feeds": {"x": X}, "networks": {"u8": quantized},
        "dataset": [("a", {"x": X})], "path": "net.onnx", "files": "a.png", "folder": ".",
    }  # fmt: skip


FUNCTIONS = sorted(name for name in npusim._HOMES if not isinstance(getattr(npusim, name), type))


class Named:
    """Stands for a path, as objects of other libraries do."""

    def __init__(self, name):
        self._name = name

    def __fspath__(self):
        return self._name


STRANGERS = [3, None, object(), X, [X], {"x": None}, b"bytes", Named(b"bytes"), 10**400]


def mistakes():
    for function in FUNCTIONS:
        for name, parameter in inspect.signature(getattr(npusim, function)).parameters.items():
            if name in KINDS or name == "dataset":
                yield function, name, parameter.default


@pytest.mark.parametrize(
    ("function", "name", "default"), [pytest.param(*m, id=f"{m[0]}-{m[1]}") for m in mistakes()]
)
def test_a_stranger_is_refused_by_name_and_with_a_remedy(made, function, name, default):
    signature = inspect.signature(getattr(npusim, function))
    needed = {n for n, p in signature.parameters.items() if p.default is p.empty}
    refused = 0
    for stranger in STRANGERS:
        sampled = name in SAMPLED.get(function, ())
        fits = arguments._kind(name, function).fits if not sampled else None
        if (stranger is None and default is None) or (fits and fits(stranger)):
            continue
        given = {n: made[n] for n in needed if n in made} | {name: stranger}
        if function == "evaluate" and name != "dataset":
            given["dataset"] = "."
        with pytest.raises(NpusimError) as raised:
            getattr(npusim, function)(**given)
        error = raised.value
        assert error.where == f"{name} of npusim.{function}"
        assert error.rule
        assert error.remedy
        refused += 1
    assert refused


def test_every_parameter_is_checked_but_those_that_take_anything():
    for function in FUNCTIONS:
        for name in inspect.signature(getattr(npusim, function)).parameters:
            known = arguments._kind(name, function) or name in SAMPLED.get(function, ())
            assert known, f"{function}({name})"


def test_numbers_are_those_that_a_float_holds(made):
    for wrong in (10**400, (1, 10**400), b"\1\2\3"):
        with pytest.raises(ConfigError):
            npusim.load_model("net.onnx", mean=wrong)
    with pytest.raises(ConfigError, match="number format"):
        npusim.tune(made["graph"], made["dataset"], to=[])


def test_objects_that_stand_for_paths_are_paths(made, tmp_path):
    npusim.save(made["quantized"], Named(str(tmp_path / "m.npusim")))
    assert npusim.load_model(Named(str(tmp_path / "m.npusim"))).name == made["quantized"].name
    np.save(tmp_path / "a.npy", X[0].transpose(1, 2, 0))
    (tmp_path / "list.txt").write_text("a.npy\n")
    for files in (Named(str(tmp_path / "a.npy")), [Named(str(tmp_path / "a.npy"))]):
        assert npusim.read_input(made["graph"], files)["x"].shape == X.shape
    ready = npusim.quantize(made["graph"], Named(str(tmp_path / "list.txt")), engine="npusim")
    assert ready.is_quantized


def test_a_batch_that_nobody_would_read_again_is_not_stored(made, tmp_path):
    for batch in (0, 10**9, 10**400):
        with pytest.raises(NpusimError, match="batch"):
            npusim.save(made["quantized"].copy(batch=batch), tmp_path / "m.npusim")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "samples",
    [X, [X], {"x": X}, [{"x": X}], [("a", X)], [("a", {"x": "a.png"})], [({"x": X}, "a")], 3],
    ids=range(8),
)
def test_samples_of_a_wrong_kind_say_what_a_sample_is(made, samples):
    with pytest.raises(DatasetError, match=r"\('name', \{'input': float32 array\}\)"):
        npusim.quantize(made["graph"], samples)


def test_samples_that_come_one_by_one_are_checked_as_they_come(made):
    class Own:
        def __iter__(self):
            return iter([("a", {"x": X}), ("b", {"x": X * 2})])

    for samples in (Own(), iter(Own()), (sample for sample in Own())):
        ready = npusim.quantize(made["graph"], samples, engine="npusim")
        assert "calibrated with 2 samples" in " ".join(ready.notes)
    with pytest.raises(DatasetError, match="only once"):
        npusim.quantize(made["graph"], iter(Own()), algorithm="mmse", engine="npusim")
    npusim.quantize(made["graph"], Own(), algorithm="mmse", engine="npusim")
    with pytest.raises(DatasetError, match="a sample is an array"):
        npusim.quantize(made["graph"], iter([("a", {"x": X}), X]), engine="npusim")


def test_an_opened_list_is_taken_as_it_is(made, tmp_path):
    np.save(tmp_path / "a.npy", X[0].transpose(1, 2, 0))
    (tmp_path / "list.txt").write_text("a.npy\n")
    samples = open_dataset(tmp_path / "list.txt", made["graph"])
    assert npusim.quantize(made["graph"], samples, engine="npusim").is_quantized


@pytest.mark.parametrize("feeds", [X, [X], None, 3, {"x": None}, {"x": "a.png"}, {"y": X}, {3: X}])
def test_a_program_is_run_on_arrays_by_name(made, feeds):
    with pytest.raises(InputError) as raised:
        made["program"].run(feeds)
    assert raised.value.rule
    assert raised.value.remedy


@pytest.mark.parametrize("value", ["net.onnx", None, 3])
def test_a_program_is_made_of_a_lowered_graph(made, value):
    with pytest.raises(ConfigError, match=r"npusim\.compile"):
        npusim.Program(value)
    with pytest.raises(NpusimError, match=r"npusim\.compile"):
        npusim.Program(made["quantized"])
    with pytest.raises(InputError, match="names of inputs"):
        made["program"].run({"x": X}, pass_through=3)


def test_a_float_graph_is_not_compiled(made):
    with pytest.raises(GraphError, match=r"npusim\.quantize\(graph, dataset\)") as raised:
        npusim.compile(made["graph"])
    assert "layer 'n_c'" in str(raised.value)


def test_another_front_end_is_told_its_own_option(made):
    with speaking(FrontEnd.CLI), pytest.raises(ConfigError) as raised:
        npusim.estimate(made["quantized"], batch=0)
    assert raised.value.where == "--batch"


def test_a_checked_function_is_the_same_to_the_eye():
    def function(graph, *, level=3):
        """Say so."""
        return graph, level

    assert checked(function).__doc__ == "Say so."
    assert str(inspect.signature(checked(function))) == "(graph, *, level=3)"
    with pytest.raises(TypeError, match="unexpected keyword"):
        npusim.float16(None, wrong=1)
