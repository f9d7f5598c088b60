"""Each variable of the environment is named once, in ``npusim.environment``, and documented."""

import re
from pathlib import Path

import pytest

from npusim.environment import VARIABLES, thread_count
from npusim.errors import ConfigError

ROOT = Path(__file__).parents[1]
NAMES = [variable.name for variable in VARIABLES]
FOLDERS = ("npusim", "kernels", "perfmodel", "tools", "benchmarks", "tests", "docs", ".ci")


def texts():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in (".py", ".md", ".toml", ".sh", ""):
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_every_name_in_the_sources_is_in_the_table():
    found = {name: path for path, text in texts() for name in re.findall(r"NPUSIM_[A-Z_]+", text)}
    assert "NPUSIM_ISA" in found
    # of the measuring harness, of the tests of pages, and of typer's completion
    for name in ("ORACLE_HOME", "CHROMIUM", "REQUIRE_BROWSER", "COMPLETE"):
        found.pop(f"NPUSIM_{name}", None)
    assert {name: path for name, path in found.items() if name not in NAMES} == {}


def test_nobody_else_reads_them():
    reads = re.compile(r"environ(?:\.get\(|\[)[\"']NPUSIM_\w+[\"'](?!\] = )")
    readers = [path for path, text in texts() if path.parts[0] != "tests" and reads.search(text)]
    assert readers == []


def test_the_document_lists_them():
    text = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{v.name}` | {v.values} | {v.meaning} |" for v in VARIABLES]


@pytest.mark.parametrize("text", ["0", "-1", "2000", "1" + "0" * 5000, "²", "many"])
def test_absurd_numbers_of_threads_are_refused(text, monkeypatch):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", text)
    thread_count.cache_clear()
    try:
        with pytest.raises(ConfigError, match="1 to 1024"):
            thread_count()
    finally:
        thread_count.cache_clear()


def test_spaces_around_a_value_are_no_part_of_it(monkeypatch):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", " 3 ")
    thread_count.cache_clear()
    try:
        assert thread_count() == 3
    finally:
        thread_count.cache_clear()


@pytest.mark.parametrize("variable", VARIABLES, ids=NAMES)
def test_nothing_is_read_where_nothing_is_set(monkeypatch, variable):
    monkeypatch.delenv(variable.name, raising=False)
    assert variable.read() == ""
