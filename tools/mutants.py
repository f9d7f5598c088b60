"""Change operators and constants one at a time and see whether the tests notice.

    python tools/mutants.py --file npusim/passes/fold_affine.py --lines 60-90
    python tools/mutants.py --sample 20 --seed 1 npusim/passes -- tests/passes

Works on a copy of the tracked files in a temporary folder, so the checkout is never touched, not
even by a run that is broken off. Every mutant runs the tests whose folder mirrors the file's, or
those given behind ``--``; a failure or a time-out kills it. Survivors are printed with their
difference: each is either equivalent or a missing test. Returns 1 when there are any. Developer's
tool.
"""

import argparse
import ast
import difflib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"), ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip
PRELOADED = ("numpy", "numba", "scipy.special", "onnx", "pytest")  # once for all
# source folder -> its tests, the quickest to notice first
TESTS = {
    "npusim/passes": ("tests/passes/test_metamorphic.py", "tests/passes"),
    "kernels/engines": ("tests/kernels", "tests/runtime/bindings"),
    "kernels": ("tests/kernels", "tests/runtime"),
    "perfmodel": ("tests/perfmodel", "tests/report"),
}


@dataclass(frozen=True, order=True)
class Mutant:
    """One replacement of text in a file, ``start`` and ``stop`` in characters."""

    file: str
    line: int
    start: int
    stop: int
    text: str

    def applied(self, source: str) -> str:
        """Return the source with the replacement."""
        return source[: self.start] + self.text + source[self.stop :]


class _Finder(ast.NodeVisitor):
    """Collects the places of one file that can be changed."""

    def __init__(self, file: str, source: str) -> None:
        self.file, self.source, self.found = file, source, list[Mutant]()
        lines = source.splitlines(keepends=True)
        self.lines = lines
        self.begins = [0]
        for line in lines:
            self.begins.append(self.begins[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        """Return the position in characters of a place that ``ast`` gives in UTF-8 bytes."""
        text = self.lines[line - 1].encode()[:column].decode()
        return self.begins[line - 1] + len(text)

    def start(self, node: ast.expr) -> int:
        return self.at(node.lineno, node.col_offset)

    def stop(self, node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.end_lineno, node.end_col_offset)

    def add(self, node: ast.expr, start: int, stop: int, text: str) -> None:
        line = self.source.count("\n", 0, start) + 1
        self.found.append(Mutant(self.file, line, start, stop, text))

    def between(self, left: ast.expr, right: ast.expr, kind: ast.AST) -> None:
        """Change the operator that stands between two operands."""
        if type(kind) not in OPERATORS:
            return
        old, new = OPERATORS[type(kind)]
        begin = self.stop(left)
        place = self.source[begin : self.start(right)].find(old)
        if place >= 0:
            self.add(left, begin + place, begin + place + len(old), new)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.between(node.left, node.right, node.op)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, right, kind in zip(operands, operands[1:], node.ops, strict=False):
            self.between(left, right, kind)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, node.op)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            begin = self.start(node)  # the operand may stand in brackets, which stay
            self.add(node, begin, begin + (4 if isinstance(node.op, ast.Not) else 1), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, self.start(node), self.stop(node), str(not value))
        elif isinstance(value, int | float):
            self.add(node, self.start(node), self.stop(node), repr(value + 1))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Messages are no arithmetic."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Nor are they here."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in node.body:  # without decorators and annotations
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:  # without decorators
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return every mutant of a file, in order."""
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    return sorted(finder.found)


def tests_of(file: str) -> list[str]:
    """Return the tests of a file: those named after it, then those of the mirrored folder."""
    folder = next((f for f in TESTS if file.startswith(f + "/")), None)
    if folder is None:
        found: tuple[str, ...] = (str(Path("tests", *Path(file).parent.parts[1:])),)
    else:
        found = TESTS[folder]
    named = [
        str(path.relative_to(ROOT))
        for test in found
        for path in sorted((ROOT / test).glob(f"**/test_{Path(file).stem}*.py"))
    ]
    return [*named, *found]


class Copy:
    """The tracked files in a temporary folder, beside the shared data."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            target = self.tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, target, follow_symlinks=False)
        if (ROOT.parent / "shared").exists():
            (folder / "shared").symlink_to((ROOT.parent / "shared").resolve())
        sys.path.insert(0, str(self.tree))  # before the checkout, which may be installed
        sys.dont_write_bytecode = True
        os.environ["NUMBA_CACHE_DIR"] = str(folder / "compiled")
        for name in PRELOADED:
            importlib.import_module(name)

    def keep_compiled(self) -> None:
        """Let compiled kernels depend on their own file only, so that one mutant recompiles one.

        Wrong for helpers that other files compile into their kernels: see ``main``.
        """
        path = self.tree / "kernels" / "_jit.py"
        text = path.read_text(encoding="utf-8")
        head = "def sources_digest() -> str:\n"
        assert head in text
        path.write_text(text.replace(head, f'{head}    return "kept"\n'), encoding="utf-8")

    def passes(self, tests: list[str], seconds: float) -> bool:
        """Run tests in a child process; False also when they take longer."""
        child = os.fork()
        if child == 0:
            self._run(tests)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def _run(self, tests: list[str]) -> NoReturn:
        code = 70
        try:
            os.setpgid(0, 0)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            os.chdir(self.tree)
            pytest = importlib.import_module("pytest")
            code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))
            where = Path(importlib.import_module("npusim").__file__ or "")
            if not where.is_relative_to(self.tree):
                code = 71  # the checkout was tested, not the copy
        finally:
            os._exit(code)


def chosen(options: argparse.Namespace) -> Iterator[Mutant]:
    """Yield the mutants that the command line asks for."""
    files = [options.file] if options.file else []
    for folder in options.folders:
        path = ROOT / folder
        found = [path] if path.is_file() else sorted(path.rglob("*.py"))
        files += [str(p.relative_to(ROOT)) for p in found if p.name != "__init__.py"]
    first, last = 1, sys.maxsize
    if options.lines:
        first, _, end = options.lines.partition("-")
        first, last = int(first), int(end or first)
    everything = [
        mutant
        for file in files
        for mutant in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))
        if first <= mutant.line <= last
    ]
    if options.sample and options.sample < len(everything):
        everything = sorted(random.Random(options.seed).sample(everything, options.sample))
    yield from everything


def difference(mutant: Mutant, source: str) -> str:
    """Return the changed line before and after."""
    lines = difflib.unified_diff(
        source.splitlines(), mutant.applied(source).splitlines(), lineterm="", n=0
    )
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def attempt(mutants: list[Mutant], given: list[str]) -> int:
    """Run the tests of every mutant, print what came of it, return how many survived."""
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder))
        if not any("primitive" in (ROOT / m.file).read_text("utf-8") for m in mutants):
            copy.keep_compiled()
        seconds: dict[tuple[str, ...], float] = {}
        for mutant in mutants:
            tests = given or tests_of(mutant.file)
            if tuple(tests) not in seconds:
                begun = time.monotonic()
                if not copy.passes(tests, 3600):
                    raise SystemExit(f"{' '.join(tests)} fail without any mutant")
                seconds[tuple(tests)] = 60 + 5 * (time.monotonic() - begun)
            source = (copy.tree / mutant.file).read_text(encoding="utf-8")
            try:
                (copy.tree / mutant.file).write_text(mutant.applied(source), encoding="utf-8")
                alive = copy.passes(tests, seconds[tuple(tests)])
            finally:
                (copy.tree / mutant.file).write_text(source, encoding="utf-8")
            survived += alive
            print(f"{'SURVIVED' if alive else 'killed':<9}{mutant.file}:{mutant.line}")
            print(difference(mutant, source), flush=True)
    return survived


def main() -> int:
    """Print one line per mutant; return 1 when one survived or the tests fail without any."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="files or folders")
    parser.add_argument("--file")
    parser.add_argument("--lines", help="A-B, of the files given")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    options = parser.parse_args(words[:split])
    mutants = list(chosen(options))
    if options.list:
        for mutant in mutants:
            source = (ROOT / mutant.file).read_text(encoding="utf-8")
            print(f"{mutant.file}:{mutant.line}\n{difference(mutant, source)}")
        return 0
    survived = attempt(mutants, words[split + 1 :])
    print(f"{len(mutants)} mutants, {survived} survived")
    return int(survived > 0)


if __name__ == "__main__":
    raise SystemExit(main())
