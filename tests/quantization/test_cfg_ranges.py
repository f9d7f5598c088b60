"""A cfg file holds what the model gets, and what is changed in it counts."""

import logging

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import TransposeAttrs
from npusim.quantization.hybrid.cfg import read_cfg
from npusim.quantization.schemes import Scheme, parameters
from npusim.testing import GraphBuilder

KEY = ("n_t_3", "out0")


def wide():
    """A permute with values up to 120 in front of a sigmoid."""
    b = GraphBuilder(seed=1)
    b.conv(b.input("x", 1, 4, 6, 6), 4, 1, output="c")
    b.node("mul", ["c", b.constant("k", np.float32(20))], "m")
    b.node("transpose", ["m"], "t", TransposeAttrs(perm=(0, 2, 3, 1)))
    return b.done(b.node("sigmoid", ["t"], "y"))


def samples():
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32) * 3
    return [("x", {"x": x})]


def written(path, toolkit="1.7"):
    return npusim.quantize(
        wide(), samples(), toolkit=toolkit, engine="npusim", write_cfg=path / "a.cfg"
    )


def quants(graph):
    return {name: spec.quant for name, spec in graph.tensors.items()}


def widened(path, *, with_scale):
    """Change the range of the permute to -20 .. 20."""
    text = (path / "a.cfg").read_text()
    record = read_cfg(path / "a.cfg").records[KEY]
    start = text.index("'@n_t_3:out0'")
    end = text.index("'@n_y_4:out0'")
    block = text[start:end].replace(str(record.maximum), "20.0").replace(str(record.minimum), "-20")
    if not with_scale:
        lines = block.splitlines(keepends=True)
        first = next(i for i, line in enumerate(lines) if "zero_point" in line)
        block = "".join(lines[:first] + lines[first + 4 :])
    (path / "b.cfg").write_text(text[:start] + block + text[end:])
    return path / "b.cfg"


@pytest.mark.parametrize("toolkit", ["1.7", "1.7.5"])
@pytest.mark.parametrize("dataset", [True, False])
def test_what_is_written_is_what_the_model_gets(tmp_path, toolkit, dataset):
    ready = written(tmp_path, toolkit)
    record = read_cfg(tmp_path / "a.cfg").records[KEY]
    own = ready.spec("t").quant
    assert (record.scale, record.zero_point) == (own.scale, own.zero_point)
    assert parameters((record.minimum, record.maximum), Scheme.U8) == own
    again = npusim.quantize(
        wide(),
        samples() if dataset else None,
        toolkit=toolkit,
        engine="npusim",
        cfg=tmp_path / "a.cfg",
        write_cfg=tmp_path / "again.cfg",
    )
    assert quants(again) == quants(ready)
    assert (tmp_path / "again.cfg").read_text() == (tmp_path / "a.cfg").read_text()


@pytest.mark.parametrize("dataset", [True, False])
def test_a_changed_range_is_not_cut_in_front_of_a_sigmoid(tmp_path, dataset):
    written(tmp_path)
    cfg = widened(tmp_path, with_scale=dataset)
    ready = npusim.quantize(wide(), samples() if dataset else None, cfg=cfg, engine="npusim")
    assert ready.spec("t").quant == parameters((-20.0, 20.0), Scheme.U8)


def test_without_a_dataset_parameters_that_disagree_with_the_range_are_told(tmp_path, caplog):
    before = written(tmp_path).spec("t").quant
    cfg = widened(tmp_path, with_scale=True)
    with caplog.at_level(logging.WARNING, "npusim"):
        ready = npusim.quantize(wide(), cfg=cfg)
    assert ready.spec("t").quant == before
    (said,) = caplog.messages
    assert "@n_t_3:out0" in said
    assert "they count" in said
