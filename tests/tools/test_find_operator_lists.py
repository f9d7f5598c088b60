"""Facts about operators are told in npusim/ops and nowhere else."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "find_operator_lists.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("find_operator_lists", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_list_of_operators_outside_their_definitions(tool):
    found = tool.find_lists(TOOL.parents[1])
    assert not found, "ask npusim.ops (op_def, ops_where) instead"


@pytest.mark.parametrize(
    "source",
    [
        'A = ("relu", "tanh", "abs", "neg", "other")',
        'A = {"relu", "tanh", "abs", "neg"}',
        'A = [*("relu", "tanh"), *("abs", "neg")]',
        'A = {"relu": 1, "tanh": 2, "abs": 3, "neg": 4}',
        'A = {"Relu": "relu", "Tanh": "tanh", "Abs": "abs", "Neg": "neg"}',
        'A = "relu tanh abs neg".split()',
        'A = f("relu", "tanh", *("abs", "neg"))',
        '@binding("relu", "tanh", "abs", "neg")\ndef f(): ...',
        'match a:\n    case "relu" | "tanh" | "abs" | "neg":\n        ...',
    ],
)
def test_every_form_of_a_list_is_found(tool, source):
    (found,) = tool.lists_in(source, frozenset(("relu", "tanh", "abs", "neg")))
    assert found[1] == {"relu", "tanh", "abs", "neg"}


@pytest.mark.parametrize(
    "source",
    [
        'A = ("relu", "tanh", "abs")',
        'A = {"relu": f, "tanh": np.tanh, "abs": lambda x: x, "neg": make(1)}',
        'A = {("relu", "u8"): 1, ("tanh", "u8"): 2, ("abs", "u8"): 3, ("neg", "u8"): 4}',
        'A = "relu and tanh and abs and neg"',
    ],
)
def test_what_is_no_list(tool, source):
    assert not list(tool.lists_in(source, frozenset(("relu", "tanh", "abs", "neg"))))
