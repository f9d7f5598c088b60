"""The page of board times: its tables are what the tool makes of the model as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_board_times.py"


@pytest.mark.slow
def test_tables_of_the_page_are_made_from_the_model_as_it_is():
    found = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr or "run python tools/make_board_times.py"
