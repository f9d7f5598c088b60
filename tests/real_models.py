"""The models that tools/fetch_models.py fetches, for the tests marked ``models``."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "fetch_models.py"
SPEC = importlib.util.spec_from_file_location("fetch_models", TOOL)
assert SPEC
assert SPEC.loader
fetch_models = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = fetch_models
SPEC.loader.exec_module(fetch_models)
MODELS = fetch_models.load_list()[1]


def model_path(name: str) -> Path:
    """Return a model's file. A missing one fails the test, but the export that needs torch."""
    path: Path = fetch_models.cache_folder() / name
    if name == fetch_models.EXPORTED and not path.exists():
        pytest.skip(f"{name} is made with torch: install it, run python tools/fetch_models.py")
    assert path.exists(), f"{name} is missing: run python tools/fetch_models.py first"
    return path
