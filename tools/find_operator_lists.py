"""Find lists of operator names outside ``npusim/ops``, where facts about operators are told.

``python tools/find_operator_lists.py [--root CHECKOUT]`` prints every place and how many there are.

A list is a tuple, list, set or dict in the source, the arguments of a call or decorator, the
alternatives of a ``case``, or a string of nothing but names, that holds four or more operators. One
thing is no list: a dict from operators to code (a function, a lambda, an object or a call that
makes one), because that is where those operators are implemented and says nothing twice. Keys that
pair an operator with something else (a type, an engine) are no names of operators either.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from npusim.ops import op_names

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("npusim", "kernels", "perfmodel", "tools", "benchmarks")
FEW = 3


class Found(NamedTuple):
    """Where a list stands, and the operators it holds."""

    path: str
    line: int
    names: tuple[str, ...]


def find_lists(root: Path) -> list[Found]:
    """Return every list of operators below the source folders of a checkout."""
    known = frozenset(op_names())
    return [
        Found(str(path.relative_to(root)), line, tuple(sorted(names)))
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        if (root / "npusim" / "ops") not in path.parents
        for line, names in lists_in(path.read_text(encoding="utf-8"), known)
    ]


def lists_in(source: str, known: frozenset[str]) -> Iterator[tuple[int, set[str]]]:
    """Yield line and names of every list of more than ``FEW`` known operators in a source text."""
    tree = ast.parse(source)
    inner = {n.value for n in ast.walk(tree) if isinstance(n, ast.Starred)}
    for node in ast.walk(tree):
        for texts in groups(node) if node not in inner else ():
            names = set(texts) & known
            if len(names) > FEW:
                yield getattr(node, "lineno", 0), names


def groups(node: ast.AST) -> Iterator[list[str]]:
    """Yield the texts that stand side by side in a node."""
    match node:
        case ast.Tuple() | ast.List() | ast.Set():
            yield list(texts_of(node.elts))
        case ast.Dict():
            pairs = list(zip(node.keys, node.values, strict=True))
            yield list(texts_of(key for key, value in pairs if key and not is_code(value)))
            yield list(texts_of(node.values))
        case ast.Call():
            yield list(texts_of(node.args))
        case ast.MatchOr():
            values = [p.value for p in node.patterns if isinstance(p, ast.MatchValue)]
            yield list(texts_of(values))
        case ast.Constant(value=str(text)):
            words = re.split(r"[\s,]+", text.strip())
            if set(words) <= set(op_names()):
                yield words


def texts_of(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the strings among nodes; a starred tuple belongs to what it is unpacked into."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Starred) and isinstance(
            node.value, ast.Tuple | ast.List | ast.Set
        ):
            yield from texts_of(node.value.elts)


def is_code(value: ast.AST) -> bool:
    """Tell whether a dict's value is or holds a function, an object or a call that makes one."""
    return any(isinstance(n, ast.Name | ast.Attribute | ast.Lambda) for n in ast.walk(value))


def main(arguments: list[str] | None = None) -> int:
    """Print all lists and their number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    found = find_lists(parser.parse_args(arguments).root)
    for path, line, names in found:
        print(f"{path}:{line}: {' '.join(names)}")
    print(f"{len(found)} lists in {len({place.path for place in found})} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
