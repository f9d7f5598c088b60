"""The public API is what tests/api_manifest.json says, or was changed on purpose."""

import json
import subprocess
import sys
from pathlib import Path

import npusim

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "make_api_manifest.py"
STORED = json.loads((ROOT / "tests" / "api_manifest.json").read_text())


def test_the_public_api_is_the_stored_one():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_typed_and_documented():
    """The names of __all__ are those that type checkers see, and each says what it does."""
    text = (ROOT / "npusim" / "__init__.py").read_text()
    for name in npusim.__all__:
        if name == "__version__":
            continue
        assert f" import {name} as {name}\n" in text
        assert getattr(npusim, name).__doc__


def test_every_command_with_json_is_in_the_manifest():
    commands = {name.split()[0] for name in STORED["json"]}
    others = STORED["commands"].keys() - commands
    assert others == {"exec"}  # what it prints is the script's
    assert all("as_json" in STORED["commands"][name] for name in commands)
    assert all(STORED["json"].values())
