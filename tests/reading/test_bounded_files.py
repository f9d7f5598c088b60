"""Bytes, text, JSON, TOML and tables: limits hold before memory is taken, faults have a place."""

import gzip
import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from npusim.errors import ConfigError, MachineError
from npusim.reading import arrays, files, pictures, records, tables

FAST = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_a_file_of_the_limit_is_read_and_one_byte_more_is_not(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(100))
    assert files.read_bytes(path, ConfigError, most=100) == bytes(100)
    path.write_bytes(bytes(101))
    with pytest.raises(ConfigError, match=r"101 bytes(.|\n)*at most 100"):
        files.read_bytes(path, ConfigError, most=100)


def test_a_file_without_a_size_is_read_up_to_the_limit(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for content, fits in ((b"x" * 90, True), (b"x" * 3000, False)):

        def write(data=content):
            try:
                path.write_bytes(data)
            except BrokenPipeError:
                assert len(data) > 100

        writer = threading.Thread(target=write)
        writer.start()
        if fits:
            assert files.read_bytes(path, ConfigError, most=100) == content
        else:
            with pytest.raises(ConfigError, match="at most 100"):
                files.read_bytes(path, ConfigError, most=100)
        writer.join()
    with pytest.raises(ConfigError, match="at most 5000"):
        files.read_bytes("/dev/zero", ConfigError, most=5000)


@pytest.mark.parametrize("name", ["absent", "zero\0byte", "x" * 300, "."])
def test_what_cannot_be_opened_has_its_name_in_the_error(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        files.read_bytes(tmp_path / name, ConfigError)
    assert caught.value.where.endswith(("absent", "byte", "xxx", str(tmp_path)))


def test_what_is_no_text_says_which_byte(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc\xff")
    with pytest.raises(ConfigError, match="byte 3 is not UTF-8"):
        files.read_text(path, ConfigError)
    path.write_bytes("\ufeffä".encode())
    assert files.read_text(path, ConfigError) == "ä"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b"\xff\xfe\x00",
        b"\xed\xa0\x80",
        b'"\\ud800',
        b"nul",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_broken_json_is_a_finding(text):
    with pytest.raises(ConfigError, match="not valid JSON") as caught:
        records.parse_json(text, "here.json", ConfigError)
    assert caught.value.where.startswith("here.json")


@pytest.mark.parametrize(
    "text", [b"a = ", b"a = " + b"[" * 50_000, b"\xff", b"a = 1\na = 2", b"x" * (1 << 21)],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_broken_toml_is_a_finding(text):
    with pytest.raises(MachineError):
        records.parse_toml(text, "here.toml", MachineError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@FAST
@given(value=JSON | st.dictionaries(st.sampled_from("abc"), JSON))
def test_access_gives_the_type_or_the_error_of_the_caller(value):
    said = []

    def fail(what, rule):
        said.append(what)
        return ConfigError(what, rule=rule)

    record = records.Record(value, "at", fail)
    kinds = {
        record.text: str,
        record.whole: int,
        record.number: float,
        record.list: list,
        record.texts: tuple,
        record.numbers: tuple,
        record.record: records.Record,
    }
    for access, kind in kinds.items():
        try:
            found = access("a")
        except ConfigError:
            continue
        else:
            assert isinstance(found, kind)
            assert not isinstance(found, bool)
    assert all("at" in what for what in said)


def test_tables_are_read_and_their_faults_have_a_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3\n4,5,6\n")
    rows = list(tables.read_table(path, ConfigError))
    assert rows == [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": ""}), (4, {"a": "4", "b": "5"})]
    path.write_text("a,b\n1," + "x" * 200_000)
    with pytest.raises(ConfigError, match=r"no table") as caught:
        list(tables.read_table(path, ConfigError))
    assert caught.value.where.startswith(f"{path}:")


def test_a_table_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    assert len(list(tables.read_table(path, ConfigError))) == 1000
    with monkeypatch.context() as patch:
        patch.setattr(tables, "MOST_TEXT", 3000)
        with pytest.raises(ConfigError, match="unpacks to too much"):
            list(tables.read_table(path, ConfigError))
    for content in (b"\x1f\x8b\x08", b"no gzip", path.read_bytes()[:-9]):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot be unpacked"):
            list(tables.read_table(path, ConfigError))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_among_files_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    for read in (arrays.read_npy, arrays.npy_header, files.open_file):
        with pytest.raises(OSError, match="a pipe or a device"):
            read(tmp_path / "a.npy")
    with pytest.raises(OSError, match="a pipe"), arrays.open_npz(tmp_path / "a.npy"):
        pass
    with pytest.raises(OSError, match="a folder"):
        files.open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.open_file(tmp_path / "none")


def test_a_picture_with_a_large_tail_is_refused(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path)
    with pictures.open_picture(path) as image:
        assert image.size == (4, 4)
    os.truncate(path, pictures.MOST_BYTES + 1)  # a hole: takes no room on the disk
    with pytest.raises(ValueError, match="more than 268435456"), pictures.open_picture(path):
        pass
