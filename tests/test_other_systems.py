"""Without locks of POSIX, affinity, forks and shared memory: the same files and bits."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def results(folder, *less):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "elsewhere.py"), str(folder), *less],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.partition("results\n")[2].splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
def test_other_systems_give_the_same_files(tmp_path):
    here = results(tmp_path / "here")
    assert len(here) > 100
    assert here == results(tmp_path / "there", "less")
