"""The file: whole, harmless whatever a model's names are, and not without Jinja2."""

import base64
import hashlib
import json
import re

import pytest

import npusim
from npusim.errors import ConfigError, MissingExtraError
from npusim.report.page.write import json_text, render
from tests.report.page.conftest import HOSTILE


def block(page, pattern):
    (found,) = re.findall(pattern, page, re.S)
    return found


def test_the_page_holds_the_data_and_nothing_else_runs(made, tmp_path):
    page = made.write(tmp_path / "r.html").read_text(encoding="utf-8")
    data = block(page, r'<script type="application/json" id="data">(.*?)</script>')
    assert json.loads(data) == made.data
    assert any(HOSTILE in row["id"] for row in made.data["layers"])
    assert "<img" not in page
    assert page.lower().count("<script") == 2
    script, css = block(page, r"<script>(.*?)</script>"), block(page, r"<style>(.*?)</style>")
    policy = block(page, r'http-equiv="Content-Security-Policy" content="([^"]*)"')
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    for kind, text in (("script", script), ("style", css)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)


def test_names_cannot_leave_the_block():
    text = json_text({"a": "</script><!--&\u2028\u2029'\"", "b": "\ud800"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["a"] == "</script><!--&\u2028\u2029'\""


def test_a_file_that_cannot_be_written_is_said(made, tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        made.write(tmp_path / "absent" / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_without_jinja2_the_extra_is_named_before_anything_is_measured(faulty, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"npusim\[report\]"):
        npusim.report(*faulty, output="r.html", progress=lambda *a: pytest.fail("measured"))
    with pytest.raises(MissingExtraError):
        render({})
