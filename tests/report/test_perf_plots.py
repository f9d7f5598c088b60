"""The pictures: files of both formats, every layer drawn, readable names, clear errors."""

import subprocess
import sys

import pytest

from npusim import extras
from npusim.errors import ConfigError, MissingExtraError
from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report import perf_plots
from npusim.report.eval_perf import executed
from npusim.report.perf_plots import layer_bars, roofline, write_plots
from tests.report.estimates import layer_list, tiny


def many(count):
    layers = [
        {"name": f"conv{i}", "op": "conv", "inputs": [f"conv{i - 1}" if i else "data"],
         "out": [1, 16, 32, 32], "kernel": 3, "pad": [1, 1, 1, 1]}
        for i in range(count)
    ]  # fmt: skip
    data = {"name": "many", "input": [1, 16, 32, 32], "outputs": [layers[-1]["name"]]}
    return estimate(parse_layer_list(data | {"layers": layers}))


def test_files(tmp_path):
    written = write_plots(tiny(), tmp_path / "new" / "folder")
    assert [path.name for path in written] == [
        "roofline.svg", "roofline.png", "layers.svg", "layers.png",
    ]  # fmt: skip
    assert sorted(tmp_path.rglob("*.*")) == sorted(written)
    for path in written:
        head = path.read_bytes()[:64]
        assert head.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_svg_is_the_same_for_the_same_estimate(tmp_path):
    for name in ("a", "b"):
        write_plots(tiny(), tmp_path / name)
    for kind in ("roofline.svg", "layers.svg"):
        assert (tmp_path / "a" / kind).read_bytes() == (tmp_path / "b" / kind).read_bytes()


def test_bars_have_every_layer_with_its_time():
    result = tiny()
    (axes,) = layer_bars(result).axes
    bars = [patch.get_width() for patch in axes.patches]
    assert bars == [layer.time_us for layer in executed(result)]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"{n} {layer.layer_id}" for n, layer in enumerate(executed(result))]


def test_large_networks_are_summed_up_below():
    result = many(perf_plots.BARS + 7)
    (axes,) = layer_bars(result).axes
    assert len(axes.patches) == perf_plots.BARS
    assert axes.get_yticklabels()[-1].get_text() == "7 shorter layers"
    assert any("together, 10% of the total" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("dtype", [DType.U8, DType.I16])
def test_no_point_is_above_the_roof(dtype):
    result = tiny(dtype)
    (axes,) = roofline(result).axes
    for points in axes.collections:
        for intensity, rate in points.get_offsets():
            assert rate <= intensity * result.ddr_bytes_per_s / 1e9 * 1.001
            assert rate <= 1521
    drawn = sum(len(points.get_offsets()) for points in axes.collections)
    assert drawn == sum(1 for layer in executed(result) if layer.macs)


def test_labels_of_points_do_not_overlap():
    result = many(30)
    (axes,) = roofline(result).axes
    numbers = [t for t in axes.texts if t.get_text().replace(",", "").isdigit()]
    assert ",".join(t.get_text() for t in numbers).count(",") == perf_plots.LABELLED - 1
    assert len(numbers) <= 2  # equal layers lie on one another: one label


def test_colours_differ_for_every_engine():
    assert len(set(perf_plots.COLOURS.values())) == len(set(perf_plots.MARKERS.values())) == 4
    assert len(set(perf_plots.HATCHES.values())) == len(perf_plots.HATCHES)


def test_a_network_without_products_can_be_drawn(tmp_path):
    data = layer_list()
    data["layers"] = [{"name": "p", "op": "maxpool", "inputs": ["data"], "out": [1, 3, 16, 16],
                       "kernel": 2, "stride": 2}]  # fmt: skip
    data["outputs"] = ["p"]
    write_plots(estimate(parse_layer_list(data)), tmp_path)


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"npusim\[plots\]"):
        write_plots(tiny(), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        write_plots(tiny(), tmp_path / "file" / "plots")


def test_importing_the_reports_does_not_import_matplotlib():
    code = (
        "import sys, npusim.report.perf_plots, npusim.report.perf_table;"
        "print('matplotlib' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
