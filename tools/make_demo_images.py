"""Cut the bundled text-line images out of scikit-image's photograph of a page.

``python tools/make_demo_images.py`` rewrites every PNG that ``images.csv`` lists, from the box
given there. Class 1 images are the crop turned by 180 degrees. Needs scikit-image (test extra).
"""

import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "npusim" / "assets" / "images"
SIZE = (192, 48)  # width, height of the classifier's input
PAGE_SHA256 = "667bfd85aab58052ae90251fae1a265cf8be6d1097b1e61dcfc183b65887a1fe"  # pixels


def make_image(page: Image.Image, row: dict[str, str]) -> Image.Image:
    """Cut one line of ``images.csv`` out of the page.

    Parameters
    ----------
    page : PIL.Image.Image
        Grey page, 384 x 191.
    row : dict of str to str
        One row of the list: ``label`` and the box ``left top right bottom`` in pixels.

    Returns
    -------
    PIL.Image.Image
        RGB with three equal channels, 192 x 48.
    """
    box = tuple(int(row[key]) for key in ("left", "top", "right", "bottom"))
    crop = page.crop(box).resize(SIZE, Image.Resampling.BICUBIC)
    if row["label"] == "1":
        crop = crop.transpose(Image.Transpose.ROTATE_180)
    return crop.convert("RGB")


def main() -> None:
    """Rewrite all images and the calibration list."""
    from skimage import data

    pixels = np.ascontiguousarray(data.page())
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    if digest != PAGE_SHA256:
        raise SystemExit(f"scikit-image's page has other pixels (sha256 {digest}) than expected")
    page = Image.fromarray(pixels)
    with (FOLDER / "images.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        make_image(page, row).save(FOLDER / row["file"], optimize=True)
    calibration = [row["file"] for row in rows if row["split"] == "calibration"]
    (FOLDER / "calibration.txt").write_text("\n".join(calibration) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
