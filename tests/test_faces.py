"""Objects have a short repr, a page whose text is escaped, and a data frame."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import npusim
from npusim import assets, extras
from npusim.errors import ConfigError, MissingExtraError
from npusim.faces import ROWS, Face, Faced, flat
from npusim.ir.quant import AffinePerChannel

ROOT = Path(__file__).resolve().parent.parent
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def float_graph():
    return npusim.load_model(
        assets.model_path(), input_shapes={"x": (1, 3, 48, 192)}, mean=127.5, std=127.5,
        reorder=(2, 1, 0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def objects(float_graph):
    half = npusim.float16(float_graph)
    program = npusim.compile(half)
    feeds = npusim.read_input(float_graph, assets.test_images()[0][0])
    runs = [npusim.record_program(program, feeds, preprocessed=True) for _ in range(2)]
    return {
        "float": float_graph,
        "f16": half,
        "program": program,
        "estimate": npusim.estimate(program),
        "recording": runs[0],
        "comparison": npusim.compare(*runs),
    }


def test_reprs_are_one_short_line_with_what_matters(objects):
    for name, thing in objects.items():
        assert len(repr(thing)) < 250, name
        assert "\n" not in repr(thing)
    assert "109" in repr(objects["estimate"]) or "layers" in repr(objects["estimate"])
    assert "us" in repr(objects["estimate"])
    assert "f16" in repr(objects["program"])
    layer = objects["recording"].layers[0]
    assert len(repr(layer)) < 600
    assert len(repr(objects["estimate"].setting)) < 300
    wide = AffinePerChannel(scales=(0.5,) * 4000, zero_points=(0,) * 4000)
    assert repr(wide) == "AffinePerChannel(4000 scales 0.5 .. 0.5, axis=0)"


def test_pages_hold_facts_and_the_first_rows(objects):
    for name, thing in objects.items():
        page = thing._repr_html_()
        assert page.count("<table>") == 2, name
        assert page.count("<tr>") > 10, name
    page = objects["estimate"]._repr_html_()
    assert page.count("<td") <= 9 + 8 * ROWS
    assert "more: to_frame()" in page


def test_hostile_names_are_text(float_graph):
    graph = float_graph.copy(name=HOSTILE)
    for page in (graph._repr_html_(), npusim.estimate(graph)._repr_html_()):
        assert HOSTILE not in page
        assert "&lt;img" in page

    class Strange(Faced):
        def _face(self):
            return Face(HOSTILE, {HOSTILE: HOSTILE}, [{HOSTILE: HOSTILE}])

    assert "<img" not in Strange()._repr_html_()


def test_frames_have_a_row_per_layer(objects):
    pandas = pytest.importorskip("pandas")
    frame = objects["estimate"].to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(objects["estimate"].layers)
    assert frame.time_us.sum() == pytest.approx(objects["estimate"].total_time_us, rel=1e-3)
    assert "difference_cosine" in objects["comparison"].to_frame()
    assert set(objects["f16"].to_frame().format) == {"f16"}


def test_a_missing_pandas_is_named(objects, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"npusim\[frame\]"):
        objects["estimate"].to_frame()


def test_nested_rows_become_flat():
    row = {"a": {"b": 1, "c": {"d": 2}}, "names": ["x", "y"], "objects": [{}]}
    assert dict(flat(row)) == {"a_b": 1, "a_c_d": 2, "names": "x y"}


def test_models_are_loaded_with_their_preprocessing(float_graph, tmp_path):
    how = npusim.Preprocess(mean=(127.5,), std=(127.5,), reorder=(2, 1, 0))
    assert float_graph.preprocess == {"x": how}
    stored = npusim.save(npusim.float16(float_graph), tmp_path / "m.npusim")
    assert npusim.load_model(stored, mean=(127.5,) * 3).preprocess == {"x": how}
    with pytest.raises(ConfigError, match=r"mean .* given"):
        npusim.load_model(stored, mean=0)
    with pytest.raises(ConfigError, match="number"):
        npusim.load_model(assets.model_path(), mean="127.5")


@pytest.mark.parametrize("installed", [True, False])
def test_progress_true_draws_a_bar(float_graph, capsys, monkeypatch, installed):
    from npusim.api import bars

    if installed:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setattr(bars, "find_spec", lambda name: None)
    npusim.compile(npusim.float16(float_graph), progress=True)
    captured = capsys.readouterr()
    assert "compile" in captured.out + captured.err
    with pytest.raises(ConfigError, match="True for a bar"):
        npusim.compile(float_graph, progress=1)


def test_the_readme_example_runs(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    assert "us on the chip" in capsys.readouterr().out
    assert isinstance(names["outputs"], dict)
    assert all(np.isfinite(value).all() for value in names["outputs"].values())


def with_examples():
    for folder, package in (("npusim", "npusim"), ("kernels", "npusim.kernels"),
                            ("perfmodel", "npusim.perfmodel")):  # fmt: skip
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            if "kernels" in inside[:1] or "perfmodel" in inside[:1]:
                continue  # installed in place, these are links to the other folders
            if ">>> " in path.read_text(encoding="utf-8"):
                yield ".".join([package, *(p for p in inside if p != "__init__")])


@pytest.mark.parametrize("name", [*with_examples()])
def test_examples_of_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
