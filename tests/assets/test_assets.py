"""The bundled classifier and its images."""

import csv
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npusim import assets

ROOT = Path(__file__).resolve().parents[2]
NUMBER_OF_IMAGES = 24
SIZE_LIMIT_BYTES = 400_000


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """Return the rows of images.csv."""
    with (assets.calibration_list().parent / "images.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def classify(session: Any, image: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Run the float model on one image as the module's docstring says."""
    order = [int(channel) for channel in assets.REORDER_CHANNEL.split()]
    pixels = np.asarray(image, dtype=np.float32)[:, :, order]
    mean, std = (np.asarray(v, np.float32) for v in (assets.MEAN_VALUES, assets.STD_VALUES))
    ifm = (pixels - mean) / std
    (probabilities,) = session.run(None, {assets.INPUT_NAME: ifm.transpose(2, 0, 1)[None]})
    result: np.ndarray[Any, np.dtype[np.float32]] = probabilities[0]
    return result


def test_model_is_the_pinned_file() -> None:
    digest = hashlib.sha256(assets.model_path().read_bytes()).hexdigest()
    assert digest == assets.MODEL_SHA256


def test_images_are_ready_for_the_network(rows: list[dict[str, str]]) -> None:
    tests = assets.test_images()
    calibration = assets.calibration_images()
    paths = [path for path, _ in tests] + calibration
    assert sorted(path.name for path in paths) == sorted(row["file"] for row in rows)
    assert len({path.read_bytes() for path in paths}) == len(paths) == NUMBER_OF_IMAGES
    assert sum(label for _, label in tests) * 2 == len(tests)
    assert sum(path.stat().st_size for path in paths) < SIZE_LIMIT_BYTES
    height, width = assets.INPUT_SHAPE[2:]
    for path in paths:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (width, height))


def test_calibration_list_names_the_calibration_images() -> None:
    path = assets.calibration_list()
    listed = [path.parent / line for line in path.read_text(encoding="utf-8").splitlines()]
    assert listed == assets.calibration_images()


def test_float_model_classifies_every_image(rows: list[dict[str, str]]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(assets.model_path()), providers=["CPUExecutionProvider"])
    folder = assets.calibration_list().parent
    for row in rows:
        with Image.open(folder / row["file"]) as image:
            assert classify(session, image)[int(row["label"])] > 0.98, row["file"]


def test_images_are_the_crops_they_say(rows: list[dict[str, str]]) -> None:
    data = pytest.importorskip("skimage.data")
    tool = ROOT / "tools" / "make_demo_images.py"
    spec = importlib.util.spec_from_file_location("make_demo_images", tool)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = Image.fromarray(data.page())
    for row in rows:
        with Image.open(assets.calibration_list().parent / row["file"]) as image:
            stored = np.asarray(image).astype(np.int32)
        # a later Pillow may resize with a last bit of difference
        assert np.abs(np.asarray(module.make_image(page, row)) - stored).max() <= 1, row["file"]


def test_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assets, "files", lambda _: tmp_path)
    with pytest.raises(assets.AssetError, match=assets.MODEL_FILE):
        assets.model_path()
