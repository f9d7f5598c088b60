"""A page made from a real network: its cards are the analysis, its layers the compiled ones."""

import pytest

import npusim
from npusim import assets
from npusim.api.reporting import report
from tests.report.browser.conftest import VIEWS, needs_browser

needs_browser()
pytestmark = pytest.mark.slow


def test_report_of_the_demo(tmp_path, open_page):
    graph = npusim.load_model(assets.model_path(), input_shapes={"x": (1, 3, 48, 192)})
    how = npusim.Preprocess(mean=(127.5,) * 3, std=(127.5,) * 3, reorder=(2, 1, 0))
    graph = graph.copy(preprocess={"x": how})
    path = tmp_path / "demo.html"
    made = report(graph, assets.calibration_list(), output=path, vs=npusim.float16(graph))
    layers = [layer["id"] for layer in made.data["layers"]]
    rows = made.contents.analysis.to_dict()["layers"]
    blamed = {r["layer_id"] for r in rows if r["severity"] == "bad" and r["verdict"] != "inherited"}
    kinds = {cause["layer"]: cause["kind"] for cause in made.data["causes"]}

    opened = open_page((made.data, path.as_uri()))
    cards = opened.ids(".cause.bad", "data-layer")
    assert {card for card in cards if kinds[card] != "accumulated"} == blamed
    for view in VIEWS:
        opened.go(view)
        assert len(opened.page.inner_text(f"#view-{view}")) > 100
    opened.go("layers")
    assert opened.ids("#layers tbody tr") == layers
    for layer in layers:
        opened.go("network", layer)
        assert opened.ids(".node.selected") == [layer]
        assert opened.page.inner_text("#layer-title") == layer
