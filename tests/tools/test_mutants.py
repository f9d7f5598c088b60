"""The places that tools/mutants.py changes, and that it leaves the checkout alone."""

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "mutants.py"


def tool():
    spec = importlib.util.spec_from_file_location("mutants", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SOURCE = '''"""Text: 1 + 1."""

@decorated(3)
def f(x: int = 2) -> bool:
    """More text, 1 < 2."""
    if not x or x <= (4) and x is not None:
        raise ValueError(f"{x + 1}")
    é = [-x, x << 1]
    return é[0] in (x, True)
'''


def test_operators_and_constants_are_changed_and_texts_are_not():
    found = tool().mutants_of("f.py", SOURCE)
    changed = [m.applied(SOURCE).splitlines()[m.line - 1].strip() for m in found]
    assert sorted(changed) == sorted(
        [
            "def f(x: int = 3) -> bool:",
            "if x or x <= (4) and x is not None:",
            "if not x and x <= (4) and x is not None:",
            "if not x or x < (4) and x is not None:",
            "if not x or x <= (5) and x is not None:",
            "if not x or x <= (4) or x is not None:",
            "if not x or x <= (4) and x is None:",
            "é = [x, x << 1]",
            "é = [-x, x >> 1]",
            "é = [-x, x << 2]",
            "return é[1] in (x, True)",
            "return é[0] not in (x, True)",
            "return é[0] in (x, False)",
        ]
    )


def test_every_mutant_of_the_passes_is_another_program():
    mutants = tool()
    for path in sorted((ROOT / "npusim" / "passes").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for mutant in mutants.mutants_of(path.name, source):
            compile(mutant.applied(source), path.name, "exec")
            assert mutant.applied(source) != source


def test_listing_runs_nothing():
    line = ["--list", "--file", "npusim/passes/requant.py", "--lines", "50-80"]
    done = subprocess.run([sys.executable, TOOL, *line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "npusim/passes/requant.py:" in done.stdout
    assert "killed" not in done.stdout
