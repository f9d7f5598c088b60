"""The bundled demonstration: a text-line orientation classifier and images of text lines.

The classifier says whether a line of text is upright (class 0) or turned by 180 degrees (class 1).
Where the files come from and under which licences: ``NOTICE.txt`` in this folder.

Preprocessing
-------------
Decode to RGB, stretch to 192 x 48 (the bundled images have that size already), reverse the
channels (the network was trained on BGR), then ``(x - 127.5) / 127.5``, layout N, C, H, W. This is
``MEAN_VALUES``, ``STD_VALUES`` and ``REORDER_CHANNEL`` in the words of ``RKNN.config``.

Source: ``ch_ppocr_cls/text_cls.py`` of rapidocr-onnxruntime 1.4.4, which keeps the aspect ratio and
fills up on the right with zeros after normalisation; at 4:1 the two are the same.
"""

import csv
from importlib.resources import files
from pathlib import Path

from npusim.errors import NpusimError

MODEL_FILE = "ch_ppocr_mobile_v2.0_cls_infer.onnx"
MODEL_SHA256 = "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
LAYER_LIST_FILE = "example_layers.json"
INPUT_NAME = "x"
INPUT_SHAPE = (1, 3, 48, 192)  # N, C, H, W; the file leaves N, H and W open
LABELS = ("0", "180")  # degrees, by class index
MEAN_VALUES = (127.5, 127.5, 127.5)  # 0-255 scale, after reordering
STD_VALUES = (127.5, 127.5, 127.5)
REORDER_CHANNEL = "2 1 0"


class AssetError(NpusimError):
    """A file that ships with npusim is missing."""


def model_path() -> Path:
    """Return the classifier's ONNX file.

    Raises
    ------
    AssetError
        When the installation lacks the file.
    """
    return _asset(MODEL_FILE)


def layer_list_path() -> Path:
    """Return the example of a layer list: a small detector that nobody has trained.

    Raises
    ------
    AssetError
        When the installation lacks the file.
    """
    return _asset(LAYER_LIST_FILE)


def test_images() -> list[tuple[Path, int]]:
    """Return the images to classify, each with its right class.

    Returns
    -------
    list of tuple of Path, int
        RGB PNG files, 192 x 48; index into ``LABELS``. None of them is a calibration image.

    Raises
    ------
    AssetError
        When the installation lacks a file.
    """
    return [(_asset("images", row["file"]), int(row["label"])) for row in _rows("test")]


def calibration_images() -> list[Path]:
    """Return the images to calibrate with, in the order of ``calibration_list()``.

    Returns
    -------
    list of Path
        RGB PNG files, 192 x 48.

    Raises
    ------
    AssetError
        When the installation lacks a file.
    """
    return [_asset("images", row["file"]) for row in _rows("calibration")]


def calibration_list() -> Path:
    """Return the list of the calibration images in the form of a ``dataset.txt``.

    The paths in it are relative to the list's folder.

    Raises
    ------
    AssetError
        When the installation lacks the file.
    """
    return _asset("images", "calibration.txt")


def _rows(split: str) -> list[dict[str, str]]:
    with _asset("images", "images.csv").open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == split]


def _asset(*parts: str) -> Path:
    path = Path(str(files("npusim.assets").joinpath(*parts)))
    if not path.is_file():
        raise AssetError(
            "a bundled file is missing",
            where=str(path),
            rule="npusim is installed unpacked, with its data files",
            remedy="install npusim again",
        )
    return path
