"""The files of the page: nothing that makes markup of names, runs text or asks the network."""

import re
from pathlib import Path

import pytest

import npusim

STATIC = Path(npusim.__file__).parent / "report" / "page" / "static"
SCRIPTS = sorted((STATIC / "js").iterdir())
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|DOMParser|srcdoc",
    r"\beval\b|\bFunction\(|setTimeout\(\s*[\"'`]|javascript:",
    r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\b|importScripts|Worker\(",
    r"localStorage|sessionStorage|document\.cookie|indexedDB",
    r"https?://(?!www\.w3\.org/2000/svg\b)",
    r"\bstyle:|setAttribute\(\"style\"",  # the policy refuses style attributes
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_scripts_use_nothing_dangerous(path, pattern):
    assert path.suffix == ".js"
    assert re.findall(pattern, path.read_text(encoding="utf-8")) == []


def test_style_sheet_loads_nothing():
    css = (STATIC / "report.css").read_text(encoding="utf-8")
    assert re.findall(r"url\(|@import|@font-face|expression\(", css) == []
    # three places say the dark and light colours: all of them name the same variables
    blocks = re.findall(r"\{[^{}]*--paper:[^{}]*\}", css)
    names = [set(re.findall(r"(--[\w-]+):", block)) - {"--mono"} for block in blocks]
    assert len(names) == 4
    assert all(one == names[0] for one in names)


def test_template_puts_nothing_around_hashed_text():
    template = (STATIC / "report.html.j2").read_text(encoding="utf-8")
    assert "<style>{{ css }}</style>" in template
    assert "<script>{{ js }}</script>" in template
    assert "|safe" not in template.replace(" ", "")
    assert re.findall(r"\s(?:on\w+|style)=", template) == []


def test_page_without_data_is_small():
    size = sum(path.stat().st_size for path in (*SCRIPTS, STATIC / "report.css"))
    assert size < 130_000
