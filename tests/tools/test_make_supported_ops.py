"""The generated page of supported operators is current."""

import subprocess
import sys
from pathlib import Path

import npusim.importers.onnx.importer
import npusim.importers.tflite.importer  # noqa: F401 (both register their converters)
from npusim.importers.onnx import context as onnx
from npusim.importers.onnx.quantized import EXPANSIONS
from npusim.importers.tflite import table as tflite
from npusim.ops import op_names
from npusim.passes.engine_rules import RULES

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "make_supported_ops.py"
PAGE = ROOT / "docs" / "supported-ops.md"


def test_the_page_is_what_the_tool_writes():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_names_every_operator_rule_and_onnx_operator():
    text = PAGE.read_text()
    assert all(f"`{op}`" in text for op in op_names())
    assert all(rule.reason in text for rules in RULES.values() for rule in rules)
    for context in (onnx, tflite):
        assert context.convertible_ops()
        assert all(f"| {op} |" in text for op in context.convertible_ops())
    assert all(op in text for op in EXPANSIONS)
