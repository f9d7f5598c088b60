"""The worked example of CONTRIBUTING.md, carried out in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import onnx
import pytest
from onnx import helper

ROOT = Path(__file__).resolve().parent.parent
SECTION = (ROOT / "CONTRIBUTING.md").read_text().partition("## Adding an operator")[2]
STEP = re.compile(r"`([\w/]+\.py)`, table `(\w+)`:\n\n +```python\n(.*?)```", re.DOTALL)
MOST_FILES = 6

RUN = """
import sys
import numpy as np
import npusim
from npusim.exporters.onnx import save_onnx
from npusim.ops import op_def
from npusim.reference.evaluate import evaluate

model, exported = sys.argv[1:]
graph = npusim.load_model(model)
(node,) = graph.nodes
assert node.op == "cos", node
x = np.linspace(-4, 4, 3 * 5 * 7, dtype=np.float32).reshape(1, 3, 5, 7)
want = evaluate(graph, {"x": x})["y"]
assert np.array_equal(want, np.cos(x))
samples = [("x", {"x": x})]
for scheme in ("u8", "i8", "i16", "f16"):
    ready = npusim.float16(graph) if scheme == "f16" else npusim.quantize(
        graph, samples, scheme=scheme)
    program = npusim.compile(ready)
    (layer,) = (n for n in program.graph.nodes if n.op == "cos")
    assert layer.engine.value == "SH", layer
    got = program.run({"x": x})["y"]
    off = np.count_nonzero(np.abs(got - want) > 0.1)  # next to an integer a step may cross it
    assert got.shape == want.shape
    assert off < (0.1 if scheme in ("u8", "i8") else 0.02) * want.size, (scheme, off)
save_onnx(graph, exported)
assert [n.op for n in npusim.load_model(exported).nodes] == ["cos"]
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the sources with the example's lines put at the head of the named tables."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("npusim", "kernels", "perfmodel", "tools", "docs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=ignore)
    steps = STEP.findall(SECTION)
    assert len(steps) == 3
    for name, table, block in steps:
        path = root / name
        text = path.read_text()
        (head,) = re.finditer(rf"^{table}\b.*= \{{\n", text, re.MULTILINE)
        path.write_text(text[: head.end()] + textwrap.dedent(block) + text[head.end() :])
    return root


def run(tree, *arguments):
    """Run Python on the copy and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(tree):
    """Return an ONNX file of the example's operator alone."""
    infos = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3, 5, 7)) for name in "xy"
    ]
    graph = helper.make_graph([helper.make_node("Cos", ["x"], ["y"])], "toy", *([i] for i in infos))
    path = tree / "toy.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8), path
    )
    return path


def test_the_steps_name_at_most_six_files_that_exist():
    steps = SECTION.partition("Other operators")[0].partition("\n1. ")[2]
    alternatives = {"kernels/engines/tp_activation.py", "tests/kernels/test_activation.py"}
    named = set(re.findall(r"`([\w/.-]+\.(?:py|md))`", steps)) - alternatives
    assert len(named) == MOST_FILES
    assert all((ROOT / name).is_file() for name in named | alternatives)


def test_the_example_runs_from_import_to_export(tree, model):
    run(tree, "-c", RUN, model, tree / "exported.onnx")
    assert onnx.load(tree / "exported.onnx").graph.node[0].op_type == "Cos"


def test_the_example_is_priced(tree, model):
    priced = run(tree, "-m", "npusim", "perf", model, "--json")
    assert '"SH"' in priced


def test_the_example_is_documented(tree):
    run(tree, "tools/make_supported_ops.py")
    page = (tree / "docs" / "supported-ops.md").read_text()
    assert "`cos`" in page
    assert "| Cos | Functions without attributes. |" in page
    assert "| COS | Functions without attributes. |" in page
