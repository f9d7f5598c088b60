"""No source file beyond 500 lines, no function of the doors beyond 60."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 500
DOORS = ("npusim/api", "npusim/cli", "npusim/rknn")
BODY_LIMIT = 45


def test_files_stay_readable():
    long = {}
    for folder in ("npusim", "kernels", "perfmodel", "tests", "benchmarks", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LIMIT:
                long[str(path.relative_to(ROOT))] = lines
    assert not long


def lines_of_body(function):
    """Count what a function does: not its docstring, nor its options, which are a line each."""
    first = function.body[0]
    count = function.end_lineno - first.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        count -= first.end_lineno - first.lineno + 1
    return count


def test_doors_only_translate():
    """A command or a method of the RKNN class is options, one typed call and a report."""
    long = {}
    for folder in DOORS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = lines_of_body(node)
                    if lines > BODY_LIMIT:
                        long[f"{path.relative_to(ROOT)}: {node.name}"] = lines
    assert not long
