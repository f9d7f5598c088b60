"""The networks with published times: products and parameters as their authors publish them."""

import sys
from pathlib import Path

import pytest

from npusim.errors import ModelImportError
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.reading.tables import read_table

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# Network -> 1e9 products times two, 1e6 parameters. Source: tables of the networks' repositories.
PUBLISHED = {
    "yolov5n_silu": (4.5, 1.9),
    "yolov5s_silu": (16.5, 7.2),
    "yolov5m_silu": (49.0, 21.2),
    "yolov5n_seg": (7.1, 2.0),
    "yolov5s_seg": (26.4, 7.6),
    "yolov5m_seg": (70.8, 22.0),
    "yolov6n": (11.4, 4.7),
    "yolov6s": (45.3, 18.5),
    "yolov6m": (85.8, 34.9),
    "yolov7_tiny": (13.8, 6.2),
    "yolov7": (104.7, 36.9),
    "yolov8n": (8.7, 3.2),
    "yolov8s": (28.6, 11.2),
    "yolov8m": (78.9, 25.9),
    "yolox_s": (26.8, 9.0),
    "yolox_m": (73.8, 25.3),
    "ppyoloe_s": (17.36, 7.93),
    "ppyoloe_m": (49.91, 23.43),
    "mobilenet_v1": (1.14, 4.2),
    "mobilenet_v2": (0.6, 3.5),
    "resnet50_v2": (8.18, 25.6),
}


@pytest.fixture(scope="module")
def networks():
    sys.path.insert(0, str(TOOLS))
    try:
        from board_networks import NETWORKS  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(TOOLS))
    return NETWORKS


@pytest.mark.parametrize("name", PUBLISHED)
def test_products_and_parameters(name, networks):
    network = parse_layer_list(networks[name]())
    gflop = 2 * sum(layer.macs for layer in network.layers) / 1e9
    millions = sum(layer.constant_bytes for layer in network.layers) / 1e6
    assert gflop == pytest.approx(PUBLISHED[name][0], rel=0.02)
    assert millions == pytest.approx(PUBLISHED[name][1], rel=0.025)


def test_every_time_has_a_network_and_a_source(networks):
    rows = [row for _, row in read_table(TOOLS / "board_times.csv", ModelImportError)]
    assert {Path(row["network"]).stem for row in rows} == set(networks)
    assert all(row["source"] and row["trust"] in ("high", "medium", "low") for row in rows)
    assert len({(row["network"], row["target"]) for row in rows}) == len(rows)
