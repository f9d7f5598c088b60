"""Lower layers never import higher ones."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# layer -> npusim layers it may import besides itself
ALLOWED = {
    "plain": set(),
    "errors": {"plain"},
    "reading": {"environment", "errors"},
    "edge": {"errors", "plain"},
    "environment": {"errors"},
    "extras": {"errors"},
    "foreign": {"environment", "errors", "extras"},
    "faces": {"errors", "extras", "plain"},
    "explain": {"errors"},
    "host": {"errors", "ir"},
    "ir": {"errors", "faces", "plain", "reading", "words"},
    "words": set(),
    "ops": {"ir", "errors"},
    "kernels": set(),
    "perfmodel": {"plain", "reading", "faces", "passes", "ops", "ir", "errors"},
    "assets": {"errors"},
    "passes": {"errors", "explain", "ir", "ops", "words"},
    "importers": {
        "plain",
        "reading",
        "errors",
        "explain",
        "extras",
        "foreign",
        "host",
        "ir",
        "ops",
        "passes",
        "reference",
        "words",
    },
    "exporters": {"errors", "explain", "ir", "ops", "passes"},
    "reference": {
        "words",
        "explain",
        "kernels",
        "exporters",
        "runtime.memory_order",
        "ops",
        "ir",
        "environment",
        "errors",
        "foreign",
    },
    "runtime": {
        "faces",
        "environment",
        "errors",
        "explain",
        "host",
        "ir",
        "kernels",
        "ops",
        "passes",
        "words",
    },
    "quantization": {
        "plain",
        "reading",
        "errors",
        "explain",
        "ir",
        "ops",
        "passes",
        "reference",
        "runtime",
        "words",
    },
    "conformance": {
        "edge",
        "reading",
        "host",
        "importers",
        "quantization",
        "runtime",
        "reference",
        "passes",
        "ops",
        "ir",
        "perfmodel",
        "errors",
    },
    "analysis": {
        "plain",
        "reading",
        "faces",
        "words",
        "explain",
        "runtime",
        "reference",
        "quantization",
        "ops",
        "ir",
        "errors",
        "extras",
        "foreign",
    },
    "evaluation": {
        "plain",
        "reading",
        "analysis",
        "host",
        "faces",
        "words",
        "explain",
        "runtime",
        "reference",
        "quantization",
        "ir",
        "errors",
        "extras",
    },
    "report": {
        "plain",
        "host",
        "words",
        "explain",
        "analysis",
        "evaluation",
        "quantization",
        "perfmodel",
        "ops",
        "ir",
        "errors",
        "extras",
    },
    "tuning": {
        "plain",
        "reading",
        "faces",
        "words",
        "explain",
        "analysis",
        "quantization",
        "perfmodel",
        "runtime",
        "reference",
        "passes",
        "ops",
        "ir",
        "errors",
    },
    "testing": {"runtime", "passes", "ops", "ir", "errors"},
    "api": {
        "plain",
        "reading",
        "words",
        "analysis",
        "report",
        "exporters",
        "explain",
        "importers",
        "passes",
        "quantization",
        "runtime",
        "evaluation",
        "tuning",
        "ir",
        "perfmodel",
        "environment",
        "errors",
    },
}
TOP = {"rknn", "cli", "clients", "__init__", "__main__"}  # may import anything


KERNEL_IMPORTS = set(sys.stdlib_module_names) | {"llvmlite", "numba", "numpy", "npusim", "scipy"}


def files():
    return sorted(
        path
        for folder in ("npusim", "kernels", "perfmodel")
        for path in (ROOT / folder).rglob("*.py")
        if not any(parent.is_symlink() for parent in path.parents)
    )


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "npusim" else parts[0]


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "npusim":
                names = [alias.name for alias in node.names]
                yield from (f"npusim.{name}" for name in names if not name.startswith("__"))
            else:
                yield node.module or ""


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards(path):
    layer = layer_of(path)
    for name in imports(path):
        assert not name.startswith(("kernels", "perfmodel")), f"import npusim.{name} instead"
        if layer in TOP or not name.startswith("npusim."):
            continue
        inner = name.removeprefix("npusim.")
        target = inner.split(".")[0]
        allowed = ALLOWED[layer] | {layer}
        assert target in allowed or any(
            "." in entry and inner.startswith(entry) for entry in allowed
        ), f"{layer} must not import {name}"


def test_kernels_know_only_arrays():
    # scipy: special functions that make tables when a network is loaded
    for path in (ROOT / "kernels").rglob("*.py"):
        for name in imports(path):
            assert name.split(".")[0] in KERNEL_IMPORTS, f"{path.name} imports {name}"
