"""Folders and lists of labelled samples."""

import pytest

from npusim.errors import DatasetError
from npusim.evaluation.labelled import Item, check_classes, class_number, open_labelled, read_labels


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_folder_per_class(tmp_path):
    for name in ("dog/b.PNG", "dog/a.jpg", "cat/z.npy", "cat/notes.txt", "readme.md"):
        touch(tmp_path / name)
    items = open_labelled(tmp_path)
    assert [(i.index, i.name, i.label) for i in items] == [
        (0, "cat/z.npy", "0"), (1, "dog/a.jpg", "1"), (2, "dog/b.PNG", "1")
    ]  # fmt: skip


def test_folders_with_numbers_keep_them(tmp_path):
    for name in ("10/a.png", "2/b.png", "007/c.png"):
        touch(tmp_path / name)
    assert {item.name: item.label for item in open_labelled(tmp_path)} == {
        "10/a.png": "10", "2/b.png": "2", "007/c.png": "7"
    }  # fmt: skip
    with pytest.raises(DatasetError, match="2 inputs"):
        open_labelled(tmp_path, inputs=2)


def test_a_list(tmp_path, monkeypatch):
    for name in ("a b.png", "c.png", "work/d.png"):
        touch(tmp_path / name)
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "set.txt").write_text('\ufeff"a b.png"  3\r\n\r\nc.png cat\nd.png 5\n', "utf-8")
    items = open_labelled(tmp_path / "set.txt")
    assert [(i.name, i.label) for i in items] == [
        ("a b.png", "3"),
        ("c.png", "cat"),
        ("d.png", "5"),
    ]
    assert items[2].paths == (str(tmp_path / "work" / "d.png"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png\n", "line 1: 1 column, 2 expected"),
        ("\nmissing.png 1\n", "line 2: missing.png does not exist"),
        (f"{'x' * 5000}.png 1\n", "does not exist"),
        ("", "no sample"),
    ],
)
def test_lines_that_cannot_be_used_are_refused(tmp_path, text, words):
    touch(tmp_path / "a.png")
    (tmp_path / "set.txt").write_text(text)
    with pytest.raises(DatasetError, match=words):
        open_labelled(tmp_path / "set.txt")


def test_missing_or_binary_lists(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.txt"):
        open_labelled(tmp_path / "none.txt")
    (tmp_path / "junk.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"junk\.txt"):
        open_labelled(tmp_path / "junk.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no sample"):
        open_labelled(tmp_path / "empty")


def test_labels_by_number_and_by_name(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n\n")
    names = read_labels(tmp_path / "names.txt")
    assert names == ("cat", "dog")
    assert class_number("dog", names) == 1
    assert class_number("dog", names, 1) == 2
    assert class_number("1", names) is None
    assert class_number("4") == 4
    assert class_number("-4") is None
    with pytest.raises(DatasetError, match="missing"):
        read_labels(tmp_path / "missing")
    touch(tmp_path / "9" / "a.png")
    with pytest.raises(DatasetError, match=r"9/a.png: '9'(.|\n)*0 .. 8"):
        check_classes(open_labelled(tmp_path), 9)


def test_many_labels_are_looked_through_once():
    class Counted(tuple):
        looks = 0

        def __iter__(self):
            Counted.looks += 1
            return super().__iter__()

        def __contains__(self, name):
            Counted.looks += 1
            return super().__contains__(name)

    names = Counted(f"c{i}" for i in range(50))
    items = [Item(index=i, name="a", paths=("a",), label=f"c{i}") for i in range(50)]
    check_classes(items, 50, labels=names)
    assert Counted.looks <= 2
    assert class_number("b", ("a", "b", "b")) == 1
    assert class_number("b", ["b", "a"]) == 0
