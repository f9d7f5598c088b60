"""The commands and examples of the tutorials are true: they run as written."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from npusim import assets
from npusim.cli import main
from npusim.perfmodel.layer_list import load_layer_list
from tools import docs_links

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Enter a folder in which the bundled pictures are where a checkout has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    shutil.copytree(assets.calibration_list().parent, tmp_path / "npusim" / "assets" / "images")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run_as_written(page, checkout, monkeypatch, capsys):
    for example in blocks(page, "json"):
        (checkout / "net.json").write_text(example)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    assert lines
    for line in lines:
        command, _, remark = line.partition("#")
        wanted = {int(code) for code in re.findall(r"\d", remark)} or {0}
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert (ended.value.code or 0) in wanted, f"{line}\n{captured.err}"
        assert captured.out


def test_examples_in_python_and_json(checkout, capsys):
    assert PAGES
    for page in PAGES:
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), {})
            assert "<Estimate" in capsys.readouterr().out
        for number, block in enumerate(blocks(page, "json")):
            path = checkout / f"{number}.json"
            path.write_text(block)
            assert load_layer_list(path).layers


def test_every_page_of_the_site_is_there_and_every_page_is_in_it(tmp_path):
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert not [page for page in docs_links.listed(nav) if not (ROOT / "docs" / page).is_file()]
    (tmp_path / "arithmetic").mkdir()
    for name in ("index.md", "new.md", "arithmetic/nn.md"):
        (tmp_path / name).touch()
    config = docs_links.on_config({"nav": [{"Start": "index.md"}], "docs_dir": str(tmp_path)})
    assert config["nav"] == [{"Start": "index.md"}, {"More": ["new.md"]}]


def test_links_out_of_the_documents_become_names():
    text = "[how](../CONTRIBUTING.md) [x](../tests/a.py#L3) [in](quantization.md) [up](../index.md)"
    shown = docs_links.on_page_markdown(text)
    assert (
        shown
        == "how (`CONTRIBUTING.md`) x (`tests/a.py#L3`) [in](quantization.md) [up](../index.md)"
    )
