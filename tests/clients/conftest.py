"""Running scripts under ``npusim exec`` in this process, in a folder of their own."""

import sys
from types import SimpleNamespace

import pytest

from npusim.cli import main


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Run in an empty folder without a display."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "NN_LAYER_DUMP", "NPUSIM_TARGET", "NPUSIM_COMPAT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def execute(monkeypatch, capfd):
    """Return a function: arguments of ``npusim exec`` -> code, out, err."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["npusim", "exec", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        found = capfd.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=found.out, err=found.err)

    return call


@pytest.fixture
def script(work, execute):
    """Write a script and run it; further arguments are the script's."""

    def call(text, *arguments, options=()):
        (work / "test.py").write_text(text, encoding="utf-8")
        return execute(*options, "test.py", *arguments)

    return call
