"""Running the command line in an empty folder."""

import sys

import pytest

from npusim.cli import main


@pytest.fixture(autouse=True)
def width(monkeypatch):
    """Take the width that a file gets: test runners set one for their workers."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function: arguments -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["npusim", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call
