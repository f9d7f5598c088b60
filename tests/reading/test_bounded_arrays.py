"""Arrays and pictures: what a header promises is compared with the file before memory is taken."""

import io
import struct
import sys
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image

from npusim.reading import arrays, pictures

FAST = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KINDS = ["u1", "i2", "<f4", ">f4", "f2", "f8", "?", "i8"]
VALUES = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_side=4, min_side=0))
)


def npy(shape, dtype="<f4", data=b"", version=1):
    head = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + data


@FAST
@given(value=VALUES, fortran=st.booleans())
def test_arrays_come_back(tmp_path, value, fortran):
    path = tmp_path / "a.npy"
    np.save(path, np.asarray(value, order="F" if fortran else "C"))
    found = arrays.read_npy(path)
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert found.tobytes() == value.tobytes()
    np.savez(tmp_path / "a.npz", x=value, y=value)
    with arrays.open_npz(tmp_path / "a.npz") as archive:
        assert archive.names == ("x", "y")
        assert archive.read("y").tobytes() == value.tobytes()


@FAST
@given(value=VALUES, data=st.data())
def test_a_changed_or_cut_array_is_read_or_refused(tmp_path, value, data):
    path = tmp_path / "a.npy"
    np.save(path, value)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        arrays.read_npy(path)
    except arrays.DAMAGE:
        return


@pytest.mark.parametrize(
    "content",
    [
        npy((1 << 40,)),
        npy((1 << 62, 4)),
        npy((-1,)),
        npy((2, 3), data=bytes(23)),
        npy((1,) * 40, data=bytes(4)),
        npy((2,), "|O", bytes(16)),
        npy((2,), "<U8", bytes(64)),
        npy((2,), version=3, data=bytes(8)),
        b"\x93NUMPY\x01\x00\x0a\x00{'descr': \n",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        npy((True,), data=bytes(4)),
    ],
    ids=range(11),
)
def test_what_a_file_does_not_hold_is_not_allocated(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(arrays.DAMAGE):
        arrays.read_npy(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_only_the_arrays_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, wanted=np.arange(3), bomb=np.zeros(40 << 20, np.uint8))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with arrays.open_npz(path) as archive:
        assert archive.read("wanted").tolist() == [0, 1, 2]
        assert archive.header("bomb").bytes == 40 << 20
        with pytest.raises(ValueError, match="the limit is 1000"):
            archive.read("bomb", 1000)
        with pytest.raises(KeyError):
            archive.read("nothing")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_archives_that_contradict_themselves_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.npy", npy((2,), data=bytes(8)))
        packed.writestr("a", npy((2,), data=bytes(8)))
    with pytest.raises(ValueError, match="two arrays"), arrays.open_npz(path):
        pass
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.npy", npy((200,), data=bytes(8)))
    with arrays.open_npz(path) as archive, pytest.raises(ValueError, match="the archive holds"):
        archive.read("a")


def picture(size, kind, mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_documented_pictures_are_opened_whatever_they_are_called(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(picture((5, 3), kind))
    with pictures.open_picture(path) as image:
        assert (image.size, image.format) == ((5, 3), kind)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO", "PDF", "EPS", "WEBP", "TGA"])
def test_no_other_decoder_sees_a_file(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(picture((32, 32), kind))
    with pytest.raises(pictures.DECODE_ERRORS), pictures.open_picture(path):
        pass


def test_a_small_picture_of_many_pixels_is_refused_by_its_header(tmp_path):
    side = 1 << 14
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )  # fmt: skip
    with (
        pytest.raises(pictures.DECODE_ERRORS, match="pixels"),
        pictures.open_picture(path) as image,
    ):
        image.load()


@pytest.mark.parametrize("order", "<>")
def test_texts_have_characters_that_exist(tmp_path, order):
    path = tmp_path / "a.npz"
    text = np.array("né", f"{order}U2")
    beyond = np.array([sys.maxunicode + 1], f"{order}u4").view(f"{order}U1").reshape(())
    np.savez(path, text=text, empty=np.array(""), beyond=beyond)
    with arrays.open_npz(path) as archive:
        assert (archive.text("text"), archive.text("empty")) == ("né", "")
        with pytest.raises(ValueError, match="'beyond' has characters that do not exist"):
            archive.text("beyond")
