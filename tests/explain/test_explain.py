"""Every warning's code has a page, every page a warning, and pages say the three things."""

import re
from pathlib import Path

import pytest

from npusim import explain
from npusim.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"')


def words_of_sources():
    paths = [p for f in ("npusim", "perfmodel") for p in (ROOT / f).rglob("*.py")]
    return {w for p in paths for w in CODE.findall(p.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("code", explain.codes())
def test_a_page_says_what_the_chip_and_npusim_do_and_the_way_out(code):
    text = explain.page(code)
    assert text.startswith("# ")
    assert 5 < len(explain.title(code)) < 100
    for part in ("**The chip.**", "**npusim**", "**Way out.**"):
        assert part in text, part


def test_every_page_belongs_to_a_warning():
    assert set(explain.codes()) <= words_of_sources()


def test_a_pointer_needs_a_page():
    code = explain.codes()[0]
    assert explain.see(code) == f"(npusim explain {code})"
    with pytest.raises(ConfigError, match="did you mean lrn-zeros"):
        explain.see("lrn-zero")
    with pytest.raises(ConfigError, match="lists all codes"):
        explain.page("qqqq")
