"""Decoding and stretching of calibration images.

Recorded numbers are those of TensorFlow 2.21.0: ``tf.io.decode_jpeg(data, channels=n)`` and
``tf.compat.v1.image.resize_bilinear(images, (4, 4), align_corners=True)``.
"""

import math
import tracemalloc
from base64 import b64decode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from npusim.quantization.images import (
    BORDER,
    fitted,
    image_size,
    placement,
    read_image,
    stretch,
)
from npusim.reading.pictures import DECODE_ERRORS


def slow_stretch(image, height, width):
    """Scalar TensorFlow rule: corners aligned, float32."""
    f = np.float32
    in_h, in_w, channels = image.shape
    out = np.empty((height, width, channels), f)
    for y in range(height):
        in_y = f(y) * (f(in_h - 1) / f(height - 1) if height > 1 else f(in_h))
        top = min(math.floor(in_y), in_h - 1)
        bottom, part_y = min(top + 1, in_h - 1), f(in_y - f(top))
        for x in range(width):
            in_x = f(x) * (f(in_w - 1) / f(width - 1) if width > 1 else f(in_w))
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
def test_stretch_follows_its_rule(in_h, in_w, height, width, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (in_h, in_w, channels), np.uint8)
    found = stretch(image, height, width)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, slow_stretch(image, height, width))


@given(
    picture=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    fit=st.sampled_from(["letterbox", "crop"]),
)
def test_a_fitted_picture_keeps_its_proportions_and_fills_or_lies_inside(picture, size, fit):
    place = placement(picture, size, fit)
    gap = [size[i] - (place.height, place.width)[i] for i in (0, 1)]
    assert max(gap) >= 0 >= min(gap) or fit == "letterbox" or max(gap) <= 0
    assert min(gap) == 0 if fit == "letterbox" else max(gap) == 0  # one axis fits exactly
    image = np.full((*picture, 3), 200, np.uint8)
    found = fitted(image, *size, fit)
    assert found.shape == (*size, 3)
    inside = np.zeros(size, bool)
    rows = slice(max(0, place.top), max(0, place.top) + place.height)
    inside[rows, max(0, place.left) : max(0, place.left) + place.width] = True
    assert (found[inside] == 200).all()
    assert (found[~inside] == BORDER).all()


def test_a_crop_is_the_middle_of_the_stretched_picture():
    image = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    assert fitted(image, 1, 4, "crop").ravel().tolist() == [2, 3, 4, 5]
    assert fitted(image, 3, 8, "letterbox")[:, 0, 0].tolist() == [BORDER, 0, BORDER]


def test_stretch_to_twice_the_size_by_hand():
    row = np.array([[[10], [22]]], np.uint8)
    assert stretch(row, 1, 4).ravel().tolist() == [10, 14, 18, 22]


RESIZED = (  # bit patterns
    0, 1108606976, 1116995584, 1125384192, 1120359764, 1124641450, 1123723945, 1117388801,
    1122238465, 1128005632, 1130430464, 1086324736, 1118568448, 1123418112, 1126170624, 1125427882,
    1127852714, 1112539137, 1123811329, 1126367232, 1128792064, 1099956224, 1113325568, 1119354880,
    1126957056, 1129381888, 1131806720, 1115684864, 1120534528, 1124728832, 1129578496, 1117563561,
    1122413225, 1120927744, 1124925440, 1127350272, 1073741824, 1109131264, 1117257728, 1125515264,
    1120621908, 1124772522, 1123986089, 1117650945, 1122500609, 1128136704, 1130561536, 1090519040,
)  # fmt: skip


def test_stretch_equals_tensorflow_to_the_last_bit(tmp_path):
    pixels = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3) * np.uint8(37)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found, _ = read_image(tmp_path / "a.png", 3)
    assert stretch(found, 4, 4).ravel().view(np.uint32).tolist() == list(RESIZED)


# nine rows of eleven pixels, chroma halved in both directions
JPEG = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZG"
    "NywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAJAAsDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAA"
    "BAb/xAAjEAABAgMJAQAAAAAAAAAAAAACAAEDBQYhIjIzNWFxdKGy/8QAFQEBAQAAAAAAAAAAAAAAAAAAAwT/xAAg"
    "EQACAAUFAQAAAAAAAAAAAAABAwACBBFRBRMiMYHh/9oADAMBAAIRAxEAPwAUqprDc8VKEghiDM7Wtspio9Zgdcfo"
    "kKFljwlqNxCVzyEcr9jHoi7Q1OqKcMLLXGPsf//Z"
)
JPEG_RGB = b64decode(
    "AAYADAoAKAwYPw8nThMxXBs9bCVNfipenC15uiuH3CmPBh4IGCIZNiQySydDXCpPazBceD1ti0F8pUKSwkGe5UCp"
    "BzglGzs2NzxPTz1jYEBycEeDfFKSjVeipVmxwlq941nGA1czFlpBN1pcT1t1Y1qJc1+cgGuukXG8q3fJw3fR4nja"
    "AIM0E4ZFN4RgUYJ8aX6ZeoKxiI3FmJLQtaDby5/e5p3kAKhCA6pQKqhpSaOHY56meJ++ianPmrHQucHMyb++4bu6"
    "AMxgAM5uGsyCPcacXb27dr7MisnQndK+t+KdxuB72ttkAOGDAeORMN2lWdTAfsjlnMb4tM/6ytng4Oaq7uN6/9tc"
    "GuOsOuS9adfOADFaMSSQVR6tbR+xiSuZhBtDpCchxC0S"
)
JPEG_GREY = b64decode(
    "AAkWICgyP0lXYGoUHis1PUdUXmlyfScxPUdPWmZweoSPOkNQWmJseYOQmKNSXGlze4WSm62zu2Vue4WNl6SuwMLG"
    "d4GOmKCqt8DNzc2MlqOttb/M1d3a2KGttSc0P0dUP0xX"
)


def test_jpeg_equals_the_decoder_of_tensorflow(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    assert image_size(path) == (9, 11)
    found, converted = read_image(path, 3)
    np.testing.assert_array_equal(found, np.frombuffer(JPEG_RGB, np.uint8).reshape(9, 11, 3))
    assert not converted
    found, converted = read_image(path, 1)
    np.testing.assert_array_equal(found, np.frombuffer(JPEG_GREY, np.uint8).reshape(9, 11, 1))
    assert converted
    with Image.open(path) as image:
        accurate = np.asarray(image.convert("RGB"))
    assert (accurate != read_image(path, 3)[0]).mean() > 0.5  # the two DCTs differ


def test_jpeg_of_four_inks(tmp_path):
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 255, 51  # all cyan, a fifth black
    Image.fromarray(inks, "CMYK").save(tmp_path / "c.jpg", quality=100)
    found, _ = read_image(tmp_path / "c.jpg", 3)
    assert np.abs(found.astype(int) - (0, 204, 204)).max() <= 2
    with pytest.raises(ValueError, match="grey"):
        read_image(tmp_path / "c.jpg", 1)


@pytest.mark.parametrize("kept", [30, 200, -2])
def test_damaged_jpeg_files_are_errors(tmp_path, kept):
    (tmp_path / "d.jpg").write_bytes(JPEG[:kept])
    with pytest.raises(DECODE_ERRORS):
        read_image(tmp_path / "d.jpg", 3)


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


def test_a_cut_picture_of_one_line_takes_the_memory_of_what_is_seen():
    line = np.random.default_rng(3).integers(0, 256, (1, 400_000, 3), np.uint8)
    tracemalloc.start()
    try:
        made = fitted(line, 8, 8, "crop")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    middle = stretch(line[:, 199_995:200_005], 80, 80)  # the same pixels, but for float32 places
    assert made.shape == (8, 8, 3)
    assert abs(made.mean() - middle.mean()) < 128


@given(
    picture=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(["letterbox", "crop"]),
)
def test_what_is_seen_is_cut_out_of_the_whole(picture, size, fit):
    pixels = np.random.default_rng(4).integers(0, 256, picture, np.uint8)
    place = placement(picture[:2], size, fit)
    whole = stretch(pixels, place.height, place.width)
    wanted = np.full((*size, picture[2]), BORDER, np.float32)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row - place.top, column - place.left
            if 0 <= y < place.height and 0 <= x < place.width:
                wanted[row, column] = whole[y, x]
    np.testing.assert_array_equal(fitted(pixels, *size, fit), wanted)
