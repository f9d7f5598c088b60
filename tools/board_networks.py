"""The networks whose times are published, as layer lists, and the times.

    python tools/board_networks.py FOLDER

writes FOLDER/networks and FOLDER/boards.csv, which ``npusim conformance`` and
``python -m npusim.perfmodel.calibration`` take. Products and parameters are those the networks'
authors publish (tests/tools/test_board_networks.py).
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from block_builder import Block
from board_backbones import mobilenet_v1, mobilenet_v2, resnet50_v2, retinaface
from board_detectors import ppyoloe, yolov5, yolov6, yolov7, yolov7_tiny, yolov8, yolox

TIMES = Path(__file__).with_name("board_times.csv")

NETWORKS: dict[str, Callable[[], Block]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "resnet50_v2": resnet50_v2,
    "yolov5n_silu": lambda: yolov5("n"),
    "yolov5s_silu": lambda: yolov5("s"),
    "yolov5s_relu": lambda: yolov5("s", "relu"),
    "yolov5m_silu": lambda: yolov5("m"),
    "yolov5n_seg": lambda: yolov5("n", masks=True),
    "yolov5s_seg": lambda: yolov5("s", masks=True),
    "yolov5m_seg": lambda: yolov5("m", masks=True),
    "yolov6n": lambda: yolov6("n"),
    "yolov6s": lambda: yolov6("s"),
    "yolov6m": lambda: yolov6("m"),
    "yolov7_tiny": yolov7_tiny,
    "yolov7": yolov7,
    "yolov8n": lambda: yolov8("n"),
    "yolov8s": lambda: yolov8("s"),
    "yolov8m": lambda: yolov8("m"),
    "yolov8n_obb": lambda: yolov8("n", "obb"),
    "yolov8n_seg": lambda: yolov8("n", "seg"),
    "yolov8s_seg": lambda: yolov8("s", "seg"),
    "yolov8m_seg": lambda: yolov8("m", "seg"),
    "yolox_s": lambda: yolox("s"),
    "yolox_m": lambda: yolox("m"),
    "ppyoloe_s": lambda: ppyoloe("s"),
    "ppyoloe_m": lambda: ppyoloe("m"),
    "retinaface_mobile": lambda: retinaface("mobile"),
    "retinaface_resnet50": lambda: retinaface("resnet50"),
}


def write_all(folder: Path) -> Path:
    """Write all networks and the table of their times; return the table's path."""
    lists = folder / "networks"
    lists.mkdir(parents=True, exist_ok=True)
    for name, make in NETWORKS.items():
        (lists / f"{name}.json").write_text(json.dumps(make(), indent=1) + "\n")
    return Path(shutil.copy(TIMES, folder / "boards.csv"))


def main() -> None:
    """Write everything into a folder."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(f"wrote {write_all(parser.parse_args().folder)}")


if __name__ == "__main__":
    main()
