"""Decoding and stretching of calibration images."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from npusim.quantization.images import image_size, read_image, stretch


def slow_stretch(image, height, width):
    """Scalar TensorFlow 1 rule: align_corners=False, no half-pixel centres, float32."""
    f = np.float32
    in_h, in_w, channels = image.shape
    out = np.empty((height, width, channels), f)
    for y in range(height):
        in_y = f(y) * (f(in_h) / f(height))
        top = min(math.floor(in_y), in_h - 1)
        bottom, part_y = min(top + 1, in_h - 1), f(in_y - f(top))
        for x in range(width):
            in_x = f(x) * (f(in_w) / f(width))
            left = min(math.floor(in_x), in_w - 1)
            right, part_x = min(left + 1, in_w - 1), f(in_x - f(left))
            for c in range(channels):
                v = image[:, :, c].astype(f)
                upper = v[top, left] + (v[top, right] - v[top, left]) * part_x
                lower = v[bottom, left] + (v[bottom, right] - v[bottom, left]) * part_x
                out[y, x, c] = upper + (lower - upper) * part_y
    return out


@given(
    in_h=st.integers(1, 9),
    in_w=st.integers(1, 9),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_stretch_follows_tensorflow_1(in_h, in_w, height, width, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (in_h, in_w, channels), np.uint8)
    found = stretch(image, height, width)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, slow_stretch(image, height, width))


def test_stretch_to_twice_the_size_by_hand():
    row = np.array([[[10], [20]]], np.uint8)
    assert stretch(row, 1, 4).ravel().tolist() == [10, 15, 20, 20]


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_pixels_come_in_red_green_blue_order(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    found, converted = read_image(path, 3)
    np.testing.assert_array_equal(found, pixels)
    assert not converted
    assert image_size(path) == (4, 5)


def test_grey_palette_and_transparent_images(tmp_path):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(grey).save(tmp_path / "g.png")
    found, converted = read_image(tmp_path / "g.png", 1)
    assert found.shape == (4, 5, 1)
    assert not converted
    np.testing.assert_array_equal(found[:, :, 0], grey)
    found, converted = read_image(tmp_path / "g.png", 3)
    assert converted
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, 2))
    rgba = np.full((2, 2, 4), (10, 20, 30, 0), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "t.png")
    assert read_image(tmp_path / "t.png", 3)[0][0, 0].tolist() == [10, 20, 30]
    Image.fromarray(rgba[:, :, :3]).convert("P").save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png", 3)[0].shape == (2, 2, 3)
    _, converted = read_image(tmp_path / "t.png", 1)
    assert converted


def test_sixteen_bit_images_keep_the_upper_byte(tmp_path):
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)).save(tmp_path / "deep.png")
    found, _ = read_image(tmp_path / "deep.png", 3)
    assert found[0, :, 0].tolist() == [0, 0, 1, 255]


def test_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / "r.jpg", exif=exif)
    assert read_image(tmp_path / "r.jpg", 3)[0].shape == (4, 8, 3)
